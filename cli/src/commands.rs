//! `fleetwright commands`: single commands, and the output of any command.

use std::time::Duration;

use clap::Subcommand;
use serde_json::{Value, json};

use crate::client::{escape, rest};
use crate::failure::{Completion, Failure};
use crate::hosts::find;
use crate::output::{self, Column};
use crate::pages::ListArgs;
use crate::script::ScriptArgs;
use crate::session::Session;
use crate::{pages, prompt};

#[derive(Subcommand)]
pub enum CommandsAction {
    /// The commands of one host, newest first
    List {
        host: String,
        #[command(flatten)]
        list: ListArgs,
    },
    /// Show one command
    Show { id: String },
    /// What it printed
    Output { id: String },
    /// Do not start it, or end it if it runs
    Cancel { id: String },
}

/// Short at first, because most commands are; then steady.
const POLL_PAUSES_MS: [u64; 5] = [50, 100, 200, 400, 800];

const COLUMNS: [Column; 5] = [
    Column {
        title: "ID",
        cell: |command| output::plain(command, "id"),
    },
    Column {
        title: "OPERATION",
        cell: |command| output::plain(command, "operation_type"),
    },
    Column {
        title: "STATUS",
        cell: |command| output::status(command, "status"),
    },
    Column {
        title: "REASON",
        cell: |command| output::plain(command, "reason"),
    },
    Column {
        title: "CREATED",
        cell: |command| output::plain(command, "created_at"),
    },
];

pub fn run(session: &Session, action: CommandsAction) -> Result<Completion, Failure> {
    match action {
        CommandsAction::List { host, list } => {
            let host = find::resolve(session, &host)?;
            let commands = pages::collect(
                &session.client,
                &format!("/hosts/{host}/commands"),
                list.limit,
            )?;
            output::items(session, &commands, &COLUMNS)?;
        }
        CommandsAction::Show { id } => output::item(session, &session.client.get(&path(&id))?)?,
        CommandsAction::Output { id } => {
            let answer = session.client.get(&format!("{}/output", path(&id)))?;
            print_output(session, &answer)?;
        }
        CommandsAction::Cancel { id } => {
            prompt::confirm(session, &format!("Cancel command {id}?"))?;
            output::item(
                session,
                &session
                    .client
                    .post(&format!("{}/cancel", path(&id)), &json!({}))?,
            )?;
        }
    }
    Ok(Completion::Done)
}

/// Sends one script to one host, waits for the result and prints what it printed.
pub fn run_on_host(
    session: &Session,
    host_id: &str,
    script: &ScriptArgs,
    command: &[String],
) -> Result<Completion, Failure> {
    let body = Value::Object(script.request(command)?);
    let created = session
        .client
        .create(&format!("/hosts/{host_id}/commands"), &body)?;
    let id = output::field(&created, "id");
    let finished = wait(session, &id)?;
    if session.is_for_people() {
        let answer = session.client.get(&format!("{}/output", path(&id)))?;
        print_output(session, &answer)?;
        let status = output::field(&finished, "status");
        if status != "succeeded" {
            let why = [
                output::field(&finished, "reason"),
                output::field(&finished, "message"),
            ]
            .join(" ");
            eprintln!("{}", format!("{status}: {why}").trim_end());
        }
    } else {
        output::data(session.format, &finished)?;
    }
    let succeeded = output::field(&finished, "status") == "succeeded";
    Ok(if succeeded {
        Completion::Done
    } else {
        Completion::NotAllSucceeded
    })
}

/// Both streams as they were, each on its own; `{stdout: {head, tail, total_bytes}, stderr: …}` in base64.
pub fn print_output(session: &Session, answer: &Value) -> Result<(), Failure> {
    if !session.is_for_people() {
        return output::data(session.format, answer);
    }
    output::bytes(&stream(answer, "stdout"))?;
    let errors = stream(answer, "stderr");
    if errors.is_empty() {
        return Ok(());
    }
    std::io::Write::write_all(&mut std::io::stderr().lock(), &errors).map_err(Failure::from_output)
}

fn stream(answer: &Value, name: &str) -> Vec<u8> {
    let Some(stream) = answer.get(name) else {
        return Vec::new();
    };
    if let Some(text) = stream.as_str() {
        return text.as_bytes().to_vec();
    }
    let part = |part: &str| bytes(stream, part);
    let (head, tail) = (part("head"), part("tail"));
    let total = stream
        .get("total_bytes")
        .and_then(Value::as_u64)
        .unwrap_or_default();
    let kept = u64::try_from(head.len() + tail.len()).unwrap_or(u64::MAX);
    let mut whole = head;
    if total > kept {
        whole.extend_from_slice(format!("\n… {} bytes were not kept …\n", total - kept).as_bytes());
    }
    whole.extend(tail);
    whole
}

fn bytes(stream: &Value, part: &str) -> Vec<u8> {
    use base64::Engine as _;
    let encoded = stream.get(part).and_then(Value::as_str).unwrap_or_default();
    base64::engine::general_purpose::STANDARD
        .decode(encoded)
        .unwrap_or_default()
}

fn wait(session: &Session, id: &str) -> Result<Value, Failure> {
    let mut pauses = POLL_PAUSES_MS.iter();
    let mut pause = Duration::ZERO;
    loop {
        let command = session.client.get(&path(id))?;
        if ["succeeded", "failed", "skipped"].contains(&output::field(&command, "status").as_str())
        {
            return Ok(command);
        }
        pause = pauses.next().map_or(pause, |ms| Duration::from_millis(*ms));
        rest(pause);
    }
}

fn path(id: &str) -> String {
    format!("/commands/{}", escape(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_kept_is_said_between_head_and_tail() {
        let answer = json!({"stdout": {"total_bytes": 10, "head": "YWI=", "tail": "eXo="}});
        assert_eq!(
            stream(&answer, "stdout"),
            "ab\n… 6 bytes were not kept …\nyz".as_bytes()
        );
        assert_eq!(stream(&answer, "stderr"), b"");
    }
}
