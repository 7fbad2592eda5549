//! Progress as server-sent events: a snapshot on connect (also after `Last-Event-ID`: counters have no history worth
//! replaying), one whenever the set's revision rose, a comment when nothing happened for a while, and the end after the
//! terminal one. A reader that is slow gets fewer events, never old ones: each is read when it is asked for.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::response::IntoResponse;
use axum::response::sse::{Event, Sse};
use fleetwright_plugin_api::sdk::{Caller, PathId, Problem, Server};
use fleetwright_protocol::SetId;
use futures_util::future::{Either, select};
use futures_util::stream;
use uuid::Uuid;

use crate::actions::{BulkError, EVER, read, set_signal};
use crate::http::problem::of;
use crate::view;

/// A comment keeps proxies from closing a silent stream; the API promises one this often.
const SILENCE_MAX: Duration = Duration::from_secs(15);

/// Follow the progress of an operation.
#[utoipa::path(
    get, path = "/fleet/bulk/{id}/events", tag = "bulk",
    params(
        ("id" = Uuid, Path),
        ("Last-Event-ID" = Option<String>, Header, description = "Ignored: the current snapshot always comes first")
    ),
    responses(
        (status = 200, description = "Events named `progress`, each with the counters and the status",
         content_type = "text/event-stream", body = crate::view::BulkProgress),
        (status = 404, description = "No such operation")
    )
)]
pub async fn events(
    State(server): State<Server>,
    Caller(context): Caller,
    PathId(id): PathId<Uuid>,
) -> Result<impl IntoResponse, Problem> {
    // A missing operation is an answer, not a stream that ends at once.
    let found = read::operation(&server, context.tenant.as_deref(), id).await;
    let (header, _set) = found.map_err(of)?;
    let follower = Follower {
        server,
        id,
        set_id: header.set_id,
        generation: EVER,
        shown_revision: None,
        ended: false,
    };
    let events = stream::unfold(follower, |follower| async {
        let (event, follower) = follower.next().await?;
        Some((Ok::<Event, Infallible>(event), follower))
    });
    Ok(Sse::new(events))
}

struct Follower {
    server: Server,
    id: Uuid,
    set_id: SetId,
    generation: u64,
    shown_revision: Option<i64>,
    ended: bool,
}

impl Follower {
    async fn next(mut self) -> Option<(Event, Self)> {
        if self.ended {
            return None;
        }
        let keys = [set_signal(self.set_id)];
        let clock = self.server.clone();
        let mut silence = std::pin::pin!(clock.sleep(SILENCE_MAX));
        loop {
            match self.changed().await {
                Ok(Some(event)) => return Some((event, self)),
                Ok(None) => {}
                Err(BulkError::NotFound) => return None,
                // The database is away for a moment: the next look may do better.
                Err(error) => tracing::debug!(error = %error, "progress could not be read"),
            }
            let signals = self.server.signals().clone();
            let signal = std::pin::pin!(signals.wait(&keys, self.generation));
            match select(signal, silence.as_mut()).await {
                Either::Left((generation, _)) => self.generation = generation,
                // Signals are hints, so silence is also the time to look again.
                Either::Right(((), _)) => {
                    let event = self.changed().await.ok().flatten();
                    let event = event.unwrap_or_else(|| Event::default().comment("still here"));
                    return Some((event, self));
                }
            }
        }
    }

    /// The progress, if it is not what was shown last.
    async fn changed(&mut self) -> Result<Option<Event>, BulkError> {
        let set = read::set(&self.server, self.set_id).await?;
        if self.shown_revision == Some(set.revision) {
            return Ok(None);
        }
        let progress = view::progress(self.id, &set);
        self.shown_revision = Some(set.revision);
        self.ended = progress.status.is_terminal();
        let data = serde_json::to_string(&progress).unwrap_or_default();
        let event = Event::default()
            .event("progress")
            .id(set.revision.to_string())
            .data(data);
        Ok(Some(event))
    }
}
