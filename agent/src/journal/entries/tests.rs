//! Which records may follow which, and that compaction changes nothing.

use super::super::record::tests::{any_record, id};
use super::*;
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
