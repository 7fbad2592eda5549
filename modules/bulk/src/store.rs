//! The table `bulk_operations`: all of this module's SQL, the same text on both databases. Not the hosts of an
//! operation and not its counters: those are the core's command set.

pub use fleetwright_operations::selection::StoredSelector;
use fleetwright_operations::store::{Listing, OperationTable};
use fleetwright_plugin_api::sdk::{Database, Migration, Row, Rows, ServerError, Statement};
use fleetwright_protocol::{ExecutionOptions, SetId};
use serde_json::Value;
use uuid::Uuid;

use crate::decide::Status;
use crate::request::Terms;

/// At most 3 KiB a row, of which the reason (500 characters) is 2: a page of 1,000 fits one read. What a client may make
/// large is read for one operation only.
const TABLE: OperationTable = OperationTable {
    name: "bulk_operations",
    columns: "id, set_id, parent_id, created_by, created_by_name, created_at, operation_type, \
     digest, terms, reason, status, status_revision",
};

/// The forward-only history of this module's schema.
pub const MIGRATIONS: [Migration; 1] = [Migration {
    version: 1,
    name: "operations",
    sqlite: include_str!("../migrations/0001_operations.sqlite.sql"),
    postgres: include_str!("../migrations/0001_operations.postgres.sql"),
}];

/// An operation's row without what it sends and selects.
#[derive(Clone, Debug, PartialEq)]
pub struct Header {
    pub id: Uuid,
    pub set_id: SetId,
    pub parent_id: Option<Uuid>,
    pub created_by: String,
    pub created_by_name: String,
    pub created_at_us: i64,
    pub operation_type: String,
    pub digest: String,
    pub terms: Terms,
    pub reason: Option<String>,
    /// As last followed; may lag behind the set.
    pub status: Status,
    pub status_revision: i64,
}

/// What an operation was asked to do, how, and to which hosts.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    pub parameters: Value,
    pub execution: ExecutionOptions,
    pub selector: StoredSelector,
}

/// Which operations a list shows. Newest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ListFilter {
    /// Rows whose followed status is one of these; all if empty.
    pub statuses: Vec<Status>,
    pub listing: Listing,
}

/// Adds an operation. Fails on an id that exists.
pub fn insert(header: &Header, asked: &Asked, tenant: Option<&str>) -> Statement {
    let sql = "INSERT INTO bulk_operations (id, set_id, parent_id, created_by, created_by_name, tenant, created_at, \
               operation_type, parameters, execution, selector, digest, terms, reason, status, status_revision) \
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)";
    let execution = serde_json::to_string(&asked.execution).unwrap_or_default();
    let terms = serde_json::to_string(&header.terms).unwrap_or_default();
    Statement::new(sql)
        .bind(header.id)
        .bind(header.set_id)
        .bind(header.parent_id)
        .bind(header.created_by.clone())
        .bind(header.created_by_name.clone())
        .bind(tenant.map(str::to_owned))
        .bind(header.created_at_us)
        .bind(header.operation_type.clone())
        .bind(asked.parameters.to_string())
        .bind(execution)
        .bind(asked.selector.to_text())
        .bind(header.digest.clone())
        .bind(terms)
        .bind(header.reason.clone())
        .bind(header.status.as_str())
        .bind(header.status_revision)
}

/// One operation, if it is there and the tenant's.
pub async fn header(
    db: &Database,
    id: Uuid,
    tenant: Option<&str>,
) -> Result<Option<Header>, ServerError> {
    let table = db.read_one(TABLE.one("", id, tenant)).await?;
    table.first().map(header_of).transpose()
}

/// One operation with what was asked.
pub async fn with_asked(
    db: &Database,
    id: Uuid,
    tenant: Option<&str>,
) -> Result<Option<(Header, Asked)>, ServerError> {
    let more = ", parameters, execution, selector";
    let table = db.read_one(TABLE.one(more, id, tenant)).await?;
    let Some(row) = table.first() else {
        return Ok(None);
    };
    let asked = Asked {
        parameters: row.json("parameters")?,
        execution: row.json("execution")?,
        selector: row.word("selector", "a selector", StoredSelector::from_text)?,
    };
    Ok(Some((header_of(row)?, asked)))
}

/// Those of the operations that are there and the tenant's, in no order.
pub async fn headers_of(
    db: &Database,
    ids: &[Uuid],
    tenant: Option<&str>,
) -> Result<Vec<Header>, ServerError> {
    match TABLE.those_of(ids, tenant) {
        Some(statement) => headers(&db.read_one(statement).await?),
        None => Ok(Vec::new()),
    }
}

/// Operations in the order of lists: by creation time and id, newest first.
pub async fn list(
    db: &Database,
    filter: &ListFilter,
    limit: u32,
) -> Result<Vec<Header>, ServerError> {
    let statuses = (!filter.statuses.is_empty()).then(|| {
        let words = filter.statuses.iter().map(|status| status.as_str());
        let words: Vec<String> = words.map(|word| format!("'{word}'")).collect();
        format!("status IN ({})", words.join(", "))
    });
    headers(
        &db.read_one(TABLE.list(statuses, &filter.listing, limit))
            .await?,
    )
}

/// Operations whose followed status is not terminal, in id order.
pub async fn open_after(
    db: &Database,
    after: Uuid,
    limit: u32,
) -> Result<Vec<Header>, ServerError> {
    let open = TABLE.after("status IN ('queued', 'running')", after, limit);
    headers(&db.read_one(open).await?)
}

/// Ids of operations created before a time, in id order.
pub async fn ids_created_before(
    db: &Database,
    created_before_us: i64,
    after: Uuid,
    limit: u32,
) -> Result<Vec<(Uuid, SetId)>, ServerError> {
    TABLE
        .ids_created_before(db, created_before_us, after, limit)
        .await
}

/// Writes a status computed from the set at `revision`. Does nothing if a newer one is stored, or a terminal one.
pub fn follow(id: Uuid, status: Status, revision: i64) -> Statement {
    let sql = "UPDATE bulk_operations SET status = $1, status_revision = $2 \
               WHERE id = $3 AND status_revision < $2 AND status IN ('queued', 'running')";
    Statement::new(sql)
        .bind(status.as_str())
        .bind(revision)
        .bind(id)
}

pub fn delete(id: Uuid) -> Statement {
    Statement::new("DELETE FROM bulk_operations WHERE id = $1").bind(id)
}

fn headers(table: &Rows) -> Result<Vec<Header>, ServerError> {
    table.iter().map(header_of).collect()
}

fn header_of(row: Row<'_>) -> Result<Header, ServerError> {
    Ok(Header {
        id: row.id("id")?,
        set_id: SetId(row.id("set_id")?),
        parent_id: row.optional_id("parent_id")?,
        created_by: row.text("created_by")?.to_owned(),
        created_by_name: row.text("created_by_name")?.to_owned(),
        created_at_us: row.integer("created_at")?,
        operation_type: row.text("operation_type")?.to_owned(),
        digest: row.text("digest")?.to_owned(),
        terms: row.json("terms")?,
        reason: row.optional_text("reason")?.map(str::to_owned),
        status: row.word("status", "a status", Status::from_name)?,
        status_revision: row.integer("status_revision")?,
    })
}
