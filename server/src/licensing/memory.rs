//! What looking at the licence remembers between looks.

use std::collections::BTreeSet;

use super::store;
use crate::clock::SharedClock;
use crate::db::{Db, DbError};

/// What looking remembers between looks.
pub struct Memory {
    /// The time that counts: it goes on with the boot clock, and forward with the wall clock.
    pub floor_us: i64,
    /// When it was that, by the boot clock.
    reached_us: i64,
    pub stored_floor_us: i64,
    /// Each as `KEY-ID FEATURE`; what an older release remembered as `FEATURE`.
    pub once_licensed: BTreeSet<String>,
    /// When the newest licence that was ever offered was issued.
    pub newest_issue_s: i64,
}

impl Memory {
    pub async fn load(db: &Db, clock: &SharedClock) -> Result<Self, DbError> {
        let floor_us = store::floor_us(db).await?;
        let once_licensed = store::once_licensed(db).await?;
        Ok(Self {
            floor_us,
            reached_us: clock.monotonic_us(),
            stored_floor_us: floor_us,
            once_licensed,
            newest_issue_s: store::newest_issue_s(db).await?,
        })
    }

    /// Time counts from here again.
    pub fn reset(&mut self, to_us: i64, clock: &SharedClock) {
        self.floor_us = to_us;
        self.stored_floor_us = to_us;
        self.reached_us = clock.monotonic_us();
    }

    /// The time that counts now. A wall clock that is turned back gains nothing, not even that time stands still.
    pub fn reach(&mut self, clock: &SharedClock) -> i64 {
        let moment_us = clock.monotonic_us();
        let passed_us = moment_us.saturating_sub(self.reached_us).max(0);
        self.reached_us = moment_us;
        let went_on_us = self.floor_us.saturating_add(passed_us);
        self.floor_us = went_on_us.max(clock.now_us());
        self.floor_us
    }
}
