//! Keeps panics and runtimes on their own side of the boundary. Both sides wrap every future, stream and synchronous
//! body they hand across: each poll and each drop enters the side's own tokio runtime and catches a panic, because one
//! that reaches the other side (another copy of the standard library) would end the process.

use std::future::Future;
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use async_ffi::{FfiFuture, FutureExt as _};
use tokio::runtime::Handle;

/// What to answer when the wrapped body panicked; gets the panic's message.
pub type OnPanic<T> = fn(String) -> T;

/// A future that may be polled and dropped by the other side.
pub fn future<F>(runtime: Handle, inner: F, on_panic: OnPanic<F::Output>) -> FfiFuture<F::Output>
where
    F: Future + Send + 'static,
{
    Guarded {
        runtime,
        inner: Some(Box::pin(inner)),
        on_panic,
    }
    .into_ffi()
}

/// Runs a synchronous body that the other side called.
pub fn body<T>(run: impl FnOnce() -> T, on_panic: impl FnOnce(String) -> T) -> T {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(value) => value,
        Err(payload) => on_panic(message_of(payload)),
    }
}

/// The text of a panic's payload. The payload is leaked if dropping it panics as well.
pub fn message_of(payload: Box<dyn std::any::Any + Send>) -> String {
    let message = match (
        payload.downcast_ref::<&str>(),
        payload.downcast_ref::<String>(),
    ) {
        (Some(text), _) => (*text).to_owned(),
        (None, Some(text)) => text.clone(),
        (None, None) => "a panic without a message".to_owned(),
    };
    drop_quietly(payload);
    message
}

struct Guarded<F: Future> {
    runtime: Handle,
    /// Gone once it is ready or has panicked.
    inner: Option<Pin<Box<F>>>,
    on_panic: OnPanic<F::Output>,
}

impl<F: Future> Future for Guarded<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        let _entered = this.runtime.enter();
        let polled = match &mut this.inner {
            Some(inner) => {
                catch_unwind(AssertUnwindSafe(|| inner.as_mut().poll(context))).map_err(message_of)
            }
            None => Err("it was polled after it had finished".to_owned()),
        };
        match polled {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(output)) => {
                drop_quietly(this.inner.take());
                Poll::Ready(output)
            }
            Err(message) => {
                drop_quietly(this.inner.take());
                Poll::Ready((this.on_panic)(message))
            }
        }
    }
}

impl<F: Future> Drop for Guarded<F> {
    fn drop(&mut self) {
        if self.inner.is_some() {
            let _entered = self.runtime.enter();
            drop_quietly(self.inner.take());
        }
    }
}

/// Drops a value; a panic inside is caught and its payload leaked, since dropping that may panic again.
fn drop_quietly<T>(value: T) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(value))) {
        let _leaked = ManuallyDrop::new(payload);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct PanicsOnDrop;

    impl Drop for PanicsOnDrop {
        fn drop(&mut self) {
            panic!("in drop");
        }
    }

    #[tokio::test]
    async fn a_panicking_future_answers_what_it_is_told_to() {
        let guarded = future(Handle::current(), async { panic!("boom") }, |message| {
            message
        });
        assert_eq!(guarded.await, "boom");
    }

    #[tokio::test]
    async fn a_panic_while_dropping_is_contained() {
        let held = future(
            Handle::current(),
            async {
                let _bomb = PanicsOnDrop;
                std::future::pending::<()>().await;
            },
            |_| (),
        );
        let mut held = Box::pin(held);
        assert!(
            held.as_mut()
                .poll(&mut Context::from_waker(std::task::Waker::noop()))
                .is_pending()
        );
        drop(held);

        let ready = future(Handle::current(), async { drop(PanicsOnDrop) }, |message| {
            assert_eq!(message, "in drop")
        });
        ready.await;
    }

    #[test]
    fn a_future_polled_outside_any_runtime_has_its_own() {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let guarded = future(
            runtime.handle().clone(),
            async {
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
                tokio::spawn(async { 7 }).await.unwrap()
            },
            |_| 0,
        );
        assert_eq!(futures_util_block_on(guarded), 7);
    }

    /// Polls on a plain thread, as another library's executor would.
    fn futures_util_block_on<F: Future>(future: F) -> F::Output {
        struct Unpark(std::thread::Thread);
        impl std::task::Wake for Unpark {
            fn wake(self: std::sync::Arc<Self>) {
                self.0.unpark();
            }
        }
        let waker = std::sync::Arc::new(Unpark(std::thread::current())).into();
        let mut future = std::pin::pin!(future);
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                return output;
            }
            std::thread::park();
        }
    }

    #[test]
    fn a_panicking_body_is_contained() {
        assert_eq!(body(|| panic!("{}", 5), |message| message), "5");
    }
}
