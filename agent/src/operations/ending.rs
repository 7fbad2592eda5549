//! What to tell the server of an ended run, from its exit record. Pure.

use fleetwright_protocol::Outcome;
use fleetwright_protocol::outcome::{FailureReason, OutcomeStatus};

use super::result::OwnResult;
use crate::supervisor::exit_record::{Ending, ExitRecord};

/// The result; `None` if it provably never started.
pub fn outcome(record: ExitRecord) -> Option<Outcome> {
    let mut outcome = match record.result {
        OwnResult::NotExpected => by_ending(record.ending)?,
        OwnResult::Missing => match record.ending {
            // Whatever the code: only its own word would be proof.
            Ending::Exited { code } => Outcome::failed(
                FailureReason::AgentError,
                format!("ended (code {code}) without saying what it did"),
            ),
            Ending::NeverStarted
            | Ending::CannotRun { .. }
            | Ending::Signalled { .. }
            | Ending::TimedOut
            | Ending::Cancelled
            | Ending::StoppedFromOutside => by_ending(record.ending)?,
        },
        OwnResult::Left(result) => match record.ending {
            Ending::Exited { code } if (code == 0) == result.succeeded => result.outcome(),
            Ending::Exited { code } => Outcome::failed(
                FailureReason::AgentError,
                format!("ended with code {code}, against its own word"),
            ),
            // It was cut off after it had said how it went: the end counts, what it changed is true all the same.
            Ending::NeverStarted
            | Ending::CannotRun { .. }
            | Ending::Signalled { .. }
            | Ending::TimedOut
            | Ending::Cancelled
            | Ending::StoppedFromOutside => Outcome {
                changed: result.changed,
                details: result.details,
                ..by_ending(record.ending)?
            },
        },
    };
    if !record.output_trouble.is_empty() {
        if !outcome.message.is_empty() {
            outcome.message.push_str("; ");
        }
        outcome.message.push_str(&record.output_trouble);
    }
    outcome.duration_ms = record.duration_ms;
    outcome.stdout = record.stdout;
    outcome.stderr = record.stderr;
    Some(outcome)
}

/// Where nothing but the end of the process tells how it went.
pub fn by_ending(ending: Ending) -> Option<Outcome> {
    let outcome = match ending {
        Ending::NeverStarted => return None,
        Ending::CannotRun { why } => Outcome::failed(FailureReason::AgentError, why),
        Ending::Exited { code: 0 } => Outcome::succeeded(true),
        Ending::Exited { code } => Outcome {
            exit_code: Some(code),
            ..Outcome::failed(FailureReason::ExitCode, format!("exited with code {code}"))
        },
        Ending::Signalled { signal } => Outcome {
            signal: Some(signal),
            ..Outcome::failed(FailureReason::ExitCode, format!("ended by signal {signal}"))
        },
        Ending::TimedOut => Outcome::failed(
            FailureReason::TimedOut,
            "ran out of time; all its processes were ended",
        ),
        Ending::Cancelled => Outcome::failed(
            FailureReason::Cancelled,
            "cancelled; all its processes were ended",
        ),
        Ending::StoppedFromOutside => Outcome::failed(
            FailureReason::AgentError,
            "ended together with its supervisor, which something on the host told to stop",
        ),
    };
    Some(match outcome.status {
        OutcomeStatus::Succeeded => Outcome {
            exit_code: Some(0),
            ..outcome
        },
        OutcomeStatus::Failed | OutcomeStatus::Unknown(_) => outcome,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operations::result::OperationResult;
    use serde_json::json;

    fn of(ending: Ending, result: OwnResult) -> Option<Outcome> {
        outcome(ExitRecord {
            result,
            ..ExitRecord::without_output(ending, 3)
        })
    }

    fn failures() -> Vec<(Ending, FailureReason)> {
        vec![
            (Ending::Exited { code: 1 }, FailureReason::ExitCode),
            (Ending::Signalled { signal: 9 }, FailureReason::ExitCode),
            (Ending::TimedOut, FailureReason::TimedOut),
            (Ending::Cancelled, FailureReason::Cancelled),
            (
                Ending::CannotRun { why: "x".into() },
                FailureReason::AgentError,
            ),
            (Ending::StoppedFromOutside, FailureReason::AgentError),
        ]
    }

    #[test]
    fn only_an_exit_code_of_zero_is_success_and_a_run_that_never_was_has_no_outcome() {
        let script = |ending| of(ending, OwnResult::NotExpected);
        assert_eq!(script(Ending::NeverStarted), None);
        let good = script(Ending::Exited { code: 0 }).unwrap();
        assert_eq!(
            (good.status, good.changed, good.exit_code),
            (OutcomeStatus::Succeeded, true, Some(0))
        );
        for (ending, reason) in failures() {
            let bad = script(ending).unwrap();
            assert_eq!(
                (bad.status, bad.reason, bad.changed),
                (OutcomeStatus::Failed, Some(reason), false)
            );
        }
    }

    #[test]
    fn an_operation_succeeds_only_by_its_own_word_and_a_good_end() {
        let left = |succeeded| {
            let mut outcome = if succeeded {
                Outcome::succeeded(true)
            } else {
                Outcome::failed(FailureReason::ExitCode, "no")
            };
            outcome.details = Some(json!({"a": 1}));
            outcome.changed = true;
            OwnResult::Left(Box::new(OperationResult::of(outcome)))
        };
        let mut endings: Vec<Ending> = failures().into_iter().map(|(ending, _)| ending).collect();
        endings.push(Ending::Exited { code: 0 });
        for ending in endings {
            for result in [OwnResult::Missing, left(true), left(false)] {
                let told = of(ending.clone(), result.clone()).unwrap();
                let good = ending == Ending::Exited { code: 0 } && result == left(true);
                assert_eq!(
                    told.status == OutcomeStatus::Succeeded,
                    good,
                    "{ending:?} {result:?}"
                );
                if good {
                    assert_eq!(told.details, Some(json!({"a": 1})));
                }
            }
        }
        let cut_off = of(Ending::TimedOut, left(true)).unwrap();
        assert_eq!(
            (cut_off.reason, cut_off.changed),
            (Some(FailureReason::TimedOut), true)
        );
        let said_no = of(Ending::Exited { code: 1 }, left(false)).unwrap();
        assert_eq!(
            (said_no.reason, said_no.message.as_str()),
            (Some(FailureReason::ExitCode), "no")
        );
    }
}
