//! What a request's body still holds when its answer is ready: a refusal is made before the body is read. The next
//! request begins behind that body, so a little of it is read away; where there is more, the answer says that the
//! connection ends, so that no client learns it from a broken one.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};

use super::places::Seat;

/// Read away for the sake of the connection: most bodies are smaller, and a new connection with its handshake costs
/// about as much as so many bytes.
const BYTES_MAX: u64 = 256 * 1024;
/// A client sends its body without waiting for an answer; one that is slower than this gets the answer first.
const PATIENCE: Duration = Duration::from_secs(1);

type Rest = Arc<Mutex<Option<Incoming>>>;

/// A body that leaves its rest behind when it is dropped.
pub struct Watched {
    /// None at its end.
    body: Option<Incoming>,
    rest: Rest,
    /// Told when the whole body is here: then the client waits for the server.
    seat: Seat,
}

/// The other end of a [`Watched`] body.
pub struct Unread(Rest);

/// `body` for the handler, and what tells afterwards how much of it was left.
pub fn watch(body: Incoming, seat: Seat) -> (Watched, Unread) {
    let rest = Rest::default();
    seat.set_served(body.is_end_stream());
    let watched = Watched {
        body: Some(body),
        rest: Arc::clone(&rest),
        seat,
    };
    (watched, Unread(rest))
}

impl Unread {
    /// Reads the rest away. False if there is too much of it, or it does not come: then the connection must end.
    pub async fn read_away(self) -> bool {
        let Some(rest) = self.take() else {
            return true;
        };
        if rest.size_hint().lower() > BYTES_MAX {
            return false;
        }
        let reading = tokio::time::timeout(PATIENCE, read_to_end(rest));
        reading.await.unwrap_or(false)
    }

    /// Whether anything was left. For a client that waits to be asked for its body: reading would ask for it.
    pub fn nothing_left(self) -> bool {
        self.take().is_none()
    }

    fn take(&self) -> Option<Incoming> {
        // Nothing panics while it holds the lock.
        let mut rest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        rest.take()
    }
}

async fn read_to_end(mut rest: Incoming) -> bool {
    let mut bytes = 0;
    while let Some(frame) = rest.frame().await {
        let Ok(frame) = frame else { return false };
        bytes += frame.data_ref().map_or(0, Bytes::len) as u64;
        if bytes > BYTES_MAX {
            return false;
        }
    }
    true
}

impl Body for Watched {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        let next = Pin::new(body).poll_frame(context);
        if matches!(next, Poll::Ready(None | Some(Err(_)))) {
            self.body = None;
            self.seat.set_served(true);
        }
        next
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let hint = self.body.as_ref().map(Incoming::size_hint);
        hint.unwrap_or_else(|| SizeHint::with_exact(0))
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let left = self.body.take().filter(|body| !body.is_end_stream());
        *self.rest.lock().unwrap_or_else(PoisonError::into_inner) = left;
    }
}
