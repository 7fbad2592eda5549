//! `fleetwright bulk`: look at bulk operations, follow them, steer them, and the per-host result table.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use clap::Subcommand;
use serde_json::{Value, json};

use crate::args::ListArgs;
use crate::client::escape;
use crate::failure::Failure;
use crate::hosts::{self, hosts_word, name_of};
use crate::output::{self, Column};
use crate::session::Session;
use crate::table::Cell;
use crate::{Completion, commands, follow, pages, prompt, select};

#[derive(Subcommand)]
pub enum BulkAction {
    /// List bulk operations, newest first
    List {
        #[arg(long)]
        status: Option<String>,
        #[command(flatten)]
        list: ListArgs,
    },
    /// Show one; with --watch, follow it to its end
    Show {
        id: String,
        #[arg(long, short)]
        watch: bool,
    },
    /// The result of each host
    Hosts {
        id: String,
        #[arg(long)]
        status: Option<String>,
        #[command(flatten)]
        list: ListArgs,
    },
    /// What one host printed
    Output { id: String, host: String },
    /// Start nothing more; hosts that run finish
    Cancel {
        id: String,
        /// End those that run, too
        #[arg(long)]
        kill: bool,
        /// Only the hosts that match
        #[arg(long, value_name = "EXPR")]
        select: Option<String>,
    },
    /// Start nothing more until resumed
    Pause { id: String },
    /// Go on
    Resume { id: String },
    /// A new operation on the hosts that failed
    Retry {
        id: String,
        /// Hosts with these statuses
        #[arg(long, value_delimiter = ',', default_value = "failed")]
        statuses: Vec<String>,
    },
}

/// A result table longer than this shows what did not succeed; all of it is one command away.
const REPORT_ROWS_MAX: usize = 100;
/// Up to this many names are cheaper to ask for one by one than a page of the inventory.
const NAMED_ONE_BY_ONE_MAX: usize = 10;
/// Ten pages of the inventory: for a table that a person reads that is plenty.
const NAMED_FROM_LIST_MAX: usize = 5_000;

const COLUMNS: [Column; 6] = [
    Column {
        title: "ID",
        cell: |bulk| output::plain(bulk, "id"),
    },
    Column {
        title: "OPERATION",
        cell: |bulk| output::plain(bulk, "operation_type"),
    },
    Column {
        title: "STATUS",
        cell: |bulk| output::status(bulk, "status"),
    },
    Column {
        title: "HOSTS",
        cell: |bulk| output::plain(bulk, "total"),
    },
    Column {
        title: "DONE",
        cell: |bulk| Cell::plain(format!("{} %", output::field(bulk, "percent_complete"))),
    },
    Column {
        title: "CREATED",
        cell: |bulk| output::plain(bulk, "created_at"),
    },
];

const HOST_COLUMNS: [Column; 5] = [
    Column {
        title: "HOST",
        cell: |row| output::plain(row, "name"),
    },
    Column {
        title: "STATUS",
        cell: |row| output::status(row, "status"),
    },
    Column {
        title: "REASON",
        cell: |row| output::plain(row, "reason"),
    },
    Column {
        title: "EXIT",
        cell: |row| output::plain(row, "exit_code"),
    },
    Column {
        title: "OUTPUT",
        cell: |row| Cell::plain(first_line(row)),
    },
];

pub fn run(session: &Session, action: BulkAction) -> Result<Completion, Failure> {
    match action {
        BulkAction::List { status, list } => {
            let filter = status
                .map(|status| format!("?status={}", escape(&status)))
                .unwrap_or_default();
            let operations =
                pages::collect(&session.client, &format!("/fleet/bulk{filter}"), list.limit)?;
            output::items(session, &operations, &COLUMNS)?;
        }
        BulkAction::Show { id, watch: false } => {
            output::item(session, &session.client.get(&path(&id))?)?
        }
        BulkAction::Show { id, watch: true } => {
            let operation = follow::to_the_end(session, &path(&id))?;
            return report(session, &operation);
        }
        BulkAction::Hosts { id, status, list } => {
            let rows = rows(session, &id, status.as_deref(), list.limit)?;
            output::items(session, &rows, &HOST_COLUMNS)?;
        }
        BulkAction::Output { id, host } => {
            let host = hosts::resolve(session, &host)?;
            let answer = session
                .client
                .get(&format!("{}/hosts/{host}/output", path(&id)))?;
            commands::print_output(session, &answer)?;
        }
        BulkAction::Cancel { id, kill, select } => cancel(session, &id, kill, select.as_deref())?,
        BulkAction::Pause { id } => {
            output::item(
                session,
                &session
                    .client
                    .post(&format!("{}/pause", path(&id)), &json!({}))?,
            )?;
        }
        BulkAction::Resume { id } => {
            output::item(
                session,
                &session
                    .client
                    .post(&format!("{}/resume", path(&id)), &json!({}))?,
            )?;
        }
        BulkAction::Retry { id, statuses } => {
            prompt::confirm(
                session,
                &format!(
                    "Run {id} again on the hosts that are {}?",
                    statuses.join(" or ")
                ),
            )?;
            let body = json!({ "statuses": statuses });
            let created = session
                .client
                .create(&format!("{}/retry", path(&id)), &body)?;
            output::item(session, &created)?;
        }
    }
    Ok(Completion::Done)
}

/// The end of an operation: the per-host table and one line that sums it up.
pub fn report(session: &Session, operation: &Value) -> Result<Completion, Failure> {
    let id = output::field(operation, "id");
    let completion = completion_of(operation);
    if !session.is_for_people() {
        let hosts = rows(session, &id, None, usize::MAX)?;
        output::data(
            session.format,
            &json!({ "operation": operation, "hosts": hosts }),
        )?;
        return Ok(completion);
    }
    let total = number(operation, "total");
    let rows = if total <= REPORT_ROWS_MAX {
        rows(session, &id, None, REPORT_ROWS_MAX)?
    } else {
        let mut rows = rows(session, &id, Some("failed"), REPORT_ROWS_MAX)?;
        rows.extend(self::rows(
            session,
            &id,
            Some("skipped"),
            REPORT_ROWS_MAX - rows.len(),
        )?);
        rows
    };
    if !rows.is_empty() {
        output::items(session, &rows, &HOST_COLUMNS)?;
    }
    output::line(&summary(operation, total))?;
    if rows.len() < total {
        output::line(&format!("all of them: fleetwright bulk hosts {id}"))?;
    }
    Ok(completion)
}

fn completion_of(operation: &Value) -> Completion {
    if output::field(operation, "status") == "succeeded" {
        Completion::Done
    } else {
        Completion::NotAllSucceeded
    }
}

fn summary(operation: &Value, total: usize) -> String {
    let parts: Vec<String> = ["succeeded", "failed", "skipped"]
        .iter()
        .map(|name| (number(operation, name), name))
        .filter(|(count, _)| *count > 0)
        .map(|(count, name)| format!("{count} {name}"))
        .collect();
    format!(
        "{}: {} of {}",
        output::field(operation, "status"),
        parts.join(", "),
        hosts_word(total)
    )
}

fn cancel(
    session: &Session,
    id: &str,
    kill: bool,
    expression: Option<&str>,
) -> Result<(), Failure> {
    let operation = session.client.get(&path(id))?;
    let open = counter(&operation, "queued") + counter(&operation, "running");
    let running = counter(&operation, "running");
    let end = if kill {
        "they are killed"
    } else {
        "they finish"
    };
    prompt::confirm(
        session,
        &format!("Cancel {id}? {open} hosts are open, {running} run now: {end}."),
    )?;
    let mut body = json!({ "running": if kill { "kill" } else { "finish" } });
    if let Some(expression) = expression {
        body["selector"] = select::selector(expression);
    }
    output::item(
        session,
        &session
            .client
            .post(&format!("{}/cancel", path(id)), &body)?,
    )
}

/// Per-host rows, each with the host's name added.
fn rows(
    session: &Session,
    id: &str,
    status: Option<&str>,
    limit: usize,
) -> Result<Vec<Value>, Failure> {
    let filter = status
        .map(|status| format!("?status={}", escape(status)))
        .unwrap_or_default();
    let mut rows = pages::collect(
        &session.client,
        &format!("{}/hosts{filter}", path(id)),
        limit,
    )?;
    if session.is_for_people() {
        let names = host_names(session, &rows)?;
        for row in &mut rows {
            let host_id = output::field(row, "host_id");
            row["name"] = json!(names.get(&host_id).unwrap_or(&host_id));
        }
    }
    Ok(rows)
}

/// Names by id, from the inventory; of hosts that are not on its first pages each one is asked for.
fn host_names(session: &Session, rows: &[Value]) -> Result<HashMap<String, String>, Failure> {
    let mut names = HashMap::new();
    if rows.len() > NAMED_ONE_BY_ONE_MAX {
        let known = pages::collect(&session.client, "/hosts", NAMED_FROM_LIST_MAX)?;
        names.extend(
            known
                .iter()
                .map(|host| (output::field(host, "id"), name_of(host))),
        );
    }
    for row in rows.iter().take(REPORT_ROWS_MAX) {
        let id = output::field(row, "host_id");
        if let Entry::Vacant(unknown) = names.entry(id) {
            // A host that was deleted since has no name any more; its id is shown.
            if let Ok(host) = session.client.get(&format!("/hosts/{}", unknown.key())) {
                unknown.insert(name_of(&host));
            }
        }
    }
    Ok(names)
}

fn first_line(row: &Value) -> String {
    ["stdout_tail", "stderr_tail", "message"]
        .iter()
        .filter_map(|name| row.get(name).and_then(Value::as_str))
        .find_map(|text| {
            text.lines()
                .map(str::trim_end)
                .find(|line| !line.is_empty())
        })
        .unwrap_or_default()
        .to_owned()
}

fn path(id: &str) -> String {
    format!("/fleet/bulk/{}", escape(id))
}

fn counter(operation: &Value, name: &str) -> u64 {
    let nested = operation
        .get("progress")
        .and_then(|progress| progress.get(name));
    operation
        .get(name)
        .or(nested)
        .and_then(Value::as_u64)
        .unwrap_or_default()
}

fn number(operation: &Value, name: &str) -> usize {
    usize::try_from(counter(operation, name)).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_full_success_is_done() {
        for (status, expected) in [
            ("succeeded", Completion::Done),
            ("partial", Completion::NotAllSucceeded),
            ("failed", Completion::NotAllSucceeded),
            ("cancelled", Completion::NotAllSucceeded),
        ] {
            assert_eq!(
                completion_of(&json!({ "status": status })),
                expected,
                "{status}"
            );
        }
    }

    #[test]
    fn the_first_line_with_text_is_shown() {
        assert_eq!(
            first_line(&json!({"stdout_tail": "\n \nhello\nworld\n"})),
            "hello"
        );
        assert_eq!(
            first_line(&json!({"stdout_tail": "", "stderr_tail": "oh no"})),
            "oh no"
        );
        assert_eq!(
            first_line(&json!({"message": "no such interpreter"})),
            "no such interpreter"
        );
    }

    #[test]
    fn the_summary_leaves_out_what_did_not_happen() {
        let operation =
            json!({"status": "partial", "total": 3, "succeeded": 2, "failed": 1, "skipped": 0});
        assert_eq!(
            summary(&operation, 3),
            "partial: 2 succeeded, 1 failed of 3 hosts"
        );
    }
}
