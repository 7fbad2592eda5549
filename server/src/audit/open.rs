//! The log's key is read, or made at the first start, before anything is written. What the log was before there was a key
//! is sealed then; a key that is not the one the log was written with is told, loudly, and does not stop the server.

use std::path::Path;
use std::sync::Arc;

use serde_json::json;

use super::heads;
use super::key::{AuditKey, Begun, Which};
use super::store::{self, StoredAnchor};
use super::{AuditContext, entry};
use crate::db::{Db, DbError};

#[derive(Debug, thiserror::Error)]
pub enum AuditStartError {
    #[error("the audit log's key: {0}")]
    Key(#[from] std::io::Error),
    #[error(transparent)]
    Db(#[from] DbError),
}

/// How a key that was just read and a log stand to each other.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Standing {
    /// The log goes on under its key.
    Same,
    /// The log gets its first key.
    First,
    /// The file was not there and has been made anew; the log was written with this key.
    Lost { written_with: String },
    /// The file is not the one that the log was written with.
    Changed { written_with: Option<String> },
}

/// Reads the key from the folder, making it where there is none, and gives it to the database's writes. The migrations
/// must have been applied.
pub async fn open(db: &Db, folder: &Path, now_us: i64) -> Result<(), AuditStartError> {
    let (floor, head) = store::anchors(db).await?;
    let begun = Begun {
        head: head.anchor.into(),
        floor: floor.anchor.into(),
        first: head.key_id.is_none(),
    };
    let (key, made) = AuditKey::read_or_create(folder, begun)?;
    let key = Arc::new(key);
    let has_head = heads::kept(&key).is_some();
    let standing = standing(&key, made, has_head, &floor, &head);
    tell(&key, &standing);
    db.hold(Arc::clone(&key));
    match standing {
        Standing::Same | Standing::Changed { .. } => {}
        Standing::First => seal(db, key, floor, head, None, now_us).await?,
        Standing::Lost { written_with } => {
            seal(db, key, floor, head, Some(written_with), now_us).await?;
        }
    }
    Ok(())
}

/// `made`: the key was made just now; `has_head`: it has signed a head, and so the log has been sealed with it before.
fn standing(
    key: &AuditKey,
    made: bool,
    has_head: bool,
    floor: &StoredAnchor,
    head: &StoredAnchor,
) -> Standing {
    match &head.key_id {
        Some(id) if made => Standing::Lost {
            written_with: id.clone(),
        },
        Some(id) if *id == key.id => Standing::Same,
        Some(id) => Standing::Changed {
            written_with: Some(id.clone()),
        },
        // The log must be what it was when the key was made: a crash may have come in between, and nothing else.
        None if key.begun.first
            && !has_head
            && key.begun.head == head.anchor.into()
            && key.begun.floor == floor.anchor.into() =>
        {
            Standing::First
        }
        None => Standing::Changed { written_with: None },
    }
}

fn tell(key: &AuditKey, standing: &Standing) {
    let here = key.id.as_str();
    match standing {
        Standing::Same => {}
        Standing::First => tracing::info!(
            key = here,
            "made audit.key, the audit log's key: back it up with the data folder"
        ),
        Standing::Lost { written_with } => tracing::error!(
            key = here,
            written_with,
            "audit.key was missing and another one was made: what the audit log holds so far can no longer be verified. \
             If there is a backup of the file, stop the server and put it back"
        ),
        Standing::Changed { written_with } => tracing::error!(
            key = here,
            written_with = written_with.as_deref().unwrap_or("no key"),
            "audit.key is not the key that the audit log was written with: stop the server and put the right one back"
        ),
    }
}

/// The anchors as they are found are this key's from now on. That the key is another one than before is in the log.
async fn seal(
    db: &Db,
    key: Arc<AuditKey>,
    floor: StoredAnchor,
    head: StoredAnchor,
    lost: Option<String>,
    now_us: i64,
) -> Result<(), DbError> {
    db.write(move |tx| {
        if store::anchor_in(tx, Which::Head)? != head {
            // Another server was quicker; its rows are not this key's.
            return Ok(());
        }
        let mut detail = json!({"key": key.id, "rows_before": head.anchor.sequence});
        if let Some(written_with) = lost {
            detail["written_with"] = json!(written_with);
        }
        store::set_anchor(tx, &key, Which::Floor, floor.anchor, &floor.anchor)?;
        store::set_anchor(tx, &key, Which::Head, head.anchor, &head.anchor)?;
        if head.anchor.sequence > 0 {
            let context = AuditContext::system("audit");
            let entry = entry("audit.key", "audit", &key.id, detail);
            store::append(tx, now_us, &context, &entry)?;
        }
        Ok(())
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::GENESIS;
    use crate::audit::key::tests::key;
    use crate::audit::store::Anchor;

    fn at(sequence: i64, key_id: Option<&str>) -> StoredAnchor {
        StoredAnchor {
            anchor: Anchor {
                sequence,
                digest: GENESIS,
            },
            mac: None,
            key_id: key_id.map(str::to_owned),
        }
    }

    #[test]
    fn only_the_log_that_the_key_was_made_for_is_sealed_with_it() {
        let key = key(1);
        let floor = at(0, None);
        let cases = [
            (at(0, None), Standing::First),
            // Somebody took the mark of the key away.
            (at(9, None), Standing::Changed { written_with: None }),
            (at(9, Some(&key.id)), Standing::Same),
            (
                at(9, Some("other")),
                Standing::Changed {
                    written_with: Some("other".to_owned()),
                },
            ),
        ];
        for (head, expected) in cases {
            assert_eq!(
                standing(&key, false, false, &floor, &head),
                expected,
                "{head:?}"
            );
        }
        let lost = Standing::Lost {
            written_with: "other".to_owned(),
        };
        assert_eq!(
            standing(&key, true, false, &floor, &at(9, Some("other"))),
            lost
        );
        // Somebody set the whole log back to its beginning.
        let wiped = standing(&key, false, true, &floor, &at(0, None));
        assert_eq!(wiped, Standing::Changed { written_with: None });
        let cut = standing(&key, false, false, &at(3, None), &at(0, None));
        assert_eq!(cut, Standing::Changed { written_with: None });
    }
}
