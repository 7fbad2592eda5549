//! The tables of this module: all of its SQL, the same text on both databases. Not the hosts of a deployment and not its
//! counters: those are the core's command sets.

pub mod history;

use fleetwright_operations::selection::StoredSelector;
use fleetwright_operations::store::{Listing, OperationTable};
use fleetwright_plugin_api::sdk::{Database, Migration, Row, Rows, ServerError, Statement};
use fleetwright_protocol::{ExecutionOptions, SetId};
use serde_json::Value;
use uuid::Uuid;

use crate::decide::Deployment;
use crate::decide::policy::Policy;
use crate::decide::state::Status;
use crate::request::Terms;

/// At most 8 KiB a row, of which policy and terms (100 waves each) are most: a page of 500 fits one read.
const TABLE: OperationTable = OperationTable {
    name: "rolling_deployments",
    columns: "id, set_id, rollback_set_id, created_by, created_by_name, created_at, finished_at, \
     operation_type, digest, reason, terms, policy, machine, generation, tenant",
};

const OPEN_STATES: &str = "state IN ('queued', 'running', 'awaiting_approval', 'paused', 'halting', 'cancelling', \
     'rolling_back')";

/// The forward-only history of this module's schema.
pub const MIGRATIONS: [Migration; 1] = [Migration {
    version: 1,
    name: "deployments",
    sqlite: include_str!("../migrations/0001_deployments.sqlite.sql"),
    postgres: include_str!("../migrations/0001_deployments.postgres.sql"),
}];

/// A deployment's row without what it sends and selects.
#[derive(Clone, Debug, PartialEq)]
pub struct Header {
    pub id: Uuid,
    pub set_id: SetId,
    pub rollback_set_id: Option<SetId>,
    pub created_by: String,
    pub created_by_name: String,
    pub created_at_us: i64,
    pub finished_at_us: Option<i64>,
    pub operation_type: String,
    pub digest: String,
    pub reason: Option<String>,
    pub terms: Terms,
    pub policy: Policy,
    pub machine: Deployment,
    pub generation: i64,
    pub tenant: Option<String>,
}

/// What a deployment was asked to do, how, and to which hosts.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    pub parameters: Value,
    pub execution: ExecutionOptions,
    pub selector: StoredSelector,
    /// `{"operation_type", "parameters"}`.
    pub rollback: Option<Value>,
}

/// Which deployments a list shows. Newest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ListFilter {
    pub status: Option<Status>,
    pub listing: Listing,
}

/// Adds a deployment. Fails on an id that exists.
pub fn insert(header: &Header, asked: &Asked) -> Statement {
    let sql = "INSERT INTO rolling_deployments (id, set_id, created_by, created_by_name, tenant, created_at, \
               operation_type, digest, reason, terms, policy, parameters, execution, selector, rollback, state, \
               machine, generation) \
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)";
    Statement::new(sql)
        .bind(header.id)
        .bind(header.set_id)
        .bind(header.created_by.clone())
        .bind(header.created_by_name.clone())
        .bind(header.tenant.clone())
        .bind(header.created_at_us)
        .bind(header.operation_type.clone())
        .bind(header.digest.clone())
        .bind(header.reason.clone())
        .bind(text(&header.terms))
        .bind(text(&header.policy))
        .bind(asked.parameters.to_string())
        .bind(text(&asked.execution))
        .bind(asked.selector.to_text())
        .bind(asked.rollback.as_ref().map(Value::to_string))
        .bind(header.machine.state.name())
        .bind(text(&header.machine))
        .bind(header.generation)
}

/// Writes what changed, if nothing was written since `generation`: exactly one row, or none. The generation rises.
pub fn advance(
    id: Uuid,
    generation: i64,
    machine: &Deployment,
    finished_at_us: Option<i64>,
    rollback_set_id: Option<SetId>,
) -> Statement {
    let sql = "UPDATE rolling_deployments SET state = $1, machine = $2, generation = generation + 1, \
               finished_at = $3, rollback_set_id = $4 WHERE id = $5 AND generation = $6";
    Statement::new(sql)
        .bind(machine.state.name())
        .bind(text(machine))
        .bind(finished_at_us)
        .bind(rollback_set_id.map(|id| id.0))
        .bind(id)
        .bind(generation)
}

/// One deployment, if it is there and the tenant's.
pub async fn header(
    db: &Database,
    id: Uuid,
    tenant: Option<&str>,
) -> Result<Option<Header>, ServerError> {
    let table = db.read_one(TABLE.one("", id, tenant)).await?;
    table.first().map(header_of).transpose()
}

/// One deployment with what was asked.
pub async fn with_asked(
    db: &Database,
    id: Uuid,
    tenant: Option<&str>,
) -> Result<Option<(Header, Asked)>, ServerError> {
    let more = ", parameters, execution, selector, rollback";
    let table = db.read_one(TABLE.one(more, id, tenant)).await?;
    let Some(row) = table.first() else {
        return Ok(None);
    };
    let rollback = row.optional_text("rollback")?;
    let asked = Asked {
        parameters: row.json("parameters")?,
        execution: row.json("execution")?,
        selector: row.word("selector", "a selector", StoredSelector::from_text)?,
        rollback: rollback.map(|_| row.json("rollback")).transpose()?,
    };
    Ok(Some((header_of(row)?, asked)))
}

/// Those of the deployments that are there and the tenant's, in no order.
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

/// Deployments in the order of lists: by creation time and id, newest first.
pub async fn list(
    db: &Database,
    filter: &ListFilter,
    limit: u32,
) -> Result<Vec<Header>, ServerError> {
    let states = filter
        .status
        .map(|status| format!("state IN ({})", states(status)));
    headers(
        &db.read_one(TABLE.list(states, &filter.listing, limit))
            .await?,
    )
}

/// Deployments that are not terminal, in id order.
pub async fn open_after(
    db: &Database,
    after: Uuid,
    limit: u32,
) -> Result<Vec<Header>, ServerError> {
    headers(&db.read_one(TABLE.after(OPEN_STATES, after, limit)).await?)
}

/// Ids of deployments created before a time, in id order.
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

/// Removes a deployment with everything that is remembered of it.
pub fn delete(id: Uuid) -> [Statement; 4] {
    [
        Statement::new("DELETE FROM rolling_batches WHERE deployment_id = $1").bind(id),
        Statement::new("DELETE FROM rolling_trace WHERE deployment_id = $1").bind(id),
        Statement::new("DELETE FROM rolling_rollback_batches WHERE deployment_id = $1").bind(id),
        Statement::new("DELETE FROM rolling_deployments WHERE id = $1").bind(id),
    ]
}

/// The states that are shown as a status.
fn states(status: Status) -> String {
    match status {
        Status::Running => "'running', 'halting', 'cancelling'".to_owned(),
        Status::Queued
        | Status::AwaitingApproval
        | Status::Paused
        | Status::Succeeded
        | Status::Partial
        | Status::Failed
        | Status::Cancelled
        | Status::RollingBack
        | Status::RolledBack
        | Status::RollbackFailed => format!("'{}'", status.as_str()),
    }
}

fn headers(table: &Rows) -> Result<Vec<Header>, ServerError> {
    table.iter().map(header_of).collect()
}

fn header_of(row: Row<'_>) -> Result<Header, ServerError> {
    Ok(Header {
        id: row.id("id")?,
        set_id: SetId(row.id("set_id")?),
        rollback_set_id: row.optional_id("rollback_set_id")?.map(SetId),
        created_by: row.text("created_by")?.to_owned(),
        created_by_name: row.text("created_by_name")?.to_owned(),
        created_at_us: row.integer("created_at")?,
        finished_at_us: row.optional_integer("finished_at")?,
        operation_type: row.text("operation_type")?.to_owned(),
        digest: row.text("digest")?.to_owned(),
        reason: row.optional_text("reason")?.map(str::to_owned),
        terms: row.json("terms")?,
        policy: row.json("policy")?,
        machine: row.json("machine")?,
        generation: row.integer("generation")?,
        tenant: row.optional_text("tenant")?.map(str::to_owned),
    })
}

fn text<T: serde::Serialize>(value: &T) -> String {
    // Plain structs of numbers and words: they always have a JSON text.
    serde_json::to_string(value).unwrap_or_default()
}
