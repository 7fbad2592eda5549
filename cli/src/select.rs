//! `fleetwright select`, and the selector that an expression stands for.

use clap::Args;
use serde_json::{Value, json};

use crate::failure::{Completion, Failure};
use crate::hosts::find::{hosts_word, name_of};
use crate::output::{self, Column};
use crate::pages;
use crate::session::Session;
use crate::table::Cell;

#[derive(Args)]
pub struct SelectArgs {
    /// Such as: platform = linux and tags in (web, db) and not fqdn contains ".test."; or `all`
    pub expression: String,
    /// Only how many
    #[arg(long)]
    pub count: bool,
    /// Per criterion, how many hosts matched, did not, or have no such data
    #[arg(long)]
    pub explain: bool,
}

/// What a selection came to; the digest stands for exactly these hosts.
pub struct Selected {
    pub count: u64,
    pub digest: Option<String>,
}

/// Names are looked up for at most this many hosts, one page of the inventory each; beyond, ids are shown.
const NAMED_HOSTS_MAX: usize = 5_000;

const COLUMNS: [Column; 3] = [
    Column {
        title: "NAME",
        cell: |host| Cell::plain(name_of(host)),
    },
    Column {
        title: "STATUS",
        cell: |host| output::status(host, "status"),
    },
    Column {
        title: "ID",
        cell: |host| output::plain(host, "id"),
    },
];

const EXPLAIN_COLUMNS: [Column; 4] = [
    Column {
        title: "CRITERION",
        cell: |explained| output::plain(explained, "criterion"),
    },
    Column {
        title: "MATCHED",
        cell: |explained| output::plain(explained, "matched"),
    },
    Column {
        title: "NOT MATCHED",
        cell: |explained| output::plain(explained, "not_matched"),
    },
    Column {
        title: "NO DATA",
        cell: |explained| output::plain(explained, "unknown"),
    },
];

/// `all` is a word of this program: everything must be said explicitly, and this is how.
pub fn selector(expression: &str) -> Value {
    if expression.trim() == "all" {
        json!({ "all_hosts": true })
    } else {
        json!({ "expression": expression })
    }
}

pub fn count(session: &Session, expression: &str) -> Result<Selected, Failure> {
    let answer = session
        .client
        .post("/fleet/select?count_only=true", &selector(expression))?;
    let count = answer.get("count").and_then(Value::as_u64);
    Ok(Selected {
        count: count.ok_or_else(|| Failure::Answer("a selection without a count".to_owned()))?,
        digest: answer
            .get("digest")
            .and_then(Value::as_str)
            .map(str::to_owned),
    })
}

pub fn select(session: &Session, args: &SelectArgs) -> Result<Completion, Failure> {
    let path = match (args.count, args.explain) {
        (false, false) => "/fleet/select",
        (true, false) => "/fleet/select?count_only=true",
        (false, true) => "/fleet/select?explain=true",
        (true, true) => "/fleet/select?count_only=true&explain=true",
    };
    let answer = session.client.post(path, &selector(&args.expression))?;
    if session.is_for_people() {
        show(session, args, &answer)?
    } else {
        output::data(session.format, &answer)?
    }
    Ok(Completion::Done)
}

fn show(session: &Session, args: &SelectArgs, answer: &Value) -> Result<(), Failure> {
    let ids: Vec<&str> = answer
        .get("host_ids")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    if !args.count && !ids.is_empty() {
        let hosts = named(session, &ids)?;
        output::items(session, &hosts, &COLUMNS)?;
    }
    if let Some(explained) = answer.get("explain").and_then(Value::as_array) {
        output::items(session, explained, &EXPLAIN_COLUMNS)?;
    }
    let count = answer
        .get("count")
        .and_then(Value::as_u64)
        .unwrap_or_default();
    output::line(&format!(
        "{} selected",
        hosts_word(usize::try_from(count).unwrap_or(usize::MAX))
    ))
}

/// The hosts' records where they can be had cheaply; else just their ids.
fn named(session: &Session, ids: &[&str]) -> Result<Vec<Value>, Failure> {
    let known = pages::collect(&session.client, "/hosts", NAMED_HOSTS_MAX)?;
    let by_id: std::collections::HashMap<&str, &Value> = known
        .iter()
        .filter_map(|host| Some((host.get("id")?.as_str()?, host)))
        .collect();
    Ok(ids
        .iter()
        .map(|id| {
            by_id
                .get(id)
                .map_or_else(|| json!({ "id": id }), |host| (*host).clone())
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_said_with_the_word_all() {
        assert_eq!(selector(" all "), json!({"all_hosts": true}));
        assert_eq!(
            selector("tags contains all"),
            json!({"expression": "tags contains all"})
        );
    }
}
