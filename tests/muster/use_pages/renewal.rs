//! A renewal of the intermediate at every program that takes lists, set up by its page: the unrevoked get in before, during and
//! after it, and nobody else does.

use std::fs;
use std::time::{Duration, Instant};

use super::harness::backend::Backend;
use super::harness::cast::{Cast, Visitor};
use super::harness::entrance::Entrance;
use super::harness::machine::Machine;
use super::harness::page::Page;
use super::postgresql::Database;
use super::{envoy, haproxy, nginx, postgresql};
use crate::support::fleet::named_host;
use crate::support::wait::PATIENCE;

/// Waits until a program lets these in and those not; who was good before is let in at every moment of it.
pub async fn comes_to(
    entrance: &impl Entrance,
    always: &Visitor,
    let_in: &[&Visitor],
    kept_out: &[&Visitor],
) {
    let deadline = Instant::now() + PATIENCE;
    'again: loop {
        entrance.lets_in(&[always]).await;
        for (whom, wanted) in [(let_in, true), (kept_out, false)] {
            for who in whom {
                let outcome = entrance.knock(who).await;
                if outcome.is_let_in() != wanted {
                    assert!(Instant::now() < deadline, "{}: {outcome:?}", who.name);
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue 'again;
                }
            }
        }
        return;
    }
}

/// Two of the cast's agents with certificates of the new intermediate, after `renew --now`.
pub struct Renewed {
    pub good: Visitor,
    pub later: Visitor,
}

/// Has a new intermediate issue at once, and the two rotate. What the old one has signed stays good.
pub async fn renewed(cast: &Cast) -> Renewed {
    let root_key = fs::read_to_string(cast.server.file("root-key.pem")).unwrap();
    tokio::task::block_in_place(|| {
        cast.server.cli(&["agent-ca", "renew", "--now", "--json"]).stdin(&root_key).run().ok();
    });
    let good = cast.good.rotated("a good agent with a new intermediate", cast).await;
    let later = cast.later.rotated("an agent of a new intermediate that is revoked later", cast).await;
    assert_ne!(good.intermediate(), cast.good.intermediate());
    assert_eq!(good.intermediate(), later.intermediate());
    Renewed { good, later }
}

/// Of a program that lets in both: with two intermediates in force they come in with either certificate, nobody else does,
/// and whoever came in before does at every moment of the change.
pub async fn two_in_force(cast: &Cast, entrance: &impl Entrance) -> Renewed {
    let renewed = renewed(cast).await;
    let good = [&cast.later, &renewed.good, &renewed.later];
    comes_to(entrance, &cast.good, &good, &cast.outsiders()).await;
    renewed
}

/// After a revocation of the second one, whose lists some programs are restarted for.
pub async fn one_is_revoked(cast: &Cast, renewed: &Renewed, entrance: &impl Entrance) {
    entrance.shuts_for(&cast.later).await;
    entrance.shuts_for(&renewed.later).await;
    entrance.opens_for(&cast.good).await;
    entrance.opens_for(&renewed.good).await;
    entrance.keeps_out(&[&cast.later, &renewed.later]).await;
    entrance.keeps_out(&cast.outsiders()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_that_take_lists_let_in_exactly_the_unrevoked_through_a_renewal() {
    let (cast, backend) = (Cast::assemble_with(&envoy::SERVING).await, Backend::start().await);
    let mut machines = Vec::new();
    for (name, is_there) in [
        ("nginx", (|machine, _| nginx::is_there(machine)) as fn(&Machine, &Backend)),
        ("haproxy", |machine, _| haproxy::is_there(machine)),
        ("envoy", envoy::is_there),
        ("postgresql", |machine, _| postgresql::is_there(machine)),
    ] {
        let (page, machine) = (Page::open(name), Machine::new(&cast, &backend).await);
        is_there(&machine, &backend);
        machine.play_blocks(&page, &page.preface());
        machine.play(&page, &["By files"]);
        machines.push(machine);
    }
    machines.insert(0, envoy::by_secret_discovery(&cast, &backend, &Page::open("envoy")).await);
    let [proxies @ .., database] = &machines[..] else { panic!("no machines") };
    let database = Database { machine: database, role: "app" };
    let come_to = async |let_in: &[&Visitor], kept_out: &[&Visitor]| {
        for proxy in proxies {
            comes_to(&proxy.door, &cast.good, let_in, kept_out).await;
        }
        comes_to(&database, &cast.good, let_in, kept_out).await;
    };
    for proxy in proxies {
        proxy.door.opens_for(&cast.good).await;
    }
    database.opens_for(&cast.good).await;
    come_to(&[&cast.later, &cast.sooner], &cast.outsiders()).await;

    let renew = |arguments: &[&str], root_key: &str| {
        let arguments = [&["agent-ca", "renew", "--json"], arguments].concat();
        tokio::task::block_in_place(|| cast.server.cli(&arguments).stdin(root_key).run().ok());
    };
    let root_key = fs::read_to_string(cast.server.file("root-key.pem")).unwrap();
    renew(&[], &root_key);
    // The new one waits: nobody has a certificate of it, and its list is there already.
    cast.revoke("web-4").await;
    come_to(&[&cast.later], &[&cast.sooner, &cast.revoked]).await;
    renew(&["--now"], "");
    let of_the_new = named_host(&cast.operator, "", "web-5").await;
    let of_the_new = Visitor::new("a good agent of the new intermediate", &of_the_new);
    let revoked = named_host(&cast.operator, "", "web-6").await;
    let revoked = Visitor::new("a revoked agent of the new intermediate", &revoked);
    assert_ne!(of_the_new.intermediate(), cast.good.intermediate());
    cast.revoke("web-6").await;
    cast.revoke("web-2").await;
    let mut out = cast.outsiders().to_vec();
    out.extend([&cast.sooner, &cast.later, &revoked]);
    come_to(&[&of_the_new], &out).await;
}
