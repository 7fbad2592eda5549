//! SQLite's gate for modules: what each statement of a module touches is asked of this before it is compiled, and a
//! statement that runs too long is interrupted. The server's own statements pass the same gate unasked.

mod authorizer;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use sqlx::SqliteConnection;

use super::failure::failure;
use super::guest::Guest;
use super::query::{Extent, sqlite_rows};
use super::{DbError, Statement, guest};

pub(super) use authorizer::{Action, bound_values, confine, unbound_values};

/// Steps of SQLite's between two looks at the time: about 0.1 ms.
const STEPS_BETWEEN_LOOKS: i32 = 10_000;

/// Functions of SQLite that a module may call. Each reads nothing but its arguments, and takes time in proportion to them:
/// while one runs, no time limit is looked at. The word list has the same ones, so that it can say it earlier.
pub const FUNCTIONS: [&str; 55] = [
    "->",
    "->>",
    "abs",
    "avg",
    "coalesce",
    "count",
    "cume_dist",
    "date",
    "datetime",
    "dense_rank",
    "first_value",
    "glob",
    "group_concat",
    "hex",
    "ifnull",
    "iif",
    "json",
    "json_array",
    "json_array_length",
    "json_each",
    "json_extract",
    "json_group_array",
    "json_group_object",
    "json_object",
    "json_type",
    "json_valid",
    "julianday",
    "lag",
    "last_value",
    "lead",
    "length",
    "like",
    "lower",
    "ltrim",
    "max",
    "min",
    "nth_value",
    "ntile",
    "nullif",
    "octet_length",
    "percent_rank",
    "rank",
    "round",
    "row_number",
    "rtrim",
    "sign",
    "strftime",
    "substr",
    "substring",
    "sum",
    "total",
    "trim",
    "typeof",
    "unhex",
    "upper",
];
/// What SQLite calls itself while it alters a table; a statement cannot.
const ALTERING: [&str; 4] = [
    "sqlite_rename",
    "sqlite_drop_column",
    "sqlite_add",
    "sqlite_fail",
];
const SCHEMA_TABLES: [&str; 5] = [
    "sqlite_master",
    "sqlite_schema",
    "sqlite_temp_master",
    "sqlite_temp_schema",
    "sqlite_sequence",
];
/// Tables that are functions: they read their argument.
const SOURCES: [&str; 2] = ["json_each", "json_tree"];

/// How far a statement of a module goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reach {
    Read,
    Write,
    /// Its own tables may be made, altered and dropped.
    Migrate,
}

/// Names of tables that are there, lower case; only ever more. One for all connections to a database.
#[derive(Default)]
pub(super) struct Tables(RwLock<BTreeSet<String>>);

impl Tables {
    /// Takes in what the connection sees.
    pub(super) async fn look(&self, connection: &mut SqliteConnection) -> Result<(), DbError> {
        let sql = "SELECT lower(name) AS name FROM sqlite_master WHERE type IN ('table', 'view')";
        let rows = sqlite_rows(connection, Statement::new(sql), Extent::Whole).await?;
        let mut names = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for row in rows.iter() {
            names.insert(row.text("name")?.to_owned());
        }
        Ok(())
    }

    fn has(&self, name: &str) -> bool {
        let name = name.to_lowercase();
        let builtin = [
            "sqlite_",
            "pragma_",
            "dbstat",
            "bytecode",
            "tables_used",
            "fts",
        ];
        let names = self.0.read().unwrap_or_else(PoisonError::into_inner);
        names.contains(&name)
            || guest::is_core_table(&name)
            || builtin.iter().any(|prefix| name.starts_with(prefix))
    }
}

/// Of one connection: who runs a statement on it now.
pub(super) struct Gate {
    tables: Arc<Tables>,
    pass: Mutex<Option<Pass>>,
    /// When the statement is interrupted, in microseconds of [`since_start_us`]; 0: never.
    ends_us: AtomicU64,
}

struct Pass {
    guest: Guest,
    reach: Reach,
    refusal: Option<String>,
}

/// A module's statement is under way until its outcome is told. If nobody waits for that any more, the connection stays
/// the guest's: the statement may be yet to be compiled.
#[must_use = "without its outcome the connection stays the guest's"]
pub(super) struct Admission<'a>(&'a Gate);

impl Gate {
    /// Puts a gate on the connection, open until somebody is admitted as a guest.
    pub(super) async fn put_on(
        connection: &mut SqliteConnection,
        tables: &Arc<Tables>,
    ) -> Result<Arc<Self>, DbError> {
        tables.look(connection).await?;
        let gate = Arc::new(Self {
            tables: Arc::clone(tables),
            pass: Mutex::default(),
            ends_us: AtomicU64::new(0),
        });
        let mut handle = connection.lock_handle().await.map_err(failure)?;
        let judge: Arc<dyn authorizer::Judge> = gate.clone();
        authorizer::register(&mut handle, Arc::downgrade(&judge))?;
        authorizer::bound_patterns(&mut handle);
        let looked_at = Arc::clone(&gate);
        handle.set_progress_handler(STEPS_BETWEEN_LOOKS, move || !looked_at.is_over());
        Ok(gate)
    }

    pub(super) fn admit(&self, guest: &Guest, reach: Reach) -> Admission<'_> {
        let time = match reach {
            Reach::Read => guest::READ_MAX,
            Reach::Write => guest::WRITE_MAX,
            Reach::Migrate => guest::MIGRATION_MAX,
        };
        *self.pass() = Some(Pass {
            guest: guest.clone(),
            reach,
            refusal: None,
        });
        let ends_us = since_start_us().saturating_add(time.as_micros() as u64);
        self.ends_us.store(ends_us, Ordering::Release);
        Admission(self)
    }

    fn is_over(&self) -> bool {
        let ends_us = self.ends_us.load(Ordering::Acquire);
        ends_us != 0 && since_start_us() > ends_us
    }

    fn pass(&self) -> MutexGuard<'_, Option<Pass>> {
        self.pass.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl authorizer::Judge for Gate {
    /// The first refusal is kept, to be told.
    fn allows(&self, action: Action, one: &str, two: &str, database: &str) -> bool {
        let mut pass = self.pass();
        let Some(pass) = pass.as_mut() else {
            return true;
        };
        // Of something no column of which is used SQLite names it alone, also if the statement made it itself (WITH). That
        // may not bear the name of a table.
        if action == Action::Read && two.is_empty() && !self.tables.has(one) {
            return true;
        }
        let allowed = decide(&pass.guest, pass.reach, action, one, two, database);
        if let Err(refusal) = allowed {
            pass.refusal.get_or_insert(refusal);
            return false;
        }
        true
    }
}

impl Admission<'_> {
    /// What the statement came to, with the gate's reason in place of SQLite's "not authorized".
    pub(super) fn outcome<T>(self, result: Result<T, DbError>) -> Result<T, DbError> {
        let refusal = self.0.pass().take().and_then(|pass| pass.refusal);
        let is_over = self.0.is_over();
        self.0.ends_us.store(0, Ordering::Release);
        match (result, refusal) {
            (Err(_), Some(refusal)) => Err(DbError::Refused(refusal)),
            (Err(DbError::Unavailable(_)), None) if is_over => Err(DbError::Unavailable(
                "the module's statement took too long and was ended".to_owned(),
            )),
            (result, _) => result,
        }
    }
}

fn since_start_us() -> u64 {
    static START: LazyLock<Instant> = LazyLock::new(|| Instant::now() - Duration::from_micros(1));
    START.elapsed().as_micros() as u64
}

/// Whether a guest's statement may do this. What is not known is refused.
fn decide(
    guest: &Guest,
    reach: Reach,
    action: Action,
    one: &str,
    two: &str,
    database: &str,
) -> Result<(), String> {
    let migrates = reach == Reach::Migrate;
    let is_schema = |table: &str| migrates && SCHEMA_TABLES.contains(&table);
    let table = |table: &str| {
        let is_here = ["main", ""].contains(&database) && guest.owns(table);
        if is_here || is_schema(table) {
            Ok(())
        } else {
            Err(format!(
                "the table `{table}` is not one of the module's own"
            ))
        }
    };
    let index = |name: &str| {
        let name = name.strip_prefix("sqlite_autoindex_").unwrap_or(name);
        if guest.owns(name) {
            Ok(())
        } else {
            Err(format!(
                "the name `{name}` does not begin with the module's own"
            ))
        }
    };
    match action {
        Action::Select | Action::Recursive => Ok(()),
        Action::Read if SOURCES.contains(&one) => Ok(()),
        Action::Read => table(one),
        Action::Function if is_function(two, migrates) => Ok(()),
        Action::Function => Err(format!("the function `{two}` is not allowed")),
        Action::Write if reach >= Reach::Write => table(one),
        Action::Table if migrates => table(one),
        Action::Index if migrates => index(one).and_then(|()| table(two)),
        Action::Reindex if migrates => index(one),
        Action::Alter if migrates && one == "main" && guest.owns(two) => Ok(()),
        Action::Write
        | Action::Table
        | Action::Index
        | Action::Reindex
        | Action::Alter
        | Action::Other(_) => Err(format!(
            "a module's statement may not do this ({})",
            action.name()
        )),
    }
}

fn is_function(name: &str, migrates: bool) -> bool {
    let of_altering = || name == "printf" || ALTERING.iter().any(|prefix| name.starts_with(prefix));
    FUNCTIONS
        .iter()
        .any(|known| known.eq_ignore_ascii_case(name))
        || (migrates && of_altering())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(reach: Reach, action: Action, one: &str, two: &str, database: &str) -> bool {
        decide(&Guest::new("bulk", "x"), reach, action, one, two, database).is_ok()
    }

    #[test]
    fn only_its_own_tables_of_the_main_database_are_a_modules() {
        use Reach::{Migrate, Read, Write};
        let allowed = [
            (Read, Action::Read, "bulk_a", "id", "main"),
            (Read, Action::Read, "json_each", "value", "main"),
            (Read, Action::Function, "", "COUNT", ""),
            (Write, Action::Write, "bulk_a", "", "main"),
            (Migrate, Action::Table, "bulk_b", "", "main"),
            (Migrate, Action::Index, "bulk_b_by_x", "bulk_b", "main"),
            (
                Migrate,
                Action::Index,
                "sqlite_autoindex_bulk_b_1",
                "bulk_b",
                "main",
            ),
            (Migrate, Action::Write, "sqlite_master", "", "main"),
            (Migrate, Action::Alter, "main", "bulk_a", ""),
        ];
        for (reach, action, one, two, database) in allowed {
            assert!(
                ask(reach, action, one, two, database),
                "{action:?} {one} {two}"
            );
        }
        let refused = [
            (Read, Action::Read, "users", "id", "main"),
            (Read, Action::Read, "sqlite_master", "sql", "main"),
            (Read, Action::Read, "pragma_table_info", "name", "main"),
            (Read, Action::Read, "bulk_a", "id", "temp"),
            (Read, Action::Write, "bulk_a", "", "main"),
            (Read, Action::Function, "", "load_extension", ""),
            (Read, Action::Function, "", "sqlite_rename_table", ""),
            (Write, Action::Write, "users", "", "main"),
            (Write, Action::Write, "sqlite_master", "", "main"),
            (Write, Action::Table, "bulk_b", "", "main"),
            (Migrate, Action::Table, "hosts2", "", "main"),
            (Migrate, Action::Table, "bulk_b", "", "temp"),
            (Migrate, Action::Index, "bulk_x", "hosts", "main"),
            (Migrate, Action::Index, "hosts_by_x", "bulk_a", "main"),
            (Migrate, Action::Alter, "main", "users", ""),
            (Migrate, Action::Other(24), "y", "", ""),
        ];
        for (reach, action, one, two, database) in refused {
            assert!(
                !ask(reach, action, one, two, database),
                "{action:?} {one} {two}"
            );
        }
    }
}
