//! Places for streams: answers that go on until somebody ends them. Each is a connection and a subscription, so there is
//! an end to them, and one principal has only its share.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::{Stream, StreamExt as _};
use http::StatusCode;

use super::Problem;

/// Half of the operators' connections.
const STREAMS_MAX: usize = 2_000;
/// A person has a dozen windows open, a pipeline follows a few operations.
const OF_PRINCIPAL_MAX: usize = 100;
/// A stream of somebody ends within about this time where many come and go.
const RETRY_AFTER_SECONDS: u64 = 15;

/// Who streams. Cheap to clone.
#[derive(Clone, Default)]
pub struct Streams {
    open: Arc<Mutex<HashMap<String, usize>>>,
}

/// One stream's place, for as long as it lives.
pub struct StreamPlace {
    streams: Streams,
    principal: String,
}

impl Streams {
    /// A place for one more stream of this principal, or 429.
    pub fn take(&self, principal: &str) -> Result<StreamPlace, Problem> {
        let mut open = self.lock();
        let own = open.get(principal).copied().unwrap_or(0);
        // At most as many principals as there are streams.
        let all: usize = open.values().sum();
        if own >= OF_PRINCIPAL_MAX || all >= STREAMS_MAX {
            return Err(refused(own));
        }
        open.insert(principal.to_owned(), own + 1);
        Ok(StreamPlace {
            streams: self.clone(),
            principal: principal.to_owned(),
        })
    }

    /// Nothing panics while it holds the lock.
    fn lock(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StreamPlace {
    /// The stream, which holds the place until it is dropped.
    pub fn hold<S: Stream>(self, stream: S) -> impl Stream<Item = S::Item> {
        stream.map(move |item| {
            let _held = &self;
            item
        })
    }
}

impl Drop for StreamPlace {
    fn drop(&mut self) {
        let mut open = self.streams.lock();
        match open.get_mut(&self.principal) {
            Some(count) if *count > 1 => *count -= 1,
            Some(_) | None => {
                open.remove(&self.principal);
            }
        }
    }
}

fn refused(own: usize) -> Problem {
    let detail = if own >= OF_PRINCIPAL_MAX {
        format!("You follow {OF_PRINCIPAL_MAX} streams already, which is the most.")
    } else {
        "Too many streams are followed. Try again later.".to_owned()
    };
    Problem::new(StatusCode::TOO_MANY_REQUESTS, "rate-limited", detail)
        .with_retry_after(RETRY_AFTER_SECONDS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_principal_has_its_share_and_all_have_an_end() {
        let streams = Streams::default();
        let take = |principal: &str, count: usize| -> Vec<StreamPlace> {
            let places = (0..count).map(|_| streams.take(principal));
            places.filter_map(Result::ok).collect()
        };
        let viewer = take("user:1", 1_000);
        assert_eq!(viewer.len(), OF_PRINCIPAL_MAX);
        let mut others: Vec<_> = (2..100)
            .map(|number| take(&format!("user:{number}"), 50))
            .collect();
        let held: usize = others.iter().map(Vec::len).sum();
        assert_eq!(held, STREAMS_MAX - OF_PRINCIPAL_MAX);
        let refused = streams.take("user:1000").err().expect("no room");
        assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
        others.pop();
        others.clear();
        assert!(streams.take("user:1000").is_ok());
        drop(viewer);
        assert!(streams.lock().is_empty(), "nothing is kept of who has gone");
    }

    #[test]
    fn a_stream_holds_its_place_until_it_is_dropped() {
        let streams = Streams::default();
        let place = streams.take("user:1").expect("room");
        let stream = place.hold(futures_util::stream::iter([1, 2]));
        assert_eq!(streams.lock().len(), 1);
        drop(stream);
        assert!(streams.lock().is_empty());
    }
}
