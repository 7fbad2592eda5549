//! What an agent and the server say to each other over one connection, without the socket: `hello` first, then reports
//! in. The certificate is the only identity; what a frame says about hosts is checked against it where it matters.

use std::sync::Arc;
use std::time::Duration;

use fleetwright_protocol::close::IDENTITY_CONFLICT;
use fleetwright_protocol::frame::{
    AgentFrame, Hello, PROTOCOL_VERSION, Section, ServerFrame, Stream,
};
use fleetwright_protocol::limits::HEARTBEAT_SECONDS_DEFAULT;
use fleetwright_protocol::outcome::{FailureReason, OutcomeStatus, OutputSummary};
use fleetwright_protocol::{CommandId, HostId, Open, Outcome, Session};

use crate::commands::Commands;
use crate::commands::decide::Silence;
use crate::commands::live_output::Chunk;
use crate::commands::outputs::{PartKey, Spool};
use crate::commands::report::{AgentReport, Said};
use crate::commands::reports::{Greeting, harmless_message, settle_hello_in};
use crate::db::DbError;
use crate::hosts::conflicts::{self, Visitor};
use crate::hosts::reports::HelloRecorded;
use crate::hosts::sessions::{ConflictKind, Verdict};
use crate::hosts::{self, Hosts};
use crate::links::{Connection, Cut, DOES_NOT_READ, SILENT};

/// What a connection needs of the server.
#[derive(Clone)]
pub struct ConnectionContext {
    pub commands: Commands,
    pub hosts: Hosts,
    /// A machine that is connected answers within this time when another one says hello in its name.
    pub answer_within: Duration,
}

impl ConnectionContext {
    async fn report(&self, host_id: HostId, command_id: CommandId, attempt: u32, said: Said) {
        let report = AgentReport {
            host_id,
            command_id,
            attempt,
            said,
            room: None,
        };
        self.commands.report(report).await;
    }
}

/// Why a connection ends, as told to the agent.
#[derive(Debug)]
pub struct Ending {
    pub code: u16,
    pub reason: String,
    /// The other side has gone; the server did not want it to.
    pub host_gone: bool,
}

impl Ending {
    pub fn new(code: u16, reason: impl Into<String>) -> Self {
        Self {
            code,
            reason: reason.into(),
            host_gone: false,
        }
    }

    pub fn of_gone_host(code: u16, reason: &str) -> Self {
        Self {
            host_gone: true,
            ..Self::new(code, reason)
        }
    }

    pub fn of_cut(cut: Cut) -> Self {
        Self {
            host_gone: cut.reason == SILENT || cut.reason == DOES_NOT_READ,
            ..Self::new(cut.code, cut.reason)
        }
    }
}

/// The `hello`: whether it is the host's own machine that says it, what the agent is, and what its journal holds of the
/// commands the server believes it has. The connection takes the place of the host's earlier one on the way, and not before
/// it is known to be the host's own.
pub async fn greet(
    hello: Hello,
    connection: &Arc<Connection>,
    visitor: Visitor,
    context: &ConnectionContext,
) -> Result<(), Ending> {
    let host_id = connection.host_id;
    if hello.protocol.split('.').next() != PROTOCOL_VERSION.split('.').next() {
        let reason = format!(
            "protocol {} is not spoken here, {PROTOCOL_VERSION} is",
            hello.protocol
        );
        return Err(Ending::new(1002, reason));
    }
    if let Some(violation) = hello.session.as_ref().and_then(Session::violation) {
        return Err(Ending::new(1002, violation));
    }
    recognise(&hello, &visitor, host_id, context).await?;
    context.commands.connections().enter(connection);
    if !context.hosts.registry().is_admitted(host_id) {
        // Rejected, deleted or locked while the handshake was under way, before there was a connection to cut.
        return Err(Ending::new(1008, "the host may not connect"));
    }
    let recorded = hosts::actions::record_hello(&context.hosts, host_id, &hello)
        .await
        .map_err(|error| unavailable(host_id, &error))?;
    settle(hello, recorded, connection, visitor, context).await
}

/// Refuses a machine that is not the host's own; see `hosts::sessions`. The database decides again when the session is
/// stored; this is before anything that the other machine could notice.
async fn recognise(
    hello: &Hello,
    visitor: &Visitor,
    host_id: HostId,
    context: &ConnectionContext,
) -> Result<(), Ending> {
    let session = hello.session.as_ref();
    let looked = conflicts::look(&context.hosts, host_id, session).await;
    let looked = looked.map_err(|error| unavailable(host_id, &error))?;
    let Some((verdict, standing)) = looked else {
        return Ok(());
    };
    let found = match verdict {
        Verdict::Refused => return Err(disowned(host_id)),
        Verdict::Conflict(kind) => Some(kind),
        Verdict::Next | Verdict::Again | Verdict::Broken => None,
    };
    let found = match found {
        None if session.is_some() && standing.last.is_some() => {
            other_machine(host_id, context).await
        }
        found => found,
    };
    let Some(kind) = found else { return Ok(()) };
    let locked = conflicts::lock(
        &context.hosts,
        host_id,
        session.cloned(),
        visitor.clone(),
        kind,
    );
    locked.await.map_err(|error| unavailable(host_id, &error))?;
    Err(disowned(host_id))
}

/// A machine has one connection: before it makes another one, it has let go of it. If the host's earlier one answers all the
/// same, there is a machine at its end.
async fn other_machine(host_id: HostId, context: &ConnectionContext) -> Option<ConflictKind> {
    let earlier = context.commands.connections().get(host_id)?;
    let answers = earlier.is_open()
        && !context.answer_within.is_zero()
        && earlier.answers_within(context.answer_within).await;
    answers.then_some(ConflictKind::BothConnected)
}

/// Begins the session and settles what its journal says, in one transaction; or locks the host in it.
async fn settle(
    hello: Hello,
    recorded: HelloRecorded,
    connection: &Arc<Connection>,
    visitor: Visitor,
    context: &ConnectionContext,
) -> Result<(), Ending> {
    let host_id = connection.host_id;
    let Hello {
        journal,
        journal_id,
        capabilities,
        session,
        ..
    } = hello;
    let mut greeting = Greeting {
        connection: connection.clone(),
        welcome: ServerFrame::Welcome {
            protocol: PROTOCOL_VERSION.to_owned(),
            server_version: env!("CARGO_PKG_VERSION").to_owned(),
            host_id,
            heartbeat_seconds: HEARTBEAT_SECONDS_DEFAULT,
        },
        concurrency: capabilities.concurrency,
        journal,
        journal_changed: recorded.journal_changed,
        silence: Silence::NotStarted,
    };
    let (commands, hosts) = (context.commands.clone(), context.hosts.clone());
    let settled = context.commands.db().write(move |tx| {
        if greeting.connection.is_over() {
            // A newer one of the host has said hello meanwhile, perhaps the same machine's: this one is of no account.
            return Ok(Verdict::Again);
        }
        let verdict = conflicts::begin_in(&hosts, tx, host_id, session.as_ref(), &visitor)?;
        greeting.silence = match verdict {
            Verdict::Next => Silence::NotStarted,
            Verdict::Again => Silence::Nothing,
            Verdict::Broken => Silence::Unknown,
            Verdict::Refused => return Ok(verdict),
            Verdict::Conflict(kind) => {
                conflicts::lock_in(&hosts, tx, host_id, session.as_ref(), &visitor, kind)?;
                return Ok(verdict);
            }
        };
        if greeting.journal_changed {
            // Together with the end of the lost journal's commands, so that a crash loses neither.
            hosts::actions::save_journal_in(tx, host_id, journal_id)?;
        }
        settle_hello_in(tx, &commands, greeting)?;
        Ok::<Verdict, DbError>(verdict)
    });
    match settled
        .await
        .map_err(|error| unavailable(host_id, &error))?
    {
        Verdict::Next | Verdict::Again | Verdict::Broken => Ok(()),
        Verdict::Refused | Verdict::Conflict(_) => Err(disowned(host_id)),
    }
}

/// What a machine is told that is not, or may not be, the host's own.
fn disowned(host_id: HostId) -> Ending {
    tracing::warn!(%host_id, "turned a machine away: two share this identity");
    Ending::new(1008, IDENTITY_CONFLICT)
}

/// After the end of a connection: its host is offline unless it has another, and what it worked on is told if it is gone.
pub async fn leave(connection: &Connection, context: &ConnectionContext, ending: &Ending) {
    let host_id = connection.host_id;
    if context.commands.connections().remove(connection)
        && let Err(error) = hosts::actions::record_offline(&context.hosts, vec![host_id]).await
    {
        tracing::warn!(%host_id, %error, "could not record that the host is offline");
    }
    if ending.host_gone {
        for (command_id, attempt) in connection.working_on() {
            // Behind what it said last, so that a start is known before its end.
            context
                .report(host_id, command_id, attempt, Said::HostGone)
                .await;
        }
    }
}

/// Handles one frame. A command's receipt needs no word: its start lease counts on the agent's clock from there, and
/// the server's own deadline covers the rest.
pub async fn take(
    frame: AgentFrame,
    connection: &Arc<Connection>,
    context: &ConnectionContext,
) -> Result<(), Ending> {
    let host_id = connection.host_id;
    match frame {
        AgentFrame::Hello(_) => return Err(Ending::new(1002, "hello comes once")),
        AgentFrame::Heartbeat(heartbeat) => context.hosts.record_heartbeat(host_id, heartbeat),
        AgentFrame::Facts { facts } => {
            hosts::actions::record_facts(&context.hosts, host_id, facts)
                .await
                .map_err(|error| unavailable(host_id, &error))?;
        }
        AgentFrame::CommandReceived { .. } => {}
        AgentFrame::CommandStarted {
            command_id,
            attempt,
        } => {
            context
                .report(host_id, command_id, attempt, Said::Started)
                .await
        }
        AgentFrame::CommandNotStarted {
            command_id,
            attempt,
            reason,
        } => {
            let said = Said::NotStarted(reason);
            context.report(host_id, command_id, attempt, said).await;
        }
        AgentFrame::CommandOutput {
            command_id,
            stream,
            offset,
            data,
        } => publish_output(connection, context, command_id, stream, offset, data),
        AgentFrame::OutputPart {
            command_id,
            attempt,
            stream,
            section,
            offset,
            data,
        } => {
            let place = (command_id, attempt, stream, section);
            take_part(connection, context, place, offset, data).await?;
        }
        AgentFrame::CommandFinished {
            command_id,
            attempt,
            outcome,
        } => take_finished(connection, context, command_id, attempt, *outcome).await?,
        // Noted where it was read.
        AgentFrame::Unknown => {}
    }
    Ok(())
}

/// Keeps a part of a result that comes in parts, and says how far it has it. One of a stream or section that is not known
/// here is acknowledged and dropped, so that the result still comes.
async fn take_part(
    connection: &Arc<Connection>,
    context: &ConnectionContext,
    (command_id, attempt, stream, section): (CommandId, u32, Open<Stream>, Open<Section>),
    offset: u64,
    data: Vec<u8>,
) -> Result<(), Ending> {
    let held = match (stream, section) {
        (Open::Known(stream), Open::Known(section)) => {
            let key = PartKey {
                command_id,
                attempt,
                stream,
                section,
            };
            keep_part(connection, context, key, offset, data).await?
        }
        (Open::Unknown(_), _) | (_, Open::Unknown(_)) => end_of(offset, &data),
    };
    connection.send_frame(&ServerFrame::AckPart {
        command_id,
        attempt,
        stream,
        section,
        offset: held,
    });
    Ok(())
}

/// For whoever follows. A stream that is not known here has nobody who does.
fn publish_output(
    connection: &Connection,
    context: &ConnectionContext,
    command_id: CommandId,
    stream: Open<Stream>,
    offset: u64,
    data: Vec<u8>,
) {
    if let Open::Known(stream) = stream
        && connection.is_running(command_id)
    {
        let chunk = Chunk {
            stream,
            offset,
            data: data.into(),
        };
        context.commands.live_output().publish(command_id, chunk);
    }
}

/// Hands in a result together with what was spooled of its output. Of what this host does not work on (another host's
/// command, an earlier attempt, one that is over) no output is kept, so none is read.
async fn take_finished(
    connection: &Connection,
    context: &ConnectionContext,
    command_id: CommandId,
    attempt: u32,
    mut outcome: Outcome,
) -> Result<(), Ending> {
    let host_id = connection.host_id;
    let commands = &context.commands;
    outcome.message = harmless_message(&with_unknown_words(&outcome));
    if !connection.is_working_on(command_id, attempt) {
        outcome.stdout = OutputSummary::default();
        outcome.stderr = OutputSummary::default();
    }
    let room = commands.room_for_result(Spool::bytes_of(&outcome)).await;
    let spool = commands.spool();
    let output = spool.collect(command_id, attempt, &mut outcome).await;
    let output = output.map_err(|error| spool_failed(host_id, &error))?;
    let report = AgentReport {
        host_id,
        command_id,
        attempt,
        said: Said::Finished(Box::new((outcome, output))),
        room,
    };
    commands.report(report).await;
    Ok(())
}

/// An outcome's sentence, after the words in it that are not known here: a person may know them.
fn with_unknown_words(outcome: &Outcome) -> String {
    let status = match outcome.status {
        OutcomeStatus::Unknown(word) => Some(word),
        OutcomeStatus::Succeeded | OutcomeStatus::Failed => None,
    };
    let reason = match outcome.reason {
        Some(FailureReason::Unknown(word)) => Some(word),
        Some(
            FailureReason::ExitCode
            | FailureReason::TimedOut
            | FailureReason::RefusedByPolicy
            | FailureReason::Cancelled
            | FailureReason::OutcomeUnknown
            | FailureReason::AgentError,
        )
        | None => None,
    };
    let words = [status, reason].into_iter().flatten();
    let words: String = words.map(|word| format!("[{word}] ")).collect();
    (words + &outcome.message).trim_end().to_owned()
}

/// Keeps a part of a long output; returns how much of its section is held. Of a command that is over, or another host's,
/// or of a stream that is not known here, nothing is kept, and the agent may go on.
async fn keep_part(
    connection: &Connection,
    context: &ConnectionContext,
    key: PartKey,
    offset: u64,
    data: Vec<u8>,
) -> Result<u64, Ending> {
    if !connection.is_working_on(key.command_id, key.attempt) {
        return Ok(end_of(offset, &data));
    }
    let appended = context.commands.spool().append(key, offset, data).await;
    appended.map_err(|error| spool_failed(connection.host_id, &error))
}

fn end_of(offset: u64, data: &[u8]) -> u64 {
    offset.saturating_add(data.len() as u64)
}

fn spool_failed(host_id: HostId, error: &std::io::Error) -> Ending {
    tracing::error!(%host_id, %error, "output could not be spooled");
    Ending::new(1013, "the server cannot store it now; try again")
}

fn unavailable(host_id: HostId, error: &DbError) -> Ending {
    tracing::warn!(%host_id, %error, "an agent's hello could not be stored");
    Ending::new(1013, "the server cannot store it now; try again")
}
