//! Benches that take turns: two of them, each with programs of its own build, run one operation each in alternation,
//! so that a comparison has both in one run and the machine's moods hit both.

use std::path::PathBuf;
use std::time::Duration;

use crate::wait::wait_until;

/// `<file>:<own number>:<how many>`, the same file for all of them; it is made by the first.
const VARIABLE: &str = "FLEETWRIGHT_BENCH_TURNS";
/// Another bench enrolls its ten thousand agents meanwhile.
const PATIENCE: Duration = Duration::from_secs(1_200);

/// One bench's place in the order.
pub struct Turns {
    file: PathBuf,
    own: u64,
    of: u64,
}

impl Turns {
    /// As the environment says; `None` without others. Panics if it says nonsense.
    pub fn from_environment() -> Option<Self> {
        let text = std::env::var(VARIABLE).ok()?;
        let parts: Vec<&str> = text.rsplitn(3, ':').collect();
        let [of, own, file] = parts[..] else {
            panic!("{VARIABLE} is <file>:<own number>:<how many>");
        };
        let number = |text: &str| text.parse().expect("a number");
        Some(Self {
            file: file.into(),
            own: number(own),
            of: number(of),
        })
    }

    /// Waits for its turn, takes it and passes it on.
    pub fn take<T>(&self, run: impl FnOnce() -> T) -> T {
        wait_until("its turn", PATIENCE, || self.turn() % self.of == self.own);
        let done = run();
        let next = (self.turn() + 1).to_string();
        std::fs::write(&self.file, next).expect("the file of turns can be written");
        done
    }

    fn turn(&self) -> u64 {
        let text = std::fs::read_to_string(&self.file).unwrap_or_default();
        text.parse().unwrap_or_default()
    }
}
