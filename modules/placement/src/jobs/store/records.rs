//! What happened to a job, what it made, and each attempt at it.

use fleetwright_plugin_api::sdk::{Batch, Database, ServerError, Statement};
use serde_json::Value;
use uuid::Uuid;

use super::super::job::Job;
use super::super::request::Recorded;
use super::super::stage::Stage;

/// An event as it was kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    pub sequence: i64,
    pub at_us: i64,
    pub kind: String,
    pub actor: String,
    pub from: Option<Stage>,
    pub to: Stage,
    pub data: Value,
}

/// An artifact, or a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    pub id: Uuid,
    pub lease_epoch: i64,
    /// Of an artifact; of a run its outcome.
    pub name: String,
    pub data: Value,
    pub recorded_at_us: i64,
    pub factory_id: Option<Uuid>,
    pub started_at_us: Option<i64>,
    pub ended_at_us: Option<i64>,
}

/// Events after one, in order.
pub async fn events_after(
    db: &Database,
    job_id: Uuid,
    sequence: i64,
    limit: i64,
) -> Result<Vec<Kept>, ServerError> {
    let sql = "SELECT sequence, at, type, actor, from_stage, to_stage, data FROM placement_job_event \
               WHERE job_id = $1 AND sequence > $2 ORDER BY sequence LIMIT $3";
    kept(
        db,
        Statement::new(sql).bind(job_id).bind(sequence).bind(limit),
    )
    .await
}

/// The newest events, newest first.
pub async fn latest_events(
    db: &Database,
    job_id: Uuid,
    limit: i64,
) -> Result<Vec<Kept>, ServerError> {
    let sql = "SELECT sequence, at, type, actor, from_stage, to_stage, data FROM placement_job_event \
               WHERE job_id = $1 ORDER BY sequence DESC LIMIT $2";
    kept(db, Statement::new(sql).bind(job_id).bind(limit)).await
}

async fn kept(db: &Database, statement: Statement) -> Result<Vec<Kept>, ServerError> {
    let rows = db.read_one(statement).await?;
    rows.iter()
        .map(|row| {
            let from = row.optional_text("from_stage")?.and_then(Stage::from_name);
            Ok(Kept {
                sequence: row.integer("sequence")?,
                at_us: row.integer("at")?,
                kind: row.text("type")?.to_owned(),
                actor: row.text("actor")?.to_owned(),
                from,
                to: row.word("to_stage", "a stage", Stage::from_name)?,
                data: row.json("data")?,
            })
        })
        .collect()
}

/// Keeps an artifact; one of the same name is replaced.
#[must_use]
pub fn put_artifact(batch: Batch, id: Uuid, job: &Job, made: &Recorded) -> Batch {
    let sql = "INSERT INTO placement_artifact (id, job_id, lease_epoch, name, data, recorded_at) VALUES ($1, $2, $3, $4, $5, $6) \
               ON CONFLICT (job_id, name) DO UPDATE SET lease_epoch = excluded.lease_epoch, data = excluded.data, \
               recorded_at = excluded.recorded_at";
    let statement = Statement::new(sql)
        .bind(id)
        .bind(job.id)
        .bind(job.lease_epoch)
        .bind(made.name.as_str())
        .bind(made.data.as_str())
        .bind(job.updated_at_us);
    batch.sql(statement)
}

/// Keeps a run.
#[must_use]
pub fn insert_run(batch: Batch, id: Uuid, job: &Job, factory_id: Uuid, run: &Recorded) -> Batch {
    let sql = "INSERT INTO placement_run (id, job_id, lease_epoch, factory_id, started_at, ended_at, outcome, data, recorded_at) \
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
    let statement = Statement::new(sql)
        .bind(id)
        .bind(job.id)
        .bind(job.lease_epoch)
        .bind(factory_id)
        .bind(run.started_at_us)
        .bind(run.ended_at_us)
        .bind(run.name.as_str())
        .bind(run.data.as_str())
        .bind(job.updated_at_us);
    batch.sql(statement)
}

/// An artifact by its name.
pub async fn artifact(
    db: &Database,
    job_id: Uuid,
    name: &str,
) -> Result<Option<Uuid>, ServerError> {
    let sql = "SELECT id FROM placement_artifact WHERE job_id = $1 AND name = $2";
    let rows = db
        .read_one(Statement::new(sql).bind(job_id).bind(name))
        .await?;
    Ok(rows.first().map(|row| row.id("id")).transpose()?)
}

/// A job's artifacts, newest first.
pub async fn artifacts(
    db: &Database,
    job_id: Uuid,
    limit: i64,
) -> Result<Vec<Record>, ServerError> {
    let sql = "SELECT id, lease_epoch, name, data, recorded_at FROM placement_artifact \
               WHERE job_id = $1 ORDER BY recorded_at DESC, id LIMIT $2";
    let rows = db
        .read_one(Statement::new(sql).bind(job_id).bind(limit))
        .await?;
    rows.iter()
        .map(|row| {
            Ok(Record {
                id: row.id("id")?,
                lease_epoch: row.integer("lease_epoch")?,
                name: row.text("name")?.to_owned(),
                data: row.json("data")?,
                recorded_at_us: row.integer("recorded_at")?,
                factory_id: None,
                started_at_us: None,
                ended_at_us: None,
            })
        })
        .collect()
}

/// A job's runs, newest first.
pub async fn runs(db: &Database, job_id: Uuid, limit: i64) -> Result<Vec<Record>, ServerError> {
    let sql = "SELECT id, lease_epoch, factory_id, started_at, ended_at, outcome, data, recorded_at FROM placement_run \
               WHERE job_id = $1 ORDER BY id DESC LIMIT $2";
    let rows = db
        .read_one(Statement::new(sql).bind(job_id).bind(limit))
        .await?;
    rows.iter()
        .map(|row| {
            Ok(Record {
                id: row.id("id")?,
                lease_epoch: row.integer("lease_epoch")?,
                name: row.text("outcome")?.to_owned(),
                data: row.json("data")?,
                recorded_at_us: row.integer("recorded_at")?,
                factory_id: Some(row.id("factory_id")?),
                started_at_us: row.optional_integer("started_at")?,
                ended_at_us: row.optional_integer("ended_at")?,
            })
        })
        .collect()
}
