//! Requests that travel to a root that is kept offline, and what comes back of them.

use std::sync::Arc;

use jiff::Timestamp;

use crate::app::access::caller::Caller;
use crate::app::keep::agent_ca::{
    CertificateSummary, IntermediateRequest, Issuing, RenewAgentCaError, SignedRequest,
};
use crate::app::keep::revoke_intermediate::{Publishing, RevokedIntermediate};
use crate::app::keep::root::change::PreparedRoot;
use crate::app::{App, Unavailable};
use crate::ca::envelope::EnvelopeSettings;
use crate::ca::root::change::{self, MadeRoot};
pub use crate::ca::root::errand::{Errand, ErrandError, SignedErrand};
use crate::domain::identity::hierarchy::{Hierarchy, OpenRootRequest, RootTask};
use crate::domain::insight::audit_action::AuditAction;

/// Why nothing was asked for, or nothing taken over. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
pub enum ErrandRefused {
    /// The text is not one of ours, or not whole.
    #[error(transparent)]
    Unreadable(#[from] ErrandError),
    /// The same file for the second time.
    #[error("what this file brings is installed already")]
    Installed,
    /// It came back, or was never made here.
    #[error(
        "no request of this server is open: what was asked for has been installed, or was asked for by another server; make a new \
         request: muster agent-ca renew --request FILE"
    )]
    NoneOpen,
    /// A newer request has taken its place.
    #[error(
        "this answers another request than the one that is open, which was made at {made_at}; have that one signed, or make a new one"
    )]
    OtherRequest {
        /// When the open one was made.
        made_at: Timestamp,
    },
    /// A root is in it where none was asked for, or the reverse.
    #[error("this is not what the open request asked for; have it signed again")]
    NotAskedFor,
    /// The agent CA does not take it.
    #[error(transparent)]
    Refused(#[from] RenewAgentCaError),
}

impl From<Unavailable> for ErrandRefused {
    fn from(error: Unavailable) -> Self {
        Self::Refused(error.into())
    }
}

/// What is asked of a root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// Another intermediate.
    Renew,
    /// Another one, and a list with this one: the beginning of its serial or SHA-256.
    Revoke(String),
    /// Another root.
    Prepare,
}

/// What came of a signed file.
#[derive(Debug, Clone)]
pub enum InstalledErrand {
    /// Another intermediate.
    Renewed(CertificateSummary),
    /// One in the place of one that is revoked.
    Revoked(Box<RevokedIntermediate>),
    /// Another root.
    Prepared(Box<PreparedRoot>),
}

impl App {
    /// Makes a request, and keeps the key that it is for. It takes the place of one that has not come back.
    pub async fn open_root_request(
        &self,
        caller: &Caller,
        wish: Wish,
        at_once: bool,
        settings: &EnvelopeSettings,
    ) -> Result<Errand, ErrandRefused> {
        let request = match &wish {
            Wish::Renew => self.request_intermediate(settings).await?,
            Wish::Revoke(intermediate) => self.request_revocation(intermediate, settings).await?,
            Wish::Prepare => self.request_root(settings).await?,
        };
        let task = match (&wish, request.revoked) {
            (Wish::Prepare, _) => RootTask::Prepare,
            (_, Some(serial)) => RootTask::Revoke(serial),
            (_, None) => RootTask::Renew,
        };
        let _one_at_a_time = self.hierarchy_changes.lock().await;
        let before = self.hierarchy()?.ok_or(RenewAgentCaError::Missing)?;
        let made_at = self.clock.now();
        let sent = only_the_newest_list(request.clone());
        let errand = Errand::new(task, &sent, made_at);
        let IntermediateRequest { sealed_key, .. } = request;
        let open = OpenRootRequest { digest: errand.digest(), task, now: at_once, made_at, sealed_key };
        let after = Hierarchy { open_request: Some(open), ..before.clone() };
        let mut event = caller.event(AuditAction::AgentCaRequest, None, &after.trust_domain);
        event.detail.insert("for", word_of(task).to_owned());
        self.replace_hierarchy(Some(before), after, event, RenewAgentCaError::Changed).await?;
        Ok(errand)
    }

    /// Takes over what a root has signed for the request that is open.
    pub async fn install_signed(
        self: &Arc<Self>,
        caller: &Caller,
        text: &str,
        at_once: bool,
        settings: &EnvelopeSettings,
    ) -> Result<InstalledErrand, ErrandRefused> {
        let SignedErrand { request, root, signed } = SignedErrand::read(text)?;
        let hierarchy = self.hierarchy()?.ok_or(RenewAgentCaError::Missing)?;
        if hierarchy.intermediates.iter().any(|it| it.certificate == signed.certificate) {
            return Err(ErrandRefused::Installed);
        }
        let open = hierarchy.open_request.ok_or(ErrandRefused::NoneOpen)?;
        if open.digest != request {
            return Err(ErrandRefused::OtherRequest { made_at: open.made_at });
        }
        let (at_once, sealed_key) = (at_once || open.now, open.sealed_key);
        match (open.task, root) {
            (RootTask::Renew, None) => {
                let issuing = if at_once { Issuing::Now } else { Issuing::Later };
                let signed = SignedRequest { signed, sealed_key };
                let renewed = self.install_intermediate(caller, signed, issuing, settings).await?;
                Ok(InstalledErrand::Renewed(renewed))
            }
            (RootTask::Revoke(serial), None) => {
                let publishing = if at_once { Publishing::Now } else { Publishing::WhenRotated };
                let signed = SignedRequest { signed, sealed_key };
                let revoked = self.revoke_intermediate(caller, signed, serial, publishing, settings).await?;
                Ok(InstalledErrand::Revoked(Box::new(revoked)))
            }
            (RootTask::Prepare, Some(root)) => {
                let made = MadeRoot { root, signed };
                let prepared = self.prepare_root(caller, made, sealed_key, settings).await?;
                Ok(InstalledErrand::Prepared(Box::new(prepared)))
            }
            _ => Err(ErrandRefused::NotAskedFor),
        }
    }

    /// A key for the intermediate of a root that is still to be made.
    pub async fn request_root(
        &self,
        settings: &EnvelopeSettings,
    ) -> Result<IntermediateRequest, RenewAgentCaError> {
        let hierarchy = self.hierarchy()?.ok_or(RenewAgentCaError::Missing)?;
        change::preparable(&hierarchy)?;
        self.request_from_root(hierarchy, RootTask::Prepare, settings).await
    }
}

/// What a task is called.
pub const fn word_of(task: RootTask) -> &'static str {
    match task {
        RootTask::Renew => "renew",
        RootTask::Revoke(_) => "revoke_intermediate",
        RootTask::Prepare => "prepare_root",
    }
}

/// The list that the next one follows is enough, and the file stays small.
fn only_the_newest_list(mut request: IntermediateRequest) -> IntermediateRequest {
    request.root_lists = crate::ca::hierarchy::lists_of_signer(&request);
    request
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use jiff::SignedDuration;

    use super::*;
    use crate::app::Policy;
    use crate::app::access::caller::LocalVia;
    use crate::app::keep::root::change::{RootChangeRefused, Waiting};
    use crate::ca::envelope::Envelope;
    use crate::ca::hierarchy::{self, RenewError};
    use crate::ca::root::change::RootChangeError;
    use crate::ca::root::errand;
    use crate::clock::Clock;
    use crate::pem;
    use crate::pem::file::PrivateKey;

    const BEGINS: i64 = 1_790_000_000;
    const CALLER: Caller = Caller::Local { uid: 0, via: LocalVia::Process };

    /// A clock that stands until it is set.
    #[derive(Debug)]
    struct SetClock(AtomicI64);

    impl Clock for SetClock {
        fn now(&self) -> Timestamp {
            Timestamp::from_second(self.0.load(Ordering::Relaxed)).unwrap()
        }
    }

    struct Site {
        _directory: tempfile::TempDir,
        clock: Arc<SetClock>,
        settings: EnvelopeSettings,
        root_key: PrivateKey,
        app: Arc<App>,
    }

    impl Site {
        async fn open() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let clock = Arc::new(SetClock(AtomicI64::new(BEGINS)));
            let of_app = Arc::clone(&clock) as Arc<dyn Clock>;
            let app = Arc::new(App::open(directory.path(), of_app, Policy::default(), |_| {}).unwrap());
            let settings =
                EnvelopeSettings { data_dir: directory.path().to_owned(), ..EnvelopeSettings::default() };
            let (envelope, _) = Envelope::find_or_create(&settings, clock.now()).unwrap();
            let made = hierarchy::init(&"muster".parse().unwrap(), &envelope, None, clock.now()).unwrap();
            app.install_agent_ca(&CALLER, made.hierarchy, &settings).await.unwrap();
            let root_key = hierarchy::read_root_key(made.root_key_pem.as_bytes()).unwrap();
            Self { _directory: directory, clock, settings, root_key, app }
        }

        fn pass(&self, seconds: i64) {
            self.clock.0.fetch_add(seconds, Ordering::Relaxed);
        }

        async fn ask(&self, wish: Wish) -> String {
            let asked = self.app.open_root_request(&CALLER, wish, true, &self.settings).await;
            asked.unwrap().to_pem()
        }

        fn sign(&self, request: &str, key: &PrivateKey) -> String {
            let errand = Errand::read(request).unwrap();
            errand::sign(&errand, key, None, self.clock.now()).unwrap().to_pem()
        }

        async fn install(&self, text: &str) -> Result<InstalledErrand, ErrandRefused> {
            self.app.install_signed(&CALLER, text, false, &self.settings).await
        }

        async fn refused(&self, text: &str) -> String {
            let before = self.app.hierarchy().unwrap();
            let refused = self.install(text).await.unwrap_err();
            assert_eq!(self.app.hierarchy().unwrap(), before, "{refused}");
            crate::error_chain::chain(&refused)
        }

        fn known(&self) -> Hierarchy {
            self.app.hierarchy().unwrap().unwrap()
        }
    }

    fn flipped(text: &str, place: usize) -> String {
        let mut octets = text.as_bytes().to_vec();
        octets[place] = if octets[place] == b'A' { b'B' } else { b'A' };
        String::from_utf8(octets).unwrap()
    }

    #[tokio::test]
    async fn what_is_not_the_answer_to_the_open_request_changes_nothing() {
        let (site, other) = (Site::open().await, Site::open().await);
        let request = site.ask(Wish::Renew).await;
        site.pass(1);
        let earlier = site.sign(&request, &site.root_key);
        let request = site.ask(Wish::Renew).await;
        let good = site.sign(&request, &site.root_key);
        let theirs = other.ask(Wish::Renew).await;
        let theirs = other.sign(&theirs, &other.root_key);
        let middle = good.len() / 2;
        // The same content in a block that says something else.
        let relabelled = good.replace("ROOT ANSWER", "ROOT REQUEST");
        for (what, text, why) in [
            ("nothing", "", "not what 'muster agent-ca sign' has written"),
            ("a key", "-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n", "not what"),
            ("the request", &*request, "the root has not signed"),
            ("another label", &*relabelled, "the root has not signed"),
            ("cut", &good[..middle], "cut short or changed"),
            (
                "a line less",
                &*good
                    .lines()
                    .enumerate()
                    .filter(|(n, _)| *n != 5)
                    .map(|(_, l)| format!("{l}\n"))
                    .collect::<String>(),
                "cut short or changed",
            ),
            ("turned", &*flipped(&good, middle), "cut short or changed"),
            ("twice in one", &*format!("{good}{good}"), "cut short or changed"),
            ("of an earlier request", &*earlier, "answers another request"),
            ("of another CA", &*theirs, "answers another request"),
        ] {
            let refused = site.refused(text).await;
            assert!(refused.contains(why), "{what}: {refused}");
        }
        // What names this request, and is signed by somebody else, or for somebody else's key.
        let read = SignedErrand::read(&good).unwrap();
        let foreign = SignedErrand { signed: SignedErrand::read(&theirs).unwrap().signed, ..read.clone() };
        assert!(site.refused(&foreign.to_pem()).await.contains("not of the key that came with it"));
        let rooted = SignedErrand { root: Some(site.known().roots[0].clone()), ..read.clone() };
        assert!(site.refused(&rooted.to_pem()).await.contains("not what the open request asked for"));
        let mut forgetful = read.clone();
        forgetful.signed.root_list = site.known().root_lists[0].clone();
        assert!(site.refused(&forgetful.to_pem()).await.contains("not newer"));
        // The clock where it was signed is ahead.
        let tomorrow = site.clock.now() + SignedDuration::from_hours(24);
        let errand = Errand::read(&request).unwrap();
        let early = errand::sign(&errand, &site.root_key, None, tomorrow).unwrap().to_pem();
        assert!(site.refused(&early).await.contains("still to come"));

        assert!(matches!(site.install(&good).await, Ok(InstalledErrand::Renewed(_))));
        assert!(site.refused(&good).await.contains("installed already"));
        assert!(site.refused(&early).await.contains("no request of this server is open"));
    }

    #[tokio::test]
    async fn a_root_signs_for_its_own_agent_ca_in_its_own_time_and_forgets_nothing() {
        let (site, other) = (Site::open().await, Site::open().await);
        let request = site.ask(Wish::Renew).await;
        let errand = Errand::read(&request).unwrap();
        let now = site.clock.now();
        let refused = |key: &PrivateKey, kept: Option<&[u8]>, at| {
            let planned = errand::plan(&errand, key, kept, at).unwrap_err();
            let signed = errand::sign(&errand, key, kept, at).unwrap_err();
            assert_eq!(planned.to_string(), signed.to_string());
            signed
        };
        let foreign = refused(&other.root_key, None, now);
        assert!(matches!(foreign, RootChangeError::Signing(RenewError::OtherKey { .. })), "{foreign}");
        let late = now + SignedDuration::from_hours(24 * 366 * 10);
        let expired = refused(&site.root_key, None, late);
        assert!(matches!(expired, RootChangeError::Signing(RenewError::RootExpired { .. })), "{expired}");
        let theirs = &other.known().root_lists[0];
        let odd = refused(&site.root_key, Some(theirs), now);
        assert!(matches!(odd, RootChangeError::Signing(RenewError::KeptListOfAnother)), "{odd}");

        // What was signed and never came back is remembered beside the key.
        let first = hierarchy::describe(&site.known()).unwrap().remove(1).serial;
        let revoking = site.ask(Wish::Revoke(first.clone())).await;
        let revoking = Errand::read(&revoking).unwrap();
        let kept = errand::sign(&revoking, &site.root_key, None, now).unwrap().signed.root_list;
        let forgets = refused(&site.root_key, Some(&kept), now);
        assert!(forgets.to_string().contains(&first), "{forgets}");
        let plan = errand::plan(&revoking, &site.root_key, Some(&kept), now).unwrap();
        assert_eq!((plan.entries.len(), plan.entries[0].is_new), (1, false));
        let again = errand::sign(&revoking, &site.root_key, Some(&kept), now).unwrap();
        assert!(matches!(site.install(&again.to_pem()).await, Ok(InstalledErrand::Revoked(_))));

        let damaged = Errand::read(&flipped(&request, request.len() / 3)).unwrap_err();
        assert_eq!(damaged, ErrandError::Damaged);
        assert_eq!(Errand::read(&again.to_pem()).unwrap_err(), ErrandError::IsSigned);
        assert_eq!(Errand::read(&pem::certificate(b"x")).unwrap_err(), ErrandError::NotARequest);
    }

    #[tokio::test]
    async fn a_root_goes_when_all_that_it_signed_is_over() {
        let site = Site::open().await;
        let app = &site.app;
        let retire = || app.retire_root(&CALLER, Waiting::ForEverybody, &site.settings);
        let activate = || app.activate_root(&CALLER, Waiting::ForEverybody, &site.settings);
        let why = |refused: RootChangeRefused| crate::error_chain::chain(&refused);
        assert!(why(retire().await.unwrap_err()).contains("no other root is prepared"));
        assert!(why(activate().await.unwrap_err()).contains("no other root is prepared"));
        let request = site.ask(Wish::Prepare).await;
        let key = crate::ca::root::change::new_key().unwrap();
        let key = hierarchy::read_root_key(key.as_bytes()).unwrap();
        assert!(
            errand::sign(&Errand::read(&request).unwrap(), &site.root_key, None, site.clock.now()).is_err()
        );
        let signed = site.sign(&request, &key);
        let old = site.known();
        assert!(matches!(site.install(&signed).await, Ok(InstalledErrand::Prepared(_))));
        assert!(why(retire().await.unwrap_err()).contains("does not issue yet"));

        // Before it is activated the old one issues and is renewed; the held intermediate can be revoked, and is replaced.
        let issuing = |at| app.authority().unwrap().intermediate_pem(at);
        assert_eq!(issuing(site.clock.now()), pem::certificate(&old.intermediates[0].certificate));
        site.pass(2);
        let held = hierarchy::describe(&site.known()).unwrap().remove(3).serial;
        let theft = site.ask(Wish::Revoke(held)).await;
        let theft = site.sign(&theft, &key);
        let Ok(InstalledErrand::Revoked(revoked)) = site.install(&theft).await else { panic!("not revoked") };
        assert_eq!(pem::certificate(&old.intermediates[0].certificate), issuing(site.clock.now()));
        assert_eq!(revoked.issuing.fingerprint, hierarchy::describe(&old).unwrap()[1].fingerprint);
        assert!(site.known().intermediates.last().unwrap().held);

        activate().await.unwrap();
        let after = site.known();
        let new = pem::certificate(&after.intermediates.last().unwrap().certificate);
        assert_eq!(issuing(site.clock.now()), new);
        // One of the root that goes can still be revoked. Nothing else begins to issue by that.
        site.pass(2);
        let first = hierarchy::describe(&old).unwrap().remove(1).serial;
        let theft = site.ask(Wish::Revoke(first)).await;
        let theft = site.sign(&theft, &site.root_key);
        assert!(matches!(site.install(&theft).await, Ok(InstalledErrand::Revoked(_))));
        assert_eq!(issuing(site.clock.now()), new);
        assert_eq!(site.known().intermediates.len(), after.intermediates.len());

        site.pass(47 * 3600);
        assert!(why(retire().await.unwrap_err()).contains("can go from"));
        site.pass(3600);
        retire().await.unwrap();
        let left = site.known();
        assert_eq!((left.roots.len(), left.root_lists.len(), left.root_change), (1, 1, None));
        assert_eq!(left.roots[0], after.roots[1]);
        assert_eq!(left.intermediates.len(), 2, "the one that issues, and the one that was revoked");
        assert_eq!(issuing(site.clock.now()), new);
        let lists = app.revocation_lists().await.unwrap();
        assert!(lists.complete);
    }
}
