//! Walks the chain from the floor to the head and says where it does not hold. With a head that was signed earlier and kept
//! elsewhere it finds also what somebody did who has the database and the key.

use fleetwright_signing::AuditHead;
use serde::Serialize;
use utoipa::ToSchema;

use super::anchor::{BROKEN, Digest, GENESIS};
use super::heads;
use super::key::{AuditKey, Which};
use super::store::{self, Anchor, AuditRow, StoredAnchor};
use crate::db::{Db, DbError};
use crate::http::Timestamp;

/// Rows read at a time: bounds memory, whatever the log's length.
const STEP_ROWS: u32 = 1_000;
/// Findings reported; beyond it the log is plainly not to be trusted.
const FINDINGS_MAX: usize = 100;
/// Retention may move the floor under a check, which then begins again; it does so once in a quarter of an hour.
const ATTEMPTS_MAX: u32 = 3;

/// Something wrong with the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Finding {
    /// The row is not what was written, or the one before it is not.
    Altered { sequence: i64 },
    /// These rows (both included) are not there.
    Missing { first: i64, last: i64 },
    /// Rows after the newest one that was written.
    Unexpected { sequence: i64 },
    /// The rows up to this one are gone, and it was not retention that deleted them.
    Cut { last: i64 },
    /// The mark of the newest row was not set by this server's key: rows after it may be gone.
    HeadForged { sequence: i64 },
    /// When this row was written, the one before it was not what the server had left there.
    Broken { sequence: i64 },
    /// These rows (both included) were written under a key that is not there any more.
    Unverifiable { first: i64, last: i64 },
    /// The row is another one than when the earlier head was signed: the log was made anew.
    Replaced { sequence: i64 },
    /// The earlier head was signed with another key than the one that is there.
    OtherKey { key_id: String },
}

/// What became of the row of an earlier head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum HeadState {
    /// It is there, unchanged.
    Matches,
    /// Retention has deleted it; nothing can be compared.
    Retired,
    /// See the findings.
    Contradicted,
}

/// An earlier head, and since when rows are kept: retention cannot have deleted one that was written later.
#[derive(Clone, Debug)]
pub struct Earlier {
    pub head: AuditHead,
    pub kept_since_us: i64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChainCheck {
    pub rows_checked: u64,
    /// The newest row that retention has deleted.
    pub floor: i64,
    pub last_sequence: i64,
    /// The rows up to this one are from before the log had a key. They are chained, and the key's file holds the last of
    /// them fast; what was done to them before that cannot be told.
    pub unkeyed_until: Option<i64>,
    pub key_id: String,
    /// Of the head that was asked about.
    pub head: Option<HeadState>,
    pub findings: Vec<Finding>,
}

/// Checks the whole log as it was when the check began, and against the head in the data folder.
pub async fn run(db: &Db) -> Result<ChainCheck, DbError> {
    run_against(db, None).await
}

/// The same, also against an earlier head. That it was signed is the caller's to check.
pub async fn run_against(db: &Db, earlier: Option<Earlier>) -> Result<ChainCheck, DbError> {
    let key = super::key_of(db)?;
    let mut attempt = 1;
    loop {
        let (floor, head) = store::anchors(db).await?;
        let mut report = walk(db, &key, &floor, &head).await?;
        // Its row may be long deleted, and so it says nothing of retention.
        if let Some(head) = heads::kept(&key) {
            let kept = Earlier {
                head,
                kept_since_us: i64::MAX,
            };
            against(db, &floor.anchor, &mut report, &kept).await?;
        }
        if let Some(earlier) = &earlier {
            let state = against(db, &floor.anchor, &mut report, earlier).await?;
            report.head = Some(state);
            if earlier.head.key_id != key.id {
                let key_id = earlier.head.key_id.clone();
                report.findings.insert(0, Finding::OtherKey { key_id });
            }
        }
        report.findings.truncate(FINDINGS_MAX);
        let (now, _) = store::anchors(db).await?;
        if now.anchor == floor.anchor || report.findings.is_empty() || attempt >= ATTEMPTS_MAX {
            return Ok(report);
        }
        attempt += 1;
    }
}

async fn walk(
    db: &Db,
    key: &AuditKey,
    floor: &StoredAnchor,
    head: &StoredAnchor,
) -> Result<ChainCheck, DbError> {
    let mut walk = Walk::new(key, floor.anchor, head.anchor);
    if !floor.is_vouched(key, Which::Floor) {
        let last = floor.anchor.sequence;
        walk.report.findings.push(Finding::Cut { last });
    }
    if !head.is_vouched(key, Which::Head) {
        let sequence = head.anchor.sequence;
        walk.report.findings.push(Finding::HeadForged { sequence });
    }
    walk.all(db).await?;
    Ok(walk.finish())
}

/// Whether everything from the floor to this row is as it was written, as far as there is a key for it.
pub(super) async fn holds_up_to(
    db: &Db,
    key: &AuditKey,
    floor: &StoredAnchor,
    last: Anchor,
) -> Result<bool, DbError> {
    let mut walk = Walk::new(key, floor.anchor, last);
    walk.all(db).await?;
    let findings = walk.finish().findings;
    let is_harmless = |finding: &Finding| matches!(finding, Finding::Unverifiable { .. });
    Ok(floor.is_vouched(key, Which::Floor) && findings.iter().all(is_harmless))
}

/// Compares a head with the log that was walked.
async fn against(
    db: &Db,
    floor: &Anchor,
    report: &mut ChainCheck,
    earlier: &Earlier,
) -> Result<HeadState, DbError> {
    let there = store::row_at(db, earlier.head.sequence).await?;
    let there = there.map(|(_, digest)| digest);
    Ok(match judge(floor, report.last_sequence, there, earlier) {
        Ok(state) => state,
        Err(finding) => {
            if !report.findings.contains(&finding) {
                // Before what may be the last of a hundred.
                report.findings.insert(0, finding);
            }
            HeadState::Contradicted
        }
    })
}

/// What an earlier head says of a log with this floor and this newest row, in which its row has the digest `there`.
fn judge(
    floor: &Anchor,
    last_sequence: i64,
    there: Option<Vec<u8>>,
    earlier: &Earlier,
) -> Result<HeadState, Finding> {
    let Earlier {
        head,
        kept_since_us,
    } = earlier;
    let sequence = head.sequence;
    if sequence > last_sequence {
        return Err(Finding::Missing {
            first: last_sequence + 1,
            last: sequence,
        });
    }
    if sequence < floor.sequence && sequence > 0 {
        let row_us = head.row_at.parse().map_or(i64::MIN, |at: Timestamp| at.0);
        return if row_us >= *kept_since_us {
            Err(Finding::Cut {
                last: floor.sequence,
            })
        } else {
            Ok(HeadState::Retired)
        };
    }
    let there = match sequence {
        0 => Some(GENESIS.to_vec()),
        _ if sequence == floor.sequence => Some(floor.digest.to_vec()),
        _ => there,
    };
    match there {
        None => Err(Finding::Missing {
            first: sequence,
            last: sequence,
        }),
        Some(digest) if hex::encode(&digest) == head.digest => Ok(HeadState::Matches),
        Some(_) => Err(Finding::Replaced { sequence }),
    }
}

/// The check itself, row by row. Pure but for [`Walk::all`].
struct Walk<'a> {
    key: &'a AuditKey,
    at: Anchor,
    head: Anchor,
    report: ChainCheck,
}

impl<'a> Walk<'a> {
    fn new(key: &'a AuditKey, floor: Anchor, head: Anchor) -> Self {
        let begun = &key.begun;
        let mut report = ChainCheck {
            floor: floor.sequence,
            last_sequence: head.sequence,
            key_id: key.id.clone(),
            ..ChainCheck::default()
        };
        let is_before = begun.head.sequence > floor.sequence;
        if is_before && begun.first {
            report.unkeyed_until = Some(begun.head.sequence);
        } else if is_before {
            report.findings.push(Finding::Unverifiable {
                first: floor.sequence + 1,
                last: begun.head.sequence,
            });
        }
        Self {
            key,
            at: floor,
            head,
            report,
        }
    }

    async fn all(&mut self, db: &Db) -> Result<(), DbError> {
        while !self.is_done() {
            let rows = store::after(db, self.at.sequence, STEP_ROWS).await?;
            if rows.is_empty() {
                break;
            }
            for row in rows {
                self.step(&row);
            }
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.at.sequence >= self.head.sequence || self.report.findings.len() >= FINDINGS_MAX
    }

    fn step(&mut self, row: &AuditRow) {
        if self.is_done() {
            // Rows written since the check began are checked by the next one.
            return;
        }
        let next = self.at.sequence + 1;
        self.report.rows_checked += 1;
        let stored = Digest::try_from(row.digest.as_slice()).ok();
        if row.sequence > next {
            let last = row.sequence - 1;
            self.report
                .findings
                .push(Finding::Missing { first: next, last });
        } else if let Some(finding) = self.wrong(row, stored) {
            self.report.findings.push(finding);
        }
        // The walk goes on from what is stored, so that one bad row is one finding (or two: itself and its
        // successor), not all that follow.
        self.at = Anchor {
            sequence: row.sequence,
            digest: stored.unwrap_or_default(),
        };
    }

    /// What is wrong with a row that follows the one before it.
    fn wrong(&self, row: &AuditRow, stored: Option<Digest>) -> Option<Finding> {
        let (sequence, previous, begun) = (row.sequence, &self.at.digest, &self.key.begun);
        let is_right = match sequence.cmp(&begun.head.sequence) {
            // Nobody can tell, and it has been said.
            std::cmp::Ordering::Less | std::cmp::Ordering::Equal if !begun.first => true,
            std::cmp::Ordering::Less => stored == Some(row.plain_digest(previous)),
            std::cmp::Ordering::Equal => {
                stored == Some(row.plain_digest(previous)) && stored == Some(begun.head.digest)
            }
            std::cmp::Ordering::Greater => stored == Some(row.keyed_digest(self.key, previous)),
        };
        if is_right {
            return None;
        }
        let is_keyed = sequence > begun.head.sequence;
        if is_keyed && stored == Some(row.keyed_digest(self.key, &BROKEN)) {
            return Some(Finding::Broken { sequence });
        }
        Some(Finding::Altered { sequence })
    }

    fn finish(mut self) -> ChainCheck {
        if self.report.findings.len() < FINDINGS_MAX {
            let (at, head) = (self.at, self.head);
            // The key's file remembers rows that the database may have lost.
            let last = head.sequence.max(self.key.begun.head.sequence);
            if at.sequence < last {
                self.report.findings.push(Finding::Missing {
                    first: at.sequence + 1,
                    last,
                });
            } else if at.sequence > head.sequence {
                let sequence = at.sequence;
                self.report.findings.push(Finding::Unexpected { sequence });
            } else if at.digest != head.digest {
                let sequence = at.sequence;
                self.report.findings.push(Finding::Altered { sequence });
            }
        }
        self.report
    }
}

#[cfg(test)]
mod tests {
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
        walk.finish().findings
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
            walk.finish()
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
}
