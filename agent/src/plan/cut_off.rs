//! What is done about a plan whose runner was ended, or waits for nothing any more: the step under way has failed, and if
//! it says so, the files the plan has deployed are put back. Done by whoever ended it.

use std::io;
use std::path::Path;

use fleetwright_protocol::Outcome;
use fleetwright_protocol::operation::Operation;
use fleetwright_protocol::outcome::FailureReason;

use super::decide::{self, Contents, Next};
use super::log::Log;
use super::progress::{LogEntry, PlanProgress, StepResult};
use crate::guard::Guard;
use crate::operate;
use crate::operations::deploy_file::undo;
use crate::operations::ending;
use crate::operations::result::OwnResult;
use crate::supervisor::exit_record::Ending;

/// After the runner of the plan in `folder` has ended like this. Nothing of it may run any more.
pub fn after(folder: &Path, ending: &Ending) -> io::Result<()> {
    let said = match ending {
        Ending::NeverStarted | Ending::CannotRun { .. } | Ending::Exited { code: 0 } => {
            return Ok(());
        }
        Ending::Exited { .. } => match OwnResult::read(folder) {
            OwnResult::Left(result) => result.outcome(),
            OwnResult::Missing | OwnResult::NotExpected => {
                Outcome::failed(FailureReason::AgentError, "the plan's own process failed")
            }
        },
        Ending::Signalled { signal } => {
            let message = format!("the plan's own process was ended by signal {signal}");
            Outcome::failed(FailureReason::AgentError, message)
        }
        Ending::TimedOut | Ending::Cancelled | Ending::StoppedFromOutside => {
            match ending::by_ending(ending.clone()) {
                Some(outcome) => outcome,
                None => return Ok(()),
            }
        }
    };
    let may_be_going = match ending {
        // As when the machine goes down, which may be what the step has asked for.
        Ending::Signalled { .. } | Ending::StoppedFromOutside => true,
        Ending::NeverStarted
        | Ending::CannotRun { .. }
        | Ending::Exited { .. }
        | Ending::TimedOut
        | Ending::Cancelled => false,
    };
    let reason = said.reason.unwrap_or(FailureReason::AgentError);
    end(folder, reason, &said.message, may_be_going)
}

/// Ends the plan in `folder` for this reason, wherever it stands.
pub fn cut_off(folder: &Path, reason: FailureReason, message: &str) -> io::Result<()> {
    end(folder, reason, message, false)
}

/// Puts a file back, by its index into `saved`. Returns what went wrong.
pub fn restore(
    progress: &PlanProgress,
    saved: usize,
    folder: &Path,
    guard: &Guard,
) -> Option<String> {
    let file = progress.saved.get(saved)?;
    let knows_inode = !progress.is_put_back_after(saved);
    undo::restore(&file.undo, file.change.as_ref(), folder, guard, knows_inode).err()
}

/// Removes what a deployment that was cut off may have left beside its file.
pub fn clear_up(folder: &Path, plan: &Contents, step: usize) {
    if let Some(Operation::DeployFile(file)) = plan.steps.get(step).map(|step| &*step.operation)
        && let Ok(places) = operate::read_places(folder)
    {
        undo::clear_temporary(&file.path, &deployment_id(folder), &places.guard());
    }
}

/// The name of the run, which goes into the names of files beside the deployed ones.
pub fn deployment_id(folder: &Path) -> String {
    let name = folder.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

fn end(folder: &Path, reason: FailureReason, message: &str, spares_power: bool) -> io::Result<()> {
    let (job, _) = operate::read(folder).map_err(io::Error::other)?;
    let plan = Contents::of(&job.operation, &job.options);
    let (mut log, entries) = Log::open(folder)?;
    let mut progress = PlanProgress::of(plan.steps.len(), &entries);
    let mut note = |progress: &mut PlanProgress, entry: LogEntry| {
        progress.apply(&entry);
        log.append(&entry)
    };
    match progress.under_way() {
        Some(step) if spares_power && plan.power(step).is_some() => return Ok(()),
        Some(step) => {
            clear_up(folder, &plan, step);
            let result = Box::new(StepResult::of(Outcome::failed(reason, message)));
            note(&mut progress, LogEntry::Ended { step, result })?;
        }
        // It is over: there is nothing to cut off.
        None if decide::next(&plan, &progress, "", false) == Next::Conclude => return Ok(()),
        None => {}
    }
    let message = message.to_owned();
    note(&mut progress, LogEntry::Cut { reason, message })?;
    let places = operate::read_places(folder).map_err(io::Error::other)?;
    let guard = places.guard();
    while let Next::Restore(saved) = decide::next(&plan, &progress, "", true) {
        let trouble = restore(&progress, saved, folder, &guard);
        note(&mut progress, LogEntry::Restored { saved, trouble })?;
    }
    Ok(())
}
