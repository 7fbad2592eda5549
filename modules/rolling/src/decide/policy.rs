//! What a deployment was asked for, as far as decisions go: how its hosts are partitioned, its pauses and thresholds.
//! Never changes after creation. Not what is sent to hosts.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How hosts are partitioned, as asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sizing {
    /// Hosts in each batch but the last.
    BatchSize(u64),
    /// Up to how many hosts after each wave.
    Waves(Vec<Wave>),
}

/// The end of a wave, counted from the first host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wave {
    Hosts(u64),
    Percent(u64),
}

/// A partition of ordinals `0..total` into batches `1..=count()`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Partition {
    Even {
        size: u64,
        total: u64,
    },
    /// Where each batch ends, growing; the last is the total.
    Ends(Vec<u64>),
}

/// What happens when the threshold is passed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnThreshold {
    #[default]
    Halt,
    Pause,
}

/// Which batches wait for a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RequireApproval {
    /// Batch 2 only.
    First,
    /// Every batch but the first.
    Each,
}

/// What decisions need to know of a request. Times are in microseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    pub total: u64,
    pub partition: Partition,
    pub batch_delay_us: i64,
    /// How long a dispatched host may take to start.
    pub host_wait_us: i64,
    pub failure_threshold_pct: u64,
    pub batch_failure_threshold_pct: Option<u64>,
    pub count_unreachable: bool,
    pub on_threshold: OnThreshold,
    pub require_approval: Option<RequireApproval>,
    pub has_rollback: bool,
}

impl Partition {
    /// Waves that add no host are left out; hosts that no wave reaches make a last one.
    pub fn new(sizing: &Sizing, total: u64) -> Self {
        match sizing {
            Sizing::BatchSize(size) => Self::Even {
                size: (*size).max(1),
                total,
            },
            Sizing::Waves(waves) => {
                let mut ends = Vec::new();
                let mut last = 0;
                for wave in waves {
                    let end = wave.end(total);
                    if end > last {
                        ends.push(end);
                        last = end;
                    }
                }
                if last < total {
                    ends.push(total);
                }
                Self::Ends(ends)
            }
        }
    }

    /// How many batches there are.
    pub fn count(&self) -> u64 {
        match self {
            Self::Even { size, total } => total.div_ceil(*size),
            Self::Ends(ends) => u64::try_from(ends.len()).unwrap_or(u64::MAX),
        }
    }

    /// The ordinal after the last host of a batch, counted from 1; batch 0 ends where batch 1 begins.
    pub fn end(&self, batch: u64) -> u64 {
        match self {
            Self::Even { size, total } => size.saturating_mul(batch).min(*total),
            Self::Ends(ends) => {
                let index = usize::try_from(batch).unwrap_or(usize::MAX).min(ends.len());
                index
                    .checked_sub(1)
                    .and_then(|index| ends.get(index))
                    .copied()
                    .unwrap_or(0)
            }
        }
    }

    /// The batch a host is in.
    pub fn batch_of(&self, ordinal: u64) -> u64 {
        match self {
            Self::Even { size, .. } => ordinal / size + 1,
            Self::Ends(ends) => {
                let before = ends.partition_point(|end| *end <= ordinal);
                u64::try_from(before).unwrap_or(u64::MAX).saturating_add(1)
            }
        }
    }
}

impl Wave {
    fn end(self, total: u64) -> u64 {
        match self {
            Self::Hosts(hosts) => hosts.min(total),
            // ceil(percent × total / 100).
            Self::Percent(percent) => percent.saturating_mul(total).div_ceil(100).min(total),
        }
    }
}

impl Policy {
    /// Whether a batch is dispatched only once it is approved.
    pub fn needs_approval(&self, batch: u64) -> bool {
        match self.require_approval {
            None => false,
            Some(RequireApproval::First) => batch == 2,
            Some(RequireApproval::Each) => batch >= 2,
        }
    }
}

/// `failed × 100 > threshold × of`: strictly greater, so 0 is passed by the first failure and 100 never.
pub fn is_passed(failed: u64, threshold_pct: u64, of: u64) -> bool {
    u128::from(failed) * 100 > u128::from(threshold_pct) * u128::from(of)
}

/// Tenths of a percent of `of` that failed, rounded half up.
pub fn failure_tenths(failed: u64, of: u64) -> u64 {
    let (failed, of) = (u128::from(failed), u128::from(of.max(1)));
    u64::try_from((2000 * failed + of) / (2 * of)).unwrap_or(u64::MAX)
}

/// How many hosts a batch has.
pub fn batch_size(policy: &Policy, batch: u64) -> u64 {
    let start = policy.partition.end(batch.saturating_sub(1));
    policy.partition.end(batch).saturating_sub(start)
}

#[cfg(test)]
mod tests;
