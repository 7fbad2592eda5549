//! Which records may follow which, and that compaction changes nothing.

use super::super::record::tests::{any_record, id};
use super::*;
use fleetwright_protocol::OutputSummary;
use proptest::prelude::*;

fn received(attempt: u32) -> Record {
    Record::Received {
        command_id: id(1),
        attempt,
        expires_unix_ms: 1_000,
    }
}

fn starting(attempt: u32) -> Record {
    Record::Starting {
        command_id: id(1),
        attempt,
        boot_id: "boot".into(),
        execution: Execution::Supervised,
    }
}

fn not_started(attempt: u32) -> Record {
    let reason = NotStartedReason::LeaseExpired;
    Record::NotStarted {
        command_id: id(1),
        attempt,
        expires_unix_ms: 1_000,
        reason,
    }
}

#[test]
fn a_new_attempt_opens_only_after_proof_that_the_last_one_did_not_start() {
    let mut entries = Entries::default();
    entries.apply(&received(1)).unwrap();
    assert!(
        entries.clone().apply(&received(2)).is_err(),
        "the first may still start"
    );
    entries.apply(&not_started(1)).unwrap();
    assert!(
        entries.clone().apply(&received(1)).is_err(),
        "the same attempt never again"
    );
    entries.apply(&received(2)).unwrap();
    entries.apply(&starting(2)).unwrap();
    assert!(
        entries.apply(&received(3)).is_err(),
        "the second may have started"
    );
}

#[test]
fn only_a_plan_that_has_started_goes_on_under_another_supervisor() {
    use crate::journal::PlanRun;
    let plan = Execution::Plan(PlanRun {
        changes_power: true,
        deadline_unix_ms: 7,
    });
    for (execution, expected) in [(Execution::Supervised, false), (plan, true)] {
        let mut entries = Entries::default();
        let (command_id, attempt) = (id(1), 1);
        let resumed = |pid| Record::Resumed {
            command_id,
            attempt,
            boot_id: "next".to_owned(),
            pid,
            start_ticks: 2,
        };
        entries.apply(&received(1)).unwrap();
        entries
            .apply(&Record::Starting {
                command_id,
                attempt,
                boot_id: "boot".to_owned(),
                execution,
            })
            .unwrap();
        assert!(entries.apply(&resumed(1)).is_err(), "it has not started");
        entries
            .apply(&Record::Started {
                command_id,
                attempt,
                pid: 1,
                start_ticks: 1,
            })
            .unwrap();
        assert_eq!(entries.apply(&resumed(9)).is_ok(), expected);
        let state = &entries.get(command_id).unwrap().state;
        let moved = matches!(state, State::Started { boot_id, pid: 9, .. } if **boot_id == *"next");
        assert_eq!(moved, expected);
    }
}

#[test]
fn pruning_keeps_open_entries_and_fresh_tombstones() {
    let mut entries = Entries::default();
    entries.apply(&received(1)).unwrap();
    entries
        .apply(&Record::Tombstone {
            command_id: id(2),
            attempt: 1,
            expires_unix_ms: 1_000,
            closed: ClosedAs::Finished,
        })
        .unwrap();
    assert_eq!(entries.prune(1_000 + TOMBSTONE_GRACE_MS - 1), 0);
    assert_eq!(entries.prune(1_000 + TOMBSTONE_GRACE_MS), 1);
    assert!(entries.get(id(1)).is_some() && entries.get(id(2)).is_none());
}

proptest! {
    #[test]
    fn compaction_changes_nothing(records in prop::collection::vec(any_record(), 0..60)) {
        let mut entries = Entries::default();
        for record in &records {
            // Impossible ones are refused and leave the entries as they were.
            let before = entries.clone();
            if entries.apply(record).is_err() {
                prop_assert_eq!(&before, &entries);
            }
        }
        let mut again = Entries::default();
        for record in entries.to_records() {
            again.apply(&record).unwrap();
        }
        // An expiry of a later cancel is not kept for an entry that has its own.
        prop_assert_eq!(entries, again);
    }
}

#[test]
fn what_a_server_may_cause_is_bounded_and_forgotten_in_order() {
    let cancelled = |number: u128, expires_unix_ms| Record::Cancelled {
        command_id: CommandId(uuid::Uuid::from_u128(number)),
        expires_unix_ms,
    };
    let mut entries = Entries::default();
    let day_ms = 24 * 3_600 * 1_000;
    for number in 0..5_000 {
        entries
            .apply(&cancelled(number, day_ms + u64::try_from(number).unwrap()))
            .unwrap();
    }
    let left: Vec<u128> = entries.iter().map(|(id, _)| id.0.as_u128()).collect();
    assert_eq!(left, (4_000..5_000).collect::<Vec<_>>(), "the last ones");
    assert_eq!(entries.to_records().len(), 1_000);
    let mut again = Entries::default();
    entries
        .to_records()
        .iter()
        .for_each(|record| again.apply(record).unwrap());
    assert_eq!(again, entries);
    assert_eq!(entries.prune(3 * day_ms), 1_000);
    assert_eq!(entries, Entries::default());
}

#[test]
fn nothing_is_taken_on_while_too_much_is_unacknowledged() {
    let number = |number: u128| CommandId(uuid::Uuid::from_u128(number));
    let refused = |command_id| Record::NotStarted {
        command_id,
        attempt: 1,
        expires_unix_ms: 1,
        reason: NotStartedReason::Unsupported,
    };
    let mut entries = Entries::default();
    let mut taken = 0;
    while !entries.is_full() {
        entries.apply(&refused(number(taken))).unwrap();
        taken += 1;
    }
    assert_eq!(taken, 2_000);
    let acked = Record::Acked {
        command_id: number(7),
        attempt: 1,
    };
    entries.apply(&acked).unwrap();
    assert!(!entries.is_full());
    // Large results fill it sooner: in memory, or in the folders of the runs.
    let mut large = Outcome::succeeded(true);
    large.stdout.head = vec![0; 64 * 1024];
    let mut parts = Outcome::succeeded(true);
    parts.stdout = OutputSummary {
        in_parts: true,
        head_bytes: 1 << 20,
        tail_bytes: 1 << 20,
        ..OutputSummary::default()
    };
    for (outcome, expected) in [(large, 512), (parts, 256)] {
        let mut entries = Entries::default();
        let mut taken = 0;
        while !entries.is_full() {
            let (command_id, attempt) = (number(taken), 1);
            entries
                .apply(&Record::Received {
                    command_id,
                    attempt,
                    expires_unix_ms: 1,
                })
                .unwrap();
            let outcome = Box::new(outcome.clone());
            entries
                .apply(&Record::Exited {
                    command_id,
                    attempt,
                    outcome,
                })
                .unwrap();
            taken += 1;
        }
        assert_eq!(taken, expected);
    }
}
