//! Walks over chains that were altered, cut, and made under keys of before.

use super::*;
use crate::audit::AuditContext;
use crate::audit::key::tests::key;
use crate::audit::key::{Begun, Mark};
use proptest::prelude::*;

fn log(length: i64) -> (Vec<AuditRow>, Anchor) {
    let mut at = Anchor {
        sequence: 0,
        digest: GENESIS,
    };
    let mut rows = Vec::new();
    for sequence in 1..=length {
        let mut row = AuditRow {
            sequence,
            at_us: sequence * 10,
            context: AuditContext::system("test"),
            action: "a.b".to_owned(),
            target_kind: "thing".to_owned(),
            target_id: sequence.to_string(),
            detail: "{}".to_owned(),
            digest: Vec::new(),
        };
        let digest = row.keyed_digest(&key(1), &at.digest);
        row.digest = digest.to_vec();
        rows.push(row);
        at = Anchor { sequence, digest };
    }
    (rows, at)
}

fn floor() -> Anchor {
    Anchor {
        sequence: 0,
        digest: GENESIS,
    }
}

fn findings(floor: Anchor, head: Anchor, rows: &[AuditRow]) -> Vec<Finding> {
    let key = key(1);
    let mut walk = Walk::new(&key, floor, head);
    for row in rows {
        walk.step(row);
    }
    walk.finish(head.sequence).findings
}

#[test]
fn an_untouched_log_is_valid_also_when_empty_and_when_trimmed() {
    let (rows, head) = log(5);
    assert_eq!(findings(floor(), head, &rows), []);
    assert_eq!(findings(floor(), floor(), &[]), []);
    let kept = rows.split_at(2);
    let floor = Anchor {
        sequence: 2,
        digest: Digest::try_from(kept.0[1].digest.as_slice()).expect("32 bytes"),
    };
    assert_eq!(findings(floor, head, kept.1), []);
}

#[test]
fn a_row_missing_anywhere_is_found() {
    let (rows, head) = log(5);
    for index in 0..5 {
        let mut rows = rows.clone();
        rows.remove(index);
        let sequence = index as i64 + 1;
        let missing = Finding::Missing {
            first: sequence,
            last: sequence,
        };
        let found = findings(floor(), head, &rows);
        assert_eq!(found.first(), Some(&missing), "row {sequence}");
    }
    assert_eq!(
        findings(floor(), head, &[]),
        [Finding::Missing { first: 1, last: 5 }]
    );
}

proptest! {
    #[test]
    fn any_altered_field_is_found(index in 0_usize..5, field in 0_usize..8, recompute: bool) {
        let (mut rows, head) = log(5);
        let row = &mut rows[index];
        match field {
            0 => row.at_us += 1,
            1 => row.context.principal.push('x'),
            2 => row.context.address.push('x'),
            3 => row.action.push('x'),
            4 => row.target_id.push('x'),
            5 => row.detail.push(' '),
            6 => row.context.tenant = Some(String::new()),
            _ => row.context.request_id.push('x'),
        }
        if recompute {
            // A forger has no key, and even with one breaks the next row, or the head.
            let previous = match index {
                0 => GENESIS,
                index => Digest::try_from(rows[index - 1].digest.as_slice()).expect("32 bytes"),
            };
            rows[index].digest = rows[index].plain_digest(&previous).to_vec();
        }
        prop_assert!(!findings(floor(), head, &rows).is_empty());
    }
}

const DAY_US: i64 = 24 * 3_600 * 1_000_000;

fn signed(secret: u8, sequence: i64, digest: Digest, at: &str) -> AuditHead {
    let at_us = at.parse::<Timestamp>().expect("a time").0;
    key(secret).sign(&Anchor { sequence, digest }, Some(at_us), at_us + DAY_US)
}

#[test]
fn an_earlier_head_shows_what_was_removed_or_made_anew() {
    let day = "2026-01-31T00:00:00Z";
    let floor = Anchor {
        sequence: 10,
        digest: [10; 32],
    };
    let digest = |byte: u8| Some(vec![byte; 32]);
    let cases = [
        ("there", 20, [20; 32], digest(20), Ok(HeadState::Matches)),
        (
            "made anew",
            20,
            [20; 32],
            digest(7),
            Err(Finding::Replaced { sequence: 20 }),
        ),
        (
            "gone",
            20,
            [20; 32],
            None,
            Err(Finding::Missing {
                first: 20,
                last: 20,
            }),
        ),
        (
            "cut off",
            40,
            [40; 32],
            None,
            Err(Finding::Missing {
                first: 31,
                last: 40,
            }),
        ),
        ("the floor", 10, [10; 32], None, Ok(HeadState::Matches)),
        (
            "another floor",
            10,
            [11; 32],
            None,
            Err(Finding::Replaced { sequence: 10 }),
        ),
        (
            "too young to be gone",
            5,
            [5; 32],
            None,
            Err(Finding::Cut { last: 10 }),
        ),
        ("of an empty log", 0, GENESIS, None, Ok(HeadState::Matches)),
    ];
    for (what, sequence, row, there, expected) in cases {
        let earlier = Earlier {
            head: signed(1, sequence, row, day),
            kept_since_us: day.parse::<Timestamp>().expect("a time").0 - 1,
        };
        assert_eq!(judge(&floor, 30, there, &earlier), expected, "{what}");
    }
    let old = Earlier {
        head: signed(1, 5, [5; 32], day),
        kept_since_us: day.parse::<Timestamp>().expect("a time").0 + 1,
    };
    assert_eq!(judge(&floor, 30, None, &old), Ok(HeadState::Retired));
}

#[test]
fn rows_from_before_there_was_a_key_are_held_fast_and_no_later_row_is_taken_for_one() {
    let mut at = Anchor {
        sequence: 0,
        digest: GENESIS,
    };
    let (keyed, _) = log(6);
    let mut rows: Vec<AuditRow> = keyed;
    let mut begun_at = at;
    let make = |rows: &mut Vec<AuditRow>, key: &AuditKey, plain: i64, at: &mut Anchor| {
        for row in rows {
            let digest = match row.sequence <= plain {
                true => row.plain_digest(&at.digest),
                false => row.keyed_digest(key, &at.digest),
            };
            row.digest = digest.to_vec();
            *at = Anchor {
                sequence: row.sequence,
                digest,
            };
        }
    };
    make(&mut rows[..3].to_vec(), &key(1), 3, &mut begun_at);
    let mut key = key(1);
    key.begun = Begun {
        head: Mark::from(begun_at),
        ..key.begun
    };
    make(&mut rows, &key, 3, &mut at);
    let check = |rows: &[AuditRow], head: Anchor| {
        let mut walk = Walk::new(&key, floor(), head);
        rows.iter().for_each(|row| walk.step(row));
        walk.finish(head.sequence.max(key.begun.head.sequence))
    };
    let good = check(&rows, at);
    assert_eq!((good.findings, good.unkeyed_until), (Vec::new(), Some(3)));
    // Altered and computed anew, as anybody can: the key's file knows what the last of them was.
    let mut forged = rows.clone();
    forged[1].action.push('x');
    let mut end = floor();
    make(&mut forged, &key, 3, &mut end);
    assert_eq!(
        check(&forged, at).findings.first(),
        Some(&Finding::Altered { sequence: 3 })
    );
    // A later row without a key.
    let mut unkeyed = rows.clone();
    let mut end = floor();
    make(&mut unkeyed, &key, 5, &mut end);
    assert!(
        check(&unkeyed, end)
            .findings
            .contains(&Finding::Altered { sequence: 4 })
    );
    // The log is set back to what it was before there was a key.
    let mut short = floor();
    let mut first_two = rows[..2].to_vec();
    make(&mut first_two, &key, 2, &mut short);
    let found = check(&first_two, short).findings;
    assert_eq!(found, [Finding::Missing { first: 3, last: 3 }]);
}

#[test]
fn a_row_after_a_break_says_so_and_those_after_it_hold() {
    let (mut rows, _) = log(4);
    let key = key(1);
    let broken = rows[1].keyed_digest(&key, &BROKEN);
    rows[1].digest = broken.to_vec();
    let mut at = broken;
    for row in &mut rows[2..] {
        at = row.keyed_digest(&key, &at);
        row.digest = at.to_vec();
    }
    let head = Anchor {
        sequence: 4,
        digest: at,
    };
    assert_eq!(
        findings(floor(), head, &rows),
        [Finding::Broken { sequence: 2 }]
    );
}

/// Retention cuts at a head of before the key was lost, and looks no further than that head.
#[test]
fn rows_of_a_lost_key_are_there_up_to_a_head_among_them() {
    let (rows, head) = log(5);
    let mut later = key(2);
    later.begun = Begun {
        head: Mark::from(head),
        first: false,
        ..later.begun
    };
    let cut = Anchor {
        sequence: 3,
        digest: Digest::try_from(rows[2].digest.as_slice()).expect("32 bytes"),
    };
    let found = |rows: &[AuditRow]| {
        let mut walk = Walk::new(&later, floor(), cut);
        rows.iter().for_each(|row| walk.step(row));
        walk.finish(cut.sequence).findings
    };
    let unverifiable = Finding::Unverifiable { first: 1, last: 5 };
    assert_eq!(found(&rows[..3]), std::slice::from_ref(&unverifiable));
    let missing = Finding::Missing { first: 3, last: 3 };
    assert_eq!(found(&rows[..2]), [unverifiable, missing]);
}
