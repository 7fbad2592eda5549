//! A guest of the database: a module, whose statements reach the tables that bear its name and nothing else. What keeps
//! it there is the database's own: `gate` on SQLite, a role (`fence`) on PostgreSQL.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::{Dialect, migrations};

/// A statement of a read: a page, of which a request waits 30 s at most.
pub const READ_MAX: Duration = Duration::from_secs(10);
/// A statement of a write: everybody's writes wait behind it.
pub const WRITE_MAX: Duration = Duration::from_secs(5);
/// All of a migration's text: it may fill a new column of a million rows.
pub const MIGRATION_MAX: Duration = Duration::from_secs(600);

/// One module in one database; cheap to clone.
#[derive(Clone, Debug)]
pub struct Guest {
    name: Arc<str>,
    role: Arc<str>,
}

impl Guest {
    /// `database` tells the roles of several databases of one PostgreSQL apart.
    pub(super) fn new(module: &str, database: &str) -> Self {
        let digest = hex::encode(Sha256::digest(database));
        let role = format!(
            "fleetwright_{module}_{}",
            digest.get(..8).unwrap_or_default()
        );
        Self {
            name: module.into(),
            role: role.into(),
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The role that owns its tables in PostgreSQL: lower-case letters, digits and underscores.
    pub fn role(&self) -> &str {
        &self.role
    }

    /// Whether the table, or another thing of a schema, is the module's.
    pub fn owns(&self, table: &str) -> bool {
        is_prefix_of(&self.name, table) && !is_core_table(table)
    }

    /// Where its migrations are recorded.
    pub fn migrations_table(&self) -> String {
        format!("_mig_{}", self.name)
    }

    /// Its statements never meet those of others in the connection's cache: what is in there is not asked for again.
    pub(super) fn mark(&self, sql: &str) -> String {
        format!("/* {} */ {sql}", self.name)
    }
}

/// A table of the server's own that a module of this name would take for its own.
pub fn core_table_named_like(module: &str) -> Option<&'static str> {
    let mut tables = core_tables().iter();
    tables
        .find(|table| is_prefix_of(module, table))
        .map(String::as_str)
}

pub(super) fn is_core_table(table: &str) -> bool {
    let mut tables = core_tables().iter();
    tables.any(|core| core.eq_ignore_ascii_case(table))
}

fn is_prefix_of(module: &str, table: &str) -> bool {
    let (head, rest) = table.split_at_checked(module.len()).unwrap_or_default();
    head.eq_ignore_ascii_case(module) && rest.starts_with('_')
}

/// Read from the migrations, so that none is forgotten.
fn core_tables() -> &'static [String] {
    static TABLES: OnceLock<Vec<String>> = OnceLock::new();
    TABLES.get_or_init(|| {
        let texts = migrations::core(Dialect::Sqlite);
        let lines = texts.iter().flat_map(|text| text.sql.lines());
        lines
            .filter_map(|line| line.trim_start().strip_prefix("CREATE TABLE "))
            .map(|rest| rest.trim_start_matches("IF NOT EXISTS "))
            .filter_map(|rest| {
                rest.split(|letter: char| !letter.is_alphanumeric() && letter != '_')
                    .next()
            })
            .map(str::to_owned)
            .collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_owns_what_bears_its_name_and_is_not_the_servers() {
        let bulk = Guest::new("bulk", "fleet");
        for own in ["bulk_operations", "BULK_x", "bulk_"] {
            assert!(bulk.owns(own), "{own}");
        }
        for other in [
            "bulk",
            "bulkx_a",
            "hosts",
            "_mig_bulk",
            "sqlite_master",
            "",
            "bul",
        ] {
            assert!(!bulk.owns(other), "{other}");
        }
        assert!(!Guest::new("host", "fleet").owns("host_tags"));
        assert!(!Guest::new("api", "fleet").owns("API_tokens"));
        assert_eq!(core_table_named_like("host"), Some("host_tags"));
        assert_eq!(core_table_named_like("bulk"), None);
        assert!(core_tables().len() > 15, "{:?}", core_tables());
    }

    #[test]
    fn a_role_fits_into_a_name_and_differs_between_databases() {
        let longest = "m".repeat(24);
        let (one, other) = (Guest::new(&longest, "one"), Guest::new(&longest, "other"));
        assert!(one.role().len() < 63 && one.role() != other.role());
    }
}
