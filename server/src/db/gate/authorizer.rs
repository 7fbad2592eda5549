//! The only place that calls SQLite's C interface: its authorizer, and limits of a connection that the driver has no words
//! for. The callback is given a number and looks its gate up, so that no pointer outlives what it points to.

#![expect(
    unsafe_code,
    reason = "calls of SQLite's C interface that the driver does not wrap"
)]

use std::collections::BTreeMap;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock, Weak};

use libsqlite3_sys as ffi;
use sqlx::sqlite::LockedSqliteHandle;

use crate::db::DbError;

/// Bytes of one value in a module's statement: twice what a read may answer. With the next it bounds what one comparison
/// costs, which is not interrupted.
const VALUE_BYTES_MAX: c_int = 8 * 1024 * 1024;
/// Bytes of a pattern of LIKE and GLOB: a comparison takes as many steps as both lengths make together.
const PATTERN_BYTES_MAX: c_int = 256;
/// Bytes of one statement: 32,766 parameters are 300 KB.
const SQL_BYTES_MAX: c_int = 1024 * 1024;

/// Who is asked.
pub trait Judge: Send + Sync {
    /// Whether SQLite may compile this into the statement under way.
    fn allows(&self, action: Action, one: &str, two: &str, database: &str) -> bool;
}

static GATES: RwLock<BTreeMap<usize, Weak<dyn Judge>>> = RwLock::new(BTreeMap::new());

/// What SQLite asks about, as far as it is told apart here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Select,
    Recursive,
    Read,
    Function,
    /// Rows are inserted, updated or deleted.
    Write,
    /// A table is made or dropped.
    Table,
    /// An index is made or dropped.
    Index,
    Reindex,
    Alter,
    /// By SQLite's number.
    Other(c_int),
}

impl Action {
    fn of(code: c_int) -> Self {
        match code {
            ffi::SQLITE_SELECT => Self::Select,
            ffi::SQLITE_RECURSIVE => Self::Recursive,
            ffi::SQLITE_READ => Self::Read,
            ffi::SQLITE_FUNCTION => Self::Function,
            ffi::SQLITE_INSERT | ffi::SQLITE_UPDATE | ffi::SQLITE_DELETE => Self::Write,
            ffi::SQLITE_CREATE_TABLE | ffi::SQLITE_DROP_TABLE => Self::Table,
            ffi::SQLITE_CREATE_INDEX | ffi::SQLITE_DROP_INDEX => Self::Index,
            ffi::SQLITE_REINDEX => Self::Reindex,
            ffi::SQLITE_ALTER_TABLE => Self::Alter,
            other => Self::Other(other),
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Select | Self::Recursive | Self::Read => "reading",
            Self::Function => "a function",
            Self::Write => "writing",
            Self::Table => "making or dropping a table",
            Self::Index | Self::Reindex => "making or dropping an index",
            Self::Alter => "altering a table",
            Self::Other(ffi::SQLITE_ATTACH | ffi::SQLITE_DETACH) => "another database file",
            Self::Other(ffi::SQLITE_PRAGMA) => "a pragma",
            Self::Other(ffi::SQLITE_TRANSACTION | ffi::SQLITE_SAVEPOINT) => {
                "beginning or ending a transaction"
            }
            Self::Other(_) => "views, triggers, temporary and virtual tables",
        }
    }
}

/// From now on the connection asks the gate.
pub(super) fn register(
    handle: &mut LockedSqliteHandle<'_>,
    gate: Weak<dyn Judge>,
) -> Result<(), DbError> {
    static NEXT: AtomicUsize = AtomicUsize::new(1);
    let id = NEXT.fetch_add(1, Ordering::Relaxed);
    let mut gates = GATES.write().unwrap_or_else(PoisonError::into_inner);
    gates.retain(|_, gate| gate.strong_count() > 0);
    gates.insert(id, gate);
    drop(gates);
    // SAFETY: the handle is locked, so nobody else uses the connection; the callback has the signature that SQLite asks
    // for, and its argument is a number that is never followed.
    let code = unsafe {
        ffi::sqlite3_set_authorizer(
            handle.as_raw_handle().as_ptr(),
            Some(ask),
            std::ptr::without_provenance_mut(id),
        )
    };
    if code == ffi::SQLITE_OK {
        Ok(())
    } else {
        Err(DbError::Unfit(format!(
            "SQLite takes no authorizer ({code})"
        )))
    }
}

/// Narrows a connection that modules alone use: no other files, no extensions, no words in double quotes that turn into
/// strings, and values and statements of a bounded length.
pub fn confine(handle: &mut LockedSqliteHandle<'_>) {
    let limits = [
        (ffi::SQLITE_LIMIT_LENGTH, VALUE_BYTES_MAX),
        (ffi::SQLITE_LIMIT_SQL_LENGTH, SQL_BYTES_MAX),
        (ffi::SQLITE_LIMIT_ATTACHED, 0),
    ];
    for (limit, value) in limits {
        set_limit(handle, limit, value);
    }
    let raw = handle.as_raw_handle().as_ptr();
    let settings = [
        (ffi::SQLITE_DBCONFIG_DEFENSIVE, 1),
        (ffi::SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0),
        (ffi::SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0),
        (ffi::SQLITE_DBCONFIG_DQS_DML, 0),
    ];
    for (setting, value) in settings {
        // SAFETY: as above; each of these settings takes an int and a pointer, which may be null.
        unsafe {
            ffi::sqlite3_db_config(raw, setting, value as c_int, std::ptr::null_mut::<c_int>())
        };
    }
}

/// Bounds the patterns of all that is compared on a connection.
pub(super) fn bound_patterns(handle: &mut LockedSqliteHandle<'_>) {
    set_limit(
        handle,
        ffi::SQLITE_LIMIT_LIKE_PATTERN_LENGTH,
        PATTERN_BYTES_MAX,
    );
}

/// Bounds the values of a module's statement on a connection that is not a module's alone; what was before is put back with
/// [`unbound_values`].
pub fn bound_values(handle: &mut LockedSqliteHandle<'_>) -> c_int {
    set_limit(handle, ffi::SQLITE_LIMIT_LENGTH, VALUE_BYTES_MAX)
}

pub fn unbound_values(handle: &mut LockedSqliteHandle<'_>, before: c_int) {
    set_limit(handle, ffi::SQLITE_LIMIT_LENGTH, before);
}

/// Sets a limit; what it was.
fn set_limit(handle: &mut LockedSqliteHandle<'_>, limit: c_int, value: c_int) -> c_int {
    let raw = handle.as_raw_handle().as_ptr();
    // SAFETY: the handle is locked and stands for an open connection; both numbers are plain.
    unsafe { ffi::sqlite3_limit(raw, limit, value) }
}

/// SQLite's question, for each thing a statement touches, while it is compiled. A gate that is gone refuses.
unsafe extern "C" fn ask(
    id: *mut c_void,
    code: c_int,
    one: *const c_char,
    two: *const c_char,
    database: *const c_char,
    _inner: *const c_char,
) -> c_int {
    let asked = catch_unwind(AssertUnwindSafe(|| {
        let gates = GATES.read().unwrap_or_else(PoisonError::into_inner);
        let gate = gates.get(&id.addr()).and_then(Weak::upgrade);
        drop(gates);
        gate.is_some_and(|gate| {
            // SAFETY: SQLite passes null or strings that live as long as this call.
            let (one, two, database) = unsafe { (text(one), text(two), text(database)) };
            gate.allows(Action::of(code), &one, &two, &database)
        })
    }));
    if asked.unwrap_or(false) {
        ffi::SQLITE_OK
    } else {
        ffi::SQLITE_DENY
    }
}

/// # Safety
/// `pointer` is null or leads to a C string that lives as long as the result.
unsafe fn text<'a>(pointer: *const c_char) -> std::borrow::Cow<'a, str> {
    if pointer.is_null() {
        return "".into();
    }
    // SAFETY: what the caller promises.
    unsafe { CStr::from_ptr(pointer) }.to_string_lossy()
}
