//! Tables and properties of the pure decisions.

use fleetwright_protocol::SetId;
use proptest::prelude::*;

use fleetwright_operations::decide::percent;

use super::*;

/// `[held, queued, running, succeeded, failed, skipped, skipped_cancelled]`
fn set(counts: [u64; 7]) -> SetView {
    let [
        held,
        queued,
        running,
        succeeded,
        failed,
        skipped,
        skipped_cancelled,
    ] = counts;
    SetView {
        id: SetId(uuid::Uuid::nil()),
        owner: "bulk".to_owned(),
        operation_type: "run_script".to_owned(),
        generation: 1,
        revision: 1,
        max_concurrency: 0,
        paused: false,
        cancelled: false,
        total: held + queued + running + succeeded + failed + skipped,
        held,
        queued,
        running,
        succeeded,
        failed,
        skipped,
        skipped_cancelled,
        failed_unreachable: 0,
        given_up_below: 0,
        created_at_us: 0,
        expires_at_us: 0,
        started_at_us: None,
        finished_at_us: None,
    }
}

#[test]
fn status_follows_the_counters() {
    let cases = [
        ([0, 5, 0, 0, 0, 0, 0], false, Status::Queued),
        ([2, 3, 0, 0, 0, 0, 0], false, Status::Queued),
        ([0, 4, 0, 0, 0, 1, 0], false, Status::Queued),
        ([0, 4, 1, 0, 0, 0, 0], false, Status::Running),
        ([0, 4, 0, 1, 0, 0, 0], false, Status::Running),
        ([0, 4, 0, 0, 1, 0, 0], false, Status::Running),
        ([0, 0, 1, 4, 0, 0, 0], false, Status::Running),
        ([0, 0, 1, 2, 0, 2, 2], true, Status::Running),
        ([0, 0, 0, 5, 0, 0, 0], false, Status::Succeeded),
        ([0, 0, 0, 4, 1, 0, 0], false, Status::Partial),
        ([0, 0, 0, 4, 0, 1, 0], false, Status::Partial),
        ([0, 0, 0, 0, 5, 0, 0], false, Status::Failed),
        ([0, 0, 0, 0, 0, 5, 0], false, Status::Failed),
        // Some hosts were cancelled, not the whole operation.
        ([0, 0, 0, 3, 0, 2, 2], false, Status::Partial),
        ([0, 0, 0, 3, 0, 2, 2], true, Status::Cancelled),
        // The cancel came too late to skip anything.
        ([0, 0, 0, 5, 0, 0, 0], true, Status::Succeeded),
        ([0, 0, 0, 4, 1, 0, 0], true, Status::Partial),
        ([0, 0, 0, 4, 0, 1, 0], true, Status::Partial),
        // One host was cancelled before, and the whole cancel skipped nothing; or one more.
        ([0, 0, 0, 9, 0, 1, 0], true, Status::Partial),
        ([0, 0, 0, 8, 0, 2, 1], true, Status::Cancelled),
    ];
    for (counts, cancelled, expected) in cases {
        let view = SetView {
            cancelled,
            ..set(counts)
        };
        assert_eq!(status(&view), expected, "{counts:?} cancelled={cancelled}");
    }
}

#[test]
fn percent_is_rounded_half_up_to_one_decimal() {
    let cases = [
        (0, 47, 0),
        (32, 47, 681),
        (47, 47, 1000),
        (1, 3, 333),
        (2, 3, 667),
        (1, 8, 125),
        (1, 16, 63), // 6.25 → 6.3
        (1, 2000, 1),
        (1, 2001, 0),
        (1999, 2000, 999), // 99.95 would round to 100
        (99_999, 100_000, 999),
        (0, 0, 1000),
        (u64::MAX - 1, u64::MAX, 999),
    ];
    for (done, total, expected) in cases {
        assert_eq!(percent_tenths(done, total), expected, "{done} of {total}");
    }
}

#[test]
fn thirty_two_of_forty_seven_reads_68_1() {
    let shown = progress(&set([0, 10, 5, 30, 1, 1, 0]));
    let json = serde_json::to_string(&shown).unwrap();
    assert!(json.ends_with(r#""percent_complete":68.1}"#), "{json}");
}

#[test]
fn held_hosts_are_shown_as_queued() {
    assert_eq!(progress(&set([2, 3, 0, 0, 0, 0, 0])).queued, 5);
}

#[test]
fn each_control_is_allowed_only_where_it_means_something() {
    use Stage::{Cancelling, Dispatching, Finished, Paused};
    let cancel = |kill| Control::Cancel { kill, hosts: None };
    let applied = |kill| {
        Verdict::Apply(SetAction::Cancel {
            kill,
            hosts: None,
            reason: "cancelled".to_owned(),
        })
    };
    let running = Dispatching(Status::Running);
    let cases = [
        (running, Control::Pause, Verdict::Apply(SetAction::Pause)),
        (Paused, Control::Pause, Verdict::Nothing),
        (Cancelling, Control::Pause, Verdict::Refuse),
        (running, Control::Resume, Verdict::Refuse),
        (Paused, Control::Resume, Verdict::Apply(SetAction::Resume)),
        (Cancelling, Control::Resume, Verdict::Refuse),
        (running, cancel(false), applied(false)),
        (Paused, cancel(true), applied(true)),
        (Cancelling, cancel(false), Verdict::Nothing),
        (Cancelling, cancel(true), applied(true)),
    ];
    for (stage, asked, expected) in cases {
        let shown = format!("{stage:?} {asked:?}");
        assert_eq!(control(stage, asked), expected, "{shown}");
    }
    for status in Status::ALL {
        for asked in [Control::Pause, Control::Resume, cancel(false), cancel(true)] {
            assert_eq!(control(Finished(status), asked), Verdict::Refuse);
        }
    }
}

#[test]
fn a_finished_set_stands_finished_whatever_its_flags_say() {
    let view = SetView {
        paused: true,
        cancelled: true,
        ..set([0, 0, 0, 2, 0, 0, 0])
    };
    assert_eq!(stage(&view), Stage::Finished(Status::Succeeded));
}

#[test]
fn names_of_statuses_read_back() {
    for status in Status::ALL {
        assert_eq!(Status::from_name(status.as_str()), Some(status));
        let json = serde_json::to_value(status).unwrap();
        assert_eq!(json, status.as_str());
    }
}

fn any_set() -> impl Strategy<Value = SetView> {
    let count = prop_oneof![Just(0_u64), 0_u64..50, 0_u64..100_000];
    (
        prop::collection::vec(count, 6),
        0_u64..100,
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(|(counts, share, cancelled, paused)| {
            let skipped_cancelled = counts[5] * share / 100;
            let view = set([
                counts[0],
                counts[1],
                counts[2],
                counts[3],
                counts[4],
                counts[5],
                skipped_cancelled,
            ]);
            SetView {
                cancelled,
                paused,
                ..view
            }
        })
}

proptest! {
    #[test]
    fn counters_sum_to_total(view in any_set()) {
        let shown = progress(&view);
        let sum = shown.succeeded + shown.failed + shown.running + shown.queued + shown.skipped;
        prop_assert_eq!(sum, shown.total);
    }

    #[test]
    fn a_hundred_percent_is_exactly_all_terminal(view in any_set()) {
        let shown = progress(&view);
        prop_assert_eq!(shown.percent_complete >= 100.0, view.is_finished());
        prop_assert!((0.0..=100.0).contains(&shown.percent_complete));
        prop_assert_eq!(OperationStatus::from(status(&view)).is_terminal(), view.is_finished());
    }

    #[test]
    fn percent_is_within_half_a_tenth_and_has_one_decimal(done in 0_u64..100_000, left in 1_u64..100_000) {
        let total = done + left;
        let tenths = i128::from(percent_tenths(done, total));
        // |tenths − 1000·done/total| ≤ 1/2, but for the cap below 100.
        let error = (2 * tenths * i128::from(total) - 2000 * i128::from(done)).abs();
        prop_assert!(error <= i128::from(total) || tenths == 999);
        let text = serde_json::to_string(&percent(percent_tenths(done, total))).unwrap();
        prop_assert!(text.split_once('.').is_some_and(|(_, fraction)| fraction.len() == 1), "{}", text);
    }

    #[test]
    fn percent_never_falls_as_hosts_finish(done in 0_u64..10_000, left in 1_u64..10_000) {
        let total = done + left;
        prop_assert!(percent_tenths(done, total) <= percent_tenths(done + 1, total));
    }
}
