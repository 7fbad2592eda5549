//! One agent's WebSocket, in one small task: `hello` first, then frames both ways, until it ends. What the frames mean
//! is in `conversation`.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket};
use fleetwright_protocol::HostId;
use fleetwright_protocol::close::close_reason;
use fleetwright_protocol::frame::{AgentFrame, Hello, read_agent_frame, type_of};
use tokio::sync::mpsc;

use super::conversation::{ConnectionContext, Ending, greet, leave, take};
use super::identity::AgentCertificate;
use crate::commands::Commands;
use crate::hosts::conflicts::Visitor;
use crate::links::{Connection, DOES_NOT_READ};
use crate::loops::{Loop, Loops};

/// The first frame must come within this time of the handshake.
const HELLO_WITHIN: Duration = Duration::from_secs(10);
/// A frame that cannot be written within this time means a reader that is gone.
const WRITE_WITHIN: Duration = Duration::from_secs(10);
/// The last word is a courtesy: a connection that is cut must be gone within 5 s.
const GOODBYE_WITHIN: Duration = Duration::from_secs(2);
/// Frames per second an agent may send before it is slowed down: a hundred times what an honest one needs.
const FRAMES_PER_SECOND_MAX: u32 = 2_000;

/// Serves one connection until it ends, at the latest when its certificate does. The caller has checked the certificate
/// and the host's approval.
pub async fn serve(
    mut socket: WebSocket,
    certificate: AgentCertificate,
    address: String,
    context: ConnectionContext,
) {
    let host_id = certificate.host_id;
    let lifetime_us = certificate
        .presented
        .not_after_us
        .saturating_sub(context.commands.now().wall_us);
    let lifetime = Duration::from_micros(u64::try_from(lifetime_us).unwrap_or(0));
    let connections = context.commands.connections().clone();
    let now_us = context.commands.clock().monotonic_us();
    let (connection, outbound) = connections.prepare(host_id, now_us);
    let conversation = async {
        let mut frames = Frames::of(host_id);
        let greeted = match read_hello(&mut socket, &mut frames).await {
            Ok(hello) => {
                let issued = certificate.presented.issued;
                let visitor = Visitor::of_hello(address, issued, &hello);
                greet(hello, &connection, visitor, &context).await
            }
            Err(ending) => Err(ending),
        };
        match greeted {
            Ok(()) => converse(&mut socket, &connection, outbound, frames, &context).await,
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
    leave(&connection, &context, &ending).await;
    tracing::debug!(%host_id, code = ending.code, reason = %ending.reason, "agent disconnected");
    let close = CloseFrame {
        code: ending.code,
        reason: close_reason(&ending.reason).into(),
    };
    let _ = tokio::time::timeout(GOODBYE_WITHIN, socket.send(Message::Close(Some(close)))).await;
}

async fn read_hello(socket: &mut WebSocket, frames: &mut Frames) -> Result<Hello, Ending> {
    let first = tokio::time::timeout(HELLO_WITHIN, socket.recv())
        .await
        .map_err(|_| Ending::new(1002, "no hello in time"))?;
    match first {
        Some(Ok(Message::Text(text))) => match frames.read(&text) {
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

async fn converse(
    socket: &mut WebSocket,
    connection: &Arc<Connection>,
    mut outbound: mpsc::Receiver<String>,
    mut frames: Frames,
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
            payload = connection.until_asked() => {
                let ping = Message::Ping(payload.to_vec().into());
                let sent = tokio::time::timeout(WRITE_WITHIN, socket.send(ping)).await;
                if !matches!(sent, Ok(Ok(()))) {
                    return Ending::of_gone_host(1001, DOES_NOT_READ);
                }
            }
            message = socket.recv() => {
                let text = match message {
                    Some(Ok(Message::Text(text))) => text,
                    Some(Ok(pinged @ (Message::Ping(_) | Message::Pong(_)))) => {
                        if let Message::Pong(payload) = &pinged {
                            connection.answered(payload);
                        }
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
                match frames.read(&text) {
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

/// Reads what one agent says.
struct Frames {
    host_id: HostId,
    /// Once is enough: a newer agent says it with every connection.
    has_noted_unknown: bool,
}

impl Frames {
    fn of(host_id: HostId) -> Self {
        Self {
            host_id,
            has_noted_unknown: false,
        }
    }

    fn read(&mut self, text: &str) -> serde_json::Result<AgentFrame> {
        let frame = read_agent_frame(text)?;
        if !self.has_noted_unknown {
            let word = match &frame {
                AgentFrame::Unknown => type_of(text),
                known => known.unknown_word(),
            };
            if let Some(word) = word {
                self.has_noted_unknown = true;
                let host_id = self.host_id;
                tracing::warn!(%host_id, %word, "the agent says what this server does not know, and may be newer");
            }
        }
        Ok(frame)
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
pub async fn watch_silence(commands: Commands, limit: Duration, loops: Loops) {
    let place = loops.take(Loop::LinkSilence);
    let between_looks = Loop::LinkSilence
        .period()
        .unwrap_or_default()
        .min(limit / 4);
    let silent_us = i64::try_from((limit - between_looks).as_micros()).unwrap_or(i64::MAX);
    let mut ticks = tokio::time::interval(between_looks);
    loop {
        ticks.tick().await;
        let _run = place.begin();
        let before_us = commands.clock().monotonic_us() - silent_us;
        if before_us > 0 {
            commands.connections().cut_silent(before_us);
        }
    }
}
