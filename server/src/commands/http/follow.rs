//! A command's live output as Server-Sent Events: `output` events while it runs, then one `finished`, then the end.
//! What was printed before following began is not repeated; the stored output is there once it has finished.

use std::convert::Infallible;
use std::time::Duration;

use axum::response::sse::{Event, KeepAlive, Sse};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fleetwright_plugin_api::wire::CommandView;
use fleetwright_protocol::CommandId;
use futures_util::Stream;
use futures_util::stream::unfold;
use serde_json::json;
use tokio::sync::broadcast;

use crate::commands::live_output::Chunk;
use crate::commands::{Commands, view};
use crate::events::Signals;

/// As promised for every stream of the API.
const COMMENT_EVERY: Duration = Duration::from_secs(15);

struct Following {
    commands: Commands,
    signals: Signals,
    id: CommandId,
    /// `None` once the command has ended or the follower has fallen too far behind.
    chunks: Option<broadcast::Receiver<Chunk>>,
    /// Woken when the command's set changes.
    set_key: [String; 1],
    seen: u64,
    over: bool,
}

pub(super) fn events(
    commands: Commands,
    signals: Signals,
    command: &CommandView,
) -> Sse<impl Stream<Item = Result<Event, Infallible>> + use<>> {
    let following = Following {
        id: command.id,
        chunks: Some(commands.live_output().follow(command.id)),
        set_key: [format!("set:{}", command.set_id)],
        commands,
        signals,
        seen: 0,
        over: false,
    };
    let stream = unfold(following, |mut following| async move {
        let event = following.next().await?;
        Some((Ok(event), following))
    });
    Sse::new(stream).keep_alive(KeepAlive::new().interval(COMMENT_EVERY))
}

impl Following {
    /// The next event; `None` ends the stream.
    async fn next(&mut self) -> Option<Event> {
        if self.over {
            return None;
        }
        loop {
            if let Some(event) = self.finished().await {
                self.over = true;
                return Some(event);
            }
            if let Some(chunk) = self.wait().await {
                return Some(output_event(&chunk));
            }
        }
    }

    /// Looks at the command itself; what cannot be read now is looked at again after the next wake-up.
    async fn finished(&mut self) -> Option<Event> {
        let Ok(Some(found)) = self.commands.get(self.id).await else {
            return None;
        };
        found.status.is_terminal().then(|| {
            let body = json!(view::command(found, None));
            Event::default().event("finished").data(body.to_string())
        })
    }

    /// Waits for live output or for a change of the set.
    async fn wait(&mut self) -> Option<Chunk> {
        let chunk = async {
            match &mut self.chunks {
                Some(chunks) => chunks.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            chunk = chunk => match chunk {
                Ok(chunk) => Some(chunk),
                Err(broadcast::error::RecvError::Lagged(_)) => None,
                Err(broadcast::error::RecvError::Closed) => {
                    self.chunks = None;
                    None
                }
            },
            seen = self.signals.wait(&self.set_key, self.seen) => {
                self.seen = seen;
                None
            }
        }
    }
}

fn output_event(chunk: &Chunk) -> Event {
    let body = json!({
        "stream": chunk.stream,
        "offset": chunk.offset,
        "data": STANDARD.encode(&chunk.data),
    });
    Event::default().event("output").data(body.to_string())
}
