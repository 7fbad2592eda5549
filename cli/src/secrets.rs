//! `fleetwright secrets`: what operations refer to by name. A value comes from a file or a terminal, never from the command
//! line, which every user of a machine can read; none is ever shown.

use std::io::{IsTerminal as _, Read as _};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Subcommand;
use serde_json::{Value, json};

use crate::client::escape;
use crate::failure::{Completion, Failure};
use crate::output::{self, Column};
use crate::pages::ListArgs;
use crate::session::Session;
use crate::{pages, prompt};

/// One byte more than the largest there may be: enough to be refused for it.
const VALUE_BYTES_READ: u64 = 64 * 1024 + 1;

#[derive(Subcommand)]
pub enum SecretsAction {
    /// List secrets: names, versions, who and when, never values
    List {
        #[command(flatten)]
        list: ListArgs,
    },
    /// Set a secret to what comes on standard input: a new version, used from now on
    Set {
        /// Such as db/password
        name: String,
        /// Only hosts of this group may get it (may be repeated); left out: as before
        #[arg(long = "group", value_name = "GROUP")]
        groups: Vec<String>,
        /// Every host may get it, also if it had groups before
        #[arg(long, conflicts_with = "groups")]
        any_host: bool,
        /// Keep the line end of a single line, which is left out otherwise
        #[arg(long)]
        exact: bool,
    },
    /// Delete a secret with all its versions
    Delete { name: String },
}

const COLUMNS: [Column; 5] = [
    Column {
        title: "NAME",
        cell: |secret| output::plain(secret, "name"),
    },
    Column {
        title: "VERSION",
        cell: |secret| output::plain(secret, "version"),
    },
    Column {
        title: "SET BY",
        cell: |secret| output::plain(newest(secret), "created_by_name"),
    },
    Column {
        title: "SET AT",
        cell: |secret| output::plain(newest(secret), "created_at"),
    },
    Column {
        title: "GROUPS",
        cell: |secret| output::plain(secret, "groups"),
    },
];

pub fn run(session: &Session, action: SecretsAction) -> Result<Completion, Failure> {
    match action {
        SecretsAction::List { list } => {
            let secrets = pages::collect(&session.client, "/secrets", list.limit)?;
            output::items(session, &secrets, &COLUMNS)?;
        }
        SecretsAction::Set {
            name,
            groups,
            any_host,
            exact,
        } => {
            let value = value(&name, exact)?;
            let mut body = json!({ "value_base64": STANDARD.encode(value) });
            if any_host || !groups.is_empty() {
                body["groups"] = json!(groups);
            }
            let set = session.client.put(&path(&name), &body, None)?;
            output::item(session, &set)?;
        }
        SecretsAction::Delete { name } => {
            let question =
                format!("Delete the secret {name}? Commands that wait with it are skipped.");
            prompt::confirm(session, &question)?;
            session.client.delete(&path(&name))?;
        }
    }
    Ok(Completion::Done)
}

/// The value that a script's argument means: `NAME`, or `NAME@VERSION`.
pub fn reference(text: &str) -> Result<Value, Failure> {
    match text.split_once('@') {
        None => Ok(json!({ "secret": text })),
        Some((name, version)) => match version.parse::<u32>() {
            Ok(version) => Ok(json!({ "secret": name, "version": version })),
            Err(_) => Err(Failure::Input(format!(
                "{text}: the version after @ is not a number"
            ))),
        },
    }
}

fn value(name: &str, exact: bool) -> Result<Vec<u8>, Failure> {
    if std::io::stdin().is_terminal() {
        return prompt::password(&format!("Value of {name}")).map(String::into_bytes);
    }
    let mut value = Vec::new();
    std::io::stdin()
        .take(VALUE_BYTES_READ)
        .read_to_end(&mut value)
        .map_err(Failure::file("standard input".to_owned()))?;
    Ok(if exact {
        value
    } else {
        without_line_end(value)
    })
}

/// `echo` and editors end a line that is a whole password; what has several lines, such as a key, is taken as it is.
fn without_line_end(mut value: Vec<u8>) -> Vec<u8> {
    if value.iter().filter(|byte| **byte == b'\n').count() == 1 && value.ends_with(b"\n") {
        value.pop();
        if value.ends_with(b"\r") {
            value.pop();
        }
    }
    value
}

fn path(name: &str) -> String {
    format!("/secrets/{}", escape(name))
}

fn newest(secret: &Value) -> &Value {
    secret.pointer("/versions/0").unwrap_or(&Value::Null)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_end_of_a_single_line_is_no_part_of_a_password() {
        for (given, taken) in [
            ("hunter2\n", "hunter2"),
            ("hunter2\r\n", "hunter2"),
            ("hunter2", "hunter2"),
            ("a\nb\n", "a\nb\n"),
            ("a\nb", "a\nb"),
            ("\n", ""),
        ] {
            let bytes = without_line_end(given.as_bytes().to_vec());
            assert_eq!(bytes, taken.as_bytes(), "{given:?}");
        }
    }

    #[test]
    fn a_version_is_named_behind_an_at_sign() {
        let read = |text| reference(text).expect("a reference");
        assert_eq!(read("db/x"), json!({"secret": "db/x"}));
        assert_eq!(read("db/x@3"), json!({"secret": "db/x", "version": 3}));
        assert!(reference("db/x@new").is_err());
    }
}
