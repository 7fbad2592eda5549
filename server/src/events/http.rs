//! `GET /events`: everything that happens and the caller may see, as server-sent events.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event as SseEvent, KeepAlive, Sse};
use futures_util::stream::{self, Stream, StreamExt as _};
use http::HeaderMap;
use serde_json::json;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{EventId, Events, NumberedEvent};
use crate::app::AppState;
use crate::app::rights::end_of_stream;
use crate::auth::{Caller, Principal, Standing};
use crate::http::Problem;

/// A comment this often keeps proxies from closing a quiet stream; the API promises it.
pub const COMMENT_INTERVAL: Duration = Duration::from_secs(15);

pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::default().routes(routes!(follow))
}

/// Follow everything that happens
///
/// Each event has an id; a client that reconnects with `Last-Event-ID` hears what it missed, or `resync` when
/// that is no longer known and it must read everything again.
#[utoipa::path(get, path = "/events", tag = "events",
    params(("last-event-id" = Option<String>, Header)),
    responses((status = 200, content_type = "text/event-stream", body = String)))]
pub async fn follow(
    State(app): State<AppState>,
    caller: Caller,
    standing: Standing,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<SseEvent, Infallible>>>, Problem> {
    let last_seen = last_event_id(&headers);
    let place = app.streams.take(&caller.principal.id)?;
    let end = end_of_stream(&app, standing);
    let stream = events(&app.events, caller.principal, last_seen);
    Ok(sse(place.hold(stream.take_until(end))))
}

/// An SSE response with the comments the API promises.
pub fn sse<S>(stream: S) -> Sse<impl Stream<Item = Result<SseEvent, Infallible>>>
where
    S: Stream<Item = SseEvent> + Send + 'static,
{
    Sse::new(stream.map(Ok)).keep_alive(KeepAlive::new().interval(COMMENT_INTERVAL))
}

/// The id the client says it saw last; one that no server gave out is as good as a very old one.
pub fn last_event_id(headers: &HeaderMap) -> LastSeen {
    match headers.get("last-event-id").map(|value| value.to_str()) {
        None => LastSeen::Nothing,
        Some(text) => text
            .ok()
            .and_then(EventId::parse)
            .map_or(LastSeen::Unknown, LastSeen::Event),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastSeen {
    Nothing,
    Unknown,
    Event(EventId),
}

fn events(
    events: &Events,
    principal: Principal,
    last_seen: LastSeen,
) -> impl Stream<Item = SseEvent> + Send + use<> {
    let (last_seen, is_unknown) = match last_seen {
        LastSeen::Nothing => (None, false),
        LastSeen::Unknown => (None, true),
        LastSeen::Event(id) => (Some(id), false),
    };
    let subscription = events.subscribe(last_seen);
    let first = if subscription.resync || is_unknown {
        "resync"
    } else {
        "hello"
    };
    // The first event gives a client that has no id yet one to come back with.
    let opening = SseEvent::default().event(first).data("{}");
    let opening = if subscription.missed.is_empty() {
        opening.id(subscription.at.to_string())
    } else {
        opening
    };
    let who = principal.clone();
    let missed = subscription
        .missed
        .into_iter()
        .filter(move |event| event.visible_to(&who))
        .map(|event| shown(&event));
    stream::iter([opening])
        .chain(stream::iter(missed.collect::<Vec<_>>()))
        .chain(live(subscription.live, principal))
}

fn live(
    receiver: Receiver<Arc<NumberedEvent>>,
    principal: Principal,
) -> impl Stream<Item = SseEvent> + Send {
    stream::unfold((receiver, principal), |(mut receiver, principal)| async {
        loop {
            match receiver.recv().await {
                Ok(event) if event.visible_to(&principal) => {
                    return Some((shown(&event), (receiver, principal)));
                }
                Ok(_) => {}
                Err(RecvError::Lagged(_)) => {
                    let resync = SseEvent::default().event("resync").data("{}");
                    return Some((resync, (receiver, principal)));
                }
                Err(RecvError::Closed) => return None,
            }
        }
    })
}

fn shown(numbered: &NumberedEvent) -> SseEvent {
    let event = &numbered.event;
    let data = json!({
        "kind": event.kind,
        "subject": {"kind": event.subject_kind, "id": event.subject_id},
        "data": event.data,
    });
    // JSON text has no bare line breaks, so it is one data line.
    SseEvent::default()
        .id(numbered.id.to_string())
        .event(event.kind)
        .data(data.to_string())
}
