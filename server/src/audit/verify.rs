//! Walks the chain from the floor to the head and says where it does not hold.

use serde::Serialize;
use utoipa::ToSchema;

use super::chain::Digest;
use super::store::{self, Anchor, AuditRow};
use crate::db::{Db, DbError};

/// Rows read at a time: bounds memory, whatever the log's length.
const STEP_ROWS: u32 = 1_000;
/// Findings reported; beyond it the log is plainly not to be trusted.
const FINDINGS_MAX: usize = 100;

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
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChainCheck {
    pub rows_checked: u64,
    pub last_sequence: i64,
    pub findings: Vec<Finding>,
}

/// Checks the whole log as it was when the check began.
pub async fn run(db: &Db) -> Result<ChainCheck, DbError> {
    let (floor, head) = store::anchors(db).await?;
    let mut walk = Walk::new(floor, head);
    while !walk.is_done() {
        let rows = store::after(db, walk.at.sequence, STEP_ROWS).await?;
        if rows.is_empty() {
            break;
        }
        for row in rows {
            walk.step(&row);
        }
    }
    Ok(walk.finish())
}

/// The check itself, row by row. Pure.
struct Walk {
    at: Anchor,
    head: Anchor,
    report: ChainCheck,
}

impl Walk {
    fn new(floor: Anchor, head: Anchor) -> Self {
        Self {
            at: floor,
            head,
            report: ChainCheck {
                last_sequence: head.sequence,
                ..ChainCheck::default()
            },
        }
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
        } else if stored != Some(row.expected_digest(&self.at.digest)) {
            let sequence = row.sequence;
            self.report.findings.push(Finding::Altered { sequence });
        }
        // The walk goes on from what is stored, so that one bad row is one finding (or two: itself and its
        // successor), not all that follow.
        self.at = Anchor {
            sequence: row.sequence,
            digest: stored.unwrap_or_default(),
        };
    }

    fn finish(mut self) -> ChainCheck {
        if self.report.findings.len() < FINDINGS_MAX {
            let (at, head) = (self.at, self.head);
            if at.sequence < head.sequence {
                self.report.findings.push(Finding::Missing {
                    first: at.sequence + 1,
                    last: head.sequence,
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
    use crate::audit::{AuditContext, GENESIS};
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
            let digest = row.expected_digest(&at.digest);
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
        let mut walk = Walk::new(floor, head);
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
                // A forger who recomputes one digest breaks the next one, or the head.
                let previous = match index {
                    0 => GENESIS,
                    index => Digest::try_from(rows[index - 1].digest.as_slice()).expect("32 bytes"),
                };
                rows[index].digest = rows[index].expected_digest(&previous).to_vec();
            }
            prop_assert!(!findings(floor(), head, &rows).is_empty());
        }
    }
}
