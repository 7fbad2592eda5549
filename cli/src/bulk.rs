//! `fleetwright bulk`: look at bulk operations, follow them, steer them.

use clap::Subcommand;
use serde_json::json;

use crate::args::ListArgs;
use crate::client::escape;
use crate::failure::Failure;
use crate::hosts;
use crate::output::{self, Column};
use crate::progress::Display;
use crate::report::Kind;
use crate::session::Session;
use crate::table::Cell;
use crate::{Completion, commands, follow, pages, prompt, report, select};

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
            let operation = follow::to_the_end(
                session,
                &path(&id),
                &mut Display::new(session.is_for_people()),
            )?;
            return report::report(session, Kind::Bulk, &operation);
        }
        BulkAction::Hosts { id, status, list } => {
            let rows = report::rows(session, &path(&id), status.as_deref(), list.limit)?;
            output::items(session, &rows, &report::HOST_COLUMNS)?;
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

fn cancel(
    session: &Session,
    id: &str,
    kill: bool,
    expression: Option<&str>,
) -> Result<(), Failure> {
    let operation = session.client.get(&path(id))?;
    let open = report::counter(&operation, "queued") + report::counter(&operation, "running");
    let running = report::counter(&operation, "running");
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

fn path(id: &str) -> String {
    Kind::Bulk.path(id)
}
