//! The SQL of hosts' sessions: which one was the last, and what was found and decided of copies.

use fleetwright_protocol::HostId;
use serde_json::json;

use crate::db::{Db, DbError, Rows, Statement, Tx};
use crate::hosts::sessions::{Side, Standing};

const COLUMNS: &str = "last_session, conflict, refused";

/// What is stored, and the text of the last session, by which a later write knows that it still is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    pub standing: Standing,
    last_text: String,
}

/// `None` for an unknown host.
pub async fn standing(db: &Db, id: HostId) -> Result<Option<Stored>, DbError> {
    one(&db.read(by_id(id)).await?)
}

pub fn standing_in(tx: &mut Tx<'_>, id: HostId) -> Result<Option<Stored>, DbError> {
    one(&tx.query(by_id(id))?)
}

/// Stores the session that a host has begun; `false` if another one has been stored since.
pub fn save_last_in(
    tx: &mut Tx<'_>,
    id: HostId,
    decided_on: &Stored,
    last: &Side,
) -> Result<bool, DbError> {
    let sql =
        "UPDATE hosts SET last_session = $1 WHERE id = $2 AND COALESCE(last_session, '') = $3";
    let statement = Statement::new(sql)
        .bind(json!(last).to_string())
        .bind(id)
        .bind(decided_on.last_text.as_str());
    Ok(tx.execute(statement)? == 1)
}

pub fn save_in(tx: &mut Tx<'_>, id: HostId, standing: &Standing) -> Result<(), DbError> {
    let sql = "UPDATE hosts SET last_session = $1, conflict = $2, refused = $3 WHERE id = $4";
    let text = |value: Option<serde_json::Value>| value.map(|value| value.to_string());
    let statement = Statement::new(sql)
        .bind(text(standing.last.as_ref().map(|last| json!(last))))
        .bind(text(standing.conflict.as_ref().map(|found| json!(found))))
        .bind(json!(standing.refused).to_string())
        .bind(id);
    tx.execute(statement)?;
    Ok(())
}

fn by_id(id: HostId) -> Statement {
    Statement::new(format!("SELECT {COLUMNS} FROM hosts WHERE id = $1")).bind(id)
}

fn one(rows: &Rows) -> Result<Option<Stored>, DbError> {
    let Some(row) = rows.first() else {
        return Ok(None);
    };
    let last_text = row.optional_text("last_session")?.unwrap_or_default();
    let last = match last_text {
        "" => None,
        _ => Some(row.json("last_session")?),
    };
    let conflict = match row.optional_text("conflict")? {
        None => None,
        Some(_) => Some(row.json("conflict")?),
    };
    let standing = Standing {
        last,
        conflict,
        refused: row.json("refused")?,
    };
    Ok(Some(Stored {
        standing,
        last_text: last_text.to_owned(),
    }))
}
