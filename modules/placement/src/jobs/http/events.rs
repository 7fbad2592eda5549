//! A job's events as server-sent events: all that are kept, or those after `Last-Event-ID`, then each as it happens, a comment
//! when nothing happened for a while, and the end after the one that ends the job. They are read when they are asked for, so
//! a reader that is slow costs nothing.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse as _, Response};
use fleetwright_plugin_api::sdk::{Caller, PathId, Problem, Server, ServerError};
use futures_util::future::{Either, select};
use futures_util::stream;
use uuid::Uuid;

use crate::jobs::actions::visible;
use crate::jobs::store::change::signal_of;
use crate::jobs::store::records::{Kept, events_after};
use crate::jobs::view;

/// A comment keeps proxies from closing a silent stream; the API promises one this often.
const SILENCE_MAX: Duration = Duration::from_secs(15);
/// Events read at once.
const EVENTS_PER_READ: i64 = 100;

/// Follow a job.
#[utoipa::path(
    get, path = "/fleet/jobs/{id}/events", tag = "jobs",
    params(("id" = Uuid, Path),
           ("Last-Event-ID" = Option<String>, Header, description = "The `id` of the last event that was received")),
    responses(
        (status = 200, description = "Each event with its sequence as `id` and its type as `event`", body = String, content_type = "text/event-stream"),
        (status = 400, description = "`malformed`: the id is not a UUID, or `Last-Event-ID` no sequence"),
        (status = 404, description = "No such job"),
        (status = 503, description = "`unavailable`")
    )
)]
pub async fn events(
    State(server): State<Server>,
    Caller(context): Caller,
    PathId(id): PathId<Uuid>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    // A missing job is an answer, not a stream that ends at once.
    let job = visible(&server, &context, id).await?;
    let follower = Follower {
        key: signal_of(&job),
        server,
        job_id: id,
        sequence: last_seen(&headers)?,
        waiting: VecDeque::new(),
        generation: 0,
        ended: false,
    };
    let events = stream::unfold(follower, |follower| async {
        let (event, follower) = follower.next().await?;
        Some((Ok::<Event, Infallible>(event), follower))
    });
    Ok(Sse::new(events).into_response())
}

/// The sequence after which events are wanted.
fn last_seen(headers: &HeaderMap) -> Result<i64, Problem> {
    let Some(value) = headers.get("last-event-id") else {
        return Ok(0);
    };
    let sequence = value
        .to_str()
        .ok()
        .and_then(|text| text.trim().parse().ok());
    sequence
        .filter(|sequence: &i64| *sequence >= 0)
        .ok_or_else(|| Problem::malformed("Last-Event-ID is not the id of an event."))
}

struct Follower {
    server: Server,
    job_id: Uuid,
    key: String,
    /// Of the last event that was given out.
    sequence: i64,
    waiting: VecDeque<Kept>,
    generation: u64,
    ended: bool,
}

impl Follower {
    async fn next(mut self) -> Option<(Event, Self)> {
        let clock = self.server.clone();
        let mut silence = std::pin::pin!(clock.sleep(SILENCE_MAX));
        loop {
            if let Some(kept) = self.waiting.pop_front() {
                self.sequence = kept.sequence;
                self.ended = kept.to.is_final() && kept.from != Some(kept.to);
                return Some((shown(kept), self));
            }
            match self.read().await {
                Ok(true) => continue,
                // Nothing follows the end, but what was told after it.
                Ok(false) if self.ended || self.is_over().await => return None,
                Ok(false) => {}
                // The database is away for a moment: the next look may do better.
                Err(error) => tracing::debug!(error = %error, "events could not be read"),
            }
            let keys = [self.key.clone()];
            let signals = self.server.signals().clone();
            let signal = std::pin::pin!(signals.wait(&keys, self.generation));
            match select(signal, silence.as_mut()).await {
                Either::Left((generation, _)) => self.generation = generation,
                // Signals are hints, so silence is also the time to look again.
                Either::Right(((), _)) => {
                    if !matches!(self.read().await, Ok(true)) {
                        return Some((Event::default().comment("still here"), self));
                    }
                }
            }
        }
    }

    /// True if there are more.
    async fn read(&mut self) -> Result<bool, ServerError> {
        let db = self.server.db();
        let found = events_after(db, self.job_id, self.sequence, EVENTS_PER_READ).await?;
        self.waiting.extend(found);
        Ok(!self.waiting.is_empty())
    }

    /// Whoever comes back after the end hears nothing more.
    async fn is_over(&self) -> bool {
        let job = crate::jobs::store::job(self.server.db(), self.job_id).await;
        job.is_ok_and(|job| {
            job.is_none_or(|job| job.stage.is_final() && job.revision <= self.sequence)
        })
    }
}

fn shown(kept: Kept) -> Event {
    let (id, kind) = (kept.sequence.to_string(), kept.kind.clone());
    let data = serde_json::to_string(&view::event(kept)).unwrap_or_default();
    Event::default().event(kind).id(id).data(data)
}
