//! Takes what agents say, a batch at a time, and makes it durable before it is acknowledged: one transaction for
//! hundreds of hosts, one row update and one counter update each.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use fleetwright_protocol::frame::{JournalEntry, JournalState};
use fleetwright_protocol::outcome::{NotStartedReason, Outcome};
use fleetwright_protocol::{CommandId, HostId, ServerFrame};
use serde_json::json;
use tokio::sync::mpsc;

use super::control::change_rows;
use super::decide::{self, Report};
use super::effects::{Effects, Hint};
use super::service::Commands;
use super::store::{self, CommandRow, StoredOutput, StoredResult};
use crate::agents::connections::Connection;
use crate::audit::AuditContext;
use crate::db::{DbError, Tx};

/// Reports in one transaction: keeps it near 10 ms.
const BATCH_MAX: usize = 1_000;
/// Between attempts while the database is away; agents wait meanwhile.
const RETRY_PAUSE: Duration = Duration::from_millis(200);
/// Reports that may wait; then connections wait, then agents do.
pub(super) const QUEUE_MAX: usize = 8_192;

/// One thing an agent said about one command.
#[derive(Debug)]
pub struct AgentReport {
    pub host_id: HostId,
    pub command_id: CommandId,
    pub attempt: u32,
    pub said: Said,
}

#[derive(Debug)]
pub enum Said {
    Started,
    NotStarted(NotStartedReason),
    /// With the output as it is to be stored.
    Finished(Box<(Outcome, StoredOutput)>),
}

/// Works off reports until the senders are gone.
pub(super) async fn run(commands: Commands, mut queue: mpsc::Receiver<AgentReport>) {
    let mut batch = Vec::new();
    while queue.recv_many(&mut batch, BATCH_MAX).await > 0 {
        let reports = Arc::new(std::mem::take(&mut batch));
        while let Err(error) = store_batch(&commands, &reports).await {
            let count = reports.len();
            if matches!(error, DbError::Unavailable(_)) {
                tracing::warn!(%error, count, "agent reports wait for the database");
                tokio::time::sleep(RETRY_PAUSE).await;
                continue;
            }
            // A defect. Nothing is acknowledged, so these agents say it again after their next hello.
            tracing::error!(%error, count, "agent reports could not be stored");
            for report in reports.iter() {
                commands
                    .connections()
                    .cut(report.host_id, "the server could not store a report");
            }
            break;
        }
    }
}

async fn store_batch(commands: &Commands, reports: &Arc<Vec<AgentReport>>) -> Result<(), DbError> {
    let (handle, reports) = (commands.clone(), reports.clone());
    commands
        .db()
        .write(move |tx| apply_in(tx, &handle, &reports))
        .await
}

/// A new connection and what its `hello` said of commands.
pub struct Greeting {
    pub connection: Arc<Connection>,
    pub welcome: ServerFrame,
    pub concurrency: u32,
    pub journal: Vec<JournalEntry>,
    pub journal_changed: bool,
}

/// Settles what a new connection's journal says of every command the server believes to be on that host. With the
/// commit the connection is open: it has heard its welcome and the cancels it must hear again, counts what it still
/// works on, and is given more. All of that happens in commit order, so whatever ends one of these commands from then
/// on finds it there, and whatever was sent through an older connection has been seen here.
pub fn settle_hello_in(
    tx: &mut Tx<'_>,
    commands: &Commands,
    greeting: Greeting,
) -> Result<(), DbError> {
    let Greeting {
        connection,
        welcome,
        concurrency,
        journal,
        journal_changed,
    } = greeting;
    let entries: HashMap<CommandId, (u32, JournalState)> = journal
        .iter()
        .map(|entry| (entry.command_id, (entry.attempt, entry.state)))
        .collect();
    let now_us = commands.now_us();
    let mut effects = Effects::default();
    let mut working_on = Vec::new();
    let rows = store::load_open_of_host(tx, connection.host_id)?;
    change_rows(tx, rows, now_us, &mut effects, |row, effects| {
        let attempt = entries.get(&row.id).copied();
        decide::on_report(
            &mut row.state,
            &Report::Journal {
                attempt,
                journal_changed,
            },
            now_us,
        );
        if !row.state.status.is_terminal() && row.state.sent_at.is_some() {
            working_on.push((row.id, row.state.attempt));
            if row.state.cancel_requested || row.state.kill_requested {
                let frame = ServerFrame::Cancel {
                    command_id: row.id,
                    kill: row.state.kill_requested,
                };
                effects.frames.push((row.host_id, frame));
            }
        }
    })?;
    effects.hints.push(Hint::Host(connection.host_id));
    // Before the effects: cancels come after the welcome.
    tx.after_commit(move || connection.open(&welcome, concurrency, working_on));
    effects.after_commit(tx, commands.outlets());
    Ok(())
}

fn apply_in(tx: &mut Tx<'_>, commands: &Commands, reports: &[AgentReport]) -> Result<(), DbError> {
    let now_us = commands.now_us();
    let mut by_command: HashMap<CommandId, Vec<&AgentReport>> = HashMap::new();
    for report in reports {
        by_command
            .entry(report.command_id)
            .or_default()
            .push(report);
    }
    let ids: Vec<CommandId> = by_command.keys().copied().collect();
    let rows = store::load(tx, &ids)?;
    let mut effects = Effects::default();
    let mut outputs = Vec::new();
    let mut finished = Vec::new();
    let mut strangers = Vec::new();
    change_rows(tx, rows, now_us, &mut effects, |row, effects| {
        for report in by_command.remove(&row.id).unwrap_or_default() {
            if report.host_id == row.host_id {
                apply_one(row, report, now_us, effects, &mut outputs);
            } else {
                strangers.push((report.host_id, row.id));
            }
        }
        if row.state.status.is_terminal() {
            finished.push(row.id);
        }
    })?;
    // What is left is about commands the server no longer has (retention): let the agents forget them.
    for report in by_command.into_values().flatten() {
        effects.frames.push((report.host_id, ack(report)));
    }
    for (host_id, command_id) in strangers {
        note_stranger(tx, now_us, host_id, command_id)?;
        effects.cut.push(host_id);
    }
    store::insert_outputs(tx, &outputs)?;
    effects.after_commit(tx, commands.outlets());
    let spooled: Vec<(CommandId, u32)> = reports.iter().filter_map(spooled_attempt).collect();
    let commands = commands.clone();
    tx.after_commit(move || {
        for id in finished {
            commands.live_output().finish(id);
        }
        for (id, attempt) in spooled {
            commands.forget_parts(id, attempt);
        }
    });
    Ok(())
}

fn apply_one(
    row: &mut CommandRow,
    report: &AgentReport,
    now_us: i64,
    effects: &mut Effects,
    outputs: &mut Vec<(CommandId, StoredOutput)>,
) {
    let attempt = report.attempt;
    match &report.said {
        Said::Started => {
            decide::on_report(&mut row.state, &Report::Started { attempt }, now_us);
        }
        Said::NotStarted(reason) => {
            let said = Report::NotStarted {
                attempt,
                reason: *reason,
            };
            let reaction = decide::on_report(&mut row.state, &said, now_us);
            effects.frames.push((row.host_id, ack(report)));
            match reaction.requeued_after_us {
                Some(0) => effects.hints.push(Hint::Host(row.host_id)),
                Some(pause_us) => effects.hints.push(Hint::HostLater(row.host_id, pause_us)),
                None => {}
            }
        }
        Said::Finished(result) => {
            let (outcome, output) = &**result;
            let said = Report::Finished { attempt, outcome };
            let is_repeated = row.answered && attempt == row.state.attempt;
            let reaction = decide::on_report(&mut row.state, &said, now_us);
            effects.frames.push((row.host_id, ack(report)));
            if reaction.store_outcome {
                row.result = Some(StoredResult {
                    exit_code: outcome.exit_code,
                    changed: outcome.changed,
                    message: outcome.message.clone(),
                });
                if !output.is_empty() {
                    outputs.push((row.id, output.clone()));
                }
            } else if reaction.late && row.result.is_none() && !is_repeated {
                row.late_result = Some(late(attempt, outcome, now_us));
            }
        }
    }
}

fn spooled_attempt(report: &AgentReport) -> Option<(CommandId, u32)> {
    match &report.said {
        Said::Finished(result) if result.1.in_parts => Some((report.command_id, report.attempt)),
        Said::Finished(_) | Said::Started | Said::NotStarted(_) => None,
    }
}

/// A late result without its output: statuses never move, but a person can see what came.
fn late(attempt: u32, outcome: &Outcome, now_us: i64) -> String {
    json!({
        "attempt": attempt,
        "status": outcome.status,
        "reason": outcome.reason,
        "exit_code": outcome.exit_code,
        "changed": outcome.changed,
        "received_at_us": now_us,
    })
    .to_string()
}

fn ack(report: &AgentReport) -> ServerFrame {
    ServerFrame::Ack {
        command_id: report.command_id,
        attempt: report.attempt,
    }
}

/// A host that speaks of another host's command is misbehaving: it is cut off, and a person can find it.
fn note_stranger(
    tx: &mut Tx<'_>,
    now_us: i64,
    host_id: HostId,
    command_id: CommandId,
) -> Result<(), DbError> {
    let entry = fleetwright_plugin_api::wire::AuditEntry {
        action: "agent.foreign_command".to_owned(),
        target_kind: "command".to_owned(),
        target_id: command_id.to_string(),
        detail: json!({ "host_id": host_id }),
    };
    crate::audit::append(tx, now_us, &AuditContext::system("agents"), &entry)
}
