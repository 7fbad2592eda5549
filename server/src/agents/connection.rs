//! One agent's WebSocket: `hello` first, then reports in and commands out, in one small task. The certificate is the
//! only identity; what a frame says about hosts is checked against it where it matters.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket};
use fleetwright_protocol::frame::{AgentFrame, Hello, PROTOCOL_VERSION, ServerFrame};
use fleetwright_protocol::limits::HEARTBEAT_SECONDS_DEFAULT;
use fleetwright_protocol::outcome::OutputSummary;
use fleetwright_protocol::{CommandId, HostId, Outcome};
use tokio::sync::mpsc;

use super::connections::{Connection, Cut, DOES_NOT_READ, SILENT};
use super::identity::AgentCertificate;
use crate::commands::Commands;
use crate::commands::live_output::Chunk;
use crate::commands::outputs::{PartKey, Spool};
use crate::commands::reports::{AgentReport, Greeting, Said, harmless_message, settle_hello_in};
use crate::db::DbError;
use crate::hosts::{self, Hosts};

/// The first frame must come within this time of the handshake.
const HELLO_WITHIN: Duration = Duration::from_secs(10);
/// A frame that cannot be written within this time means a reader that is gone.
const WRITE_WITHIN: Duration = Duration::from_secs(10);
/// The last word is a courtesy: a connection that is cut must be gone within 5 s.
const GOODBYE_WITHIN: Duration = Duration::from_secs(2);
/// Between looks for silent agents: short beside how long they may be silent.
const SILENCE_LOOK: Duration = Duration::from_secs(2);
/// Frames per second an agent may send before it is slowed down: a hundred times what an honest one needs.
const FRAMES_PER_SECOND_MAX: u32 = 2_000;

/// What a connection needs of the server.
#[derive(Clone)]
pub struct ConnectionContext {
    pub commands: Commands,
    pub hosts: Hosts,
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
struct Ending {
    code: u16,
    reason: String,
    /// The other side has gone; the server did not want it to.
    host_gone: bool,
}

impl Ending {
    fn new(code: u16, reason: impl Into<String>) -> Self {
        Self {
            code,
            reason: reason.into(),
            host_gone: false,
        }
    }

    fn of_gone_host(code: u16, reason: &str) -> Self {
        Self {
            host_gone: true,
            ..Self::new(code, reason)
        }
    }

    fn of_cut(cut: Cut) -> Self {
        Self {
            host_gone: cut.reason == SILENT || cut.reason == DOES_NOT_READ,
            ..Self::new(cut.code, cut.reason)
        }
    }
}

/// Serves one connection until it ends, at the latest when its certificate does. The caller has checked the certificate
/// and the host's approval.
pub async fn serve(
    mut socket: WebSocket,
    certificate: AgentCertificate,
    context: ConnectionContext,
) {
    let host_id = certificate.host_id;
    let lifetime_us = certificate
        .presented
        .not_after_us
        .saturating_sub(context.commands.now_us());
    let lifetime = Duration::from_micros(u64::try_from(lifetime_us).unwrap_or(0));
    let connections = context.commands.connections().clone();
    let now_us = context.commands.clock().monotonic_us();
    let (connection, outbound) = connections.register(host_id, now_us);
    let conversation = async {
        if !context.hosts.registry().is_admitted(host_id) {
            // Rejected, deleted or locked while the handshake was under way, before there was a connection to cut.
            return Ending::new(1008, "the host may not connect");
        }
        match greet(&mut socket, &connection, &context).await {
            Ok(()) => converse(&mut socket, &connection, outbound, &context).await,
            Err(ending) => ending,
        }
    };
    // Around all of it: a cut waits for no write, no queue and no database.
    let ending = tokio::select! {
        biased;
        cut = connection.until_cut() => Ending::of_cut(cut),
        ending = conversation => ending,
        // An agent renews in good time and comes back with the newer one.
        () = tokio::time::sleep(lifetime) => Ending::new(1008, "the certificate has expired"),
    };
    if connections.remove(&connection)
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
    tracing::debug!(%host_id, code = ending.code, reason = %ending.reason, "agent disconnected");
    let close = CloseFrame {
        code: ending.code,
        reason: ending.reason.into(),
    };
    let _ = tokio::time::timeout(GOODBYE_WITHIN, socket.send(Message::Close(Some(close)))).await;
}

/// The `hello`: what the agent is, and what its journal holds of the commands the server believes it has.
async fn greet(
    socket: &mut WebSocket,
    connection: &Arc<Connection>,
    context: &ConnectionContext,
) -> Result<(), Ending> {
    let host_id = connection.host_id;
    let hello = read_hello(socket).await?;
    if hello.protocol.split('.').next() != PROTOCOL_VERSION.split('.').next() {
        let reason = format!(
            "protocol {} is not spoken here, {PROTOCOL_VERSION} is",
            hello.protocol
        );
        return Err(Ending::new(1002, reason));
    }
    let recorded = hosts::actions::record_hello(&context.hosts, host_id, &hello)
        .await
        .map_err(|error| unavailable(host_id, &error))?;
    let Hello {
        journal,
        journal_id,
        capabilities,
        ..
    } = hello;
    let greeting = Greeting {
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
    };
    let commands = context.commands.clone();
    context
        .commands
        .db()
        .write(move |tx| {
            if greeting.journal_changed {
                // Together with the end of the lost journal's commands, so that a crash loses neither.
                hosts::actions::save_journal_in(tx, host_id, journal_id)?;
            }
            settle_hello_in(tx, &commands, greeting)
        })
        .await
        .map_err(|error| unavailable(host_id, &error))
}

async fn read_hello(socket: &mut WebSocket) -> Result<Hello, Ending> {
    let first = tokio::time::timeout(HELLO_WITHIN, socket.recv())
        .await
        .map_err(|_| Ending::new(1002, "no hello in time"))?;
    match first {
        Some(Ok(Message::Text(text))) => match serde_json::from_str(&text) {
            Ok(AgentFrame::Hello(hello)) => Ok(*hello),
            Ok(_) => Err(Ending::new(1002, "the first frame must be hello")),
            Err(error) => Err(Ending::new(
                1002,
                format!("the first frame is not a hello: {error}"),
            )),
        },
        Some(Ok(_)) => Err(Ending::new(1003, "the first frame must be text")),
        Some(Err(_)) | None => Err(Ending::new(1001, "closed before hello")),
    }
}

fn unavailable(host_id: HostId, error: &DbError) -> Ending {
    tracing::warn!(%host_id, %error, "an agent's hello could not be stored");
    Ending::new(1013, "the server cannot store it now; try again")
}

async fn converse(
    socket: &mut WebSocket,
    connection: &Arc<Connection>,
    mut outbound: mpsc::Receiver<String>,
    context: &ConnectionContext,
) -> Ending {
    let mut window = Window::default();
    loop {
        tokio::select! {
            biased;
            text = outbound.recv() => {
                let Some(text) = text else {
                    return Ending::new(1001, "the server let go");
                };
                let sent = tokio::time::timeout(WRITE_WITHIN, socket.send(Message::text(text))).await;
                if !matches!(sent, Ok(Ok(()))) {
                    return Ending::of_gone_host(1001, DOES_NOT_READ);
                }
            }
            message = socket.recv() => {
                let text = match message {
                    Some(Ok(Message::Text(text))) => text,
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => {
                        connection.heard(context.commands.clock().monotonic_us());
                        continue;
                    }
                    Some(Ok(Message::Binary(_))) => return Ending::new(1003, "frames are text"),
                    Some(Ok(Message::Close(_))) | None => {
                        return Ending::of_gone_host(1000, "closed by the agent");
                    }
                    Some(Err(error)) => return broken(&error),
                };
                let now_us = context.commands.clock().monotonic_us();
                connection.heard(now_us);
                if let Some(pause) = window.count(now_us) {
                    tokio::time::sleep(pause).await;
                }
                match serde_json::from_str(&text) {
                    Ok(frame) => {
                        if let Err(ending) = take(frame, connection, context).await {
                            return ending;
                        }
                    }
                    Err(error) => return Ending::new(1002, format!("not a frame of this protocol: {error}")),
                }
            }
        }
    }
}

/// A frame over the size limit closes with 1009; anything else broken is simply gone.
fn broken(error: &axum::Error) -> Ending {
    let text = error.to_string();
    if text.contains("too long") || text.contains("too large") || text.contains("Space limit") {
        Ending::new(1009, "a frame is larger than 1 MiB")
    } else {
        Ending::of_gone_host(1001, "the connection broke")
    }
}

/// Handles one frame. A command's receipt needs no word: its start lease counts on the agent's clock from there, and
/// the server's own deadline covers the rest.
async fn take(
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
        } => {
            if connection.is_running(command_id) {
                let chunk = Chunk {
                    stream,
                    offset,
                    data: data.into(),
                };
                context.commands.live_output().publish(command_id, chunk);
            }
        }
        AgentFrame::OutputPart {
            command_id,
            attempt,
            stream,
            section,
            offset,
            data,
        } => {
            let key = PartKey {
                command_id,
                attempt,
                stream,
                section,
            };
            take_part(connection, context, key, offset, data).await?;
        }
        AgentFrame::CommandFinished {
            command_id,
            attempt,
            outcome,
        } => take_finished(connection, context, command_id, attempt, *outcome).await?,
    }
    Ok(())
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
    outcome.message = harmless_message(&outcome.message);
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

/// Keeps a part of a long output and says how much of its section is held. Of a command that is over, or another host's,
/// nothing is kept, and the agent may go on.
async fn take_part(
    connection: &Connection,
    context: &ConnectionContext,
    key: PartKey,
    offset: u64,
    data: Vec<u8>,
) -> Result<(), Ending> {
    let end = offset.saturating_add(data.len() as u64);
    let held = if connection.is_working_on(key.command_id, key.attempt) {
        let appended = context.commands.spool().append(key, offset, data).await;
        appended.map_err(|error| spool_failed(connection.host_id, &error))?
    } else {
        end
    };
    connection.send_frame(&ServerFrame::AckPart {
        command_id: key.command_id,
        attempt: key.attempt,
        stream: key.stream,
        section: key.section,
        offset: held,
    });
    Ok(())
}

fn spool_failed(host_id: HostId, error: &std::io::Error) -> Ending {
    tracing::error!(%host_id, %error, "output could not be spooled");
    Ending::new(1013, "the server cannot store it now; try again")
}

/// Counts frames in one-second windows.
#[derive(Default)]
struct Window {
    started_us: i64,
    frames: u32,
}

impl Window {
    /// Counts a frame; returns how long to stop reading if there were too many.
    fn count(&mut self, now_us: i64) -> Option<Duration> {
        if now_us - self.started_us >= 1_000_000 {
            *self = Self {
                started_us: now_us,
                frames: 0,
            };
        }
        self.frames += 1;
        let rest_us = u64::try_from(self.started_us + 1_000_000 - now_us).unwrap_or(0);
        (self.frames > FRAMES_PER_SECOND_MAX).then(|| Duration::from_micros(rest_us))
    }
}

/// Ends connections that have been silent for `limit`, for ever: a look before that time is over at the latest, so that
/// none lives longer.
pub async fn watch_silence(commands: Commands, limit: Duration) {
    let between_looks = SILENCE_LOOK.min(limit / 4);
    let silent_us = i64::try_from((limit - between_looks).as_micros()).unwrap_or(i64::MAX);
    let mut ticks = tokio::time::interval(between_looks);
    loop {
        ticks.tick().await;
        let before_us = commands.clock().monotonic_us() - silent_us;
        if before_us > 0 {
            commands.connections().cut_silent(before_us);
        }
    }
}
