//! The way of a request that was let in: to its module without credentials, and of the answer, also a streamed one, back.

use std::pin::pin;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::response::Response;
use fleetwright_plugin_api::abi::{AbiResponse, BodyStreamBox, ROption};
use fleetwright_plugin_api::sdk::adapter::{abi_request, header_of};
use http::request::Parts;
use http::{HeaderMap, HeaderName, StatusCode, Uri, header};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::super::Modules;
use super::super::loaded::Loaded;
use super::refuse;
use crate::auth::{Caller, Standing};
use crate::http::Problem;
use crate::http::streams::StreamPlace;

/// Chunks of a stream that wait for a slow client before the module waits too.
const CHUNKS_WAITING_MAX: usize = 4;

impl Modules {
    pub(super) async fn forward(
        &self,
        loaded: &Arc<Loaded>,
        caller: Caller,
        standing: Standing,
        uri: &Uri,
        (parts, body): (Parts, Bytes),
    ) -> Result<Response, Problem> {
        let mut forwarded = http::Request::new(body);
        *forwarded.method_mut() = parts.method;
        *forwarded.uri_mut() = relative(uri);
        *forwarded.headers_mut() = without_credentials(parts.headers);
        // Counted before it is looked at: who replaces the module waits for all that may still find it serving.
        let request = loaded.activity.request();
        let Some(router) = loaded.serving() else {
            return Err(refuse::not_serving(loaded));
        };
        let answer = router.handle(abi_request(&caller.to_context(), forwarded));
        let principal = caller.principal.id;
        // The key stays taken for as long as the module works, also when the client has gone.
        let held = (request, caller.idempotency);
        match self.call(loaded, held, answer).await {
            Ok(answer) => self.response(loaded, (standing, &principal), answer),
            Err(failure) => Err(refuse::unanswered(failure)),
        }
    }

    /// 429 for a stream of somebody who has too many.
    fn response(
        &self,
        loaded: &Arc<Loaded>,
        (standing, principal): (Standing, &str),
        answer: AbiResponse,
    ) -> Result<Response, Problem> {
        let body = match answer.body.stream {
            ROption::RNone => Body::from(Vec::from(answer.body.bytes)),
            ROption::RSome(stream) => {
                let place = self.parts().streams.take(principal)?;
                self.stream_body(loaded, (standing, place), stream)
            }
        };
        let mut response = Response::new(body);
        // A module answers with what it likes; what is not a status is its defect.
        *response.status_mut() =
            StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        for (name, value) in answer.headers.iter().filter_map(header_of) {
            if !is_of_the_connection(&name) {
                response.headers_mut().append(name, value);
            }
        }
        Ok(response)
    }

    /// A task on the modules' threads asks for chunks: the connection's own thread never runs a module's code.
    fn stream_body(
        &self,
        loaded: &Arc<Loaded>,
        (standing, place): (Standing, StreamPlace),
        stream: BodyStreamBox,
    ) -> Body {
        let (sender, receiver) = mpsc::channel(CHUNKS_WAITING_MAX);
        let ended = end_of_stream(loaded.streams.clone(), standing);
        let pump = pump(stream, sender, ended);
        drop(self.registry.runtime.spawn(loaded.activity.watch(pump)));
        let chunks = futures_util::stream::unfold(receiver, |mut receiver| async move {
            receiver
                .recv()
                .await
                .map(|chunk: std::io::Result<Bytes>| (chunk, receiver))
        });
        Body::from_stream(place.hold(chunks))
    }
}

/// Until the module serves no more, or whoever opened the stream may no longer have it.
async fn end_of_stream(replaced: CancellationToken, standing: Standing) {
    tokio::select! {
        () = replaced.cancelled() => {}
        () = standing.ended() => {}
    }
}

async fn pump(
    stream: BodyStreamBox,
    sender: mpsc::Sender<std::io::Result<Bytes>>,
    end: impl Future<Output = ()>,
) {
    let mut end = pin!(end);
    loop {
        let next = tokio::select! {
            next = stream.next() => next,
            () = sender.closed() => return,
            () = end.as_mut() => return,
        };
        let chunk = match next.into_result() {
            Ok(ROption::RSome(chunk)) => Ok(Bytes::from(Vec::from(chunk))),
            Ok(ROption::RNone) => return,
            Err(error) => Err(std::io::Error::other(error.message.to_string())),
        };
        let failed = chunk.is_err();
        // Also while it waits for a client that does not read.
        let sent = tokio::select! {
            sent = sender.send(chunk) => sent,
            () = end.as_mut() => return,
        };
        if sent.is_err() || failed {
            return;
        }
    }
}

/// Path and query only: the module has no business with the authority.
fn relative(uri: &Uri) -> Uri {
    uri.path_and_query()
        .and_then(|path| path.as_str().parse().ok())
        .unwrap_or_default()
}

fn without_credentials(mut headers: HeaderMap) -> HeaderMap {
    for name in [
        header::AUTHORIZATION,
        header::COOKIE,
        header::PROXY_AUTHORIZATION,
    ] {
        headers.remove(name);
    }
    headers
}

fn is_of_the_connection(name: &HeaderName) -> bool {
    [
        header::CONNECTION,
        header::TRANSFER_ENCODING,
        header::CONTENT_LENGTH,
        header::UPGRADE,
    ]
    .contains(name)
}
