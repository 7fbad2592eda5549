//! Work that goes on beside the other steps, because it waits for the network or may take what they leave of the
//! processors. It says nothing until it is asked.

use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

pub struct Beside {
    thread: JoinHandle<(Result<String>, Duration)>,
}

impl Beside {
    pub fn start(work: impl FnOnce() -> Result<String> + Send + 'static) -> Self {
        let started = Instant::now();
        Self {
            thread: std::thread::spawn(move || (work(), started.elapsed())),
        }
    }

    /// Waits for its end: what it has to say, and how long it took in all.
    pub fn finish(self) -> (Result<String>, Duration) {
        self.thread
            .join()
            .unwrap_or_else(|_| (Err(anyhow!("it panicked")), Duration::ZERO))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_panics_beside_the_others_has_failed() {
        let (result, _) = Beside::start(|| panic!("on purpose")).finish();
        assert!(result.is_err());
        let (result, _) = Beside::start(|| Ok("said".to_owned())).finish();
        assert_eq!(result.expect("it went well"), "said");
    }
}
