//! The table of products.

use fleetwright_plugin_api::sdk::{Database, ServerError, Statement};
use serde_json::Value;

use crate::claims::score::SomeWeights;

/// What somebody set for a product.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Registered {
    pub weights: SomeWeights,
    /// 0: nobody did.
    pub revision: i64,
}

pub async fn product(db: &Database, product_id: &str) -> Result<Registered, ServerError> {
    let sql =
        "SELECT weights, revision FROM placement_product WHERE tenant_id = '' AND product_id = $1";
    let rows = db.read_one(Statement::new(sql).bind(product_id)).await?;
    let Some(row) = rows.first() else {
        return Ok(Registered::default());
    };
    let set: Value = row.json("weights")?;
    Ok(Registered {
        weights: SomeWeights::of_json(&set),
        revision: row.integer("revision")?,
    })
}

/// Writes the next revision; expect one row. It fails where another was added meanwhile.
pub fn put(product_id: &str, after: Registered) -> Statement {
    let sql = match after.revision {
        1 => {
            "INSERT INTO placement_product (tenant_id, product_id, weights, revision) VALUES ('', $1, $2, $3)"
        }
        _ => {
            "UPDATE placement_product SET weights = $2, revision = $3 \
             WHERE tenant_id = '' AND product_id = $1 AND revision = $3 - 1"
        }
    };
    Statement::new(sql)
        .bind(product_id)
        .bind(after.weights.to_json().to_string())
        .bind(after.revision)
}
