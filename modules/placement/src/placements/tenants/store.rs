//! The table of tenants: quotas, and what is used of them.

use std::collections::HashMap;

use fleetwright_plugin_api::sdk::{Batch, Database, Row, ServerError, Statement};

use crate::placements::decide::Quota;

/// A tenant's row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tenant {
    pub tenant_id: String,
    pub quota: Quota,
    pub revision: i64,
}

const COLUMNS: &str = "tenant_id, vm_count_max, memory_mb_max, vm_count, memory_mb, revision";

pub async fn one(db: &Database, tenant_id: &str) -> Result<Option<Tenant>, ServerError> {
    let sql = format!("SELECT {COLUMNS} FROM placement_tenant WHERE tenant_id = $1");
    let rows = db.read_one(Statement::new(sql).bind(tenant_id)).await?;
    rows.first().map(tenant).transpose()
}

/// What the tenants may have and have; those without a row are left out.
pub async fn quotas(
    db: &Database,
    tenant_ids: &[&str],
) -> Result<HashMap<String, Quota>, ServerError> {
    let sql = format!("SELECT {COLUMNS} FROM placement_tenant WHERE tenant_id IN ({{list}})");
    let statement = Statement::new(sql).bind_list(tenant_ids.iter().copied());
    let rows = db.read_one(statement).await?;
    rows.iter()
        .map(|row| tenant(row).map(|tenant| (tenant.tenant_id, tenant.quota)))
        .collect()
}

/// Counts one more placement, if the quota allows it.
#[must_use]
pub fn take(batch: Batch, tenant_id: &str, memory_mb: i64) -> Batch {
    let sql = "UPDATE placement_tenant SET vm_count = vm_count + 1, memory_mb = memory_mb + $2 WHERE tenant_id = $1 \
               AND (vm_count_max IS NULL OR vm_count < vm_count_max) \
               AND (memory_mb_max IS NULL OR memory_mb <= memory_mb_max - $2)";
    let statement = Statement::new(sql).bind(tenant_id).bind(memory_mb);
    with_row(batch, tenant_id).sql_expecting(statement, 1)
}

/// Counts one less.
#[must_use]
pub fn give_back(batch: Batch, tenant_id: &str, memory_mb: i64) -> Batch {
    let sql = "UPDATE placement_tenant SET vm_count = vm_count - 1, memory_mb = memory_mb - $2 WHERE tenant_id = $1";
    batch.sql_expecting(Statement::new(sql).bind(tenant_id).bind(memory_mb), 1)
}

/// Sets the limits, if nobody has since the revision that was read.
#[must_use]
pub fn set(batch: Batch, tenant: &Tenant, before: i64) -> Batch {
    let sql = "UPDATE placement_tenant SET vm_count_max = $3, memory_mb_max = $4, revision = $5 \
               WHERE tenant_id = $1 AND revision = $2";
    let statement = Statement::new(sql)
        .bind(tenant.tenant_id.as_str())
        .bind(before)
        .bind(tenant.quota.vm_count_max)
        .bind(tenant.quota.memory_mb_max)
        .bind(tenant.revision);
    with_row(batch, &tenant.tenant_id).sql_expecting(statement, 1)
}

fn with_row(batch: Batch, tenant_id: &str) -> Batch {
    let sql =
        "INSERT INTO placement_tenant (tenant_id) VALUES ($1) ON CONFLICT (tenant_id) DO NOTHING";
    batch.sql(Statement::new(sql).bind(tenant_id))
}

fn tenant(row: Row<'_>) -> Result<Tenant, ServerError> {
    Ok(Tenant {
        tenant_id: row.text("tenant_id")?.to_owned(),
        quota: Quota {
            vm_count_max: row.optional_integer("vm_count_max")?,
            memory_mb_max: row.optional_integer("memory_mb_max")?,
            vm_count: row.integer("vm_count")?,
            memory_mb: row.integer("memory_mb")?,
        },
        revision: row.integer("revision")?,
    })
}
