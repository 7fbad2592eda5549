//! The pace at which a peer takes what it is sent. Whoever asks and does not read holds a connection, an answer and
//! whatever that answer is made from; so a peer that has fallen behind must take a little in each stretch of time.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Sleep, sleep};

/// As the time a request has.
#[cfg(not(test))]
const STRETCH: Duration = Duration::from_secs(30);
#[cfg(test)]
const STRETCH: Duration = Duration::from_secs(1);
/// What a peer that is behind must take in each of them: half a kilobyte a second, a tenth of a modem.
const BYTES_MIN: usize = 16 * 1024;

/// Runs only while the peer is behind.
#[derive(Default)]
pub struct Pace {
    stretch: Option<Pin<Box<Sleep>>>,
    taken_bytes: usize,
}

impl Pace {
    /// The peer took so many bytes.
    pub fn took(&mut self, bytes: usize) {
        self.taken_bytes = self.taken_bytes.saturating_add(bytes);
    }

    /// The peer has everything there was for it.
    pub fn caught_up(&mut self) {
        *self = Self::default();
    }

    /// Asked at the end of a stretch.
    fn is_too_slow(&self) -> bool {
        self.taken_bytes < BYTES_MIN
    }

    /// The peer takes nothing right now. Ready with an error when it has been too slow for too long; otherwise the task is
    /// woken when that is to be asked again.
    pub fn poll_behind(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        loop {
            let stretch = self.stretch.get_or_insert_with(|| {
                self.taken_bytes = 0;
                Box::pin(sleep(STRETCH))
            });
            if stretch.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            if self.is_too_slow() {
                let error = "the peer does not take what it asked for";
                return Poll::Ready(io::Error::new(io::ErrorKind::TimedOut, error));
            }
            self.stretch = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use tokio::time::{Instant, sleep_until};

    use super::*;

    /// Another look at a peer that takes nothing right now; `over` says that the stretch is over.
    fn look(pace: &mut Pace, over: bool) -> bool {
        if over {
            let ended = Instant::now() - Duration::from_secs(1);
            pace.stretch = Some(Box::pin(sleep_until(ended)));
        }
        let mut context = Context::from_waker(Waker::noop());
        pace.poll_behind(&mut context).is_ready()
    }

    #[tokio::test]
    async fn a_peer_that_takes_nothing_is_given_up_and_a_slow_one_is_not() {
        let mut pace = Pace::default();
        assert!(!look(&mut pace, false), "it has its time");
        assert!(look(&mut pace, true));
        let mut slow = Pace::default();
        for _ in 0..100 {
            assert!(!look(&mut slow, false));
            slow.took(BYTES_MIN);
            assert!(!look(&mut slow, true), "it takes enough");
        }
        let mut trickle = Pace::default();
        assert!(!look(&mut trickle, false));
        for _ in 0..10 {
            trickle.took(100);
            assert!(!look(&mut trickle, false));
        }
        assert!(look(&mut trickle, true), "a trickle is no pace");
    }

    #[tokio::test]
    async fn whoever_has_caught_up_begins_anew() {
        let mut pace = Pace::default();
        assert!(!look(&mut pace, false));
        pace.caught_up();
        assert!(pace.stretch.is_none(), "nothing runs while nothing waits");
        assert!(!look(&mut pace, false));
    }
}
