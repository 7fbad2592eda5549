//! The stream under a connection: it has a place for as long as it lives, it does not wait for ever for a peer that does not
//! read, and it ends without losing the last answer.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::pace::Pace;
use super::places::Place;

/// A client that is still sending is listened to for so long, and so far, after the answer that ends its connection: what
/// is closed with bytes unread takes the answer with it (RFC 9112, 9.6).
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES_MAX: usize = 8 * 1024 * 1024;

/// A stream that has a place for as long as it lives, also after an upgrade. It stands below TLS, so that a handshake is
/// under the same rules.
pub struct Counted<S> {
    stream: S,
    _place: Place,
    pace: Pace,
    /// The last answer left a part of its request unread.
    is_cut_short: Arc<AtomicBool>,
    is_shut: bool,
    linger: Option<Pin<Box<Sleep>>>,
    lingered_bytes: usize,
}

impl<S> Counted<S> {
    pub fn new(stream: S, place: Place) -> Self {
        Self {
            stream,
            _place: place,
            pace: Pace::default(),
            is_cut_short: Arc::default(),
            is_shut: false,
            linger: None,
            lingered_bytes: 0,
        }
    }

    /// Set by who answers without having read the whole request.
    pub fn is_cut_short(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.is_cut_short)
    }
}

impl<S> Counted<S> {
    /// The outcome of a write, or an error when the peer has been behind for too long.
    fn at_a_pace(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(Ok(bytes)) => {
                self.pace.took(bytes);
                written
            }
            Poll::Ready(Err(_)) => written,
            Poll::Pending => self.pace.poll_behind(context).map(Err),
        }
    }
}

impl<S: AsyncRead + Unpin> Counted<S> {
    /// Ready when the client has stopped sending, or has been listened to for long enough.
    fn poll_linger(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let linger = self.linger.get_or_insert_with(|| Box::pin(sleep(LINGER)));
        if linger.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        let mut space = [0; 8 * 1024];
        while self.lingered_bytes < LINGER_BYTES_MAX {
            let mut buffer = ReadBuf::new(&mut space);
            let read = ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer));
            if read.is_err() || buffer.filled().is_empty() {
                break;
            }
            self.lingered_bytes += buffer.filled().len();
        }
        Poll::Ready(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, buffer);
        self.at_a_pace(context, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Whoever flushes has written all there was.
        ready!(Pin::new(&mut self.stream).poll_flush(context))?;
        self.pace.caught_up();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.is_shut {
            ready!(Pin::new(&mut self.stream).poll_shutdown(context))?;
            self.is_shut = true;
        }
        if self.is_cut_short.load(Ordering::Relaxed) {
            ready!(self.poll_linger(context));
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, buffers);
        self.at_a_pace(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
