//! `docs/use/apache.md`.

use std::fs;

use rustix::process::Signal;

use super::guest::{ByCommand, Papers, reloads_fail};
use super::resumption::Resumption;
use crate::use_pages::account::whole;
use crate::use_pages::harness::backend::Backend;
use crate::use_pages::harness::cast::Cast;
use crate::use_pages::harness::entrance::Entrance;
use crate::use_pages::harness::machine::Machine;
use crate::use_pages::harness::unit::{Reload, Unit};
use crate::use_pages::renewal::{one_is_revoked, two_in_force};

/// Apache as Debian sets it up, without a site.
fn is_there(Machine { stage, door, .. }: &Machine) {
    stage.say("*:443", format!("127.0.0.1:{}", door.port));
    stage.say("https://app.example.org/", format!("https://localhost:{}/", door.port));
    let config = stage.path("/etc/apache2");
    let copied = stage.shell(&format!("cp -r /etc/apache2 {0}; rm {0}/sites-enabled/*", config.display()));
    assert!(copied.status.success(), "{copied:?}");
    fs::write(config.join("ports.conf"), format!("Listen 127.0.0.1:{}\n", door.port)).unwrap();
    for dir in ["/run/apache2", "/run/lock/apache2", "/var/log/apache2"] {
        fs::create_dir_all(stage.path(dir)).unwrap();
    }
    let environment = stage.adapt(&format!(
        "export APACHE_CONFDIR={} APACHE_RUN_USER=www-data APACHE_RUN_GROUP=www-data APACHE_PID_FILE=/run/apache2/apache2.pid \
         APACHE_RUN_DIR=/run/apache2 APACHE_LOCK_DIR=/run/lock/apache2 APACHE_LOG_DIR=/var/log/apache2\n",
        config.display()
    ));
    for (name, line) in [
        ("a2enmod", "exec /usr/sbin/a2enmod \"$@\"".to_owned()),
        ("a2ensite", "exec /usr/sbin/a2ensite \"$@\"".to_owned()),
        ("apache2ctl", format!("exec /usr/sbin/apache2 -d {} -t", config.display())),
        ("apache2", format!("exec /usr/sbin/apache2 -d {} -E /dev/stderr \"$@\"", config.display())),
    ] {
        stage.stand_in(name, &(environment.clone() + &line));
    }
    let program = stage.root().join("bin/apache2");
    let start = stage.template(program.to_str().unwrap(), &["-DFOREGROUND"]);
    let pid = stage.path("/run/apache2/apache2.pid");
    stage.units.add("apache2", Unit::new(Reload::By(Signal::USR1), start).ready(move || pid.exists()));
    tokio::task::block_in_place(|| stage.units.obey("start apache2")).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "make test-use"]
async fn apache_as_its_page_sets_it_up() {
    whole("apache", async |page| {
        let (cast, backend) = (Cast::assemble().await, Backend::start().await);
        let machine = Machine::new(&cast, &backend).await;
        is_there(&machine);
        machine.play(page, &["By files"]);
        machine.lets_in_live_agents_alone(&cast, &backend).await;
        let (port, stage) = (machine.door.port, &machine.stage);
        let reports = |papers: Option<&Papers>| {
            let trusted = stage.path("/etc/ssl/certs/ca-certificates.crt");
            let own = Papers::options(papers, "--cert", "--key");
            format!(
                "curl -sS --max-time 20 --cacert {} {own} https://localhost:{port}/reports",
                trusted.display()
            )
        };
        let reports = ByCommand { stage, lines: reports };
        reports.lets_in(&[&cast.good]).await;
        reports.keeps_out(&[&cast.later]).await;
        reports.keeps_out(&cast.outsiders()).await;
        let renewed = two_in_force(&cast, &machine.door).await;
        machine.play(page, &["Call as this agent"]);
        machine.calls_as_the_agent().await;
        let sessions = Resumption::of(&cast.later, stage, port, "");
        assert!(sessions.resumed().is_empty(), "{:?}", sessions.resumed());
        let mut standing = machine.door.caller(&cast.later).connect().await.unwrap();
        assert!(standing.ask(&[]).await.is_let_in());
        machine.takes_in_lists(&cast, page).await;
        standing.comes_to_an_end().await;
        one_is_revoked(&cast, &renewed, &machine.door).await;

        reloads_fail(&machine, || machine.stage.units.obey("reload apache2").unwrap());
        let returning = machine.door.caller(&cast.sooner);
        assert!(returning.knock(&[]).await.0.is_let_in());
        cast.revoke("web-4").await;
        machine.door.shuts_for(&cast.sooner).await;
        returning.is_shut_out().await;
        machine.door.lets_in(&[&cast.good]).await;
    })
    .await;
}
