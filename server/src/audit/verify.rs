//! Walks the chain from its floor to its head, a page at a time, in the background of ordinary traffic.

use super::store::{self, Anchor, AuditRow};
use crate::db::{Db, DbError};

/// Rows read at once.
const PAGE: u32 = 1_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Whole { rows: u64 },
    /// The row with this sequence number is not there.
    Missing { rows: u64, sequence: i64 },
    /// This row's digest does not follow from its contents and the row before.
    Altered { rows: u64, sequence: i64 },
}

/// Checks every row up to the head as it was when the walk began.
pub async fn verify(db: &Db) -> Result<Verdict, DbError> {
    let (floor, head) = store::anchors(db).await?;
    let mut walk = Walk { last: floor, rows: 0 };
    while walk.last.sequence < head.sequence {
        let page = store::after(db, walk.last.sequence, PAGE).await?;
        let until_head = page.iter().take_while(|row| row.sequence <= head.sequence);
        let before = walk.rows;
        for row in until_head {
            if let Some(broken) = walk.step(row) {
                return Ok(broken);
            }
        }
        if walk.rows == before {
            return Ok(Verdict::Missing { rows: walk.rows, sequence: walk.last.sequence + 1 });
        }
    }
    Ok(if walk.last.digest == head.digest {
        Verdict::Whole { rows: walk.rows }
    } else {
        Verdict::Altered { rows: walk.rows, sequence: head.sequence }
    })
}

struct Walk {
    last: Anchor,
    rows: u64,
}

impl Walk {
    fn step(&mut self, row: &AuditRow) -> Option<Verdict> {
        let expected = self.last.sequence + 1;
        if row.sequence != expected {
            return Some(Verdict::Missing { rows: self.rows, sequence: expected });
        }
        let digest = row.expected_digest(&self.last.digest);
        if row.digest != digest {
            return Some(Verdict::Altered { rows: self.rows, sequence: expected });
        }
        self.rows += 1;
        self.last = Anchor { sequence: expected, digest };
        None
    }
}
