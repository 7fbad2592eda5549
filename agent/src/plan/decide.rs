//! What follows in a plan, from how far it has come. Pure: no clock, no disk, no processes.

use fleetwright_protocol::ExecutionOptions;
use fleetwright_protocol::operation::{OnFailure, Operation, PlanStep};
use fleetwright_protocol::outcome::FailureReason;

use super::progress::{PlanProgress, StepResult, StepState};
use crate::journal::PowerKind;

/// What a plan consists of.
#[derive(Clone, Debug, PartialEq)]
pub struct Contents {
    pub steps: Vec<PlanStep>,
    pub options: ExecutionOptions,
    /// Only an operation with a health check: its one step is not shown as one.
    pub single: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    Begin(usize),
    /// Its condition does not hold, for this reason.
    Skip(usize, String),
    /// The machine was to go in this boot, and has not gone.
    AwaitBoot(usize, PowerKind),
    /// The machine was to go, and is back with another boot.
    Returned(usize, PowerKind),
    /// It was begun, and nobody knows whether it ended.
    Lost(usize),
    /// The next file to put back, as an index into `saved`.
    Restore(usize),
    Check,
    /// Something is left to do, and no time to do it in.
    OutOfTime,
    Conclude,
}

impl Contents {
    /// Of an operation and the way it is to be run.
    pub fn of(operation: &Operation, options: &ExecutionOptions) -> Self {
        let options = options.clone();
        match operation {
            Operation::ApplyDeploymentPlan(plan) => Self {
                steps: plan.steps.clone(),
                options,
                single: false,
            },
            Operation::RunScript(_)
            | Operation::DeployFile(_)
            | Operation::ServiceControl(_)
            | Operation::InstallPackage(_)
            | Operation::RemovePackage(_)
            | Operation::Reboot(_)
            | Operation::Shutdown(_) => Self {
                steps: vec![PlanStep {
                    name: operation.operation_type().as_str().to_owned(),
                    operation: Box::new(operation.clone()),
                    on_failure: OnFailure::Stop,
                    when: None,
                }],
                options,
                single: true,
            },
        }
    }

    /// What this step does to the machine's power, if it does.
    pub fn power(&self, step: usize) -> Option<PowerKind> {
        if self.options.dry_run {
            return None;
        }
        self.steps
            .get(step)
            .and_then(|step| power_of(&step.operation))
    }

    /// Whether what it deploys may have to be put back.
    pub fn may_roll_back(&self) -> bool {
        let rolls_back = |step: &PlanStep| step.on_failure == OnFailure::Rollback;
        !self.options.dry_run && self.steps.iter().any(rolls_back)
    }
}

/// What an operation does to the machine's power.
pub fn power_of(operation: &Operation) -> Option<PowerKind> {
    match operation {
        Operation::Reboot(_) => Some(PowerKind::Reboot),
        Operation::Shutdown(_) => Some(PowerKind::Shutdown),
        Operation::RunScript(_)
        | Operation::DeployFile(_)
        | Operation::ServiceControl(_)
        | Operation::InstallPackage(_)
        | Operation::RemovePackage(_)
        | Operation::ApplyDeploymentPlan(_) => None,
    }
}

/// The next thing to do. `boot_id` is the machine's now.
pub fn next(plan: &Contents, progress: &PlanProgress, boot_id: &str, out_of_time: bool) -> Next {
    if let Some(step) = progress.under_way() {
        return match (plan.power(step), progress.steps.get(step)) {
            (Some(kind), Some(StepState::Begun { boot_id: then, .. })) if *then == boot_id => {
                Next::AwaitBoot(step, kind)
            }
            (Some(kind), _) => Next::Returned(step, kind),
            (None, _) => Next::Lost(step),
        };
    }
    if let Some(failed) = failure(plan, progress) {
        return match plan.steps.get(failed).map(|step| step.on_failure) {
            Some(OnFailure::Rollback) => to_restore(progress).map_or(Next::Conclude, Next::Restore),
            Some(OnFailure::Stop | OnFailure::Continue) | None => Next::Conclude,
        };
    }
    if progress.cut.is_some() || progress.check.is_some() {
        return Next::Conclude;
    }
    let waiting = |standing: &StepState| *standing == StepState::Waiting;
    let Some(step) = progress.steps.iter().position(waiting) else {
        let checked = plan.options.health_check.is_some() && !plan.options.dry_run;
        return if checked { Next::Check } else { Next::Conclude };
    };
    if out_of_time {
        return Next::OutOfTime;
    }
    match unmet(plan, progress, step) {
        Some(why) => Next::Skip(step, why),
        None => Next::Begin(step),
    }
}

/// The step whose failure is the plan's.
pub fn failure(plan: &Contents, progress: &PlanProgress) -> Option<usize> {
    let fails = |step: &usize| {
        let Some(result) = progress.ended(*step) else {
            return false;
        };
        !result.succeeded && !is_tolerated(plan, *step, result)
    };
    (0..progress.steps.len()).find(fails)
}

/// Whether a failed step lets the plan go on. One that was cut off does not, whatever it says: the whole run was.
pub fn is_tolerated(plan: &Contents, step: usize, result: &StepResult) -> bool {
    let continues = |step: &PlanStep| step.on_failure == OnFailure::Continue;
    let cut_off = match result.reason {
        // In a log that a newer agent has written there may be a reason that is not known here.
        Some(
            FailureReason::TimedOut
            | FailureReason::Cancelled
            | FailureReason::OutcomeUnknown
            | FailureReason::Unknown(_),
        ) => true,
        Some(
            FailureReason::ExitCode | FailureReason::RefusedByPolicy | FailureReason::AgentError,
        )
        | None => false,
    };
    !cut_off && plan.steps.get(step).is_some_and(continues)
}

/// The last file not put back yet: what was deployed twice gets its first content back last.
fn to_restore(progress: &PlanProgress) -> Option<usize> {
    let open = |index: &usize| {
        let saved = progress.saved.get(*index);
        saved.is_some_and(|saved| saved.restored.is_none() && may_differ(progress, saved.step))
    };
    (0..progress.saved.len()).rev().find(open)
}

/// Whether a deployment may have put something else in the place of what was saved.
fn may_differ(progress: &PlanProgress, step: usize) -> bool {
    let ended = progress.ended(step);
    ended.is_none_or(|result| result.changed || !result.succeeded)
}

/// Why a step is not to be run.
fn unmet(plan: &Contents, progress: &PlanProgress, step: usize) -> Option<String> {
    let named = &plan.steps.get(step)?.when.as_ref()?.changed;
    let position = plan.steps.iter().position(|step| step.name == *named);
    let changed = position.and_then(|at| progress.ended(at));
    match changed {
        Some(result) if result.changed => None,
        Some(_) => Some(format!("{named} changed nothing")),
        None => Some(format!("{named} was not run")),
    }
}

#[cfg(test)]
mod tests;
