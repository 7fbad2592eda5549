//! `fleetwright bulk`: look at bulk operations, follow them, steer them.

use clap::Subcommand;
use serde_json::json;

use crate::failure::{Completion, Failure};
use crate::output::{self, Column};
use crate::pages::ListArgs;
use crate::progress::Display;
use crate::report::Kind;
use crate::session::Session;
use crate::table::Cell;
use crate::{follow, operations, prompt, report, select};

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
    let kind = Kind::Bulk;
    match action {
        BulkAction::List { status, list } => {
            operations::list(session, kind, status.as_deref(), list, &COLUMNS)?;
        }
        BulkAction::Show { id, watch: false } => {
            output::item(session, &session.client.get(&kind.path(&id))?)?
        }
        BulkAction::Show { id, watch: true } => {
            let mut display = Display::new(session.is_for_people());
            let operation = follow::to_the_end(session, &kind.path(&id), &mut display)?;
            return report::report(session, kind, &operation);
        }
        BulkAction::Hosts { id, status, list } => {
            operations::host_rows(session, kind, &id, status.as_deref(), list)?;
        }
        BulkAction::Output { id, host } => operations::host_output(session, kind, &id, &host)?,
        BulkAction::Cancel { id, kill, select } => {
            let selector = select.as_deref().map(select::selector);
            operations::cancel(session, kind, &id, kill, selector)?;
        }
        BulkAction::Pause { id } => operations::steer(session, kind, &id, "pause", &json!({}))?,
        BulkAction::Resume { id } => operations::steer(session, kind, &id, "resume", &json!({}))?,
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
                .create(&format!("{}/retry", kind.path(&id)), &body)?;
            output::item(session, &created)?;
        }
    }
    Ok(Completion::Done)
}
