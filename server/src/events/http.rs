//! `GET /events`: everything the caller may see, as Server-Sent Events. `Last-Event-ID` resumes; if what was missed is
//! no longer known, a `resync` event says so first.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse;
use axum::response::{IntoResponse, Response};
use futures_util::stream::unfold;
use http::HeaderMap;
use serde_json::json;
use tokio::sync::broadcast;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{EventId, NumberedEvent};
use crate::app::AppState;
use crate::auth::{Caller, Principal};

/// As promised for every stream of the API.
const COMMENT_EVERY: Duration = Duration::from_secs(15);

pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(stream_events))
}

struct Listening {
    principal: Principal,
    pending: VecDeque<sse::Event>,
    live: broadcast::Receiver<Arc<NumberedEvent>>,
    over: bool,
}

/// Follows what happens, from now or from after `Last-Event-ID`.
#[utoipa::path(get, path = "/events", tag = "events",
    params(("Last-Event-ID" = Option<String>, Header, description = "Resume after this event.")),
    responses((status = OK, content_type = "text/event-stream", body = String)))]
async fn stream_events(
    State(app): State<AppState>,
    caller: Caller,
    headers: HeaderMap,
) -> Response {
    let last_seen = headers.get("last-event-id").and_then(|value| value.to_str().ok());
    let unknown = last_seen.is_some_and(|text| EventId::parse(text).is_none());
    let subscription = app.events.subscribe(last_seen.and_then(EventId::parse));
    let mut pending = VecDeque::new();
    let opening = if subscription.resync || unknown { "resync" } else { "ready" };
    pending.push_back(
        sse::Event::default().event(opening).id(subscription.at.to_string()).data("{}"),
    );
    let principal = caller.principal;
    let missed = subscription.missed.iter().filter(|event| event.visible_to(&principal));
    pending.extend(missed.map(|event| encode(event)));
    let listening = Listening { principal, pending, live: subscription.live, over: false };
    let stream = unfold(listening, |mut listening| async move {
        let event = listening.next().await?;
        Some((Ok::<_, Infallible>(event), listening))
    });
    let keep_alive = sse::KeepAlive::new().interval(COMMENT_EVERY);
    sse::Sse::new(stream).keep_alive(keep_alive).into_response()
}

impl Listening {
    async fn next(&mut self) -> Option<sse::Event> {
        if let Some(event) = self.pending.pop_front() {
            return Some(event);
        }
        if self.over {
            return None;
        }
        loop {
            match self.live.recv().await {
                Ok(event) if event.visible_to(&self.principal) => return Some(encode(&event)),
                Ok(_) => {}
                // Too slow: the stream ends after saying so, and the client comes back with its last id.
                Err(broadcast::error::RecvError::Lagged(_)) => {
                    self.over = true;
                    return Some(sse::Event::default().event("resync").data("{}"));
                }
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

fn encode(event: &NumberedEvent) -> sse::Event {
    let body = json!({
        "kind": event.event.kind,
        "subject": { "kind": event.event.subject_kind, "id": event.event.subject_id },
        "data": event.event.data,
    });
    sse::Event::default()
        .event(event.event.kind)
        .id(event.id.to_string())
        .data(body.to_string())
}
