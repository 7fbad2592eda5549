//! `fleetwright modules`: what the server found in its modules folder and what became of it.

use clap::Subcommand;
use serde_json::{Value, json};

use crate::failure::{Completion, Failure};
use crate::output::{self, Column};
use crate::session::Session;
use crate::table::{Cell, Tone};

#[derive(Subcommand)]
pub enum ModulesAction {
    /// List modules: version, features, state, and why one was not loaded
    List,
    /// Look into the modules folder now
    Rescan,
}

const COLUMNS: [Column; 5] = [
    Column {
        title: "NAME",
        cell: |module| output::plain(module, "name"),
    },
    Column {
        title: "VERSION",
        cell: |module| output::plain(module, "version"),
    },
    Column {
        title: "STATE",
        cell: |module| state_of(module),
    },
    Column {
        title: "FEATURES",
        cell: |module| output::plain(module, "features"),
    },
    Column {
        title: "REASON",
        cell: |module| output::plain(module, "reason"),
    },
];

pub fn run(session: &Session, action: ModulesAction) -> Result<Completion, Failure> {
    let answer = match action {
        ModulesAction::List => session.client.get("/modules")?,
        ModulesAction::Rescan => session.client.post("/modules/rescan", &json!({}))?,
    };
    let modules = answer.get("items").and_then(Value::as_array);
    let modules = modules.ok_or_else(|| Failure::Answer("a list without items".to_owned()))?;
    output::items(session, modules, &COLUMNS)?;
    if let Some(problem) = answer.get("folder_problem").and_then(Value::as_str) {
        eprintln!("the modules folder is not looked into: {problem}");
    }
    Ok(Completion::Done)
}

/// `running` is good for a module, unlike for an operation, where it means waiting.
fn state_of(module: &Value) -> Cell {
    let state = output::field(module, "state");
    let tone = match state.as_str() {
        "running" => Tone::Good,
        "failed" | "stuck" => Tone::Bad,
        "unlicensed" | "starting" | "replacing" | "degraded" => Tone::Waiting,
        _ => Tone::Plain,
    };
    Cell::toned(state, tone)
}
