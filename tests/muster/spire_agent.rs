//! SPIRE's commands for workloads, at our agent's socket: whoever has them in scripts and probes goes on using them.

use std::path::Path;

use crate::support::cli::{Output, program};
use crate::support::served::Served;

/// What `.ci/prepare-use` has built.
const SPIRE_AGENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/go/bin/spire-agent-v1.13.3");

/// `spire-agent …` on the agent's socket.
fn spire_agent(served: &Served, args: &[&str]) -> Output {
    assert!(Path::new(SPIRE_AGENT).exists(), "{SPIRE_AGENT} is missing: run .ci/prepare-use first");
    let socket = served.socket.to_str().unwrap();
    let mut args = [args, &["-socketPath", socket]].concat();
    if args[0] == "api" {
        // Five seconds are not much for a busy machine.
        args.extend(["-timeout", "50s"]);
    }
    program(SPIRE_AGENT, served.machine.home(), &args)
}

#[test]
#[ignore = "spire-agent takes minutes to build: make test-use"]
fn spire_s_commands_for_workloads_are_content() {
    let mut served = Served::start(&[]);
    let id = served.id();
    let call = |args: &[&str]| spire_agent(&served, args);
    assert_eq!(call(&["healthcheck"]).ok().stdout.trim(), "Agent is healthy.");

    // It verifies the chain by the bundle before it prints or writes anything.
    let written = served.machine.home().join("written");
    std::fs::create_dir(&written).unwrap();
    let fetched = call(&["api", "fetch", "x509", "-write", written.to_str().unwrap()]).ok();
    assert!(
        fetched.stdout.lines().any(|line| line.starts_with("SPIFFE ID:") && line.ends_with(&id)),
        "{fetched}"
    );
    for file in ["svid.0.pem", "svid.0.key", "bundle.0.pem"] {
        assert!(written.join(file).metadata().unwrap().len() > 0, "{file}");
    }
    let json = call(&["api", "fetch", "x509", "-output", "json"]).json();
    assert_eq!(json["svids"][0]["spiffe_id"], id, "{json}");

    let fetched = call(&["api", "fetch", "jwt", "-audience", "db,api"]).ok();
    let (_, token) =
        fetched.stdout.split_once(&format!("token({id}):\n\t")).unwrap_or_else(|| panic!("{fetched}"));
    let token = token.lines().next().unwrap();
    assert!(fetched.stdout.contains("bundle(spiffe://muster):\n\t{"), "{fetched}");
    assert!(call(&["api", "fetch", "jwt", "-audience", "db", "-spiffeID", &id]).ok().stdout.contains(&id));
    let another = id.replace("web-1", "web-2");
    assert_eq!(call(&["api", "fetch", "jwt", "-audience", "db", "-spiffeID", &another]).code, Some(1));

    for audience in ["db", "api"] {
        let valid = call(&["api", "validate", "jwt", "-audience", audience, "-svid", token]).ok();
        assert!(valid.stdout.contains("SVID is valid.") && valid.stdout.contains(&id), "{valid}");
    }
    for (audience, token) in [("mail", token), ("db", "x.y.z"), ("db", &token[..token.len() - 8])] {
        let refused = call(&["api", "validate", "jwt", "-audience", audience, "-svid", token]);
        assert!(refused.code == Some(1) && refused.stderr.contains("SVID is not valid"), "{refused}");
    }

    served.agent.kill();
    let refused = spire_agent(&served, &["healthcheck"]);
    assert!(refused.code == Some(1) && refused.stderr.contains("unhealthy"), "{refused}");
}
