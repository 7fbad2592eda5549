//! Takes what agents say, a batch at a time, and makes it durable before it is acknowledged: one transaction for
//! hundreds of hosts, one row update and one counter update each.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use fleetwright_protocol::frame::{JournalEntry, JournalState};
use fleetwright_protocol::limits::DETAILS_BYTES_MAX;
use fleetwright_protocol::outcome::Outcome;
use fleetwright_protocol::{CommandId, HostId, Open, ServerFrame};
use serde_json::json;
use tokio::sync::mpsc;

use super::control::change_rows;
use super::decide::{self, Observation, Silence};
use super::effects::{Effects, Hint};
use super::report::{AgentReport, Said};
use super::service::Commands;
use super::store::{self, CommandRow, StoredOutput, StoredResult, batches};
use crate::audit::AuditContext;
use crate::clock::Now;
use crate::db::{DbError, Tx};
use crate::hosts::labels;
use crate::links::Connection;
use crate::loops::Place;

/// Reports in one transaction: keeps it near 10 ms.
const BATCH_MAX: usize = 1_000;
/// Bytes of results in one transaction: four of the largest, which the writer stores in some 50 ms.
const BATCH_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The longest sentence kept of a result; output is kept elsewhere, and lists show this whole.
const MESSAGE_CHARS_MAX: usize = 2_048;
/// Between attempts while the database is away; agents wait meanwhile.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// An agent's sentence, short and without a character that could fool a terminal or that a database refuses.
pub fn harmless_message(message: &str) -> String {
    // Cut first: an escape is longer than its character, and escaping a megabyte would be wasted.
    let short: String = message.chars().take(MESSAGE_CHARS_MAX).collect();
    let clean = labels::escaped(&short);
    clean.chars().take(MESSAGE_CHARS_MAX).collect()
}

/// Works off reports until the senders are gone.
pub(super) async fn run(commands: Commands, mut queue: mpsc::Receiver<AgentReport>, place: Place) {
    let mut waiting = Vec::new();
    while !waiting.is_empty() || queue.recv_many(&mut waiting, BATCH_MAX).await > 0 {
        let _run = place.begin();
        let rest = waiting.split_off(fitting(&waiting));
        store_all(&commands, std::mem::replace(&mut waiting, rest)).await;
    }
}

/// How many of the reports make one batch: as many as fit, and one at least.
fn fitting(reports: &[AgentReport]) -> usize {
    let mut bytes = 0_usize;
    let fit = reports.iter().take_while(|report| {
        bytes = bytes.saturating_add(report.bytes());
        bytes <= BATCH_BYTES_MAX
    });
    fit.count().max(1)
}

/// Stores the reports, all together if that goes; waits while the database is away.
pub async fn store_all(commands: &Commands, reports: Vec<AgentReport>) {
    let reports: Vec<Arc<AgentReport>> = reports.into_iter().map(Arc::new).collect();
    let Err(error) = store_patiently(commands, &reports).await else {
        return;
    };
    // A defect, and of one of them most likely: it must not cost the others their results.
    tracing::error!(%error, count = reports.len(), "agent reports could not be stored together");
    for report in reports {
        if let Err(error) = store_patiently(commands, std::slice::from_ref(&report)).await {
            let (host_id, command_id) = (report.host_id, report.command_id);
            // It is not acknowledged, so this agent says it again after its next hello.
            tracing::error!(%error, %host_id, %command_id, "an agent's report could not be stored");
            let reason = "the server could not store a report";
            commands.connections().cut(host_id, reason);
        }
    }
}

async fn store_patiently(commands: &Commands, reports: &[Arc<AgentReport>]) -> Result<(), DbError> {
    loop {
        match store_batch(commands, reports.to_vec()).await {
            Err(error @ DbError::Unavailable(_)) => {
                tracing::warn!(%error, count = reports.len(), "agent reports wait for the database");
                tokio::time::sleep(RETRY_PAUSE).await;
            }
            other => return other,
        }
    }
}

async fn store_batch(commands: &Commands, reports: Vec<Arc<AgentReport>>) -> Result<(), DbError> {
    let handle = commands.clone();
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
    pub silence: Silence,
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
        silence,
    } = greeting;
    let entries: HashMap<CommandId, (u32, Open<JournalState>)> = journal
        .iter()
        .map(|entry| (entry.command_id, (entry.attempt, entry.state)))
        .collect();
    let now = commands.now();
    let mut effects = Effects::default();
    let mut working_on = Vec::new();
    let rows = store::load_open_of_host(tx, connection.host_id)?;
    change_rows(tx, rows, now, &mut effects, |row, effects| {
        let attempt = entries.get(&row.id).copied();
        decide::on_report(
            &mut row.state,
            &Observation::Journal {
                attempt,
                journal_changed,
                silence,
            },
            now,
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

fn apply_in(
    tx: &mut Tx<'_>,
    commands: &Commands,
    reports: &[Arc<AgentReport>],
) -> Result<(), DbError> {
    let now = commands.now();
    // In the order of their ids, so that the same reports always have the same effects in the same order.
    let mut by_command: BTreeMap<CommandId, Vec<&AgentReport>> = BTreeMap::new();
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
    let mut strangers = Vec::new();
    let mut spooled = Vec::new();
    change_rows(tx, rows, now, &mut effects, |row, effects| {
        for report in by_command.remove(&row.id).unwrap_or_default() {
            if report.host_id == row.host_id {
                apply_one(row, report, now, effects, &mut outputs);
                spooled.extend(spooled_attempt(report));
            } else {
                strangers.push((report.host_id, row.id));
            }
        }
    })?;
    // What is left is about commands the server no longer has (retention): let the agents forget them.
    for report in by_command.into_values().flatten() {
        match report.said {
            Said::Started | Said::NotStarted(_) | Said::Finished(_) => {
                effects.frames.push((report.host_id, ack(report)));
            }
            Said::HostGone => {}
        }
    }
    for (host_id, command_id) in strangers {
        note_stranger(tx, now.wall_us, host_id, command_id)?;
        effects.cut.push(host_id);
    }
    batches::insert_outputs(tx, &outputs)?;
    effects.after_commit(tx, commands.outlets());
    let commands = commands.clone();
    tx.after_commit(move || {
        for (id, attempt) in spooled {
            commands.forget_parts(id, attempt);
        }
    });
    Ok(())
}

fn apply_one<'a>(
    row: &mut CommandRow,
    report: &'a AgentReport,
    now: Now,
    effects: &mut Effects,
    outputs: &mut Vec<(CommandId, &'a StoredOutput)>,
) {
    let attempt = report.attempt;
    match &report.said {
        Said::Started => {
            decide::on_report(&mut row.state, &Observation::Started { attempt }, now);
        }
        Said::HostGone => {
            decide::on_report(&mut row.state, &Observation::HostGone, now);
        }
        Said::NotStarted(reason) => {
            let said = Observation::NotStarted {
                attempt,
                reason: *reason,
            };
            let reaction = decide::on_report(&mut row.state, &said, now);
            effects.frames.push((row.host_id, ack(report)));
            match reaction.requeued_after_us {
                Some(0) => effects.hints.push(Hint::Host(row.host_id)),
                Some(pause_us) => effects.hints.push(Hint::HostLater(row.host_id, pause_us)),
                None => {}
            }
        }
        Said::Finished(result) => {
            let (outcome, output) = &**result;
            let said = Observation::Finished { attempt, outcome };
            let is_repeated = row.answered && attempt == row.state.attempt;
            let reaction = decide::on_report(&mut row.state, &said, now);
            effects.frames.push((row.host_id, ack(report)));
            if reaction.store_outcome {
                row.result = Some(StoredResult {
                    exit_code: outcome.exit_code,
                    changed: outcome.changed,
                    message: outcome.message.clone(),
                    details: details(outcome),
                });
                if !output.is_empty() {
                    outputs.push((row.id, output));
                }
            } else if reaction.late && row.result.is_none() && !is_repeated {
                row.late_result = Some(late(attempt, outcome, now.wall_us));
            }
        }
    }
}

fn spooled_attempt(report: &AgentReport) -> Option<(CommandId, u32)> {
    match &report.said {
        Said::Finished(result) if result.1.in_parts => Some((report.command_id, report.attempt)),
        Said::Finished(_) | Said::Started | Said::NotStarted(_) | Said::HostGone => None,
    }
}

/// What the agent said of the parts. Longer than an agent may, it is left out: the result counts without it.
fn details(outcome: &Outcome) -> Option<String> {
    let text = outcome.details.as_ref()?.to_string();
    (text.len() <= DETAILS_BYTES_MAX).then_some(text)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::store::StoredStream;
    use proptest::prelude::*;

    fn result(bytes: usize) -> AgentReport {
        let output = StoredOutput {
            stdout: StoredStream {
                head: vec![0; bytes],
                ..StoredStream::default()
            },
            ..StoredOutput::default()
        };
        AgentReport {
            host_id: HostId(uuid::Uuid::nil()),
            command_id: CommandId(uuid::Uuid::nil()),
            attempt: 1,
            said: Said::Finished(Box::new((Outcome::succeeded(true), output))),
            room: None,
        }
    }

    #[test]
    fn a_batch_holds_what_fits_and_one_at_least() {
        let half = BATCH_BYTES_MAX / 2;
        assert_eq!(fitting(&[result(half), result(half), result(1)]), 2);
        assert_eq!(fitting(&[result(BATCH_BYTES_MAX + 1), result(1)]), 1);
        assert_eq!(fitting(&[result(0), result(0)]), 2);
    }

    proptest! {
        #[test]
        fn a_message_is_short_and_harmless(characters in prop::collection::vec(any::<char>(), 0..3_000)) {
            let message: String = characters.into_iter().collect();
            let kept = harmless_message(&message);
            prop_assert!(kept.chars().count() <= MESSAGE_CHARS_MAX);
            prop_assert!(labels::bad_character(&kept).is_none());
            prop_assert_eq!(harmless_message(&kept), kept);
        }
    }
}
