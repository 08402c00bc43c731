//! Black-box tests: the real binary, driven as operators, agents and strangers drive it.
//!
//! Each test has a server of its own on free ports in a fresh directory, so they run side by side.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(unreachable_pub, reason = "nothing leaves a test")]
#![allow(clippy::disallowed_methods, reason = "tests measure, and compare with the clock of the machine")]

/// What everybody may do about themselves, whatever their role.
mod account;
/// What the command line says when something was refused, and the next step that helps.
mod advice;
/// `muster agent-ca`: made once, the root key shown once, the certificates for everybody.
mod agent_ca;
/// Rotations that go wrong: the agent says why and goes on with the identity it has.
mod agent_hostile;
/// `muster agent install` and `uninstall`: what ends up on a machine or in an image.
mod agent_install;
/// How an agent gets to its server: several addresses, proxies, hangups.
mod agent_network;
/// A server that was away for longer than an SVID lives: its agents come back.
mod agent_outage;
/// Agents rotate over their sessions: with no way to the HTTPS door, and whatever becomes of the answer.
mod agent_renewal;
/// `kill -9` at any moment of a rotation leaves an identity that works.
mod agent_rotation;
/// `muster agent run`: enrolls on boot, stays online, rotates in time, stops when it is revoked.
mod agent_run;
/// The audit trail: every change once, every refusal with its true reason, no way to edit it unseen.
mod audit;
/// Who may do what: one table with a row for every operation that the server documents.
mod authorization;
/// `muster backup` and `muster restore`: everything comes back, and nobody who was revoked.
mod backup;
/// What a backup is worth on the worst day: whole, provably ours, verified without a server, made by itself.
mod backups;
/// Bad requests by the thousand: others don't notice, nothing grows, nobody learns more.
mod bad_requests;
/// Certificates that must open no door, shown at both.
mod certificates;
/// `muster check`: a whole store is said to be whole, and a flipped bit is found.
mod check;
/// Invariants and promises name tests that exist.
mod claims;
/// Signs that two machines share one identity, and what becomes of it.
mod clones;
/// The example configurations say what the binary understands.
mod config_files;
/// Where certificates say that lists are, they are: without TLS, and with nothing else beside them.
mod crl_listener;
/// `kill -9` and a failing disk: what was answered is there, and nothing is there by half.
mod durability;
/// Enrollment over HTTPS: who gets a certificate, who doesn't, and what each of them is told.
mod enroll;
/// Where the envelope key is kept: found there, and never joined by a second one that opens nothing.
mod envelope;
/// The stream of what happens: live, resumable, and only for those who may see it.
mod events;
/// The life of a host after its enrollment: found, decommissioned, re-enabled, deleted.
mod fleet;
/// Connections by the hundred: nobody else is kept out, and nothing runs out.
mod floods;
/// The glossary has a line for every word and every public type of `domain`.
mod glossary;
/// Agents at the gRPC door: one pace for each identity, and nobody else hears of it.
mod heartbeats;
/// Lists of hosts: every filter finds what it names, and every order keeps its pages together.
mod host_lists;
/// Requests that no client of ours would send: each gets one clear refusal or a closed connection.
mod http_hostile;
/// The HTTPS listener's outside: what anybody may ask, and how wrong requests are answered.
mod http_surface;
/// The program as the server offers it, and the line that brings it to a machine.
mod install;
/// The revocation journal beside the store: an older copy of the store brings nobody back.
mod journal;
/// JWT-SVIDs: signed by the server, fetched and checked through the agent, judged by libraries of others.
mod jwt_svids;
/// Connections between two requests are kept for longer than proxies keep theirs.
mod keep_alive;
/// A server that is killed again and again under load, against all that it had answered.
mod kill_cycles;
/// What lies where the server writes: links, and files that are not the server's.
mod local_files;
/// Logs: lines of audit records, requests and expiries.
mod logs;
/// Manners of the command line: tables, forms, contexts, following, completions.
mod manners;
/// `muster docs`: the manual is in the program, and a word leads to its page.
mod manual;
/// Figures: served, documented, and asked for by rules and dashboard.
mod metrics;
/// No two public types share a name.
mod names;
/// A root key that never comes to the server: requests travel to it, and what it signs comes back.
mod offline_root;
/// Stores of earlier versions are opened, serve, and keep what they knew.
mod old_stores;
/// The document that describes the API: complete, unambiguous, and true of what is served.
mod openapi;
/// Times in which the server did not serve: who ran out then comes back by itself.
mod outages;
/// `muster agent outputs`: files that other programs read, whole at every moment.
mod outputs;
/// What is run when those files change: at once, or at its time, and told what is new.
mod outputs_on_change;
/// People and programs: signing in and out, passwords, roles, sessions, API tokens.
mod people;
/// What commands print: secrets only where somebody gets them, wholes whole, lines to paste.
mod printed;
/// `muster quickstart`: from nothing to a serving system, and what it leaves on disk.
mod quickstart;
/// The addresses that agents and people are told: ones that they can dial and verify.
mod reach;
/// Ready is who would answer an enrollment now.
mod readiness;
/// A decommissioned machine whose image still holds a secret is not back at once.
mod readmission;
/// Starts that must be refused: the reason on stderr, exit status 1, and nothing changed.
mod refusals;
/// nginx, HAProxy and PostgreSQL let in exactly the unrevoked, through renewals, revoked intermediates and days without the server.
mod relying_parties;
/// Vouching by an agent beside a relying party.
mod relying_party;
/// `muster agent-ca renew`: a new intermediate takes over, and nothing of the old one is lost.
mod renew;
/// Replicas: every change goes elsewhere within a second, comes back from there, and two servers never write one history.
mod replica;
/// A replica in an object store.
mod replica_s3;
/// Events that agents report into the history of their hosts: bounded, and the agent's words.
mod report;
/// `muster agent-ca reseal`: another envelope key opens everything, and the old one nothing.
mod reseal;
/// After a restore: who comes back, and what never does.
mod restored;
/// Muster behind a reverse proxy, with nginx as it is documented and as it is by itself.
mod reverse_proxies;
/// A clock that is ahead for a while voids no revocation.
mod revocation_clock;
/// The lists of revoked certificates at OpenSSL, GnuTLS and NSS, through a renewal.
mod revocation_lists;
/// Every way to take an identity away against every way to go on with it.
mod revocation_matrix;
/// Revocation: at once, everywhere, and for good.
mod revoke;
/// An intermediate is revoked: agents rotate, relying parties refuse, and a thief gets nowhere.
mod revoke_intermediate;
/// Nobody comes to more rights by making, changing or being somebody else.
mod rights;
/// The rooms of the code: who may name whom and which crates, and how large files may be.
mod rooms;
/// Another root takes the place of the one before, and nobody is refused meanwhile.
mod root_rotation;
/// Rotation: an identity that proves itself gets a new certificate, and nothing else does.
mod rotate;
/// Secrets are where they belong: not in the store, not in a log, not in an error.
mod secrecy;
/// Envoy's secret discovery on the agent's socket, judged by a real Envoy.
mod secret_discovery;
/// Files with secrets: in no message, out of others' reach, read by whoever must.
mod secret_files;
/// Secret discovery as its protocol has it, with clients that Envoy would not be.
mod secret_streams;
/// Enrollment secrets: made, counted, capped, revoked.
mod secrets;
/// `muster selftest`: the proof on a user's own machine, which leaves nothing behind however it ends.
mod selftest;
/// The server's own certificate: made anew by the server itself.
mod server_certificate;
/// The server's wall clock steps, stands at the edge of a second, and comes back.
mod server_clock;
/// Settings and files that would leave agents outside are refused before anything is made.
mod settings;
/// The orderly end: quick, with open work told about it, and reported to the supervisor.
mod shutdown;
/// The SPIFFE libraries for Go, Java, Python and Rust: what they fetch verifies, through rotations.
mod spiffe_libraries;
/// SPIRE's commands for workloads, at our agent's socket.
mod spire_agent;
/// `muster status`: how everything is, on one screen.
mod status;
/// A store that can't grow: refusals without harm, and work again once there is room.
mod store_full;
/// Servers, clients, agents and clocks that the others stand on.
mod support;
/// DNS names in SVIDs: who gets one, and that ordinary TLS clients believe it.
mod svid_names;
/// Renewal over the agent's own connection, which has proved the current identity.
mod svid_renewal;
/// Walls between tenants: what is on the other side can't be seen, counted, named or touched.
mod tenants;
/// What stands in the audit trail: bounded whatever strangers send, by name and findable.
mod trail;
/// First contact: which server an agent believes, and what it keeps afterwards.
mod trust;
/// What relying parties fetch: made when it changes, the same for everybody.
mod trust_documents;
/// Trust updates: who is denied is told to all who watch, and resumed where it was.
mod trust_updates;
/// Clients that ask and take nothing of the answers: what is held for them is bounded.
mod untaken_answers;
/// The pages of `docs/use/`: every block run as written, against the real programs.
mod use_pages;
/// Vouching by the server, for relying parties without an agent beside them.
mod vouch;
/// Webhooks: who is told of what, in which order, and where nothing goes.
mod webhooks;
/// The SPIFFE Workload API, judged by the SPIFFE libraries for Python and Rust.
mod workload_api;
/// What people and programs may change in a time: a pace for each, and quotas.
mod write_pace;
