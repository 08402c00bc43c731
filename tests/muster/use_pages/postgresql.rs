//! `docs/use/postgresql.md`.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use rustix::process::{Signal, geteuid};

use super::account::whole;
use super::harness::backend::{Backend, WELCOME};
use super::harness::cast::{Cast, Visitor};
use super::harness::entrance::{Entrance, Outcome};
use super::harness::machine::{Machine, own_group};
use super::harness::stage::Stage;
use super::harness::unit::{Reload, Unit};
use super::more::resumption::Resumption;
use crate::support::process::{Finished, Process};
use crate::support::wait::{PATIENCE, until};

/// Where Debian keeps the programs, the newest version; elsewhere they are on the path.
fn programs() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = versions.filter_map(|version| version.file_name().to_str()?.parse::<u32>().ok()).max();
    newest.map(|version| PathBuf::from(format!("/usr/lib/postgresql/{version}/bin"))).unwrap_or_default()
}

/// Who the server runs as: it refuses root.
fn owner() -> Option<(u32, u32)> {
    let account = fs::read_to_string("/etc/passwd").unwrap();
    let line = account.lines().find(|line| line.starts_with("postgres:"))?;
    let mut ids = line.split(':').skip(2);
    let mut id = || ids.next()?.parse().ok();
    geteuid().is_root().then(|| Some((id()?, id()?)))?
}

fn give(path: &Path) {
    if let Some((user, group)) = owner() {
        chown(path, Some(user), Some(group)).unwrap();
    }
}

/// A cluster of its own, with a database and a role, as Debian lays it out.
pub fn is_there(Machine { stage, door, .. }: &Machine) {
    stage.say("port=5432", format!("port={}", door.port));
    stage.say("host=app.example.org", "host=app.example.org hostaddr=127.0.0.1");
    if owner().is_none() {
        stage.say("group: postgres\n", own_group());
    }
    let whoami = stage.shell("id -un").stdout;
    stage.say("muster  root  muster", format!("muster  {}  muster", whoami.trim()));
    let (data, config) = (stage.path("/var/lib/postgresql/15/main"), "/etc/postgresql/15/main");
    let (run, bin) = (stage.path("/run/postgresql"), programs());
    for dir in [&data, &run] {
        fs::create_dir_all(dir).unwrap();
        give(dir);
    }
    let as_owner = owner().map_or(String::new(), |(user, group)| {
        format!("setpriv --reuid={user} --regid={group} --clear-groups ")
    });
    let on_socket = format!("-h {} -p {}", run.display(), door.port);
    let usual = format!("PGHOST={} PGPORT={}", run.display(), door.port);
    stage.stand_in("psql", &format!("{usual} exec {} \"$@\"", bin.join("psql").display()));
    stage.stand_in("runuser", "shift 3; PGUSER=postgres exec \"$@\"");
    fs::create_dir_all(stage.path(&format!("{config}/conf.d"))).unwrap();
    for (name, content) in [
        (
            "postgresql.conf",
            format!(
                "data_directory = '/var/lib/postgresql/15/main'\nhba_file = '{config}/pg_hba.conf'\n\
             ident_file = '{config}/pg_ident.conf'\nlisten_addresses = '127.0.0.1'\nport = {}\n\
             unix_socket_directories = '/run/postgresql'\nssl = on\nssl_cert_file = '{config}/server.crt'\n\
             ssl_key_file = '{config}/server.key'\nfsync = off\ninclude_dir = 'conf.d'\n",
                door.port
            ),
        ),
        ("pg_hba.conf", "local all postgres trust\n".to_owned()),
        ("pg_ident.conf", String::new()),
        ("server.crt", fs::read_to_string(stage.path("/etc/ssl/app.example.org.crt")).unwrap()),
        ("server.key", fs::read_to_string(stage.path("/etc/ssl/app.example.org.key")).unwrap()),
    ] {
        let path = stage.write(&format!("{config}/{name}"), &stage.adapt(&content));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        give(&path);
    }
    let made = stage.shell(&format!(
        "{as_owner}{} -D {} -U postgres --auth=trust --no-sync > /dev/null",
        bin.join("initdb").display(),
        data.display(),
    ));
    assert!(made.status.success(), "{made:?}");
    let config = stage.path("/etc/postgresql/15/main/postgresql.conf");
    let run_server =
        format!("exec {as_owner}{} -c config_file={}", bin.join("postgres").display(), config.display());
    let unit = Unit::new(Reload::By(Signal::HUP), stage.template("sh", &["-c", &run_server]));
    let ready =
        stage.template("sh", &["-c", &format!("{} {on_socket} -q", bin.join("pg_isready").display())]);
    let is_ready = move || Process::start(&mut ready()).wait().status.success();
    stage.units.add("postgresql", unit.ready(is_ready));
    tokio::task::block_in_place(|| stage.units.obey("start postgresql")).unwrap();
}

/// A database behind its door; visitors come with `psql`.
pub struct Database<'a> {
    pub machine: &'a Machine,
    pub role: &'a str,
}

impl Database<'_> {
    fn stage(&self) -> &Stage {
        &self.machine.stage
    }

    /// How somebody connects, with files of their own.
    fn connection(&self, who: &Visitor) -> String {
        let mut words = format!(
            "host=localhost hostaddr=127.0.0.1 port={} dbname=app user={} sslmode=require",
            self.machine.door.port, self.role,
        );
        if who.shows.is_some() {
            let folder = format!("/home/{}", who.name.replace(['\'', ' '], "-"));
            who.lies_in(self.stage(), &folder, "cert.pem", "key.pem");
            let place = |name: &str| self.stage().path(&format!("{folder}/{name}"));
            fs::set_permissions(place("key.pem"), fs::Permissions::from_mode(0o600)).unwrap();
            let (certificate, key) = (place("cert.pem"), place("key.pem"));
            words.push_str(&format!(" sslcert={} sslkey={}", certificate.display(), key.display()));
        }
        words
    }
}

impl Entrance for Database<'_> {
    async fn knock(&self, who: &Visitor) -> Outcome {
        let lines = format!("psql '{}' -XAtqc \"SELECT '{WELCOME}'\"", self.connection(who));
        let Finished { status, stdout, stderr } = tokio::task::block_in_place(|| self.stage().shell(&lines));
        if status.success() && stdout.trim() == WELCOME { Outcome::LetIn } else { Outcome::Closed(stderr) }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_as_its_page_sets_it_up() {
    whole("postgresql", async |page| {
        let (cast, backend) = (Cast::assemble().await, Backend::start().await);
        let machine = Machine::new(&cast, &backend).await;
        is_there(&machine);
        machine.play(page, &["By files"]);
        let database = Database { machine: &machine, role: "app" };
        database.opens_for(&cast.good).await;
        database.lets_in(&[&cast.good, &cast.later]).await;
        database.keeps_out(&cast.outsiders()).await;
        // One agent's own role.
        let reports = Database { role: "reports", ..database };
        reports.lets_in(&[&cast.good]).await;
        reports.keeps_out(&[&cast.later]).await;
        reports.keeps_out(&cast.outsiders()).await;
        Database { role: "postgres", ..reports }.keeps_out(&[&cast.good]).await;

        let called = tokio::task::block_in_place(|| machine.stage.play_part(page, "Call as this agent"));
        assert!(called.contains("app-1"), "{called}");
        // A connection that stands: it is waiting for its next command.
        let database = Database { machine: &machine, role: "app" };
        let lines = format!("psql '{}' -XAtq", database.connection(&cast.later));
        let mut standing = machine.stage.command("sh");
        let standing =
            Process::start(standing.args(["-c", &format!("{{ echo \"SELECT 'here';\"; cat; }} | {lines}")]));
        let here = standing.stdout.wait_for_line(PATIENCE, |line| line == "here");
        assert!(here.is_some(), "{}", standing.stderr.text());
        let sessions = Resumption::of(&cast.later, &machine.stage, machine.door.port, "-starttls postgres");
        assert!(sessions.resumed().is_empty(), "{:?}", sessions.resumed());
        machine.play(page, &["After a revocation"]);
        database.shuts_for(&cast.later).await;
        database.lets_in(&[&cast.good]).await;
        until("the standing connection is gone", || {
            let count = "SELECT count(*) FROM pg_stat_activity JOIN pg_stat_ssl USING (pid) WHERE ssl";
            let asked = machine.stage.shell(&format!("runuser -u postgres -- psql -XAtc \"{count}\""));
            (asked.stdout.trim() == "0").then_some(())
        });
        drop(standing);
    })
    .await;
}
