//! Which uploaded content stored operations name.

use std::collections::BTreeSet;

use super::service::Commands;
use super::store::blobs as sql;
use crate::db::{DbError, Tx};

/// Which operations are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Among {
    /// Of sets that are not finished.
    Open,
    /// All that are kept: whoever has the operation can ask for it again.
    Stored,
}

impl Commands {
    /// Those of the digests (lower-case hex) that an operation names. Cheap while few operations name any.
    pub async fn naming(
        &self,
        digests: &[String],
        among: Among,
    ) -> Result<BTreeSet<String>, DbError> {
        let statement = sql::named(self.db().dialect(), digests, among == Among::Open);
        let rows = self.db().read(statement).await?;
        let found = rows.iter().map(|row| Ok(row.text("digest")?.to_owned()));
        found.collect()
    }
}

/// The same for one digest, inside the transaction that would remove the content.
pub fn is_named_in(tx: &mut Tx<'_>, digest: &str, among: Among) -> Result<bool, DbError> {
    let statement = sql::named(tx.dialect(), &[digest.to_owned()], among == Among::Open);
    Ok(!tx.query(statement)?.is_empty())
}
