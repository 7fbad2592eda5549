//! How much a measure does.

/// How much of everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// The sizes of the targets.
    Full,
    /// A hundredth: to see that the measures themselves work.
    Quick,
}

impl Size {
    pub(super) fn of(self, full: u64) -> u64 {
        match self {
            Self::Full => full,
            Self::Quick => (full / 100).max(10),
        }
    }

    pub(super) fn runs(self, full: usize) -> usize {
        match self {
            Self::Full => full,
            Self::Quick => 2,
        }
    }
}
