//! Whether a SQLite file may be worked with: it can be written, and its pages make sense. Asked once, before anything
//! is read or migrated, so that a damaged file is never written to. PostgreSQL looks after its own.

use std::time::{Duration, Instant};

use sqlx::{Executor as _, Row as _, SqliteConnection};

use super::DbError;
use super::failure::{damaged, failure};

/// For the pages: a server is to be ready 2 s after it was killed. In this time some 50,000 pages are looked at;
/// damage in what is left is found when it is read.
const LOOK_MAX: Duration = Duration::from_millis(250);
/// Steps of SQLite's between two looks at the time: microseconds.
const STEPS_BETWEEN_LOOKS: i32 = 1_000;
/// SQLite's result codes, from its documentation.
const READONLY: u32 = 8;
const INTERRUPT: u32 = 9;

/// Why a file could not be opened, or not for writing.
pub(super) fn refusal(error: sqlx::Error) -> DbError {
    if code_of(&error) == Some(READONLY) {
        return DbError::Unfit(
            "the database cannot be written (a read-only file system, or another user's file); the server needs to \
             write the file and its folder"
                .to_owned(),
        );
    }
    failure(error)
}

pub(super) async fn check(connection: &mut SqliteConnection) -> Result<(), DbError> {
    let (begin, write) = (
        "BEGIN IMMEDIATE",
        "CREATE TABLE _write_probe (probe INTEGER)",
    );
    // On a file that cannot be written, SQLite begins to read without a word; the table is never made.
    for statement in [begin, write, "ROLLBACK"] {
        connection.execute(statement).await.map_err(refusal)?;
    }
    check_pages(connection).await
}

async fn check_pages(connection: &mut SqliteConnection) -> Result<(), DbError> {
    let until = Instant::now() + LOOK_MAX;
    let mut handle = connection.lock_handle().await.map_err(failure)?;
    handle.set_progress_handler(STEPS_BETWEEN_LOOKS, move || Instant::now() < until);
    drop(handle);
    let found = connection.fetch_one("PRAGMA quick_check(1)").await;
    let mut handle = connection.lock_handle().await.map_err(failure)?;
    handle.remove_progress_handler();
    drop(handle);
    match found {
        Ok(row) => {
            let said: String = row.try_get(0).map_err(failure)?;
            if said == "ok" {
                Ok(())
            } else {
                Err(damaged(&said))
            }
        }
        // The time is over, and so far all is well.
        Err(error) if code_of(&error) == Some(INTERRUPT) => Ok(()),
        Err(error) => Err(failure(error)),
    }
}

/// The low byte of SQLite's extended code.
fn code_of(error: &sqlx::Error) -> Option<u32> {
    let code = error.as_database_error()?.code()?.parse::<u32>().ok()?;
    Some(code & 0xff)
}
