//! SQL that finds which operations name uploaded content.

use serde_json::json;

use crate::db::{ColumnKind, Dialect, Statement};

/// Which operations are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Among {
    /// Of sets that are not finished.
    Open,
    /// All that are kept: whoever has the operation can ask for it again.
    Stored,
}

/// Those of the digests (lower-case hex) that such an operation names, as `digest`. The first condition is that of the index
/// `command_set_contents_with_blobs`, word for word.
pub fn named(dialect: Dialect, digests: &[String], among: Among) -> Statement {
    let rows: Vec<_> = digests.iter().map(|digest| json!([digest])).collect();
    let source = dialect.rows_from_json("$1", &[("digest", ColumnKind::Text)]);
    let position = match dialect {
        Dialect::Sqlite => "instr",
        Dialect::Postgres => "strpos",
    };
    let open = match among {
        Among::Open => " AND set_id IN (SELECT id FROM command_sets WHERE finished_at IS NULL)",
        Among::Stored => "",
    };
    let sql = format!(
        "SELECT digest FROM {source} AS wanted WHERE EXISTS (SELECT 1 FROM command_set_contents \
         WHERE {position}(operation, '\"blob_sha256\"') > 0 AND {position}(operation, wanted.digest) > 0{open})"
    );
    Statement::new(sql).bind(json!(rows).to_string())
}
