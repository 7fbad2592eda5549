//! What is told, and that it always fits.

use fleetwright_protocol::operation::{OnFailure, PlanStep};
use fleetwright_protocol::outcome::OutcomeStatus;
use fleetwright_protocol::{ExecutionOptions, validate};
use proptest::prelude::*;

use super::super::progress::LogEntry;
use super::*;

fn plan(steps: usize, name: &str, on_failure: OnFailure) -> Contents {
    let operation = validate::operation("run_script", &json!({"script": "x"})).unwrap();
    let step = |index| PlanStep {
        name: format!("{name}{index}"),
        operation: Box::new(operation.clone()),
        on_failure,
        when: None,
    };
    Contents {
        steps: (0..steps).map(step).collect(),
        options: ExecutionOptions::default(),
        single: false,
    }
}

fn result(succeeded: bool, words: &str) -> StepResult {
    StepResult {
        succeeded,
        reason: (!succeeded).then_some(FailureReason::ExitCode),
        exit_code: Some(i32::from(!succeeded)),
        signal: None,
        changed: succeeded,
        message: words.to_owned(),
        duration_ms: 5,
        details: Some(json!({ "said": words })),
        stdout_tail: words.to_owned(),
        stderr_tail: words.to_owned(),
    }
}

fn ended(step: usize, succeeded: bool, words: &str) -> LogEntry {
    let result = Box::new(result(succeeded, words));
    LogEntry::Ended { step, result }
}

#[test]
fn a_plan_succeeds_if_only_steps_failed_that_may() {
    let tolerant = plan(7, "s", OnFailure::Continue);
    let entries: Vec<LogEntry> = (0..7).map(|step| ended(step, step == 6, "w")).collect();
    let outcome = outcome(&tolerant, &PlanProgress::of(7, &entries));
    assert_eq!(outcome.status, OutcomeStatus::Succeeded);
    assert_eq!(
        outcome.message,
        "7 steps, 6 failed and may: s0, s1, s2, s3, s4, …"
    );
    assert!(outcome.changed && outcome.duration_ms == 35);
}

#[test]
fn a_step_that_nobody_heard_of_again_has_not_succeeded() {
    let wanted = plan(2, "s", OnFailure::Stop);
    let begun = LogEntry::Begun {
        step: 1,
        boot_id: "b".to_owned(),
    };
    let cut = LogEntry::Cut {
        reason: FailureReason::OutcomeUnknown,
        message: "lost".to_owned(),
    };
    let told = outcome(
        &wanted,
        &PlanProgress::of(2, &[ended(0, true, ""), begun, cut]),
    );
    assert_eq!(
        (told.reason, told.message.as_str()),
        (Some(FailureReason::OutcomeUnknown), "lost")
    );
    assert_eq!(told.details.unwrap()["steps"][1]["status"], "failed");
}

#[test]
fn the_largest_plan_fits_and_small_ones_lose_nothing() {
    let words = "\u{1}é".repeat(2_000);
    let name = "\u{10ffff}".repeat(110);
    for steps in [1, 10, 100, 1_000] {
        let wanted = plan(steps, &name, OnFailure::Stop);
        let entries: Vec<LogEntry> = (0..steps).map(|step| ended(step, true, &words)).collect();
        let told = outcome(&wanted, &PlanProgress::of(steps, &entries))
            .details
            .unwrap();
        assert!(told.to_string().len() <= DETAILS_BYTES_MAX, "{steps} steps");
        let shown = told["steps"].as_array().unwrap();
        assert!(shown.len() == steps && shown.iter().all(|step| step["status"] == "succeeded"));
        assert_eq!(
            shown[0].get("stdout_tail").is_some(),
            steps <= 10,
            "{steps} steps"
        );
    }
}

#[test]
fn a_refused_plan_names_the_step_and_runs_nothing() {
    let wanted = plan(3, "s", OnFailure::Stop);
    let told = refused(&wanted, 1, FailureReason::RefusedByPolicy, "no");
    assert_eq!(told.message, "step 2 (s1): no; nothing was run");
    let details = told.details.unwrap();
    assert_eq!(details["steps"][1]["reason"], "refused_by_policy");
    let not_run = |step: &Value| step["status"] == "not_run";
    assert!(details["steps"].as_array().unwrap().iter().all(not_run));
}

proptest! {
    #[test]
    fn the_end_of_a_text_is_whole_characters(text in "\\PC{0,20}", bytes in 0..40usize) {
        let end = last(&text, bytes);
        prop_assert!(end.len() <= bytes && text.ends_with(end));
    }
}
