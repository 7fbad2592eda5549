//! Follows an operation to its end over server-sent events, through broken connections and server restarts.

use std::time::Duration;

use serde_json::Value;

use crate::client::{ClientError, rest};
use crate::events;
use crate::failure::Failure;
use crate::output;
use crate::session::Session;

/// Shows how something goes.
pub trait Watcher {
    /// What an event or the thing itself says. Returns whether it is over.
    fn show(&mut self, said: &Value) -> bool;
    /// Leaves the last state on the screen.
    fn leave(&mut self);
}

/// Pauses between attempts to connect again; the last one repeats.
const RECONNECT_PAUSES_MS: [u64; 5] = [200, 500, 1_000, 2_000, 5_000];
/// About four minutes without any sign of the server.
const FAILURES_MAX: usize = 50;
/// How often something without a stream of its own is looked at.
const POLL_INTERVAL: Duration = Duration::from_secs(2);

/// Shows progress until the operation at `path` is finished, and returns it. An error leaves it running.
pub fn to_the_end(
    session: &Session,
    path: &str,
    watcher: &mut dyn Watcher,
) -> Result<Value, Failure> {
    let mut last_event_id: Option<String> = None;
    let mut failures = 0;
    loop {
        match listen(session, path, &mut last_event_id, watcher) {
            Ok(heard) if heard > 0 => failures = 0,
            // A stream that ends at once counts as a failure, or we would ask without end.
            Ok(_) => failures += 1,
            Err(error) if is_passing(&error) => failures += 1,
            Err(error) => return Err(error),
        }
        match session.client.get(path) {
            Ok(operation) if is_terminal(&output::field(&operation, "status")) => {
                watcher.show(&operation);
                watcher.leave();
                return Ok(operation);
            }
            Ok(_) => {}
            Err(error) if failures < FAILURES_MAX && is_passing_client(&error) => failures += 1,
            Err(error) => return Err(error.into()),
        }
        let pause = RECONNECT_PAUSES_MS
            .get(failures)
            .or(RECONNECT_PAUSES_MS.last());
        rest(Duration::from_millis(pause.copied().unwrap_or_default()));
    }
}

/// Statuses of bulk operations and rolling deployments that never change again.
pub fn is_terminal(status: &str) -> bool {
    [
        "succeeded",
        "partial",
        "failed",
        "cancelled",
        "rolled_back",
        "rollback_failed",
    ]
    .contains(&status)
}

/// Calls `on_change` whenever the thing at `path` differs from what it was, until interrupted.
pub fn changes(
    session: &Session,
    path: &str,
    mut last: Value,
    mut on_change: impl FnMut(&Value) -> Result<(), Failure>,
) -> Result<(), Failure> {
    loop {
        rest(POLL_INTERVAL);
        let now = session.client.get(path)?;
        if now != last {
            on_change(&now)?;
            last = now;
        }
    }
}

/// Shows events until the last one or until the connection breaks; how many there were.
fn listen(
    session: &Session,
    path: &str,
    last_event_id: &mut Option<String>,
    watcher: &mut dyn Watcher,
) -> Result<usize, Failure> {
    let mut stream = session
        .client
        .events(&format!("{path}/events"), last_event_id.as_deref())?;
    let mut heard = 0;
    loop {
        // A broken stream is as good as an ended one: the caller looks and connects again.
        let Ok(Some(event)) = events::next(&mut stream) else {
            return Ok(heard);
        };
        heard += 1;
        if event.id.is_some() {
            *last_event_id = event.id;
        }
        let said = serde_json::from_str(&event.data).unwrap_or_default();
        if watcher.show(&said) {
            return Ok(heard);
        }
    }
}

fn is_passing(failure: &Failure) -> bool {
    match failure {
        Failure::Client(error) => is_passing_client(error),
        Failure::File { .. }
        | Failure::Settings(_)
        | Failure::Input(_)
        | Failure::Answer(_)
        | Failure::Signing(_)
        | Failure::Declined
        | Failure::OutputClosed => false,
    }
}

fn is_passing_client(error: &ClientError) -> bool {
    match error {
        ClientError::Problem(problem) => problem.status == 429 || problem.status >= 500,
        ClientError::Unreachable { .. } | ClientError::Broken { .. } => true,
        ClientError::NotJson(_) | ClientError::BadAddress(_) => false,
    }
}
