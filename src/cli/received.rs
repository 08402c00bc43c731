//! An answer of the server as it came, to be printed with `--json`, and as the API's types read it.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::api::page::Page;
use crate::cli::output::error::CliError;
use crate::cli::output::form::{OutputForm, wanted};
use crate::cli::output::table::{Column, print_table};
use crate::cli::output::values::{print, print_json};

/// Keeps the JSON itself: a newer server's answer has fields that this version's types do not.
pub(crate) struct Received {
    pub(crate) raw: Value,
}

impl Received {
    /// The same of what was made here instead of asked for.
    pub(crate) fn of(answer: &impl Serialize) -> Self {
        Self { raw: serde_json::to_value(answer).expect("answers are plain data and always become JSON") }
    }

    pub(crate) fn read<T: DeserializeOwned>(&self) -> Result<T, CliError> {
        T::deserialize(&self.raw).map_err(|error| not_understood(&error))
    }

    /// The items of a list.
    pub(crate) fn items<T: DeserializeOwned>(self) -> Result<Vec<T>, CliError> {
        let page: Page<T> = serde_json::from_value(self.raw).map_err(|error| not_understood(&error))?;
        Ok(page.items)
    }

    /// What each item is known by, a line each.
    fn names(&self) -> String {
        let items = self.raw["items"].as_array().map(Vec::as_slice).unwrap_or_default();
        let name = |item: &Value| {
            let known = ["id", "serial", "seq", "name"].into_iter().find_map(|field| item.get(field))?;
            Some(known.as_str().map_or_else(|| known.to_string(), str::to_owned) + "\n")
        };
        items.iter().filter_map(name).collect()
    }

    /// Prints a list: as it came with `--json`, else as a table.
    pub(crate) fn print_list<T: DeserializeOwned>(
        self,
        json: bool,
        columns: &[Column<T>],
        none: &str,
    ) -> Result<(), CliError> {
        if wanted() == Some(OutputForm::Name) {
            return print(&self.names());
        }
        if json { print_json(&self.raw) } else { print_table(&self.items()?, columns, none) }
    }

    /// Prints that something is done: the answer as it came with `--json`, else a line.
    pub(crate) fn print_done(&self, json: bool, line: &str) -> Result<(), CliError> {
        if json { print_json(&self.raw) } else { print(&format!("{line}\n")) }
    }
}

fn not_understood(error: &serde_json::Error) -> CliError {
    CliError::new(format!("the server's answer can't be understood: {error}"))
        .hint("server and command are of different versions; with --json the answer is printed as it is")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::people::UserItem;

    #[test]
    fn an_answer_of_a_newer_server_is_read_and_kept_as_it_came() {
        let user = json!({
            "id": "7", "username": "anna", "role": "auditor", "tenant_id": null, "disabled": false,
            "created_at": "2026-11-22T20:52:44Z", "motto": "new",
        });
        let list = Received { raw: json!({ "items": [user], "next_cursor": null, "total": 1 }) };
        let raw = list.raw.clone();
        let [user]: [UserItem; 1] = list.items::<UserItem>().unwrap().try_into().ok().unwrap();
        assert_eq!(user.role.to_string(), "auditor");
        assert_eq!(raw.to_string().matches("motto").count(), 1);
        assert!(Received { raw: json!([]) }.read::<UserItem>().is_err());
    }
}
