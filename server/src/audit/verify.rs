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
    // The key's file remembers rows that the database may have lost.
    let last = head.anchor.sequence.max(key.begun.head.sequence);
    Ok(walk.finish(last))
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
    let findings = walk.finish(last.sequence).findings;
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

    /// `last` is the row that the log should reach.
    fn finish(mut self, last: i64) -> ChainCheck {
        if self.report.findings.len() < FINDINGS_MAX {
            let (at, head) = (self.at, self.head);
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
mod tests;
