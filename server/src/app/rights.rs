//! How long a stream may go on: until the server stops, or whoever opened it may no longer have it. A request is judged
//! once, when it comes; a stream that lives for days is judged again and again.

use std::time::Duration;

use http::{HeaderMap, header};

use super::AppState;
use crate::auth::Principal;

/// Between looks: with the comments of the stream, so that a right that ended is gone within this time.
const LOOK_EVERY: Duration = Duration::from_secs(15);

/// Ends when the stream of a request with these headers, opened now by this principal, must end.
pub fn end_of_stream(
    app: &AppState,
    headers: &HeaderMap,
    principal: Principal,
) -> impl Future<Output = ()> + Send + use<> {
    let app = app.clone();
    let since_us = app.clock.lease_us();
    // The edge has let it in, so there is one and it has this form.
    let bearer = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.split_once(' '))
        .map(|(_, bearer)| bearer.trim().to_owned())
        .unwrap_or_default();
    async move {
        tokio::select! {
            () = app.shutdown.cancelled() => {}
            () = until_changed(&app, &bearer, since_us, &principal) => {}
        }
    }
}

/// Waits until the bearer no longer stands for exactly this principal. Whoever still has rights comes back with them.
async fn until_changed(app: &AppState, bearer: &str, since_us: i64, principal: &Principal) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let now_us = app.clock.now_us();
        let found = app
            .auth
            .identities
            .find_again(bearer, since_us, now_us)
            .await;
        match found {
            Ok(Some(identity)) if identity.principal == *principal => {}
            Ok(_) => return,
            // Nothing is known while the database is away.
            Err(error) => tracing::debug!(%error, "a stream's right could not be looked up"),
        }
    }
}
