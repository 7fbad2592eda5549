//! What came of an operation on many hosts: the row of each host and one line that sums it up.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use serde_json::{Value, json};

use crate::client::escape;
use crate::failure::{Completion, Failure};
use crate::hosts::find::{hosts_word, name_of};
use crate::output::{self, Column};
use crate::pages;
use crate::session::Session;
use crate::table::Cell;

/// A result table longer than this shows what did not succeed; all of it is one command away.
const REPORT_ROWS_MAX: usize = 100;
/// Up to this many names are cheaper to ask for one by one than a page of the inventory.
const NAMED_ONE_BY_ONE_MAX: usize = 10;
/// Ten pages of the inventory: for a table that a person reads that is plenty.
const NAMED_FROM_LIST_MAX: usize = 5_000;

pub const HOST_COLUMNS: [Column; 5] = [
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

/// Which command shows more of it, and where it is.
#[derive(Clone, Copy)]
pub enum Kind {
    Bulk,
    Rolling,
}

impl Kind {
    pub fn word(self) -> &'static str {
        match self {
            Self::Bulk => "bulk",
            Self::Rolling => "rolling",
        }
    }

    /// The path of all of them.
    pub fn collection(self) -> String {
        format!("/fleet/{}", self.word())
    }

    /// The path of one.
    pub fn path(self, id: &str) -> String {
        format!("{}/{}", self.collection(), escape(id))
    }
}

/// The end of an operation: the per-host table and one line that sums it up.
pub fn report(session: &Session, kind: Kind, operation: &Value) -> Result<Completion, Failure> {
    let id = output::field(operation, "id");
    let path = kind.path(&id);
    let completion = completion_of(operation);
    if !session.is_for_people() {
        let hosts = rows(session, &path, None, usize::MAX)?;
        output::data(
            session.format,
            &json!({ "operation": operation, "hosts": hosts }),
        )?;
        return Ok(completion);
    }
    let total = number(operation, "total");
    let table = if total <= REPORT_ROWS_MAX {
        rows(session, &path, None, REPORT_ROWS_MAX)?
    } else {
        let mut table = rows(session, &path, Some("failed"), REPORT_ROWS_MAX)?;
        let room = REPORT_ROWS_MAX - table.len();
        table.extend(rows(session, &path, Some("skipped"), room)?);
        table
    };
    if !table.is_empty() {
        output::items(session, &table, &HOST_COLUMNS)?;
    }
    output::line(&summary(operation, total))?;
    if table.len() < total {
        output::line(&format!(
            "all of them: fleetwright {} hosts {id}",
            kind.word()
        ))?;
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

/// Per-host rows of the operation at `path`, each with the host's name added.
pub fn rows(
    session: &Session,
    path: &str,
    status: Option<&str>,
    limit: usize,
) -> Result<Vec<Value>, Failure> {
    let path = pages::with_status(&format!("{path}/hosts"), status);
    let mut rows = pages::collect(&session.client, &path, limit)?;
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

pub fn counter(operation: &Value, name: &str) -> u64 {
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
