//! What a driver's error means to a caller: passing, a broken rule, a damaged file, or a defect.

use super::DbError;

/// SQLite's result codes, from its documentation.
const CORRUPT: u32 = 11;
const NOT_A_DATABASE: u32 = 26;
/// The authorizer refused.
const AUTH: &str = "23";
/// PostgreSQL's `insufficient_privilege`.
const PRIVILEGE: &str = "42501";

/// Tells a driver's error apart by what a caller can do about it.
pub(super) fn failure(error: sqlx::Error) -> DbError {
    match &error {
        sqlx::Error::Database(database) => {
            let text = database.message().to_owned();
            if database.is_unique_violation() {
                return DbError::Unique(text);
            }
            if database.is_foreign_key_violation() || database.is_check_violation() {
                return DbError::Constraint(text);
            }
            let code = database.code().unwrap_or_default();
            // Codes of five characters are PostgreSQL's.
            if code.len() < 5 && code.parse().is_ok_and(is_damage) {
                damaged(&text)
            } else if [AUTH, PRIVILEGE].contains(&code.as_ref()) {
                DbError::Refused(text)
            } else if is_passing(&code) {
                DbError::Unavailable(text)
            } else {
                DbError::Statement(text)
            }
        }
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => DbError::Unavailable(error.to_string()),
        // The driver's error type is open; what is not known to pass is a defect.
        _ => DbError::Statement(error.to_string()),
    }
}

/// SQLite: BUSY 5, LOCKED 6, INTERRUPT 9 (its time was over), IOERR 10, FULL 13, CANTOPEN 14, READONLY 8 (low byte of the extended code).
/// PostgreSQL: classes 08 (connection), 53 (resources), 57 (operator intervention), 40 (rollback), 55006, 25006.
fn is_passing(code: &str) -> bool {
    if code.len() == 5 {
        return ["08", "53", "57", "40"].contains(&code.get(..2).unwrap_or_default())
            || code == "55006"
            || code == "25006";
    }
    code.parse::<u32>()
        .is_ok_and(|code| [5, 6, 8, 9, 10, 13, 14].contains(&(code & 0xff)))
}

/// What a person is told of a damaged file.
pub(super) fn damaged(what: &str) -> DbError {
    let what = what.replace('\n', " ");
    DbError::Unfit(format!(
        "the database is damaged ({what}). Nothing was changed. Stop the server and restore the data folder from a \
         backup: docs/backup-and-restore.md"
    ))
}

/// SQLite says that the file is not (any more) a database of its.
fn is_damage(code: u32) -> bool {
    [CORRUPT, NOT_A_DATABASE].contains(&(code & 0xff))
}
