//! Completions: what the command line itself knows, and ids and names that the server knows.

use std::time::Duration;

use clap::CommandFactory;
use clap_complete::Shell;

use crate::cli::Global;
use crate::cli::command::Cli;
use crate::cli::context::Contexts;
use crate::cli::control::{Call, Control};
use crate::cli::output::error::CliError;
use crate::cli::output::values::{print, print_whole};

/// Nobody waits for longer after a press of the tab key.
const ANSWERED_WITHIN: Duration = Duration::from_secs(2);
/// Names that are offered.
const NAMES_MAX: usize = 500;
/// Flags whose value is the next word.
const TAKES_A_WORD: &[&str] = &[
    "--data-dir",
    "--server",
    "--api-token-file",
    "--server-pin",
    "--server-ca",
    "--tenant",
    "--output",
    "-o",
    "--search",
    "-s",
    "--sort",
    "--status",
    "--state",
    "--flag",
    "--secret",
    "--os",
    "--limit",
    "--role",
];

/// The script for a shell.
pub(crate) fn write(shell: Shell) -> Result<(), CliError> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "muster", &mut script);
    script.extend_from_slice(match shell {
        Shell::Bash => BASH.as_bytes(),
        Shell::Zsh => ZSH.as_bytes(),
        Shell::Fish => FISH.as_bytes(),
        _ => b"",
    });
    print_whole(&script)
}

const BASH: &str = r#"
# Ids and names come from the server.
_muster_names() {
    local current="${COMP_WORDS[COMP_CWORD]}" names IFS=$'\n'
    if [[ $current != -* ]]; then
        names=$(muster complete -- "${COMP_WORDS[@]:1:COMP_CWORD-1}" 2>/dev/null </dev/null)
        if [[ -n $names ]]; then
            COMPREPLY=($(compgen -W "$names" -- "$current"))
            return 0
        fi
    fi
    unset IFS
    _muster "$@"
}
complete -F _muster_names -o bashdefault -o default muster
"#;

const ZSH: &str = r#"
# Ids and names come from the server.
_muster_names() {
    local -a names
    if [[ ${words[CURRENT]} != -* ]]; then
        names=(${(f)"$(muster complete -- ${words[2,CURRENT-1]} 2>/dev/null </dev/null)"})
        if (( ${#names} )); then
            compadd -a names
            return
        fi
    fi
    _muster "$@"
}
(( ${+functions[compdef]} )) && compdef _muster_names muster
"#;

const FISH: &str = r#"
# Ids and names come from the server.
function __muster_names
    set -l words (commandline -opc)
    muster complete -- $words[2..] 2>/dev/null </dev/null
end
complete -c muster -f -n 'not string match -q -- "-*" (commandline -ct)' -a '(__muster_names)'
"#;

/// Prints what may stand after these words, a line each; nothing where that is nobody's name, or the server is away.
pub(crate) async fn complete(mut global: Global, words: &[String]) -> Result<(), CliError> {
    let (commands, wanted) = split(&mut global, words);
    let found = tokio::time::timeout(ANSWERED_WITHIN, names(&global, &commands, wanted)).await;
    let names = found.ok().and_then(Result::ok).unwrap_or_default();
    // What would be several words, or another command, in a shell is left out.
    let plain = |name: &String| name.chars().all(|c| c.is_alphanumeric() || "-_.:@".contains(c));
    print(&names.into_iter().filter(plain).map(|name| name + "\n").collect::<String>())
}

/// The command's words, and the flag whose value comes next.
fn split<'w>(global: &mut Global, words: &'w [String]) -> (Vec<&'w str>, Option<&'w str>) {
    let mut commands = Vec::new();
    let mut words = words.iter().map(String::as_str);
    while let Some(word) = words.next() {
        if TAKES_A_WORD.contains(&word) {
            let Some(value) = words.next() else { return (commands, Some(word)) };
            match word {
                "--data-dir" => global.data_dir = Some(value.into()),
                "--server" => global.server = Some(value.to_owned()),
                "--api-token-file" if value != "-" => global.api_token_file = Some(value.into()),
                "--server-pin" => global.server_pin = value.parse().ok(),
                "--server-ca" => global.server_ca = Some(value.into()),
                _ => {}
            }
        } else if !word.starts_with('-') {
            commands.push(word);
        }
    }
    (commands, None)
}

async fn names(global: &Global, commands: &[&str], flag: Option<&str>) -> Result<Vec<String>, CliError> {
    if let ["context", "use"] = commands {
        return Ok(Contexts::load()?.contexts.into_keys().collect());
    }
    let Some((route, fields)) = asked(commands, flag) else { return Ok(Vec::new()) };
    let control = Control::open(global).await?;
    let items: Vec<serde_json::Value> = control.list_up_to(Call::get(route), NAMES_MAX).await?.items()?;
    let name = |item: &serde_json::Value| {
        fields.iter().find_map(|field| item.get(field)?.as_str().map(str::to_owned))
    };
    Ok(items.iter().filter_map(name).collect())
}

/// Which list has what may come next, and the fields that name its items, the best first.
fn asked(commands: &[&str], flag: Option<&str>) -> Option<(&'static str, &'static [&'static str])> {
    match (flag, commands) {
        (Some("--tenant"), _) => Some(("/v1/tenants", &["name"])),
        (Some("--secret"), _) => Some(("/v1/enrollment-secrets", &["id"])),
        (Some(_), _) => None,
        (
            None,
            ["host", "show" | "decommission" | "re-enable" | "delete" | "tag", ..]
            | ["enrollment", "list", ..],
        ) => Some(("/v1/hosts", &["agent_id"])),
        (None, ["secret", "show" | "revoke", ..]) => Some(("/v1/enrollment-secrets", &["id"])),
        (None, ["enroll-token", "void", ..]) => Some(("/v1/agents/enroll-tokens", &["id"])),
        (None, ["api-token", "revoke", ..]) => Some(("/v1/api-tokens", &["id"])),
        (None, ["webhook", "test" | "remove", ..]) => Some(("/v1/webhooks", &["id"])),
        (None, ["user", "set-password" | "set-role" | "disable" | "enable", ..]) => {
            Some(("/v1/users", &["username"]))
        }
        _ => None,
    }
}
