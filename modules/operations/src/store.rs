//! Reads of a module's table of operations, one row each: the SQL that kinds of operations share. Every such table has
//! the columns `id`, `set_id`, `tenant`, `created_at` (µs) and `operation_type`; what else a row holds, and everything
//! that is written, is the module's own.

use fleetwright_plugin_api::sdk::{Cell, Database, ServerError, Statement};
use fleetwright_protocol::SetId;
use uuid::Uuid;

/// A module's table and the columns of a row without what a client may have made large.
#[derive(Clone, Copy, Debug)]
pub struct OperationTable {
    pub name: &'static str,
    pub columns: &'static str,
}

/// Which operations a list shows, beside their status. Newest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Listing {
    pub operation_type: Option<String>,
    /// Exclusive.
    pub created_after_us: Option<i64>,
    /// Exclusive.
    pub created_before_us: Option<i64>,
    /// Only those of this tenant; all without one.
    pub tenant: Option<String>,
    /// Only those before this place in the order.
    pub before: Option<(i64, Uuid)>,
}

impl OperationTable {
    /// One row, if it is there and the tenant's. `more` is further columns, each after a comma.
    pub fn one(&self, more: &str, id: Uuid, tenant: Option<&str>) -> Statement {
        let Self { name, columns } = self;
        let sql = format!("SELECT {columns}{more} FROM {name} WHERE id = $1");
        match tenant {
            Some(tenant) => Statement::new(sql + " AND tenant = $2")
                .bind(id)
                .bind(tenant.to_owned()),
            None => Statement::new(sql).bind(id),
        }
    }

    /// Those rows that are there and the tenant's, in no order; `None` if no id is given.
    pub fn those_of(&self, ids: &[Uuid], tenant: Option<&str>) -> Option<Statement> {
        if ids.is_empty() {
            return None;
        }
        let Self { name, columns } = self;
        let numbered: Vec<String> = (1..=ids.len()).map(|number| format!("${number}")).collect();
        let mut sql = format!(
            "SELECT {columns} FROM {name} WHERE id IN ({})",
            numbered.join(", ")
        );
        let mut cells: Vec<Cell> = ids.iter().map(|id| (*id).into()).collect();
        if let Some(tenant) = tenant {
            cells.push(tenant.to_owned().into());
            sql.push_str(&format!(" AND tenant = ${}", cells.len()));
        }
        Some(cells.into_iter().fold(Statement::new(sql), Statement::bind))
    }

    /// Rows in the order of lists: by creation time and id, newest first. `status` is a condition of the module's own
    /// words, never a client's text.
    pub fn list(&self, status: Option<String>, listing: &Listing, limit: u32) -> Statement {
        let Self { name, columns } = self;
        let mut conditions = vec!["1 = 1".to_owned()];
        conditions.extend(status);
        let mut cells: Vec<Cell> = Vec::new();
        let mut bound = |cell: Cell| {
            cells.push(cell);
            format!("${}", cells.len())
        };
        if let Some(kind) = &listing.operation_type {
            conditions.push(format!("operation_type = {}", bound(kind.into())));
        }
        if let Some(after_us) = listing.created_after_us {
            conditions.push(format!("created_at > {}", bound(after_us.into())));
        }
        if let Some(before_us) = listing.created_before_us {
            conditions.push(format!("created_at < {}", bound(before_us.into())));
        }
        if let Some(tenant) = &listing.tenant {
            conditions.push(format!("tenant = {}", bound(tenant.into())));
        }
        if let Some((created_at_us, id)) = listing.before {
            let (created_at, id) = (bound(created_at_us.into()), bound(id.into()));
            conditions.push(format!("(created_at, id) < ({created_at}, {id})"));
        }
        let sql = format!(
            "SELECT {columns} FROM {name} WHERE {} ORDER BY created_at DESC, id DESC LIMIT {}",
            conditions.join(" AND "),
            bound(i64::from(limit).into()),
        );
        cells.into_iter().fold(Statement::new(sql), Statement::bind)
    }

    /// Rows that `condition` holds for, in id order, from after one.
    pub fn after(&self, condition: &str, after: Uuid, limit: u32) -> Statement {
        let Self { name, columns } = self;
        let sql = format!(
            "SELECT {columns} FROM {name} WHERE {condition} AND id > $1 ORDER BY id LIMIT $2"
        );
        Statement::new(sql).bind(after).bind(i64::from(limit))
    }

    /// Ids of rows created before a time, with their sets, in id order.
    pub async fn ids_created_before(
        &self,
        db: &Database,
        created_before_us: i64,
        after: Uuid,
        limit: u32,
    ) -> Result<Vec<(Uuid, SetId)>, ServerError> {
        let name = self.name;
        let sql = format!(
            "SELECT id, set_id FROM {name} WHERE id > $1 AND created_at < $2 ORDER BY id LIMIT $3"
        );
        let statement = Statement::new(sql)
            .bind(after)
            .bind(created_before_us)
            .bind(i64::from(limit));
        let table = db.read_one(statement).await?;
        table
            .iter()
            .map(|row| Ok((row.id("id")?, SetId(row.id("set_id")?))))
            .collect()
    }
}
