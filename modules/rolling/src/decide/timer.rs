//! A clock that can be stopped: a time to wait for, or what is left of it. Times are microseconds of the lease clock.

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "timer", rename_all = "snake_case")]
pub enum Timer {
    #[default]
    Off,
    Until {
        at_us: i64,
    },
    Stopped {
        left_us: i64,
    },
}

impl Timer {
    pub fn started(lease_us: i64, for_us: i64) -> Self {
        Self::Until {
            at_us: lease_us.saturating_add(for_us),
        }
    }

    /// At most so long from now.
    #[must_use]
    pub fn limited(self, lease_us: i64, for_us: i64) -> Self {
        match self {
            Self::Until { at_us } if at_us.saturating_sub(lease_us) > for_us => {
                Self::started(lease_us, for_us)
            }
            Self::Off | Self::Until { .. } | Self::Stopped { .. } => self,
        }
    }

    /// Keeps what is left; nothing if it is over already.
    #[must_use]
    pub fn stopped(self, lease_us: i64) -> Self {
        match self {
            Self::Until { at_us } => Self::Stopped {
                left_us: at_us.saturating_sub(lease_us).max(0),
            },
            Self::Off | Self::Stopped { .. } => self,
        }
    }

    #[must_use]
    pub fn resumed(self, lease_us: i64) -> Self {
        match self {
            Self::Stopped { left_us } => Self::started(lease_us, left_us),
            Self::Off | Self::Until { .. } => self,
        }
    }

    /// When it is over, if it runs.
    pub fn due_at_us(self) -> Option<i64> {
        match self {
            Self::Until { at_us } => Some(at_us),
            Self::Off | Self::Stopped { .. } => None,
        }
    }

    /// What was left when it was stopped.
    pub fn left_us(self) -> Option<i64> {
        match self {
            Self::Stopped { left_us } => Some(left_us),
            Self::Off | Self::Until { .. } => None,
        }
    }
}
