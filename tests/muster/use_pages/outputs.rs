//! `muster agent outputs` as the unit `muster-agent-outputs`.
//!
//! To be removed: until the command is there, a script fetches the same files from the server.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::cast::Cast;
use super::stage::Stage;
use super::unit::{Reload, Unit};

/// Makes the unit known; a page's own commands start it.
pub fn can_be_written(stage: &Stage, cast: &Cast) {
    let config = stage.path("/etc/muster/outputs.yml");
    let (url, identity) = (cast.server.hello.url.clone(), stage.path("/var/lib/muster-agent/identity"));
    let work = stage.path("/run/outputs");
    std::fs::create_dir_all(&work).unwrap();
    let template = stage.template("sh", &[]);
    let config_again = config.clone();
    let start = move || {
        let mut script = format!(
            "set -u\ncd '{0}'\nfetch() {{ curl -sSf --cacert '{1}/server-ca.pem' \"{url}$1\" -o \"$2.new\" && mv \"$2.new\" \"$2\"; }}\n\
             put() {{ cp \"$1\" \"$2.new\" && mv \"$2.new\" \"$2\"; }}\n\
             while :; do\nif fetch /agent-ca-root.crt ca.pem && fetch /agent-ca.crl.pem crl.pem; then\n\
             cp '{1}/cert.pem' '{1}/key.pem' . && cat cert.pem key.pem > combined.pem\n\
             openssl crl -in crl.pem -noout -text | sed -n 's/ *Serial Number: //p' | tr A-F a-f > denied\n",
            work.display(),
            identity.display(),
        );
        for Output { dir, on_change } in outputs(&config) {
            let dir = dir.display();
            script.push_str(&format!(
                "mkdir -p '{dir}'\nif ! cmp -s crl.pem '{dir}/crl.pem' || ! cmp -s cert.pem '{dir}/cert.pem'; then\n\
                 for file in ca.pem cert.pem key.pem combined.pem crl.pem; do put $file '{dir}/'$file; done\n\
                 touch '{dir}/.denied'; grep -vxFf '{dir}/.denied' denied | sed 's/$/\\t-\\t-/' > new; cp denied '{dir}/.denied'\n\
                 MUSTER_DENIED=$PWD/new {on_change}\nfi\n",
            ));
        }
        script.push_str("fi\nsleep 0.1\ndone\n");
        let mut command = template();
        command.args(["-c", &script]);
        command
    };
    let ready = move || outputs(&config_again).iter().all(|output| output.dir.join("crl.pem").exists());
    stage.units.add("muster-agent-outputs", Unit::new(Reload::Not, start).ready(ready));
}

struct Output {
    dir: PathBuf,
    /// A line for a shell.
    on_change: String,
}

fn outputs(config: &Path) -> Vec<Output> {
    let config: Value = yaml_serde::from_str(&std::fs::read_to_string(config).unwrap()).unwrap();
    let outputs = config["outputs"].as_array().unwrap().iter();
    let output = |output: &Value| {
        let format = output["format"].as_str();
        assert!(matches!(format, None | Some("pem" | "combined")), "the stand-in knows no {format:?}");
        let words = output["on_change"].as_array().into_iter().flatten();
        let words: Vec<_> = words.map(|word| format!("'{}'", word.as_str().unwrap())).collect();
        let words = if words.is_empty() { vec!["true".to_owned()] } else { words };
        Output { dir: output["dir"].as_str().unwrap().into(), on_change: words.join(" ") }
    };
    outputs.map(output).collect()
}
