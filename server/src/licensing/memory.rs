//! What looking at the licence remembers between looks.

use std::collections::BTreeSet;

use super::store;
use crate::db::{Db, DbError};

/// What looking remembers between looks.
pub struct Memory {
    pub floor_us: i64,
    pub stored_floor_us: i64,
    pub once_licensed: BTreeSet<String>,
}

impl Memory {
    pub async fn load(db: &Db) -> Result<Self, DbError> {
        let floor_us = store::floor_us(db).await?;
        let once_licensed = store::once_licensed(db).await?;
        Ok(Self {
            floor_us,
            stored_floor_us: floor_us,
            once_licensed,
        })
    }
}
