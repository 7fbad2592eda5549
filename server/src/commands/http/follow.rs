//! A command's live output as Server-Sent Events: `output` events while it runs, then one `finished`, then the end.
//! What was printed before following began is not repeated; the stored output is there once it has finished.

use std::convert::Infallible;
use std::time::Duration;

use axum::response::sse::{Event, KeepAlive, Sse};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fleetwright_protocol::CommandId;
use futures_util::Stream;
use futures_util::stream::{StreamExt as _, unfold};
use serde_json::json;

use crate::commands::live_output::{Chunk, Follower, Heard};
use crate::commands::{Commands, view};

/// As promised for every stream of the API.
const COMMENT_EVERY: Duration = Duration::from_secs(15);
/// Between looks while the database is away.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

struct Following {
    commands: Commands,
    id: CommandId,
    follower: Follower,
    /// The command itself is to be looked at: at the beginning, when it is said to be over, and as often as a comment
    /// is due. Never once per chunk.
    must_look: bool,
    over: bool,
}

/// Follows the command until it is over, or `end` comes.
pub(super) fn events(
    commands: Commands,
    id: CommandId,
    end: impl Future<Output = ()> + Send + 'static,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let following = Following {
        id,
        // Followed first and looked at then, so that an end in between is not missed.
        follower: commands.live_output().follow(id),
        commands,
        must_look: true,
        over: false,
    };
    let stream = unfold(following, |mut following| async move {
        let event = following.next().await?;
        Some((Ok(event), following))
    });
    Sse::new(stream.take_until(end)).keep_alive(KeepAlive::new().interval(COMMENT_EVERY))
}

impl Following {
    /// The next event; `None` ends the stream.
    async fn next(&mut self) -> Option<Event> {
        if self.over {
            return None;
        }
        loop {
            if self.must_look {
                match self.commands.get(self.id).await {
                    Ok(Some(found)) if found.status.is_terminal() => {
                        self.over = true;
                        let body = json!(view::command(found, None));
                        return Some(Event::default().event("finished").data(body.to_string()));
                    }
                    Ok(Some(_)) => self.must_look = false,
                    // Deleted by retention.
                    Ok(None) => return None,
                    Err(_) => {
                        tokio::time::sleep(RETRY_PAUSE).await;
                        continue;
                    }
                }
            }
            tokio::select! {
                biased;
                heard = self.follower.hear() => match heard {
                    Heard::Chunk(chunk) => return Some(output_event(&chunk)),
                    Heard::Missed => {}
                    Heard::Over => {
                        self.follower = self.commands.live_output().follow(self.id);
                        self.must_look = true;
                    }
                },
                () = tokio::time::sleep(COMMENT_EVERY) => self.must_look = true,
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
