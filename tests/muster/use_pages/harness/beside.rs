//! The agent on the page's machine, as the package would have set it up: enrolled, with its own unit.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::cast::Cast;
use super::stage::Stage;
use super::unit::{Reload, Unit};
use crate::support::fleet::mint;
use crate::support::process::MUSTER;

/// Enrolls this machine with our tenant and starts its agent as `muster-agent`, which opens no socket until a page tells it to.
pub async fn an_agent_moves_in(stage: &Stage, cast: &Cast) {
    let token = mint(&cast.operator, "", &json!({"agent_id": cast.next_machine()})).await;
    let token_file = stage.write("/run/token", &token);
    let identity = stage.path("/var/lib/muster-agent/identity");
    let hello = &cast.server.hello;
    let lines = format!(
        "muster agent enroll --server {} --ca-pin {} --token-file {} --dir {}",
        hello.url,
        hello.ca_pin,
        token_file.display(),
        identity.display(),
    );
    let enrolled = tokio::task::block_in_place(|| stage.shell(&lines));
    assert!(enrolled.status.success(), "{enrolled:?}");
    std::fs::create_dir_all(stage.path("/run/muster-agent")).unwrap();
    let config = stage.adapt(&format!(
        "control_plane:\n  grpc_addr: {}\ntls:\n  cert_file: /var/lib/muster-agent/identity/cert.pem\n  \
         key_file: /var/lib/muster-agent/identity/key.pem\n  \
         ca_file: /var/lib/muster-agent/identity/server-ca.pem\nidentity:\n  server: {}\n",
        hello.grpc_addr, hello.url,
    ));
    let config = stage.write("/etc/muster/agent.yml", &config);
    let run = stage.template(MUSTER, &["agent", "run", "--config", config.to_str().unwrap()]);
    let unit = Unit::new(Reload::Not, run)
        .ready(move || sockets(&config).iter().all(|s| UnixStream::connect(s).is_ok()));
    stage.units.add("muster-agent", unit);
    tokio::task::block_in_place(|| stage.units.obey("start muster-agent")).unwrap();
}

/// Every UNIX socket that the agent's configuration names.
fn sockets(config: &Path) -> Vec<PathBuf> {
    let config: Value = yaml_serde::from_str(&std::fs::read_to_string(config).unwrap()).unwrap();
    let workload = config["workload_api"]["socket"].as_str();
    let vouch = config["relying_party"]["listen"].as_str().and_then(|listen| listen.strip_prefix("unix:"));
    workload.into_iter().chain(vouch).map(PathBuf::from).collect()
}
