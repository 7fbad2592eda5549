//! Progress as server-sent events: a snapshot on connect (also after `Last-Event-ID`: counters have no history worth
//! replaying), one whenever the revision rose, a comment when nothing happened for a while, and the end after the
//! terminal one. A reader that is slow gets fewer events, never old ones: each is read when it is asked for.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse as _, Response};
use fleetwright_plugin_api::sdk::{Caller, PathId, Problem, Server};
use futures_util::future::{Either, select};
use futures_util::stream;
use uuid::Uuid;

use crate::error::OperationError;
use crate::kind::{Kind, Loaded, problem};
use crate::read;
use crate::signals::{self, EVER};

/// A comment keeps proxies from closing a silent stream; the API promises one this often.
const SILENCE_MAX: Duration = Duration::from_secs(15);

/// Follow the progress of an operation.
pub async fn events<K: Kind>(
    State(server): State<Server>,
    Caller(context): Caller,
    PathId(id): PathId<Uuid>,
) -> Result<Response, Problem> {
    // A missing operation is an answer, not a stream that ends at once.
    let found = read::operation::<K>(&server, context.tenant.as_deref(), id).await;
    let follower = Follower {
        server,
        tenant: context.tenant,
        loaded: found.map_err(problem::<K>)?,
        generation: EVER,
        shown_revision: None,
        ended: false,
    };
    let events = stream::unfold(follower, |follower| async {
        let (event, follower) = follower.next().await?;
        Some((Ok::<Event, Infallible>(event), follower))
    });
    Ok(Sse::new(events).into_response())
}

struct Follower<K: Kind> {
    server: Server,
    tenant: Option<String>,
    /// As last read.
    loaded: Loaded<K>,
    generation: u64,
    shown_revision: Option<i64>,
    ended: bool,
}

impl<K: Kind> Follower<K> {
    async fn next(mut self) -> Option<(Event, Self)> {
        if self.ended {
            return None;
        }
        let clock = self.server.clone();
        let mut silence = std::pin::pin!(clock.sleep(SILENCE_MAX));
        loop {
            match self.changed().await {
                Ok(Some(event)) => return Some((event, self)),
                Ok(None) => {}
                Err(OperationError::NotFound) => return None,
                // The database is away for a moment: the next look may do better.
                Err(error) => tracing::debug!(error = %error, "progress could not be read"),
            }
            let keys = self.keys();
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

    fn keys(&self) -> Vec<String> {
        let sets = self.loaded.header.set_ids().map(signals::of_set);
        let row = K::ROW_MOVES.then(|| K::NAMES.signal.to_owned());
        sets.chain(row).collect()
    }

    /// The progress, if it is not what was shown last.
    async fn changed(&mut self) -> Result<Option<Event>, OperationError> {
        let header = &self.loaded.header;
        self.loaded = if K::ROW_MOVES {
            read::operation(&self.server, self.tenant.as_deref(), header.id).await?
        } else {
            read::with_set(&self.server, header.clone()).await?
        };
        let revision = self.loaded.revision();
        if self.shown_revision == Some(revision) {
            return Ok(None);
        }
        self.shown_revision = Some(revision);
        self.ended = K::status(&self.loaded).is_terminal();
        let data = serde_json::to_string(&K::progress(&self.loaded)).unwrap_or_default();
        let event = Event::default()
            .event("progress")
            .id(revision.to_string())
            .data(data);
        Ok(Some(event))
    }
}
