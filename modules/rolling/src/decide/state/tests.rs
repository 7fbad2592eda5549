//! Every state with every event: the legal moves of the product page, and nothing else.

use super::*;

const STATES: [State; 18] = [
    State::Queued { cancelling: false },
    State::Queued { cancelling: true },
    State::Running,
    State::AwaitingApproval {
        batch: 2,
        cancelling: false,
    },
    State::AwaitingApproval {
        batch: 2,
        cancelling: true,
    },
    State::Paused {
        was: Was::Running,
        cause: PauseCause::Operator,
    },
    State::Paused {
        was: Was::Running,
        cause: PauseCause::Threshold,
    },
    State::Paused {
        was: Was::AwaitingApproval { batch: 2 },
        cause: PauseCause::Operator,
    },
    State::Halting,
    State::Cancelling,
    State::RollingBack { cancelling: false },
    State::RollingBack { cancelling: true },
    State::Over {
        end: End::Succeeded,
    },
    State::Over { end: End::Partial },
    State::Over { end: End::Failed },
    State::Over {
        end: End::Cancelled,
    },
    State::Over {
        end: End::RolledBack,
    },
    State::Over {
        end: End::RollbackFailed,
    },
];

const EVENTS: [Event; 16] = [
    Event::FirstBatchDispatched,
    Event::ApprovalRequired { batch: 2 },
    Event::Approve { batch: 2 },
    Event::Approve { batch: 3 },
    Event::Pause(PauseCause::Operator),
    Event::Pause(PauseCause::Threshold),
    Event::Resume,
    Event::Cancel,
    Event::Halt,
    Event::Finish(Outcome::Succeeded),
    Event::Finish(Outcome::Partial),
    Event::Finish(Outcome::Failed),
    Event::Drain,
    Event::BeginRollback,
    Event::FinishRollback { everywhere: true },
    Event::FinishRollback { everywhere: false },
];

/// One letter for each state, for the table below.
fn letter(state: State) -> char {
    match state {
        State::Queued { cancelling } => {
            if cancelling {
                'q'
            } else {
                'Q'
            }
        }
        State::Running => 'R',
        State::AwaitingApproval { cancelling, .. } => {
            if cancelling {
                'a'
            } else {
                'A'
            }
        }
        State::Paused {
            was: Was::Running,
            cause: PauseCause::Operator,
        } => 'P',
        State::Paused {
            was: Was::Running,
            cause: PauseCause::Threshold,
        } => 'T',
        State::Paused {
            was: Was::AwaitingApproval { .. },
            ..
        } => 'W',
        State::Halting => 'H',
        State::Cancelling => 'C',
        State::RollingBack { cancelling } => {
            if cancelling {
                'b'
            } else {
                'B'
            }
        }
        State::Over { end } => match end {
            End::Succeeded => '1',
            End::Partial => '2',
            End::Failed => '3',
            End::Cancelled => '4',
            End::RolledBack => '5',
            End::RollbackFailed => '6',
        },
    }
}

/// Rows are events, columns states, in the order of the two lists above; `.` is illegal.
const TABLE: [&str; 16] = [
    //                     QqRAaPTWHCBb123456
    /* first batch      */
    "R.................",
    /* approval needed  */ "..A...............",
    /* approve 2        */ "...R..............",
    /* approve 3        */ "..................",
    /* pause, operator  */ "..PW.PTW..........",
    /* pause, threshold */ "..TW.PTW..........",
    /* resume           */ ".....RRA..........",
    /* cancel           */ "qqCaaCCC.Cbb......",
    /* halt             */ "..H...............",
    /* finish succeeded */ "..1...............",
    /* finish partial   */ "..2...............",
    /* finish failed    */ "..3...............",
    /* drain            */ ".4..4...34.6......",
    /* begin rollback   */ "........B.........",
    /* rolled back      */ "..........5.......",
    /* rollback failed  */ "..........6.......",
];

#[test]
fn every_state_answers_every_event_as_the_table_says() {
    for (event, row) in EVENTS.into_iter().zip(TABLE) {
        for (state, expected) in STATES.into_iter().zip(row.chars()) {
            let (found, said) = match state.next(event) {
                Ok(next) => (letter(next), String::new()),
                Err(refused) => ('.', refused.to_string()),
            };
            assert_eq!(found, expected, "{event:?} on {state:?}: {said}");
            if found == '.' {
                assert_eq!(
                    said,
                    format!(
                        "cannot {} a deployment that is {}",
                        event.name(),
                        state.name()
                    )
                );
            }
        }
    }
}

#[test]
fn moves_between_names_are_those_of_the_product_page() {
    // `a → b` for every legal move that changes the name; a pause of a paused one and the like change nothing.
    let legal = [
        ("queued", "running cancelled"),
        (
            "running",
            "awaiting_approval paused halting cancelling succeeded partial failed",
        ),
        ("awaiting_approval", "running paused cancelled"),
        ("paused", "running awaiting_approval cancelling"),
        ("halting", "failed rolling_back"),
        ("cancelling", "cancelled"),
        ("rolling_back", "rolled_back rollback_failed"),
    ];
    for state in STATES {
        for event in EVENTS {
            let Ok(next) = state.next(event) else {
                continue;
            };
            let (from, to) = (state.name(), next.name());
            let allowed = legal
                .iter()
                .find(|(name, _)| *name == from)
                .map(|(_, to)| *to);
            let fits = allowed.is_some_and(|allowed| allowed.split(' ').any(|name| name == to));
            assert!(from == to || fits, "{from} → {to} by {event:?}");
        }
    }
}

#[test]
fn terminal_states_never_change() {
    for state in STATES.into_iter().filter(|state| state.is_terminal()) {
        assert!(EVENTS.into_iter().all(|event| state.next(event).is_err()));
        assert!(state.status().is_terminal() && state.phase().is_none());
    }
}

#[test]
fn hosts_that_finish_are_shown_as_running_with_a_phase() {
    assert_eq!(
        (State::Halting.status(), State::Halting.phase()),
        (Status::Running, Some(Phase::Halting))
    );
    assert_eq!(
        (State::Cancelling.status(), State::Cancelling.phase()),
        (Status::Running, Some(Phase::Cancelling))
    );
    for status in Status::ALL {
        assert_eq!(Status::from_name(status.as_str()), Some(status));
        assert_eq!(serde_json::to_value(status).unwrap(), status.as_str());
    }
}

#[test]
fn a_stored_state_reads_back() {
    for state in STATES {
        let text = serde_json::to_string(&state).unwrap();
        assert_eq!(serde_json::from_str::<State>(&text).unwrap(), state);
    }
}
