//! Who waits for whom.

use fleetwright_plugin_api::sdk::{Batch, Cell, Database, Row, ServerError, Statement};
use uuid::Uuid;

use super::super::decide::settle::Edge;
use super::super::decide::submit::Waits;
use super::IDS_PER_READ;
use super::change::in_steps;

/// Edges in one read.
const EDGES_PER_READ: i64 = 5_000;

/// One dependency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dependency {
    pub job_id: Uuid,
    pub dependency_id: Uuid,
    pub child: bool,
    pub settled: bool,
    pub waived: bool,
}

const COLUMNS: &str = "job_id, dependency_id, child, settled, waived";

fn of(row: Row<'_>) -> Result<Dependency, ServerError> {
    Ok(Dependency {
        job_id: row.id("job_id")?,
        dependency_id: row.id("dependency_id")?,
        child: row.flag("child")?,
        settled: row.flag("settled")?,
        waived: row.flag("waived")?,
    })
}

/// Adds what is waited for.
#[must_use]
pub fn insert(batch: Batch, waits: &[Waits]) -> Batch {
    let sql =
        "INSERT INTO placement_dependency (job_id, dependency_id, child, settled) VALUES {rows}";
    let cells: Vec<Cell> = waits
        .iter()
        .flat_map(|one| {
            [
                Cell::from(one.job_id),
                one.dependency_id.into(),
                one.child.into(),
                one.settled.into(),
            ]
        })
        .collect();
    in_steps(batch, sql, 4, &cells)
}

/// It is waited for no more; guarded, so that it counts once.
#[must_use]
pub fn settle(batch: Batch, edge: Edge, waived: bool) -> Batch {
    let sql = "UPDATE placement_dependency SET settled = 1, waived = $3 \
               WHERE job_id = $1 AND dependency_id = $2 AND settled = 0";
    let statement = Statement::new(sql)
        .bind(edge.job_id)
        .bind(edge.dependency_id);
    batch.sql_expecting(statement.bind(waived), 1)
}

/// One dependency, if it is there.
pub async fn one(
    db: &Database,
    job_id: Uuid,
    dependency_id: Uuid,
) -> Result<Option<Dependency>, ServerError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM placement_dependency WHERE job_id = $1 AND dependency_id = $2"
    );
    let statement = Statement::new(sql).bind(job_id).bind(dependency_id);
    db.read_one(statement).await?.first().map(of).transpose()
}

/// Those of a job: what it still waits for comes first.
pub async fn of_job(
    db: &Database,
    job_id: Uuid,
    limit: i64,
) -> Result<Vec<Dependency>, ServerError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM placement_dependency WHERE job_id = $1 ORDER BY settled, dependency_id LIMIT $2"
    );
    let rows = db
        .read_one(Statement::new(sql).bind(job_id).bind(limit))
        .await?;
    rows.iter().map(of).collect()
}

/// Those that wait for a job and are not settled.
pub async fn waiting_for(
    db: &Database,
    dependency_id: Uuid,
    limit: usize,
) -> Result<Vec<Edge>, ServerError> {
    let sql = "SELECT job_id FROM placement_dependency WHERE dependency_id = $1 AND settled = 0 ORDER BY job_id LIMIT $2";
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = db
        .read_one(Statement::new(sql).bind(dependency_id).bind(limit))
        .await?;
    rows.iter()
        .map(|row| {
            Ok(Edge {
                job_id: row.id("job_id")?,
                dependency_id,
            })
        })
        .collect()
}

/// Shipped jobs that somebody still waits for: a batch had no room for all of them, or its server ended.
pub async fn left(db: &Database, limit: i64) -> Result<Vec<Uuid>, ServerError> {
    let sql = "SELECT DISTINCT placement_job.id FROM placement_dependency \
               JOIN placement_job ON placement_job.id = placement_dependency.dependency_id \
               WHERE placement_dependency.settled = 0 AND placement_job.stage = 'shipped' LIMIT $1";
    let rows = db.read_one(Statement::new(sql).bind(limit)).await?;
    rows.iter().map(|row| Ok(row.id("id")?)).collect()
}

/// What a job waits for that has ended without shipping.
pub async fn failed(db: &Database, job_id: Uuid, limit: i64) -> Result<Vec<Uuid>, ServerError> {
    let sql = "SELECT placement_job.id FROM placement_dependency \
               JOIN placement_job ON placement_job.id = placement_dependency.dependency_id \
               WHERE placement_dependency.job_id = $1 AND placement_dependency.settled = 0 \
               AND placement_job.stage IN ('failed', 'dead_letter', 'cancelled') ORDER BY placement_job.id LIMIT $2";
    let rows = db
        .read_one(Statement::new(sql).bind(job_id).bind(limit))
        .await?;
    rows.iter().map(|row| Ok(row.id("id")?)).collect()
}

/// Everything these jobs wait for, at most `limit`.
pub async fn below(
    db: &Database,
    job_ids: &[Uuid],
    limit: usize,
) -> Result<Vec<Dependency>, ServerError> {
    let mut found = Vec::new();
    for some in job_ids.chunks(IDS_PER_READ) {
        let (mut job, mut dependency) = (Uuid::nil(), Uuid::nil());
        while found.len() < limit {
            let sql = format!(
                "SELECT {COLUMNS} FROM placement_dependency WHERE job_id IN ({{list}}) \
                 AND (job_id > $1 OR (job_id = $1 AND dependency_id > $2)) ORDER BY job_id, dependency_id LIMIT $3"
            );
            let statement = Statement::new(sql)
                .bind(job)
                .bind(dependency)
                .bind(EDGES_PER_READ);
            let statement = statement.bind_list(some.iter().copied());
            let rows = db.read_one(statement).await?;
            for row in rows.iter() {
                let one = of(row)?;
                (job, dependency) = (one.job_id, one.dependency_id);
                found.push(one);
            }
            if i64::try_from(rows.len()).is_ok_and(|count| count < EDGES_PER_READ) {
                break;
            }
        }
    }
    found.truncate(limit);
    Ok(found)
}

/// Those that wait for any of these. None: they are more than `most`.
pub async fn above(
    db: &Database,
    ids: &[Uuid],
    most: usize,
) -> Result<Option<Vec<Uuid>>, ServerError> {
    let mut found = Vec::new();
    for some in ids.chunks(IDS_PER_READ) {
        let sql = "SELECT DISTINCT job_id FROM placement_dependency WHERE dependency_id IN ({list}) LIMIT $1";
        let limit = i64::try_from(most.saturating_sub(found.len()).saturating_add(1));
        let statement = Statement::new(sql).bind(limit.unwrap_or(i64::MAX));
        let statement = statement.bind_list(some.iter().copied());
        for row in db.read_one(statement).await?.iter() {
            found.push(row.id("job_id")?);
        }
        if found.len() > most {
            return Ok(None);
        }
    }
    Ok(Some(found))
}
