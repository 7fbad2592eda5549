//! TLS handshakes, on threads of their own. A restarted network brings thousands at once, each worth some tenths of a
//! millisecond of signatures. A runtime takes its tasks in turn, so every request of an operator would wait behind all of them; between
//! threads the kernel divides the processors. Not the connections: those live where they were accepted.

use std::io;
use std::num::NonZeroUsize;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::{Builder, Runtime};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::task::AbortOnDropHandle;

/// A handshake must be done within this time. Generous, because thousands may share two cores after a restart.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(20);

pub(super) struct Handshakes {
    acceptor: TlsAcceptor,
    /// None if no threads could be had: then they are done where they are waited for.
    runtime: Option<Runtime>,
}

impl Handshakes {
    /// With as many threads as there are processors: when there is nothing else to do, all of them.
    pub fn start(acceptor: TlsAcceptor) -> Self {
        let threads = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let runtime = Builder::new_multi_thread()
            .worker_threads(threads)
            .thread_name("handshakes")
            .enable_all()
            .build()
            .inspect_err(|error| tracing::warn!(%error, "no threads for TLS handshakes"));
        Self {
            acceptor,
            runtime: runtime.ok(),
        }
    }

    /// Ends with the future that waits for it.
    pub async fn shake<S>(&self, stream: S) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let acceptor = self.acceptor.clone();
        let shaken = async move {
            let shaken = tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await;
            shaken.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
        };
        let Some(runtime) = &self.runtime else {
            return shaken.await;
        };
        AbortOnDropHandle::new(runtime.spawn(shaken))
            .await
            .map_err(io::Error::other)?
    }
}

impl Drop for Handshakes {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Waiting for it is not allowed in a task, and nobody is left to hear of what it does.
            runtime.shutdown_background();
        }
    }
}
