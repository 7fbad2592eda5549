//! Tables for single steps, and random walks for what must hold whatever happens.

use super::*;
use fleetwright_protocol::Word;
use proptest::prelude::*;

const NOW: i64 = 1_000_000_000;

fn at(us: i64) -> Now {
    Now::both(us)
}

fn sent() -> CommandState {
    CommandState {
        status: CommandStatus::Queued,
        reason: None,
        attempt: 1,
        cancel_requested: false,
        kill_requested: false,
        sent_at: Some(NOW),
        slot: true,
        due_at: Some(CommandState::lease_due(NOW)),
        started_at: None,
        finished_at: None,
        expires_at: NOW + 3_600_000_000,
        timeout_us: 60_000_000,
        operation_type: OperationType::RunScript,
        cancel_reason: "cancelled",
        set_cancelled: false,
        given_up: false,
    }
}

#[test]
fn a_start_moves_to_running_and_keeps_the_slot() {
    let mut state = sent();
    on_report(
        &mut state,
        &Observation::Started { attempt: 1 },
        at(NOW + 5),
    );
    assert_eq!(
        (state.status, state.slot, state.started_at),
        (CommandStatus::Running, true, Some(NOW + 5))
    );
}

#[test]
fn a_proof_of_not_starting_raises_the_attempt_and_frees_the_slot() {
    let mut state = sent();
    let report = Observation::NotStarted {
        attempt: 1,
        reason: NotStartedReason::AgentRestarted.into(),
    };
    let reaction = on_report(&mut state, &report, at(NOW + 5));
    assert_eq!(reaction.requeued_after_us, Some(0));
    assert_eq!((state.attempt, state.sent_at, state.slot), (2, None, false));
}

#[test]
fn a_proof_of_not_starting_stands_also_after_a_start_was_announced() {
    use NotStartedReason as Reason;
    // Reason, cancelled with `kill` meanwhile, set cancelled meanwhile; what becomes of it.
    let cases = [
        (Reason::AgentRestarted, false, false, None),
        (Reason::LeaseExpired, false, false, None),
        (Reason::AgentRestarted, true, false, Some("halted")),
        (Reason::AgentRestarted, false, true, Some("halted")),
        (Reason::Cancelled, true, false, Some("halted")),
        (Reason::TtlExpired, false, false, Some("expired")),
        (Reason::Unsupported, false, false, Some("unsupported")),
    ];
    for (reason, killed, set_cancelled, ends_as) in cases {
        let mut state = CommandState {
            cancel_reason: "halted",
            ..sent()
        };
        on_report(
            &mut state,
            &Observation::Started { attempt: 1 },
            at(NOW + 1),
        );
        if killed {
            on_cancel(&mut state, true, at(NOW + 2));
        }
        state.set_cancelled = set_cancelled;
        let journal = Observation::Journal {
            attempt: Some((1, JournalState::NotStarted.into())),
            journal_changed: false,
            silence: Silence::NotStarted,
        };
        on_report(&mut state, &journal, at(NOW + 3));
        assert_eq!(
            state.status,
            CommandStatus::Running,
            "the reason is awaited"
        );
        let not_started = |attempt| Observation::NotStarted {
            attempt,
            reason: reason.into(),
        };
        let other = not_started(2);
        on_report(&mut state, &other, at(NOW + 4));
        assert_eq!(state.status, CommandStatus::Running, "another attempt's");
        let report = not_started(1);
        let reaction = on_report(&mut state, &report, at(NOW + 5));
        let case = format!("{reason:?} {killed} {set_cancelled}");
        assert_eq!(
            (state.started_at, state.slot, state.due_at),
            (None, false, None),
            "{case}"
        );
        match ends_as {
            None => {
                assert!(reaction.requeued_after_us.is_some(), "{case}");
                let waits = (state.status, state.attempt, state.sent_at);
                assert_eq!(waits, (CommandStatus::Queued, 2, None), "{case}");
            }
            Some(end) => {
                let ended = (state.status, state.reason, state.attempt);
                assert_eq!(ended, (CommandStatus::Skipped, Some(end), 1), "{case}");
            }
        }
    }
}

#[test]
fn a_cancelled_command_that_did_not_start_is_skipped() {
    let mut state = sent();
    assert!(
        on_cancel(&mut state, false, at(NOW + 1)),
        "the agent must be told"
    );
    assert_eq!(
        state.status,
        CommandStatus::Queued,
        "until it is known not to have started"
    );
    let report = Observation::NotStarted {
        attempt: 1,
        reason: NotStartedReason::LeaseExpired.into(),
    };
    on_report(&mut state, &report, at(NOW + 5));
    assert_eq!(
        (state.status, state.reason),
        (CommandStatus::Skipped, Some("cancelled"))
    );
}

#[test]
fn an_unheard_lease_frees_the_slot_but_keeps_the_attempt() {
    let mut state = sent();
    on_due(&mut state, at(CommandState::lease_due(NOW)));
    assert_eq!(
        (state.status, state.slot, state.attempt),
        (CommandStatus::Queued, false, 1)
    );
    assert_eq!(state.due_at, Some(state.last_due()));
    let end = state.last_due();
    on_due(&mut state, at(end));
    assert_eq!(
        (state.status, state.reason),
        (CommandStatus::Failed, Some("outcome_unknown"))
    );
}

#[test]
fn only_a_started_shutdown_succeeds_by_the_hosts_silence() {
    for operation_type in OperationType::ALL {
        for started in [false, true] {
            let mut state = CommandState {
                operation_type,
                ..sent()
            };
            if started {
                on_report(
                    &mut state,
                    &Observation::Started { attempt: 1 },
                    at(NOW + 1),
                );
            }
            let before = state.clone();
            on_report(&mut state, &Observation::HostGone, at(NOW + 5));
            if started && operation_type == OperationType::Shutdown {
                assert_eq!(
                    (state.status, state.reason, state.slot, state.due_at),
                    (CommandStatus::Succeeded, None, false, None)
                );
                assert_eq!(state.finished_at, Some(NOW + 5));
            } else {
                assert_eq!(state, before, "{operation_type:?} {started}");
            }
        }
    }
}

#[test]
fn a_host_that_never_comes_back_from_its_restart_has_timed_out() {
    for (operation_type, reason) in [
        (OperationType::Reboot, "timed_out"),
        (OperationType::Shutdown, "outcome_unknown"),
        (OperationType::RunScript, "outcome_unknown"),
    ] {
        let mut state = CommandState {
            operation_type,
            ..sent()
        };
        on_report(
            &mut state,
            &Observation::Started { attempt: 1 },
            at(NOW + 1),
        );
        let due_at = state.due_at.unwrap();
        assert!(due_at >= NOW + 1 + state.timeout_us);
        on_due(&mut state, at(due_at));
        assert_eq!(
            (state.status, state.reason),
            (CommandStatus::Failed, Some(reason))
        );
    }
}

#[test]
fn an_intact_journal_without_the_command_proves_that_it_never_arrived() {
    let mut state = sent();
    let report = Observation::Journal {
        attempt: None,
        journal_changed: false,
        silence: Silence::NotStarted,
    };
    assert_eq!(
        on_report(&mut state, &report, at(NOW + 5)).requeued_after_us,
        Some(0)
    );
    assert_eq!(state.attempt, 2);
}

#[test]
fn only_the_next_session_of_the_same_machine_proves_that_nothing_has_started() {
    let known = |state: JournalState| Some((1, Open::Known(state)));
    let unknown = (CommandStatus::Failed, Some("outcome_unknown"));
    let waits = (CommandStatus::Queued, None);
    let runs = (CommandStatus::Running, None);
    for (before, attempt, silence, after) in [
        (sent(), None, Silence::NotStarted, waits),
        (sent(), None, Silence::Nothing, waits),
        (sent(), None, Silence::Unknown, unknown),
        (
            sent(),
            known(JournalState::Received),
            Silence::Unknown,
            unknown,
        ),
        (
            sent(),
            known(JournalState::NotStarted),
            Silence::Unknown,
            unknown,
        ),
        (sent(), known(JournalState::Started), Silence::Unknown, runs),
        (sent(), known(JournalState::Exited), Silence::Unknown, waits),
        (running(), None, Silence::Unknown, unknown),
        (
            running(),
            known(JournalState::NotStarted),
            Silence::Unknown,
            unknown,
        ),
        (
            running(),
            known(JournalState::Started),
            Silence::Unknown,
            runs,
        ),
        (
            running(),
            known(JournalState::NotStarted),
            Silence::Nothing,
            runs,
        ),
    ] {
        let mut state = before.clone();
        let report = Observation::Journal {
            attempt,
            journal_changed: false,
            silence,
        };
        let reaction = on_report(&mut state, &report, at(NOW + 5));
        assert_eq!(
            (state.status, state.reason),
            after,
            "{attempt:?} {silence:?}"
        );
        let is_sent_again = reaction.requeued_after_us.is_some();
        assert_eq!(is_sent_again, silence == Silence::NotStarted, "{silence:?}");
        assert_eq!(state.attempt > 1, is_sent_again);
    }
}

#[test]
fn a_new_journal_makes_the_outcome_unknown_and_is_never_rerun() {
    for started in [false, true] {
        let mut state = sent();
        if started {
            on_report(
                &mut state,
                &Observation::Started { attempt: 1 },
                at(NOW + 1),
            );
        }
        on_report(
            &mut state,
            &Observation::Journal {
                attempt: None,
                journal_changed: true,
                silence: Silence::NotStarted,
            },
            at(NOW + 5),
        );
        assert_eq!(
            (state.status, state.reason),
            (CommandStatus::Failed, Some("outcome_unknown"))
        );
    }
}

#[test]
fn a_result_after_the_end_is_late_and_moves_nothing() {
    let mut state = sent();
    on_host_deleted(&mut state, at(NOW + 1));
    let before = state.clone();
    let outcome = Outcome::succeeded(true);
    let reaction = on_report(
        &mut state,
        &Observation::Finished {
            attempt: 1,
            outcome: &outcome,
        },
        at(NOW + 2),
    );
    assert!(reaction.late && !reaction.store_outcome);
    assert_eq!(state, before);
}

#[test]
fn a_deleted_hosts_command_is_skipped_only_if_it_was_never_sent() {
    let mut unsent = CommandState {
        sent_at: None,
        slot: false,
        due_at: None,
        ..sent()
    };
    on_host_deleted(&mut unsent, at(NOW + 1));
    assert_eq!(unsent.status, CommandStatus::Skipped);
    let mut delivered = sent();
    on_host_deleted(&mut delivered, at(NOW + 1));
    assert_eq!(delivered.status, CommandStatus::Failed);
    assert_eq!(delivered.reason, Some("host_deleted"));
}

#[test]
fn a_word_that_is_not_known_never_makes_a_command_start_again_or_succeed() {
    let newer = Word::of("newer");
    // Proven not to have started: asked again, not at once.
    let mut state = sent();
    let not_started = Observation::NotStarted {
        attempt: 1,
        reason: Open::Unknown(newer),
    };
    let reaction = on_report(&mut state, &not_started, at(NOW + 1));
    assert_eq!(reaction.requeued_after_us, Some(LONG_PAUSE_US));
    assert_eq!((state.attempt, state.sent_at), (2, None));
    // In the journal, in whatever state: it waits for what the agent says next.
    for before in [sent(), running()] {
        let mut state = before.clone();
        let journal = Observation::Journal {
            attempt: Some((1, Open::Unknown(newer))),
            journal_changed: false,
            silence: Silence::NotStarted,
        };
        let reaction = on_report(&mut state, &journal, at(NOW + 1));
        assert_eq!((state, reaction), (before, Reaction::default()));
    }
    for (status, reason, expected) in [
        (OutcomeStatus::Unknown(newer), None, "outcome_unknown"),
        (
            OutcomeStatus::Failed,
            Some(FailureReason::Unknown(newer)),
            "agent_error",
        ),
    ] {
        let mut state = running();
        let outcome = Outcome {
            status,
            reason,
            ..Outcome::succeeded(true)
        };
        let finished = Observation::Finished {
            attempt: 1,
            outcome: &outcome,
        };
        assert!(on_report(&mut state, &finished, at(NOW + 2)).store_outcome);
        let ended = (state.status, state.reason);
        assert_eq!(ended, (CommandStatus::Failed, Some(expected)));
    }
}

fn running() -> CommandState {
    let mut state = sent();
    on_report(&mut state, &Observation::Started { attempt: 1 }, at(NOW));
    state
}

#[test]
fn a_wall_clock_that_is_set_moves_no_deadline() {
    const DAY: i64 = 24 * 3_600_000_000;
    for step in [DAY, -DAY] {
        let set = |us: i64| Now {
            wall_us: us + step,
            lease_us: us,
        };
        let mut state = sent();
        on_report(
            &mut state,
            &Observation::Started { attempt: 1 },
            set(NOW + 5),
        );
        assert_eq!(state.started_at, Some(NOW + 5 + step), "shown as it is now");
        let due = NOW + 5 + state.timeout_us + OUTCOME_GRACE_US;
        assert_eq!(state.due_at, Some(due));
        let mut waits = sent();
        let not_started = Observation::NotStarted {
            attempt: 1,
            reason: NotStartedReason::AgentRestarted.into(),
        };
        on_report(&mut waits, &not_started, set(NOW + 5));
        assert_eq!(waits.status, CommandStatus::Queued, "it has not expired");
        on_due(&mut state, set(due));
        assert_eq!(state.finished_at, Some(due + step));
    }
}

#[derive(Clone, Debug)]
enum Event {
    Started(u32),
    NotStarted(u32, Open<NotStartedReason>),
    Finished(u32, OutcomeStatus),
    Journal(Option<(u32, Open<JournalState>)>, bool, Silence),
    Due,
    Cancel(bool),
    Expired,
    Deleted,
    Send,
}

fn events() -> impl Strategy<Value = Vec<(Event, i64)>> {
    let reason = prop::sample::select(vec![
        NotStartedReason::LeaseExpired,
        NotStartedReason::AgentRestarted,
        NotStartedReason::TtlExpired,
        NotStartedReason::Cancelled,
        NotStartedReason::Unsupported,
        NotStartedReason::DiskFull,
    ]);
    let newer = Word::of("newer");
    let reason = prop_oneof![reason.prop_map(Open::Known), Just(Open::Unknown(newer))];
    let journal = prop::sample::select(vec![
        JournalState::Received,
        JournalState::Started,
        JournalState::Exited,
        JournalState::NotStarted,
    ]);
    let journal = prop_oneof![journal.prop_map(Open::Known), Just(Open::Unknown(newer))];
    let status = prop::sample::select(vec![
        OutcomeStatus::Succeeded,
        OutcomeStatus::Failed,
        OutcomeStatus::Unknown(newer),
    ]);
    let silence = prop::sample::select(vec![
        Silence::NotStarted,
        Silence::Nothing,
        Silence::Unknown,
    ]);
    let event = prop_oneof![
        (1_u32..4).prop_map(Event::Started),
        (1_u32..4, reason).prop_map(|(attempt, reason)| Event::NotStarted(attempt, reason)),
        (1_u32..4, status).prop_map(|(attempt, status)| Event::Finished(attempt, status)),
        (
            prop::option::of((1_u32..4, journal)),
            any::<bool>(),
            silence
        )
            .prop_map(|(entry, changed, silence)| Event::Journal(entry, changed, silence)),
        Just(Event::Due),
        any::<bool>().prop_map(Event::Cancel),
        Just(Event::Expired),
        Just(Event::Deleted),
        Just(Event::Send),
    ];
    prop::collection::vec((event, 0_i64..100_000_000), 1..30)
}

/// The walks look at states, not at what follows from a step.
fn drop_reaction<T>(_: T) {}

fn step(state: &mut CommandState, event: &Event, now: Now) {
    match event {
        Event::Started(attempt) => drop_reaction(on_report(
            state,
            &Observation::Started { attempt: *attempt },
            now,
        )),
        Event::NotStarted(attempt, reason) => {
            drop_reaction(on_report(
                state,
                &Observation::NotStarted {
                    attempt: *attempt,
                    reason: *reason,
                },
                now,
            ));
        }
        Event::Finished(attempt, status) => {
            let outcome = &Outcome {
                status: *status,
                ..Outcome::failed(FailureReason::ExitCode, "")
            };
            drop_reaction(on_report(
                state,
                &Observation::Finished {
                    attempt: *attempt,
                    outcome,
                },
                now,
            ));
        }
        Event::Journal(entry, changed, silence) => {
            let report = Observation::Journal {
                attempt: *entry,
                journal_changed: *changed,
                silence: *silence,
            };
            drop_reaction(on_report(state, &report, now));
        }
        Event::Due => on_due(state, now),
        Event::Cancel(kill) => drop_reaction(on_cancel(state, *kill, now)),
        Event::Expired => on_expired(state, now),
        Event::Deleted => on_host_deleted(state, now),
        Event::Send => {
            if state.status == CommandStatus::Queued && state.sent_at.is_none() {
                state.sent_at = Some(now.wall_us);
                state.slot = true;
                state.due_at = Some(CommandState::lease_due(now.lease_us));
            }
        }
    }
}

proptest! {
    #[test]
    fn terminal_states_never_change_and_attempts_rise_only_when_unstarted(events in events()) {
        let mut state = sent();
        let mut now = NOW;
        for (event, wait) in events {
            now += wait;
            let before = state.clone();
            step(&mut state, &event, at(now));
            if before.status.is_terminal() {
                prop_assert_eq!(&state, &before);
            }
            if state.attempt != before.attempt {
                prop_assert_eq!(state.attempt, before.attempt + 1);
                let is_proof = matches!(event, Event::NotStarted(attempt, _) if attempt == before.attempt);
                prop_assert!(before.status == CommandStatus::Queued || is_proof);
                prop_assert!(state.started_at.is_none());
            }
            prop_assert!(!state.slot || !state.status.is_terminal());
            prop_assert!(state.status.is_terminal() == state.finished_at.is_some());
            let open_and_sent = !state.status.is_terminal() && state.sent_at.is_some();
            prop_assert!(!open_and_sent || state.due_at.is_some(), "nothing sent is ever without a deadline");
        }
    }
}
