//! `docs/use/mariadb.md`.

use std::fs;

use rustix::process::Signal;

use super::guest::{ByCommand, Papers, reloads_fail};
use super::resumption::Resumption;
use crate::support::process::Process;
use crate::support::wait::{PATIENCE, until};
use crate::use_pages::account::whole;
use crate::use_pages::harness::backend::{Backend, WELCOME};
use crate::use_pages::harness::cast::Cast;
use crate::use_pages::harness::entrance::Entrance;
use crate::use_pages::harness::machine::Machine;
use crate::use_pages::harness::unit::{Reload, Unit};
use crate::use_pages::renewal::{comes_to, renewed};

/// A server of its own, as Debian sets it up.
fn is_there(Machine { stage, door, .. }: &Machine) {
    let port = door.port;
    stage.say("--host=app.example.org", format!("--host=localhost --protocol=tcp --port={port}"));
    for dir in ["/var/lib/mysql", "/run/mysqld", "/etc/mysql/mariadb.conf.d"] {
        fs::create_dir_all(stage.path(dir)).unwrap();
    }
    let config = stage.adapt(&format!(
        "[client]\nsocket = /run/mysqld/mysqld.sock\n[mariadbd]\nsocket = /run/mysqld/mysqld.sock\n\
         datadir = /var/lib/mysql\nport = {port}\nbind-address = 127.0.0.1\npid-file = /run/mysqld/mysqld.pid\n\
         innodb_flush_method = fsync\ninnodb_buffer_pool_size = 16M\n!includedir /etc/mysql/mariadb.conf.d/\n"
    ));
    let config = stage.write("/etc/mysql/mariadb.cnf", &config);
    let defaults = format!("--defaults-file={}", config.display());
    stage.stand_in("mariadb", &format!("exec /usr/bin/mariadb {defaults} \"$@\""));
    let whoami = stage.shell("id -un").stdout;
    let user = format!("--user={}", whoami.trim());
    let made = stage.shell(&format!(
        "mariadb-install-db {defaults} {user} --skip-test-db --auth-root-authentication-method=socket --auth-root-socket-user={}",
        whoami.trim()
    ));
    assert!(made.status.success(), "{made:?}");
    let start = stage.template("/usr/sbin/mariadbd", &[&defaults, &user]);
    let unit = Unit::new(Reload::By(Signal::HUP), start);
    let asked = stage.template("/usr/bin/mariadb", &[&defaults, "-e", "SELECT 1"]);
    let unit = unit.ready(move || {
        let mut asked = Process::start(&mut asked());
        asked.feed(b"");
        asked.wait().status.success()
    });
    stage.units.add("mariadb", unit);
    tokio::task::block_in_place(|| stage.units.obey("start mariadb")).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "make test-use"]
async fn mariadb_as_its_page_sets_it_up() {
    whole("mariadb", async |page| {
        let (cast, backend) = (Cast::assemble().await, Backend::start().await);
        let machine = Machine::new(&cast, &backend).await;
        is_there(&machine);
        machine.play(page, &["By files"]);
        let (stage, port) = (&machine.stage, machine.door.port);
        let connect = |user: &str, papers: Option<&Papers>| {
            let own = Papers::options(papers, "--ssl-cert", "--ssl-key");
            format!("mariadb --host=127.0.0.1 --port={port} --ssl --user={user} {own} -N")
        };
        let as_user = |user: &'static str| {
            let lines =
                move |papers: Option<&Papers>| format!("{} -e \"SELECT '{WELCOME}'\"", connect(user, papers));
            ByCommand { stage, lines }
        };
        as_user("web-1").opens_for(&cast.good).await;
        as_user("web-2").lets_in(&[&cast.later]).await;
        as_user("web-1").keeps_out(&[&cast.later]).await;
        for user in ["web-1", "web-2", "root"] {
            as_user(user).keeps_out(&cast.outsiders()).await;
        }
        let renewed = renewed(&cast).await;
        comes_to(&as_user("web-1"), &cast.good, &[&renewed.good], &cast.outsiders()).await;
        comes_to(&as_user("web-2"), &cast.later, &[&renewed.later], &cast.outsiders()).await;
        let called = tokio::task::block_in_place(|| stage.play_part(page, "Call as this agent"));
        assert!(called.contains("app-1@%"), "{called}");

        // A connection that stands waits for its next command.
        let stands = |user: &str, who| {
            let lines = connect(user, Papers::of(who, stage).as_ref());
            let lines = format!("{{ echo \"SELECT 'here';\"; cat; }} | {lines} --unbuffered");
            let process = Process::start(stage.command("sh").args(["-c", &lines]));
            let here = process.stdout.wait_for_line(PATIENCE, |line| line == "here");
            assert!(here.is_some(), "{}", process.stderr.text());
            process
        };
        let standing = [stands("web-2", &cast.later), stands("web-1", &cast.good)];
        let connected = |user: &str| {
            let count = format!("SELECT count(*) FROM information_schema.processlist WHERE user = '{user}'");
            stage.shell(&format!("mariadb -N -e \"{count}\"")).stdout.trim().to_owned()
        };
        let sessions = Resumption::of(&cast.later, stage, port, "-starttls mysql");
        assert_eq!(connected("web-2"), "1");
        machine.play(page, &["After a revocation"]);
        as_user("web-2").shuts_for(&cast.later).await;
        as_user("web-2").shuts_for(&renewed.later).await;
        as_user("web-1").lets_in(&[&cast.good, &renewed.good]).await;
        until("the standing connection is gone", || (connected("web-2") == "0").then_some(()));
        sessions.are_forgotten();
        assert_eq!(connected("web-1"), "1", "everybody else stays");
        drop(standing);

        reloads_fail(&machine, || assert!(stage.shell("mariadb -e 'FLUSH SSL'").status.success()));
        stage.shell(&format!(
            "mariadb -e \"CREATE USER 'web-4'@'%' REQUIRE SUBJECT '/CN=web-4/OU={}/O=muster'\"",
            cast.ours
        ));
        as_user("web-4").lets_in(&[&cast.sooner]).await;
        cast.revoke("web-4").await;
        as_user("web-4").shuts_for(&cast.sooner).await;
        as_user("web-1").lets_in(&[&cast.good]).await;
    })
    .await;
}
