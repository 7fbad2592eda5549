//! Budgets decided in tables, and over long random lives.

use proptest::prelude::*;

use super::super::calendar::DAY_US;
use super::*;

fn budget(ceiling_micros: i64, period: Period) -> Budget {
    Budget {
        product_id: "p".to_owned(),
        ceiling_micros,
        period,
        window: period.window(0, 0),
        spent_micros: 0,
        reserved_micros: 0,
        pause: None,
        created_at_us: 0,
        updated_at_us: 0,
        revision: 1,
    }
}

fn by(budget: &Budget) -> Option<PausedBy> {
    budget.pause.as_ref().map(|pause| pause.by)
}

fn paused(by: PausedBy) -> Option<Pause> {
    Some(Pause {
        by,
        at_us: 0,
        by_name: None,
    })
}

#[test]
fn the_ceiling_pauses_when_it_is_reached_and_only_where_budgets_are_enforced() {
    use PausedBy::{Ceiling, Manual};
    let cases = [
        (100, 99, None, true, None),
        (100, 100, None, true, Some(Ceiling)),
        (100, 101, None, true, Some(Ceiling)),
        (100, 101, None, false, None),
        (100, 101, Some(Manual), true, Some(Manual)),
        (100, 1, Some(Ceiling), true, Some(Ceiling)),
        (0, 0, None, true, Some(Ceiling)),
    ];
    for (ceiling, amount, before, is_enforced, expected) in cases {
        let mut budget = budget(ceiling, Period::Daily);
        budget.pause = before.and_then(paused);
        let (after, _) = budget.accrued(amount, 0, is_enforced, 5).expect("counted");
        assert_eq!(
            by(&after),
            expected,
            "{ceiling} {amount} {before:?} {is_enforced}"
        );
        assert_eq!(after.spent_micros, amount);
    }
}

#[test]
fn spending_consumes_a_reservation_as_far_as_it_goes() {
    let mut budget = budget(100, Period::Daily);
    budget.reserved_micros = 30;
    for (amount, rest, consumed) in [
        (10, 30, 10),
        (30, 30, 30),
        (40, 30, 30),
        (40, 0, 0),
        (0, 30, 0),
    ] {
        let (after, found) = budget.accrued(amount, rest, true, 0).expect("counted");
        assert_eq!((found, after.reserved_micros), (consumed, 30 - consumed));
        assert_eq!(after.spent_micros, amount);
    }
}

#[test]
fn what_cannot_be_counted_is_refused() {
    let mut budget = budget(i64::MAX, Period::Total);
    budget.spent_micros = i64::MAX - 1;
    assert!(budget.accrued(1, 0, true, 0).is_ok());
    assert_eq!(budget.accrued(2, 0, true, 0), Err(Overflow));
    assert_eq!(budget.reserved(i64::MAX), Err(Closed::Ceiling));
    assert_eq!(budget.remaining_micros(), 1);
}

#[test]
fn nothing_is_set_aside_beyond_the_ceiling_or_while_paused() {
    let cases = [
        (100, 0, 0, None, 100, None),
        (100, 0, 0, None, 101, Some(Closed::Ceiling)),
        (100, 40, 50, None, 10, None),
        (100, 40, 50, None, 11, Some(Closed::Ceiling)),
        (100, 100, 0, None, 0, Some(Closed::Ceiling)),
        (100, 40, 60, None, 0, None),
        (100, 0, 0, Some(PausedBy::Manual), 0, Some(Closed::Paused)),
        (100, 0, 0, Some(PausedBy::Ceiling), 1, Some(Closed::Paused)),
    ];
    for (ceiling, spent, reserved, pause, amount, refused) in cases {
        let budget = Budget {
            spent_micros: spent,
            reserved_micros: reserved,
            pause: pause.and_then(paused),
            ..budget(ceiling, Period::Daily)
        };
        let found = budget.reserved(amount);
        assert_eq!(
            found.err(),
            refused,
            "{ceiling} {spent} {reserved} {pause:?} {amount}"
        );
    }
}

#[test]
fn a_new_window_lifts_an_automatic_pause_and_keeps_a_manual_one() {
    for (before, ceiling, expected) in [
        (Some(PausedBy::Ceiling), 100, None),
        (Some(PausedBy::Manual), 100, Some(PausedBy::Manual)),
        (None, 100, None),
        // Nothing may be spent in any window.
        (Some(PausedBy::Ceiling), 0, Some(PausedBy::Ceiling)),
    ] {
        let budget = Budget {
            spent_micros: 120,
            reserved_micros: 7,
            pause: before.and_then(paused),
            ..budget(ceiling, Period::Daily)
        };
        assert_eq!(budget.rolled_over(DAY_US - 1, true), None);
        let after = budget.rolled_over(DAY_US * 3 + 5, true).expect("over");
        assert_eq!(by(&after), expected);
        assert_eq!((after.spent_micros, after.reserved_micros), (0, 7));
        assert_eq!(after.window.starts_at_us, DAY_US * 3);
        // A clock that was set back.
        assert_eq!(after.rolled_over(0, true), None);
    }
    assert_eq!(budget(1, Period::Total).rolled_over(i64::MAX, true), None);
}

#[test]
fn another_ceiling_pauses_below_what_is_spent_and_lifts_an_automatic_pause_alone() {
    use PausedBy::{Ceiling, Manual};
    for (before, ceiling, is_enforced, expected) in [
        (None, 49, true, Some(Ceiling)),
        (None, 50, true, Some(Ceiling)),
        (None, 51, true, None),
        (None, 49, false, None),
        (Some(Ceiling), 51, true, None),
        (Some(Ceiling), 51, false, None),
        (Some(Ceiling), 50, true, Some(Ceiling)),
        (Some(Manual), 1_000, true, Some(Manual)),
        (Some(Manual), 1, true, Some(Manual)),
    ] {
        let budget = Budget {
            spent_micros: 50,
            pause: before.and_then(paused),
            ..budget(50, Period::Daily)
        };
        let after = budget.set_to(ceiling, Period::Daily, 50, is_enforced, 1);
        assert_eq!(by(&after), expected, "{before:?} {ceiling} {is_enforced}");
    }
}

#[test]
fn a_person_resumes_whatever_is_paused_unless_the_ceiling_is_reached() {
    let spent = |spent_micros, pause: Option<PausedBy>| Budget {
        spent_micros,
        pause: pause.and_then(paused),
        ..budget(100, Period::Daily)
    };
    for by in [PausedBy::Manual, PausedBy::Ceiling] {
        assert_eq!(spent(100, Some(by)).resumed(true, 1), Err(OverCeiling));
        let resumed = spent(99, Some(by)).resumed(true, 1).expect("below");
        assert_eq!(resumed.expect("was paused").pause, None);
        assert!(
            spent(100, Some(by))
                .resumed(false, 1)
                .expect("not enforced")
                .is_some()
        );
    }
    assert_eq!(spent(1, None).resumed(true, 1), Ok(None));
    let manual = spent(100, Some(PausedBy::Ceiling))
        .paused("ann", 3)
        .expect("paused");
    let expected = Pause {
        by: PausedBy::Manual,
        at_us: 3,
        by_name: Some("ann".to_owned()),
    };
    assert_eq!(manual.pause, Some(expected));
    assert_eq!(manual.paused("bob", 4), None);
}

#[test]
fn spending_is_projected_to_the_end_of_the_window() {
    for (spent, now_us, expected) in [
        (0, DAY_US / 2, Some(0)),
        (10, 0, Some(10)),
        (10, DAY_US / 2, Some(20)),
        (10, DAY_US / 3, Some(30)),
        (10, DAY_US, Some(10)),
        (10, DAY_US * 2, Some(10)),
        (1, DAY_US / 4 * 3, Some(1)),
        (2, DAY_US / 4 * 3, Some(3)),
        (i64::MAX, DAY_US / 2, None),
    ] {
        let budget = Budget {
            spent_micros: spent,
            ..budget(100, Period::Daily)
        };
        assert_eq!(
            budget.projected_micros(now_us),
            expected,
            "{spent} {now_us}"
        );
    }
    assert_eq!(budget(100, Period::Total).projected_micros(1), None);
}

#[derive(Clone, Debug)]
enum Step {
    Spend(i64, i64),
    Reserve(i64),
    Wait(i64),
    Set(i64, Period),
    Pause,
    Resume,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..60_i64, 0..60_i64).prop_map(|(amount, rest)| Step::Spend(amount, rest)),
        (0..60_i64).prop_map(Step::Reserve),
        (0..DAY_US * 20).prop_map(Step::Wait),
        (0..300_i64, prop::sample::select(&Period::ALL[..]))
            .prop_map(|(ceiling, period)| Step::Set(ceiling, period)),
        Just(Step::Pause),
        Just(Step::Resume),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_a_budget_is_paused_where_its_ceiling_is_reached(steps in prop::collection::vec(step(), 1..80)) {
        let mut now_us = 0;
        let mut budget = budget(100, Period::Weekly);
        for step in steps {
            if let Some(fresh) = budget.rolled_over(now_us, true) {
                budget = fresh;
            }
            let before = budget.clone();
            match step {
                Step::Spend(amount, rest) => {
                    let rest = rest.min(budget.reserved_micros);
                    let (after, consumed) = budget.accrued(amount, rest, true, now_us).expect("small");
                    prop_assert_eq!(after.spent_micros, before.spent_micros + amount);
                    prop_assert_eq!(after.reserved_micros, before.reserved_micros - consumed);
                    budget = after;
                }
                Step::Reserve(amount) => if let Ok(after) = budget.reserved(amount) {
                    prop_assert!(before.pause.is_none());
                    prop_assert!(after.spent_micros + after.reserved_micros <= after.ceiling_micros);
                    budget = after;
                },
                Step::Wait(by_us) => now_us += by_us,
                Step::Set(ceiling, period) => budget = budget.set_to(ceiling, period, before.spent_micros, true, now_us),
                Step::Pause => budget = budget.paused("ann", now_us).unwrap_or(budget),
                Step::Resume => if let Ok(Some(after)) = budget.resumed(true, now_us) {
                    budget = after;
                },
            }
            prop_assert!(budget.reserved_micros >= 0);
            if budget.spent_micros >= budget.ceiling_micros {
                prop_assert!(budget.pause.is_some());
            }
            // Nobody but a person undoes what a person did.
            if by(&before) == Some(PausedBy::Manual) && !matches!(step, Step::Resume) {
                prop_assert_eq!(by(&budget), Some(PausedBy::Manual));
            }
            if budget != before {
                let is_counted_alone = matches!(step, Step::Spend(..) | Step::Reserve(_));
                prop_assert!(is_counted_alone || budget.revision > before.revision);
            }
        }
    }
}
