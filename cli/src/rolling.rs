//! `fleetwright rolling`: start rolling deployments, watch them, steer them.

mod create;
mod screen;
mod watch;

use clap::Subcommand;
use serde_json::{Value, json};

use crate::failure::{Completion, Failure};
use crate::output::{self, Column};
use crate::pages::ListArgs;
use crate::report::Kind;
use crate::session::Session;
use crate::table::Cell;
use crate::{operations, pages, prompt, report};

use create::CreateArgs;
use watch::watch;

#[derive(Subcommand)]
pub enum RollingAction {
    /// Run a command on hosts batch after batch, and watch it
    Create(Box<CreateArgs>),
    /// List rolling deployments, newest first
    List {
        #[arg(long)]
        status: Option<String>,
        #[command(flatten)]
        list: ListArgs,
    },
    /// Show one
    Show { id: String },
    /// Follow one to its end
    Watch { id: String },
    /// Its batches
    Batches { id: String },
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
    /// Everything that happened to it, and why
    Trace { id: String },
    /// Start nothing more until resumed; its clocks stand still
    Pause { id: String },
    /// Go on; failures seen so far are accepted
    Resume { id: String },
    /// Let the batch that waits begin
    Approve {
        id: String,
        /// Which batch; the one that waits, if not given
        #[arg(long)]
        batch: Option<u64>,
    },
    /// Start nothing more; hosts that run finish
    Cancel {
        id: String,
        /// End those that run, too
        #[arg(long)]
        kill: bool,
    },
}

const COLUMNS: [Column; 6] = [
    Column {
        title: "ID",
        cell: |rolling| output::plain(rolling, "id"),
    },
    Column {
        title: "OPERATION",
        cell: |rolling| output::plain(rolling, "operation_type"),
    },
    Column {
        title: "STATUS",
        cell: |rolling| output::status(rolling, "status"),
    },
    Column {
        title: "BATCH",
        cell: |rolling| {
            let of = |name| output::field(rolling, name);
            Cell::plain(format!("{}/{}", of("current_batch"), of("batch_count")))
        },
    },
    Column {
        title: "DONE",
        cell: |rolling| Cell::plain(format!("{} %", output::field(rolling, "percent_complete"))),
    },
    Column {
        title: "CREATED",
        cell: |rolling| output::plain(rolling, "created_at"),
    },
];

const BATCH_COLUMNS: [Column; 7] = [
    Column {
        title: "BATCH",
        cell: |batch| output::plain(batch, "batch"),
    },
    Column {
        title: "STATUS",
        cell: |batch| output::status(batch, "status"),
    },
    Column {
        title: "HOSTS",
        cell: |batch| output::plain(batch, "total"),
    },
    Column {
        title: "SUCCEEDED",
        cell: |batch| output::plain(batch, "succeeded"),
    },
    Column {
        title: "FAILED",
        cell: |batch| output::plain(batch, "failed"),
    },
    Column {
        title: "SKIPPED",
        cell: |batch| output::plain(batch, "skipped"),
    },
    Column {
        title: "DISPATCHED",
        cell: |batch| output::plain(batch, "dispatched_at"),
    },
];

const TRACE_COLUMNS: [Column; 5] = [
    Column {
        title: "AT",
        cell: |step| output::plain(step, "at"),
    },
    Column {
        title: "FROM",
        cell: |step| output::plain(step, "from"),
    },
    Column {
        title: "TO",
        cell: |step| output::status(step, "to"),
    },
    Column {
        title: "CAUSE",
        cell: |step| output::plain(step, "cause"),
    },
    Column {
        title: "BY",
        cell: |step| output::plain(step, "by"),
    },
];

pub fn run(session: &Session, action: RollingAction) -> Result<Completion, Failure> {
    let kind = Kind::Rolling;
    let steer =
        |id: &str, verb: &str, body: &Value| operations::steer(session, kind, id, verb, body);
    let all = |id: &str, what: &str| {
        let path = format!("{}/{what}", kind.path(id));
        pages::collect(&session.client, &path, usize::MAX)
    };
    match action {
        RollingAction::Create(args) => return create::create(session, &args),
        RollingAction::List { status, list } => {
            operations::list(session, kind, status.as_deref(), list, &COLUMNS)?;
        }
        RollingAction::Show { id } => {
            output::item(session, &session.client.get(&kind.path(&id))?)?;
        }
        RollingAction::Watch { id } => return watch(session, &id),
        RollingAction::Batches { id } => {
            output::items(session, &all(&id, "batches")?, &BATCH_COLUMNS)?;
        }
        RollingAction::Hosts { id, status, list } => {
            operations::host_rows(session, kind, &id, status.as_deref(), list)?;
        }
        RollingAction::Output { id, host } => operations::host_output(session, kind, &id, &host)?,
        RollingAction::Trace { id } => {
            output::items(session, &all(&id, "trace")?, &TRACE_COLUMNS)?;
        }
        RollingAction::Pause { id } => steer(&id, "pause", &json!({}))?,
        RollingAction::Resume { id } => steer(&id, "resume", &json!({}))?,
        RollingAction::Approve { id, batch } => {
            let batch = match batch {
                Some(batch) => batch,
                None => batch_that_waits(session, &id)?,
            };
            steer(&id, "approve", &json!({ "batch": batch }))?;
        }
        RollingAction::Cancel { id, kill } => operations::cancel(session, kind, &id, kill, None)?,
    }
    Ok(Completion::Done)
}

/// Which one it is, after the person has seen how it went so far and agreed.
fn batch_that_waits(session: &Session, id: &str) -> Result<u64, Failure> {
    let deployment = session.client.get(&Kind::Rolling.path(id))?;
    let waiting = deployment.get("awaiting_batch").and_then(Value::as_u64);
    let batch = waiting.ok_or_else(|| {
        Failure::Input(format!(
            "nothing waits for an approval: {id} is {}",
            output::field(&deployment, "status")
        ))
    })?;
    let done = format!(
        "{} succeeded, {} failed",
        report::counter(&deployment, "succeeded"),
        report::counter(&deployment, "failed")
    );
    prompt::confirm(session, &format!("Let batch {batch} begin? So far {done}."))?;
    Ok(batch)
}
