//! `muster user`

use std::io::{IsTerminal, Read};

use clap::Subcommand;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use zeroize::Zeroizing;

use crate::api::people::{ApiTokenItem, ChangedUserAnswer, UserBody, UserItem, UserPatch};
use crate::cli::Global;
use crate::cli::control::{Call, Control, escape};
use crate::cli::output::error::CliError;
use crate::cli::output::table::{column, made};
use crate::cli::people::tenant::tenant_or_all;
use crate::cli::received::Received;
use crate::cli::word::known;
use crate::domain::people::user::Role;
use crate::secret_file::without_mark;

/// Add, list and change the people who sign in
///
/// A viewer reads; an operator also mints join tokens and revokes agents; an admin does everything. A person
/// belongs to one tenant, or to all of them; the name of one who belongs to a tenant other than 'default' ends in
/// '@' and the tenant's name. Nobody may add or change somebody who may do more than they do. Passwords come from a prompt, or from standard input when that is no
/// terminal; never from the command line.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum UserCommand {
    /// Add a person; asks for the password
    Add {
        /// The sign-in name
        name: String,
        /// What the person may do
        #[arg(long, value_parser = roles())]
        role: Role,
        /// Confine the person to one tenant [default: all tenants]
        #[arg(long, value_name = "TENANT")]
        tenant: Option<String>,
    },
    /// List people
    List,
    /// Set a new password and end the person's sessions and API tokens; on the server's own machine this is the way
    /// back in
    ///
    /// The API tokens that will end are named first. Whoever changes their own password in the web UI keeps theirs.
    SetPassword {
        /// The sign-in name
        name: String,
    },
    /// Change what a person may do
    SetRole {
        /// The sign-in name
        name: String,
        /// The new role
        #[arg(value_parser = roles())]
        role: Role,
    },
    /// Lock a person out and end their sessions and API tokens
    Disable {
        /// The sign-in name
        name: String,
        /// Let the person in again
        #[arg(long)]
        undo: bool,
    },
}

const EXAMPLES: &str = "Examples:
  muster user add olga --role operator
  pass show muster/olga | muster user add olga --role operator
  muster user set-password admin     # on the server's own machine: the way back in";

fn roles() -> impl TypedValueParser<Value = Role> {
    PossibleValuesParser::new(["admin", "operator", "viewer"]).try_map(known)
}

impl UserCommand {
    pub(crate) async fn run(self, global: &Global) -> Result<(), CliError> {
        let control = Control::open(global).await?;
        match self {
            Self::Add { name, role, tenant } => {
                let password = password(&format!("Password for {name}: "))?;
                let body = UserBody { username: name.clone(), password, role, tenant_id: tenant };
                let answer = control.call(Call::post("/v1/users").body(&body)).await?;
                let full = answer.read::<UserItem>().map_or_else(|_| name.clone(), |user| user.username);
                if !full.eq_ignore_ascii_case(&name) {
                    eprintln!(
                        "The name of a person of this tenant ends in '{}'.",
                        full.get(name.len()..).unwrap_or_default()
                    );
                }
                answer.print_done(global.json, &format!("{full} may sign in as {}.", role.as_str()))
            }
            Self::List => {
                let users = control.list(Call::get("/v1/users")).await?;
                let columns = [
                    column("USERNAME", |user: &UserItem| &user.username),
                    column("ROLE", |user| &user.role),
                    made("TENANT", |user| tenant_or_all(user.tenant_id.as_deref())),
                    column("DISABLED", |user| &user.disabled),
                    column("CREATED", |user| &user.created_at),
                    column("ID", |user| &user.id),
                ];
                let none = "Nobody yet. Add somebody: muster user add NAME --role admin";
                users.print_list(global.json, &columns, none)
            }
            Self::SetPassword { name } => {
                let id = find(&control, &name).await?;
                name_tokens(&control, &name).await;
                let password = password(&format!("New password for {name}: "))?;
                let done = format!("{name} has a new password, and every session has ended.");
                let patch = UserPatch { password: Some(password), ..UserPatch::default() };
                change(global, &control, &id, &patch, &done).await
            }
            Self::SetRole { name, role } => {
                let id = find(&control, &name).await?;
                let done = format!("{name} is {} now.", role.as_str());
                let patch = UserPatch { role: Some(role), ..UserPatch::default() };
                change(global, &control, &id, &patch, &done).await
            }
            Self::Disable { name, undo } => {
                let id = find(&control, &name).await?;
                if !undo {
                    name_tokens(&control, &name).await;
                }
                let done = if undo {
                    format!("{name} may sign in again.")
                } else {
                    format!("{name} is locked out.")
                };
                let patch = UserPatch { disabled: Some(!undo), ..UserPatch::default() };
                change(global, &control, &id, &patch, &done).await
            }
        }
    }
}

async fn change(
    global: &Global,
    control: &Control,
    id: &str,
    patch: &UserPatch,
    done: &str,
) -> Result<(), CliError> {
    let path = format!("/v1/users/{}", escape(id));
    let answer = control.call(Call::patch(&path).body(patch)).await?;
    // The change is made, whether its answer can be read or not.
    let changed = answer.read::<ChangedUserAnswer>();
    for token in changed.iter().flat_map(|changed| &changed.ended_api_tokens) {
        eprintln!("API token {} ('{}') has ended.", token.id, token.name);
    }
    answer.print_done(global.json, done)
}

/// Names the API tokens that a person has made, before a change ends them.
async fn name_tokens(control: &Control, name: &str) {
    let tokens = control.list(Call::get("/v1/api-tokens")).await;
    let Ok(tokens) = tokens.and_then(Received::items::<ApiTokenItem>) else {
        eprintln!("Every API token that {name} has made will end.");
        return;
    };
    let made_by =
        |token: &&ApiTokenItem| token.created_by.as_ref().is_some_and(|by| by.eq_ignore_ascii_case(name));
    for token in tokens.iter().filter(made_by) {
        eprintln!("API token {} ('{}') will end.", token.id, token.name);
    }
}

/// The id of a person, by name.
async fn find(control: &Control, name: &str) -> Result<String, CliError> {
    let users = control.list(Call::get("/v1/users")).await?;
    let mut users = users.items::<UserItem>()?.into_iter();
    let found = users.find(|user| user.username.eq_ignore_ascii_case(name));
    found.map(|user| user.id).ok_or_else(|| {
        CliError::new(format!("there is no user '{name}'")).hint("'muster user list' lists them")
    })
}

/// A password, typed twice at a terminal or read as the first line of standard input.
fn password(prompt: &str) -> Result<Zeroizing<String>, CliError> {
    let failed = |error: std::io::Error| CliError::new(format!("cannot read the password: {error}"));
    if std::io::stdin().is_terminal() {
        let first = Zeroizing::new(rpassword::prompt_password(prompt).map_err(failed)?);
        let second = Zeroizing::new(rpassword::prompt_password("Again: ").map_err(failed)?);
        if *first != *second {
            return Err(CliError::new("the two passwords differ"));
        }
        return Ok(first);
    }
    let mut text = Zeroizing::new(String::new());
    std::io::stdin().lock().take(4_096).read_to_string(&mut text).map_err(failed)?;
    let line = without_mark(&text).split(['\r', '\n']).next().unwrap_or_default();
    if line.is_empty() {
        return Err(CliError::usage("standard input holds no password")
            .hint("pipe it in, or run the command at a terminal"));
    }
    Ok(Zeroizing::new(line.to_owned()))
}
