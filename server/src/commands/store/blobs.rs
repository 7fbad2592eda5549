//! SQL that finds which operations name uploaded content.

use serde_json::json;

use crate::db::{ColumnKind, Dialect, Statement};

/// Those of the digests (lower-case hex) that a stored operation names, as `digest`; with `open_only`, one of a set that is not
/// finished. The first condition is that of the index
/// `command_set_contents_with_blobs`, word for word.
pub fn named(dialect: Dialect, digests: &[String], open_only: bool) -> Statement {
    let rows: Vec<_> = digests.iter().map(|digest| json!([digest])).collect();
    let source = dialect.rows_from_json("$1", &[("digest", ColumnKind::Text)]);
    let position = match dialect {
        Dialect::Sqlite => "instr",
        Dialect::Postgres => "strpos",
    };
    let open = match open_only {
        true => " AND set_id IN (SELECT id FROM command_sets WHERE finished_at IS NULL)",
        false => "",
    };
    let sql = format!(
        "SELECT digest FROM {source} AS wanted WHERE EXISTS (SELECT 1 FROM command_set_contents \
         WHERE {position}(operation, '\"blob_sha256\"') > 0 AND {position}(operation, wanted.digest) > 0{open})"
    );
    Statement::new(sql).bind(json!(rows).to_string())
}
