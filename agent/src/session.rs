//! One connection to the server, from handshake to end: frames in and out, heartbeats, and the eye on a silent peer.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fleetwright_protocol::close::{IDENTITY_CONFLICT, REPLACED, close_reason};
use fleetwright_protocol::frame::{WEBSOCKET_SUBPROTOCOL, type_of};
use fleetwright_protocol::limits::FRAME_BYTES_MAX;
use fleetwright_protocol::{AgentFrame, ServerFrame, Session, Word};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use http::{HeaderValue, StatusCode, header};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, timeout};
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Message};

use crate::core::Input;
use crate::facts::Pulse;
use crate::server_client::{self, ServerClient, ServerError};
use crate::sessions::Sessions;

/// The state of a command and the results of all that ended: repeated if lost, so a bound costs nothing.
const CONTROL_FRAMES_MAX: usize = 1_024;
/// Of a frame. Longer ones are taken one at a time, so that a server cannot fill this host's memory with what waits.
const SMALL_BYTES_MAX: usize = 16 * 1024;
/// Chunks of live output that wait for a slow connection, at most 64 KiB each.
const OUTPUT_FRAMES_MAX: usize = 32;
/// Per connection; most frames are far smaller.
const READ_BUFFER_BYTES: usize = 8 * 1024;
/// So many pings fit into the time after which a silent server is taken for gone.
const PINGS: u32 = 3;
/// The handshake and the welcome.
const WELCOME_WITHIN: Duration = Duration::from_secs(20);

type Socket = WebSocketStream<TlsStream<TcpStream>>;

/// Why a connection did not come about, or ended.
#[derive(Debug, thiserror::Error)]
pub enum SessionEnd {
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The server knows this host but does not let it in (yet).
    #[error("this host is not approved: {0}")]
    NotApproved(String),
    /// The server has met another machine with this one's identity.
    #[error("{reason}")]
    Disowned {
        /// It was told at its `hello`, or while it was connected: not only that it had been replaced.
        is_conflict: bool,
        reason: String,
    },
    #[error("the server speaks another protocol: {0}")]
    WrongProtocol(String),
    #[error("the connection broke: {0}")]
    Broken(String),
    /// The server said what is no frame. It is told so.
    #[error("the server breaks the protocol: {0}")]
    Nonsense(String),
    #[error("the server was silent for {} s", .0.as_secs())]
    Silent(Duration),
    #[error("the server closed the connection ({code}): {reason}")]
    Closed { code: u16, reason: String },
    /// We ended it.
    #[error("ended on our side")]
    Ended,
}

/// What a session needs beside the server.
pub struct Surroundings<'a> {
    pub inputs: &'a mpsc::Sender<Input>,
    pub pulse: &'a mut Pulse,
    pub sessions: Arc<Mutex<Sessions>>,
    pub facts: fleetwright_protocol::Facts,
    /// `None`: as the server says.
    pub heartbeat_seconds: Option<u64>,
    pub heartbeat_seconds_default: u64,
    /// After so much silence the server is taken for gone.
    pub silence_max: Duration,
}

/// Connects and serves until the end. `on_welcome` is called once the server has let us in; `end` asks for the end.
pub async fn run(
    client: &ServerClient,
    surroundings: Surroundings<'_>,
    on_welcome: impl FnOnce(),
    end: &mut watch::Receiver<bool>,
) -> SessionEnd {
    let socket = tokio::select! {
        socket = timeout(WELCOME_WITHIN, connect(client)) => socket,
        () = wanted(end) => return SessionEnd::Ended,
    };
    let socket = match socket {
        Ok(Ok(socket)) => socket,
        Ok(Err(end)) => return end,
        Err(_) => return SessionEnd::Server(ServerError::Slow(client.address().authority())),
    };
    let inputs = surroundings.inputs.clone();
    let session = begun(Arc::clone(&surroundings.sessions)).await;
    let reason = serve(socket, session, surroundings, on_welcome, end).await;
    if let SessionEnd::Disowned { .. } = &reason {
        let _ = inputs.send(Input::Disowned).await;
    }
    // The core ends only with the whole agent.
    let _ = inputs.send(Input::Disconnected).await;
    reason
}

/// A new session, on the disk; off this thread, which has other things to do meanwhile. Not before there is a server to
/// hear of it: one that is away for a day costs no sessions.
async fn begun(sessions: Arc<Mutex<Sessions>>) -> Option<Session> {
    let work = tokio::task::spawn_blocking(move || {
        let mut sessions = sessions.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.begin(uuid::Uuid::new_v4())
    });
    match work.await {
        Ok(Ok(session)) => Some(session),
        Ok(Err(error)) => {
            tracing::error!(%error, "cannot note that a session begins");
            None
        }
        Err(_) => None,
    }
}

async fn connect(client: &ServerClient) -> Result<Socket, SessionEnd> {
    let stream = client.connect().await?;
    let url = format!(
        "wss://{}/api/v1/agent/connect",
        client.address().authority()
    );
    let broken = |error: tungstenite::Error| SessionEnd::Broken(error.to_string());
    let mut request = url.into_client_request().map_err(broken)?;
    let headers = request.headers_mut();
    headers.insert(
        header::SEC_WEBSOCKET_PROTOCOL,
        HeaderValue::from_static(WEBSOCKET_SUBPROTOCOL),
    );
    let agent = concat!("fleetwright-agent/", env!("CARGO_PKG_VERSION"));
    headers.insert(header::USER_AGENT, HeaderValue::from_static(agent));
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(READ_BUFFER_BYTES)
        .max_message_size(Some(FRAME_BYTES_MAX))
        .max_frame_size(Some(FRAME_BYTES_MAX));
    match tokio_tungstenite::client_async_with_config(request, stream, Some(config)).await {
        Ok((socket, _)) => Ok(socket),
        Err(tungstenite::Error::Http(answer)) => {
            let status = answer.status();
            let refusal =
                server_client::refusal(status, answer.body().as_deref().unwrap_or_default());
            Err(match status {
                StatusCode::UPGRADE_REQUIRED => SessionEnd::WrongProtocol(refusal.to_string()),
                StatusCode::FORBIDDEN => SessionEnd::NotApproved(refusal.to_string()),
                _ => SessionEnd::Server(refusal),
            })
        }
        Err(error) => Err(broken(error)),
    }
}

async fn serve(
    socket: Socket,
    session: Option<Session>,
    surroundings: Surroundings<'_>,
    on_welcome: impl FnOnce(),
    end: &mut watch::Receiver<bool>,
) -> SessionEnd {
    let (mut sink, stream) = socket.split();
    let (control, controls) = mpsc::channel(CONTROL_FRAMES_MAX);
    let (output, outputs) = mpsc::channel(OUTPUT_FRAMES_MAX);
    let connected = Input::Connected {
        control,
        output,
        facts: Box::new(surroundings.facts),
        session,
    };
    if surroundings.inputs.send(connected).await.is_err() {
        return SessionEnd::Ended;
    }
    let (period, periods) = watch::channel(
        surroundings
            .heartbeat_seconds
            .unwrap_or(surroundings.heartbeat_seconds_default),
    );
    let ping = surroundings.silence_max / PINGS;
    let (protocol, protocols) = watch::channel(String::new());
    let settings = Reading {
        inputs: surroundings.inputs,
        silence_max: surroundings.silence_max,
        // What this host's own settings say wins.
        period: surroundings.heartbeat_seconds.is_none().then_some(&period),
        protocol: &protocol,
    };
    let mut beating = Beating {
        ping,
        periods,
        protocols,
        pulse: surroundings.pulse,
    };
    let reason = tokio::select! {
        reason = read(stream, settings, on_welcome) => reason,
        reason = write(&mut sink, controls, outputs, &mut beating) => reason,
        () = wanted(end) => SessionEnd::Ended,
    };
    // A farewell, if the peer still takes one.
    let _ = timeout(
        Duration::from_secs(1),
        sink.send(Message::Close(farewell(&reason))),
    )
    .await;
    reason
}

/// What the server is told of the end, if there is something it can do about it.
fn farewell(end: &SessionEnd) -> Option<CloseFrame> {
    match end {
        SessionEnd::Nonsense(what) => Some(CloseFrame {
            code: CloseCode::Protocol,
            reason: close_reason(what).into(),
        }),
        SessionEnd::Server(_)
        | SessionEnd::NotApproved(_)
        | SessionEnd::Disowned { .. }
        | SessionEnd::WrongProtocol(_)
        | SessionEnd::Broken(_)
        | SessionEnd::Silent(_)
        | SessionEnd::Closed { .. }
        | SessionEnd::Ended => None,
    }
}

struct Reading<'a> {
    inputs: &'a mpsc::Sender<Input>,
    silence_max: Duration,
    period: Option<&'a watch::Sender<u64>>,
    /// The version of the protocol that the server welcomes us with.
    protocol: &'a watch::Sender<String>,
}

/// What is said at its time. The version is empty before the welcome.
struct Beating<'a> {
    ping: Duration,
    periods: watch::Receiver<u64>,
    protocols: watch::Receiver<String>,
    pulse: &'a mut Pulse,
}

impl Beating<'_> {
    fn period(&mut self) -> Duration {
        Duration::from_secs(*self.periods.borrow_and_update())
    }

    fn heartbeat(&mut self) -> AgentFrame {
        let period = self.period();
        let heartbeat = self.pulse.heartbeat(period);
        AgentFrame::Heartbeat(heartbeat.for_server(&self.protocols.borrow()))
    }
}

async fn read(
    mut stream: SplitStream<Socket>,
    reading: Reading<'_>,
    on_welcome: impl FnOnce(),
) -> SessionEnd {
    let mut on_welcome = Some(on_welcome);
    let mut has_told_unknown = false;
    loop {
        let patience = match on_welcome {
            Some(_) => WELCOME_WITHIN,
            None => reading.silence_max,
        };
        let message = match timeout(patience, stream.next()).await {
            Ok(Some(Ok(message))) => message,
            Ok(Some(Err(error))) => return SessionEnd::Broken(error.to_string()),
            Ok(None) => return SessionEnd::Broken("the server hung up".to_owned()),
            Err(_) => return SessionEnd::Silent(patience),
        };
        match message {
            Message::Text(text) => match serde_json::from_str::<ServerFrame>(&text) {
                Ok(ServerFrame::Unknown) => {
                    if !std::mem::replace(&mut has_told_unknown, true) {
                        let kind = type_of(&text).unwrap_or(Word::of(""));
                        tracing::warn!(%kind, "the server says what this agent does not know; such frames are ignored");
                    }
                }
                Ok(frame) => {
                    if let Some(seconds) = heartbeat_seconds(&frame)
                        && let Some(period) = reading.period
                    {
                        period.send_replace(seconds);
                    }
                    if let ServerFrame::Welcome { protocol, .. } = &frame
                        && let Some(on_welcome) = on_welcome.take()
                    {
                        reading.protocol.send_replace(protocol.to_string());
                        on_welcome();
                    }
                    if !bring(reading.inputs, frame, text.len()).await {
                        return SessionEnd::Ended;
                    }
                }
                Err(error) => {
                    return SessionEnd::Nonsense(format!("a frame that makes no sense: {error}"));
                }
            },
            Message::Binary(_) => return SessionEnd::Nonsense("a binary frame".to_owned()),
            Message::Close(frame) => return closed(frame),
            // Answered by the socket itself.
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
        }
    }
}

/// Brings a frame of so many bytes to the core; false if that has ended. A large one waits until all before it are taken.
async fn bring(inputs: &mpsc::Sender<Input>, frame: ServerFrame, bytes: usize) -> bool {
    let room = if bytes > SMALL_BYTES_MAX {
        inputs.max_capacity()
    } else {
        1
    };
    let Ok(mut places) = inputs.reserve_many(room).await else {
        return false;
    };
    if let Some(place) = places.next() {
        place.send(Input::Frame(Box::new(frame)));
    }
    true
}

fn closed(frame: Option<CloseFrame>) -> SessionEnd {
    let Some(frame) = frame else {
        return SessionEnd::Closed {
            code: 1005,
            reason: String::new(),
        };
    };
    let reason = frame.reason.to_string();
    let is_conflict = reason.starts_with(IDENTITY_CONFLICT);
    if frame.code == CloseCode::Protocol {
        SessionEnd::WrongProtocol(reason)
    } else if is_conflict || reason == REPLACED {
        SessionEnd::Disowned {
            is_conflict,
            reason,
        }
    } else {
        SessionEnd::Closed {
            code: frame.code.into(),
            reason,
        }
    }
}

/// What the server wishes, within reason.
fn heartbeat_seconds(frame: &ServerFrame) -> Option<u64> {
    match frame {
        ServerFrame::Welcome {
            heartbeat_seconds, ..
        }
        | ServerFrame::Settings { heartbeat_seconds } => Some((*heartbeat_seconds).clamp(1, 300)),
        ServerFrame::Command(_)
        | ServerFrame::Cancel { .. }
        | ServerFrame::Ack { .. }
        | ServerFrame::AckPart { .. }
        | ServerFrame::Unknown => None,
    }
}

async fn write(
    sink: &mut SplitSink<Socket, Message>,
    mut controls: mpsc::Receiver<AgentFrame>,
    mut outputs: mpsc::Receiver<AgentFrame>,
    beating: &mut Beating<'_>,
) -> SessionEnd {
    let ping = beating.ping;
    let mut ping = tokio::time::interval_at(Instant::now() + ping, ping);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // Hello comes first, whatever the clock says.
    let mut heartbeat_at = Instant::now() + Duration::from_secs(1);
    let mut batch = Vec::new();
    loop {
        let sent = tokio::select! {
            biased;
            count = controls.recv_many(&mut batch, CONTROL_FRAMES_MAX) => {
                if count == 0 {
                    return SessionEnd::Ended;
                }
                send(sink, &mut batch).await
            }
            _ = ping.tick() => sink.send(Message::Ping(tungstenite::Bytes::new())).await,
            () = tokio::time::sleep_until(heartbeat_at) => {
                heartbeat_at = Instant::now() + beating.period();
                batch.push(beating.heartbeat());
                send(sink, &mut batch).await
            }
            Ok(()) = beating.periods.changed() => {
                heartbeat_at = heartbeat_at.min(Instant::now() + beating.period());
                Ok(())
            }
            Some(frame) = outputs.recv() => {
                batch.push(frame);
                send(sink, &mut batch).await
            }
        };
        if let Err(error) = sent {
            return SessionEnd::Broken(error.to_string());
        }
    }
}

/// Sends frames that came together with one flush.
async fn send(
    sink: &mut SplitSink<Socket, Message>,
    batch: &mut Vec<AgentFrame>,
) -> Result<(), tungstenite::Error> {
    for frame in batch.drain(..) {
        // Frames are plain data with text keys; encoding one cannot fail.
        let text = serde_json::to_string(&frame).unwrap_or_default();
        sink.feed(Message::text(text)).await?;
    }
    sink.flush().await
}

/// Resolves when the end is asked for, or nobody is left to ask.
async fn wanted(end: &mut watch::Receiver<bool>) {
    // An error means that the asker is gone: the agent is ending.
    let _ = end.wait_for(|wanted| *wanted).await;
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn of_large_frames_one_waits_and_of_small_ones_as_many_as_there_is_room_for() {
        let (inputs, mut core) = mpsc::channel(3);
        let bring = |bytes| bring(&inputs, ServerFrame::Unknown, bytes).now_or_never();
        let (small, large) = (SMALL_BYTES_MAX, SMALL_BYTES_MAX + 1);
        for (bytes, expected) in [
            (large, Some(true)),
            (large, None),
            (small, Some(true)),
            (small, Some(true)),
            (small, None),
        ] {
            assert_eq!(bring(bytes), expected, "{bytes}");
        }
        for _ in 0..3 {
            assert_eq!(bring(large), None);
            assert!(core.try_recv().is_ok());
        }
        assert_eq!(bring(large), Some(true));
        drop(core);
        assert_eq!(bring(large), Some(false));
    }
}
