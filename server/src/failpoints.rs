//! Ends the process at a module's commit, as hard as `kill -9` would, so that tests see what its next life makes of what is
//! stored. Only in debug builds; a release has nothing of it and refuses the variable as a setting it does not know.
//!
//! `FLEETWRIGHT_ABORT_AT=<module>:<before|after>:<n>` ends it around the n-th commit of that module in this process.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// Read once, when the first commit comes.
pub const VARIABLE: &str = "FLEETWRIGHT_ABORT_AT";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// Everything is written and nothing committed.
    BeforeCommit,
    /// It is on disk; nobody has been told, neither by a signal nor by an answer.
    AfterCommit,
}

/// Does not return if the process is to end here.
pub fn reached(module: &str, point: Point) {
    static ASKED: LazyLock<Option<Asked>> = LazyLock::new(|| {
        let text = std::env::var(VARIABLE).ok()?;
        let asked = Asked::parse(&text);
        if asked.is_none() {
            tracing::error!("{VARIABLE}={text} names no failpoint");
        }
        asked
    });
    if let Some(asked) = ASKED.as_ref()
        && asked.is_here(module, point)
    {
        tracing::warn!(module, ?point, "aborting at a failpoint");
        std::process::abort();
    }
}

struct Asked {
    module: String,
    point: Point,
    passes_left: AtomicU32,
}

impl Asked {
    fn parse(text: &str) -> Option<Self> {
        let (module, rest) = text.split_once(':')?;
        let (point, number) = rest.split_once(':')?;
        let point = match point {
            "before" => Point::BeforeCommit,
            "after" => Point::AfterCommit,
            _ => return None,
        };
        let number: u32 = number.parse().ok()?;
        Some(Self {
            module: module.to_owned(),
            point,
            passes_left: AtomicU32::new(number.checked_sub(1)?),
        })
    }

    /// Counts the passes of its own point, which come from one thread, the writer's.
    fn is_here(&self, module: &str, point: Point) -> bool {
        if self.module != module || self.point != point {
            return false;
        }
        let passes_left = self.passes_left.load(Ordering::Relaxed);
        self.passes_left
            .store(passes_left.saturating_sub(1), Ordering::Relaxed);
        passes_left == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_commit_of_the_named_module_is_where_it_ends() {
        let asked = Asked::parse("rolling:after:2").expect("a failpoint");
        assert!(!asked.is_here("bulk", Point::AfterCommit));
        assert!(!asked.is_here("rolling", Point::BeforeCommit));
        assert!(!asked.is_here("rolling", Point::AfterCommit));
        assert!(asked.is_here("rolling", Point::AfterCommit));
    }

    #[test]
    fn what_names_no_failpoint_is_told_apart() {
        for text in [
            "",
            "rolling",
            "rolling:after",
            "rolling:after:0",
            "rolling:during:1",
        ] {
            assert!(Asked::parse(text).is_none(), "{text}");
        }
    }
}
