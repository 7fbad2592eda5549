//! The id of the request that is being served, known to everything that runs inside it.

use std::future::Future;

tokio::task_local! {
    static CURRENT: String;
}

/// Runs `work` as part of request `id`.
pub async fn within<T>(id: String, work: impl Future<Output = T>) -> T {
    CURRENT.scope(id, work).await
}

/// The request being served; `None` in background loops.
pub fn current() -> Option<String> {
    CURRENT.try_with(String::clone).ok()
}
