//! `fleetwright modules`: what the server found in its modules folder and what became of it.

use clap::Subcommand;
use serde_json::json;

use crate::failure::Failure;
use crate::output::{self, Column};
use crate::session::Session;
use crate::{Completion, pages};

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
        cell: |module| output::status(module, "state"),
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
    if let ModulesAction::Rescan = action {
        session.client.post("/modules/rescan", &json!({}))?;
    }
    let modules = pages::collect(&session.client, "/modules", usize::MAX)?;
    output::items(session, &modules, &COLUMNS)?;
    Ok(Completion::Done)
}
