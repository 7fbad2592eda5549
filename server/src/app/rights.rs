//! How long a stream of the core may go on: until the server stops, or whoever opened it may no longer have it.

use super::AppState;
use crate::auth::Standing;

/// Ends when the stream of a request that stands like this must end.
pub fn end_of_stream(
    app: &AppState,
    standing: Standing,
) -> impl Future<Output = ()> + Send + use<> {
    let shutdown = app.shutdown.clone();
    async move {
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = standing.ended() => {}
        }
    }
}
