//! What looking at the licence remembers between looks.

use std::collections::{BTreeMap, BTreeSet};

use super::{TrustedKeys, store};
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
    /// Keys whose licence has said that time is earlier, for their own licences: what one vendor says about the time is
    /// nothing to another. Each with what is stored of it.
    pub own_floors_us: BTreeMap<String, (i64, i64)>,
    /// When the newest licence of each key that was ever offered was issued.
    pub newest_issues_s: BTreeMap<String, i64>,
    /// The same of all together, from an older release.
    newest_of_all_s: i64,
}

impl Memory {
    pub async fn load(db: &Db, clock: &SharedClock) -> Result<Self, DbError> {
        let floor_us = store::floor_us(db).await?;
        let once_licensed = store::once_licensed(db).await?;
        let own_floors = store::floors_us(db).await?;
        Ok(Self {
            floor_us,
            reached_us: clock.monotonic_us(),
            stored_floor_us: floor_us,
            once_licensed,
            own_floors_us: own_floors
                .into_iter()
                .map(|(key_id, floor_us)| (key_id, (floor_us, floor_us)))
                .collect(),
            newest_issues_s: store::newest_issues_s(db).await?,
            newest_of_all_s: store::newest_issue_s(db).await?,
        })
    }

    /// Time counts from here again for a key's licences.
    pub fn reset(&mut self, key_id: &str, to_us: i64) {
        self.own_floors_us.insert(key_id.to_owned(), (to_us, to_us));
    }

    /// The time that counts for a key's licences, as of the last [`Memory::reach`].
    pub fn floor_of_us(&self, key_id: &str) -> i64 {
        self.own_floors_us
            .get(key_id)
            .map_or(self.floor_us, |(floor_us, _)| *floor_us)
    }

    /// When the newest licence was issued that the key's owner ever offered, also with another key.
    pub fn newest_issue_s(&self, trusted: &TrustedKeys, key_id: &str) -> i64 {
        let signer = trusted.signer(key_id);
        let of_signer = self.newest_issues_s.iter();
        let of_signer = of_signer.filter(|(other, _)| trusted.signer(other) == signer);
        let newest_s = of_signer.map(|(_, issued_s)| *issued_s).max();
        newest_s.unwrap_or_default().max(self.newest_of_all_s)
    }

    /// Goes on to the time that counts now. A wall clock that is turned back gains nothing, not even that time stands still.
    pub fn reach(&mut self, clock: &SharedClock) {
        let moment_us = clock.monotonic_us();
        let passed_us = moment_us.saturating_sub(self.reached_us).max(0);
        self.reached_us = moment_us;
        let went_on_us = self.floor_us.saturating_add(passed_us);
        let now_us = clock.now_us();
        self.floor_us = went_on_us.max(now_us);
        for (floor_us, _) in self.own_floors_us.values_mut() {
            *floor_us = floor_us.saturating_add(passed_us).max(now_us);
        }
    }
}
