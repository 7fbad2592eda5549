//! `fleetwright nodes`: hosts seen as capacity.

use clap::Subcommand;
use serde_json::{Value, json};

use crate::client::escape;
use crate::failure::{Completion, Failure};
use crate::hosts::find;
use crate::output::{self, Column};
use crate::pages;
use crate::pages::ListArgs;
use crate::session::Session;

#[derive(Subcommand)]
pub enum NodesAction {
    /// List nodes
    List {
        #[command(flatten)]
        list: ListArgs,
    },
    /// Show one, with the VMs placed on it
    Show { host: String },
    /// Place nothing new on it
    Drain {
        host: String,
        /// Place on it again
        #[arg(long)]
        undo: bool,
    },
    /// Use it only where no other node fits
    Reserve {
        host: String,
        /// Use it as any other
        #[arg(long)]
        undo: bool,
    },
    /// Totals: nodes by state, capacity, in use, held
    Status,
}

const COLUMNS: [Column; 8] = [
    Column {
        title: "ID",
        cell: |node| output::plain(node, "id"),
    },
    Column {
        title: "NAME",
        cell: |node| output::plain(node, "fqdn"),
    },
    Column {
        title: "STATE",
        cell: |node| output::status(node, "state"),
    },
    Column {
        title: "RESERVED",
        cell: |node| output::plain(node, "reserved"),
    },
    Column {
        title: "AVAILABLE MB",
        cell: |node| output::plain(node, "memory_available_mb"),
    },
    Column {
        title: "HELD MB",
        cell: |node| output::plain(node, "held_mb"),
    },
    Column {
        title: "CPUS",
        cell: |node| output::plain(node, "cpu_count"),
    },
    Column {
        title: "VMS",
        cell: |node| output::plain(node, "vm_count"),
    },
];

pub fn run(session: &Session, action: NodesAction) -> Result<Completion, Failure> {
    let client = &session.client;
    match action {
        NodesAction::List { list } => {
            let nodes = pages::collect(client, "/fleet/nodes", list.limit)?;
            output::items(session, &nodes, &COLUMNS)?;
        }
        NodesAction::Show { host } => {
            output::item(session, &client.get(&path(session, &host)?)?)?;
        }
        NodesAction::Drain { host, undo } => {
            change(session, &host, &json!({ "schedulable": undo }))?;
        }
        NodesAction::Reserve { host, undo } => {
            change(session, &host, &json!({ "reserved": !undo }))?;
        }
        NodesAction::Status => output::item(session, &client.get("/fleet/status")?)?,
    }
    Ok(Completion::Done)
}

/// Guarded by the revision it was read at.
fn change(session: &Session, host: &str, body: &Value) -> Result<(), Failure> {
    let path = path(session, host)?;
    let known = session.client.get(&path)?;
    let revision = format!("\"{}\"", output::field(&known, "revision"));
    output::item(session, &session.client.patch(&path, body, &revision)?)
}

fn path(session: &Session, host: &str) -> Result<String, Failure> {
    let id = find::resolve(session, host)?;
    Ok(format!("/fleet/nodes/{}", escape(&id)))
}
