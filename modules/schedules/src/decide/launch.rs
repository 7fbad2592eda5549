//! What becomes of a recorded run: it launches, or ends without.

use fleetwright_operations::status::OperationStatus;
use uuid::Uuid;

use super::OverlapPolicy;

/// How a run ended that launched nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunEnd {
    SkippedOverlap,
    /// It was missed, and missed fires are skipped.
    SkippedMisfire,
    /// With the licence's reason.
    SkippedUnlicensed(String),
    SelectionEmpty,
    /// With the reason: `owner_revoked`, or the code of a problem.
    FailedToLaunch(String),
}

/// What is known when a run is decided.
#[derive(Clone, Debug)]
pub struct LaunchFacts<'a> {
    /// The run's own operation, if it exists: somebody launched it and did not come to say so.
    pub operation: Option<OperationStatus>,
    /// Whether it exists could not be asked: its module is away.
    pub is_module_away: bool,
    /// Whether it was decided before that it launches.
    pub launching: bool,
    /// Why no new work may start, if none may.
    pub unlicensed: Option<&'a str>,
    /// Whether the principal it launches as may launch it now.
    pub may_launch: bool,
    pub overlap: OverlapPolicy,
    /// Operations of the schedule's other runs that are not over.
    pub open: &'a [Uuid],
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LaunchStep {
    /// It is launched already.
    Adopt(OperationStatus),
    End(RunEnd),
    /// Cancel these first, wait until that is acknowledged, then launch.
    Launch {
        cancel: Vec<Uuid>,
    },
    /// It may be launched already, and that cannot be asked now.
    Wait,
}

/// Decides about a run that is recorded and not launched.
pub fn decide_launch(facts: &LaunchFacts<'_>) -> LaunchStep {
    if let Some(status) = facts.operation {
        return LaunchStep::Adopt(status);
    }
    let may_start = facts.unlicensed.is_none() && facts.may_launch;
    if facts.launching && facts.is_module_away && !may_start {
        return LaunchStep::Wait;
    }
    if let Some(reason) = facts.unlicensed {
        return LaunchStep::End(RunEnd::SkippedUnlicensed(reason.to_owned()));
    }
    if !facts.may_launch {
        return LaunchStep::End(RunEnd::FailedToLaunch("owner_revoked".to_owned()));
    }
    match facts.overlap {
        OverlapPolicy::Forbid if !facts.open.is_empty() && !facts.launching => {
            LaunchStep::End(RunEnd::SkippedOverlap)
        }
        OverlapPolicy::Forbid | OverlapPolicy::Allow => LaunchStep::Launch { cancel: Vec::new() },
        OverlapPolicy::Replace => LaunchStep::Launch {
            cancel: facts.open.to_vec(),
        },
    }
}

impl RunEnd {
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::SkippedOverlap => "skipped_overlap",
            Self::SkippedMisfire => "skipped_misfire",
            Self::SkippedUnlicensed(_) => "skipped_unlicensed",
            Self::SelectionEmpty => "selection_empty",
            Self::FailedToLaunch(_) => "failed_to_launch",
        }
    }

    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::SkippedOverlap | Self::SkippedMisfire | Self::SelectionEmpty => None,
            Self::SkippedUnlicensed(reason) | Self::FailedToLaunch(reason) => Some(reason),
        }
    }
}
