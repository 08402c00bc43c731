//! What has been heard becomes what files are made of, once it is whole.
//!
//! A revocation comes on two ways: the denied serial at once, its list within a second. They are told to a command as one
//! change, so the first waits a moment for the second.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tracing::warn;

use crate::agent::outputs::source::listen::{Heard, LocalState};
use crate::agent::outputs::source::lists::JudgedLists;
use crate::agent::outputs::source::material::Material;
use crate::clock::{self, Clock};

/// How long an agent of ours may take to say who is denied before files are made without that.
const LOCAL_WITHIN: Duration = Duration::from_secs(10);
/// How long the list of a denied serial may take: it is made within a second, and told once a second.
const AGREED_WITHIN: Duration = Duration::from_secs(3);

/// Publishes until nobody hears or wants to know any more.
pub(crate) async fn settle(
    mut heard: watch::Receiver<Heard>,
    settled: watch::Sender<Option<Arc<Material>>>,
    clock: Arc<dyn Clock>,
) {
    let mut first_answer = None;
    let mut differs_since = None;
    let mut complained = None;
    loop {
        let now = heard.borrow_and_update().clone();
        let mut look_again = None;
        if let Some(answer) = now.answer {
            let begun = *first_answer.get_or_insert_with(clock::timer);
            if matches!(now.local, LocalState::Unknown) && clock::timer() < begun + LOCAL_WITHIN {
                look_again = Some(begun + LOCAL_WITHIN);
            } else {
                let (at, local) = (clock.now(), now.local);
                let composed =
                    tokio::task::spawn_blocking(move || Material::compose(answer, &local, at)).await;
                let Ok(material) = composed else { return };
                let agrees = material.agrees_since(settled.borrow().as_deref());
                let since = *differs_since.get_or_insert_with(clock::timer);
                if agrees || clock::timer() >= since + AGREED_WITHIN {
                    differs_since = None;
                    complain(&material.lists, &mut complained);
                    settled.send_replace(Some(Arc::new(material)));
                } else {
                    look_again = Some(since + AGREED_WITHIN);
                }
            }
        }
        tokio::select! {
            changed = heard.changed() => if changed.is_err() { return },
            () = until(look_again) => {}
            () = settled.closed() => return,
        }
    }
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

fn complain(lists: &JudgedLists, complained: &mut Option<String>) {
    let why = match lists {
        JudgedLists::Unusable(why) => Some(why.clone()),
        JudgedLists::Absent | JudgedLists::Complete(_) => None,
    };
    if let Some(reason) = why.as_ref().filter(|_| why != *complained) {
        warn!(reason, "the provider's lists are not written; those that are there stay");
    }
    *complained = why;
}
