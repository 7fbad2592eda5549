//! What follows from where, as a table, and what must hold whatever has happened.

use fleetwright_protocol::Outcome;
use fleetwright_protocol::operation::StepCondition;
use fleetwright_protocol::validate;
use proptest::prelude::*;
use serde_json::json;

use super::super::progress::{CheckResult, LogEntry};
use super::*;
use crate::operations::deploy_file::undo::Undo;

const BOOT: &str = "now";

fn step(name: &str, kind: &str, on_failure: OnFailure, when: Option<&str>) -> PlanStep {
    let parameters = match kind {
        "run_script" => json!({"script": "true"}),
        "deploy_file" => json!({"path": "/x", "content": ""}),
        _ => json!({}),
    };
    PlanStep {
        name: name.to_owned(),
        operation: Box::new(validate::operation(kind, &parameters).unwrap()),
        on_failure,
        when: when.map(|changed| StepCondition {
            changed: changed.to_owned(),
        }),
    }
}

fn plan(steps: Vec<PlanStep>) -> Contents {
    Contents {
        steps,
        options: ExecutionOptions::default(),
        single: false,
    }
}

fn begun(step: usize, boot_id: &str) -> LogEntry {
    LogEntry::Begun {
        step,
        boot_id: boot_id.to_owned(),
    }
}

fn ended(step: usize, outcome: Outcome) -> LogEntry {
    let result = Box::new(StepResult::of(outcome));
    LogEntry::Ended { step, result }
}

fn good(step: usize) -> LogEntry {
    ended(step, Outcome::succeeded(true))
}

fn idle(step: usize) -> LogEntry {
    ended(step, Outcome::succeeded(false))
}

fn bad(step: usize) -> LogEntry {
    ended(step, Outcome::failed(FailureReason::ExitCode, "no"))
}

fn late(step: usize) -> LogEntry {
    ended(step, Outcome::failed(FailureReason::TimedOut, "late"))
}

fn saved(step: usize) -> LogEntry {
    let path = "/x".to_owned();
    let folders = Vec::new();
    let undo = Undo::Nothing { path, folders };
    LogEntry::Saved {
        step,
        undo,
        change: None,
    }
}

fn restored(saved: usize) -> LogEntry {
    LogEntry::Restored {
        saved,
        trouble: None,
    }
}

fn cut() -> LogEntry {
    LogEntry::Cut {
        reason: FailureReason::Cancelled,
        message: String::new(),
    }
}

fn follows(plan: &Contents, entries: &[LogEntry]) -> Next {
    let progress = PlanProgress::of(plan.steps.len(), entries);
    next(plan, &progress, BOOT, false)
}

#[test]
fn what_follows_is_as_the_table_says() {
    use OnFailure::{Continue, Rollback, Stop};
    let stop = plan(vec![
        step("a", "run_script", Stop, None),
        step("b", "run_script", Stop, Some("a")),
    ]);
    let tolerant = plan(vec![
        step("a", "run_script", Continue, None),
        step("b", "run_script", Stop, None),
    ]);
    let careful = plan(vec![
        step("a", "deploy_file", Stop, None),
        step("b", "deploy_file", Stop, None),
        step("c", "run_script", Rollback, None),
    ]);
    let restart = plan(vec![
        step("a", "reboot", Stop, None),
        step("b", "shutdown", Stop, None),
    ]);
    let skipped = Next::Skip(1, "a changed nothing".to_owned());
    let table = [
        (&stop, vec![], Next::Begin(0)),
        (&stop, vec![LogEntry::Opened], Next::Begin(0)),
        (&stop, vec![begun(0, BOOT)], Next::Lost(0)),
        (&stop, vec![begun(0, "before")], Next::Lost(0)),
        (&stop, vec![begun(0, BOOT), good(0)], Next::Begin(1)),
        (&stop, vec![idle(0)], skipped),
        (&stop, vec![bad(0)], Next::Conclude),
        (&stop, vec![good(0), bad(1)], Next::Conclude),
        (&stop, vec![good(0), cut()], Next::Conclude),
        (&tolerant, vec![bad(0)], Next::Begin(1)),
        (&tolerant, vec![late(0)], Next::Conclude),
        (&tolerant, vec![bad(0), good(1)], Next::Conclude),
        (
            &careful,
            vec![saved(0), good(0), saved(1), good(1)],
            Next::Begin(2),
        ),
        (
            &careful,
            vec![saved(0), good(0), saved(1), good(1), bad(2)],
            Next::Restore(1),
        ),
        (
            &careful,
            vec![saved(0), good(0), saved(1), idle(1), bad(2)],
            Next::Restore(0),
        ),
        (
            &careful,
            vec![saved(0), good(0), saved(1), good(1), bad(2), restored(1)],
            Next::Restore(0),
        ),
        (
            &careful,
            vec![saved(0), good(0), bad(2), restored(0)],
            Next::Conclude,
        ),
        // Only the step that fails says whether there is a rollback.
        (
            &careful,
            vec![saved(0), good(0), saved(1), bad(1)],
            Next::Conclude,
        ),
        (
            &restart,
            vec![begun(0, BOOT)],
            Next::AwaitBoot(0, PowerKind::Reboot),
        ),
        (
            &restart,
            vec![begun(0, BOOT), LogEntry::Told { step: 0 }],
            Next::AwaitBoot(0, PowerKind::Reboot),
        ),
        (
            &restart,
            vec![begun(0, "before")],
            Next::Returned(0, PowerKind::Reboot),
        ),
        (
            &restart,
            vec![good(0), begun(1, "before")],
            Next::Returned(1, PowerKind::Shutdown),
        ),
        (&restart, vec![good(0), good(1)], Next::Conclude),
    ];
    for (plan, entries, expected) in table {
        assert_eq!(follows(plan, &entries), expected, "{entries:?}");
    }
}

#[test]
fn a_check_follows_the_last_step_once_and_never_in_a_dry_run() {
    let mut checked = plan(vec![step("a", "run_script", OnFailure::Stop, None)]);
    checked.options.health_check = serde_json::from_value(json!({"script": "true"})).ok();
    let result = Box::new(CheckResult {
        passed: false,
        tries: 1,
        exit_code: None,
        message: String::new(),
        duration_ms: 0,
        output_tail: String::new(),
    });
    assert_eq!(follows(&checked, &[good(0)]), Next::Check);
    assert_eq!(follows(&checked, &[bad(0)]), Next::Conclude);
    assert_eq!(
        follows(&checked, &[good(0), LogEntry::Checked { result }]),
        Next::Conclude
    );
    checked.options.dry_run = true;
    assert_eq!(follows(&checked, &[good(0)]), Next::Conclude);
}

#[test]
fn without_time_nothing_more_is_begun_and_files_are_put_back_all_the_same() {
    let careful = plan(vec![
        step("a", "deploy_file", OnFailure::Stop, None),
        step("b", "run_script", OnFailure::Rollback, None),
    ]);
    let late_next = |entries: &[LogEntry]| {
        let progress = PlanProgress::of(2, entries);
        next(&careful, &progress, BOOT, true)
    };
    assert_eq!(late_next(&[]), Next::OutOfTime);
    assert_eq!(late_next(&[saved(0), good(0)]), Next::OutOfTime);
    assert_eq!(late_next(&[saved(0), good(0), late(1)]), Next::Restore(0));
    assert_eq!(late_next(&[good(0), good(1)]), Next::Conclude);
}

fn any_step() -> impl Strategy<Value = (&'static str, OnFailure, bool)> {
    (
        prop::sample::select(vec!["run_script", "deploy_file", "reboot"]),
        prop::sample::select(vec![
            OnFailure::Stop,
            OnFailure::Continue,
            OnFailure::Rollback,
        ]),
        any::<bool>(),
    )
}

/// Does what is decided, with outcomes from `luck`; the machine restarts, or all that runs is killed, whenever it says.
/// Returns how often each step was begun, and what was decided last.
fn live(plan: &Contents, luck: &[u8]) -> (Vec<usize>, Next, Vec<LogEntry>) {
    let (mut entries, mut boot, mut times) = (Vec::new(), 0_u32, vec![0; plan.steps.len()]);
    for luck in luck.iter().cycle().take(400) {
        // An agent that looks again at any time sees the same.
        let progress = PlanProgress::of(plan.steps.len(), &entries);
        let decided = next(plan, &progress, &boot.to_string(), false);
        assert_eq!(decided, next(plan, &progress, &boot.to_string(), false));
        let outcome = match luck % 4 {
            0 => Outcome::failed(FailureReason::ExitCode, "no"),
            1 => Outcome::succeeded(false),
            _ => Outcome::succeeded(true),
        };
        match decided {
            Next::Begin(step) => {
                times[step] += 1;
                entries.push(begun(step, &boot.to_string()));
                let is_power = plan.power(step).is_some();
                if luck % 16 == 15 || is_power {
                    // Killed before it could note the end; or the machine goes.
                    boot += 1;
                    continue;
                }
                if plan.may_roll_back() && plan.steps[step].name.starts_with("deploy") {
                    entries.push(saved(step));
                }
                entries.push(ended(step, outcome));
            }
            Next::Skip(step, why) => entries.push(LogEntry::Skipped { step, why }),
            Next::Returned(step, _) => entries.push(good(step)),
            Next::Restore(saved) => entries.push(restored(saved)),
            last @ (Next::AwaitBoot(..)
            | Next::Lost(_)
            | Next::Check
            | Next::OutOfTime
            | Next::Conclude) => {
                return (times, last, entries);
            }
        }
    }
    panic!("it never ends: {entries:?}");
}

proptest! {
    #[test]
    fn every_plan_ends_and_begins_each_step_at_most_once(
        steps in prop::collection::vec(any_step(), 1..8),
        luck in prop::collection::vec(any::<u8>(), 1..20),
    ) {
        let plan = plan(steps.iter().enumerate().map(|(index, (kind, on_failure, conditional))| {
            let previous = index.checked_sub(1).map(|before| format!("{}{before}", steps[before].0));
            let when = previous.filter(|_| *conditional);
            step(&format!("{kind}{index}"), kind, *on_failure, when.as_deref())
        }).collect());
        let (times, last, entries) = live(&plan, &luck);
        prop_assert!(times.iter().all(|times| *times <= 1), "{:?}", entries);
        let progress = PlanProgress::of(plan.steps.len(), &entries);
        match last {
            Next::Conclude => match failure(&plan, &progress) {
                None => {
                    let waiting = progress.steps.contains(&StepState::Waiting);
                    prop_assert!(!waiting, "{:?}", entries);
                }
                Some(failed) => {
                    // Nothing was begun after it, and what it wanted back is back.
                    prop_assert!(times[failed + 1..].iter().all(|times| *times == 0));
                    if plan.steps[failed].on_failure == OnFailure::Rollback {
                        let open = |saved: &super::super::progress::SavedFile| saved.restored.is_none()
                            && progress.ended(saved.step).unwrap().changed;
                        prop_assert!(!progress.saved.iter().any(open));
                    }
                }
            },
            Next::Lost(step) => prop_assert!(plan.power(step).is_none()),
            other => prop_assert!(false, "ended in {:?}", other),
        }
    }
}
