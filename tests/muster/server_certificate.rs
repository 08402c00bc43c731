//! The server's own certificate, as gen-cert made it: made anew by the server that serves with it, and nobody notices.

use jiff::SignedDuration;

use crate::support::cli::openssl;
use crate::support::clock::Clock;
use crate::support::server::Server;
use crate::support::wait;

const DAY: SignedDuration = SignedDuration::from_hours(24);

/// The key, the names and the serial of the certificate in the file.
fn certificate(server: &Server) -> [String; 3] {
    let shown = |what: &[&str]| {
        let arguments = [&["x509", "-in", "server.crt", "-noout"], what].concat();
        openssl(&server.file("tls"), &arguments).ok().stdout
    };
    [shown(&["-pubkey"]), shown(&["-ext", "subjectAltName"]), shown(&["-serial"])]
}

#[test]
fn it_is_made_anew_after_two_thirds_of_its_life_with_its_key_and_its_names() {
    let clock = Clock::new();
    let mut server = Server::quickstart_with(&clock.env());
    let pin = server.hello.ca_pin.clone();
    let made = certificate(&server);
    // A look each minute, as the server's clock goes.
    let minutes = std::cell::Cell::new(0);
    let until_renewed = |server: &Server, before: &[String; 3]| {
        wait::until("it is made anew", || {
            minutes.set(minutes.get() + 2);
            clock.has_run_longer(SignedDuration::from_mins(minutes.get()));
            let now = certificate(server);
            (now[2] != before[2]).then_some(now)
        })
    };
    clock.set_off(DAY * 545);
    clock.has_run_longer(SignedDuration::from_mins(2));
    minutes.set(2);
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert_eq!(certificate(&server), made, "of 825 days, 550 are two thirds");
    clock.set_off(DAY * 555);
    let renewed = until_renewed(&server, &made);
    assert_eq!(renewed[..2], made[..2], "the same key, the same names");
    server.wait_for_log("the server's certificate was made anew", wait::PATIENCE);

    // The clock was ahead. What was made then has not begun, and everybody would refuse it.
    clock.set_off(SignedDuration::ZERO);
    let again = until_renewed(&server, &renewed);
    assert_eq!(again[..2], made[..2]);
    assert_eq!(server.audit("server_certificate.renew").len(), 2);
    server.stop();
    server.start_again();
    assert_eq!((&server.hello.ca_pin, &certificate(&server)), (&pin, &again));
}
