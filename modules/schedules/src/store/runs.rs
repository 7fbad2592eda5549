//! The table `schedules_run`: one row for each fire, moved on by conditional updates only.

use std::collections::HashMap;

use fleetwright_plugin_api::sdk::{Database, Row, Rows, ServerError, Statement};
use uuid::Uuid;

use super::Header;
use crate::decide::{Cause, Fire, Kind, OperationStatus, RunEnd, operation_id};

const COLUMNS: &str = "r.id, r.schedule_id, r.nominal_at, r.cause, r.kind, r.principal, r.recorded_at, r.launched_at, \
     r.finished_at, r.phase, r.status, r.reason, r.revision";

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nothing is decided.
    Pending,
    /// It is to be launched.
    Launching,
    /// Its operation is there.
    Launched,
    Ended,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Also that of the operation.
    pub id: Uuid,
    pub schedule_id: Uuid,
    pub nominal_us: i64,
    pub cause: Cause,
    pub kind: Kind,
    /// As whom it launches.
    pub principal: String,
    /// Of the schedule when it was recorded; none of runs older than that is kept.
    pub revision: Option<i64>,
    pub recorded_at_us: i64,
    pub launched_at_us: Option<i64>,
    pub finished_at_us: Option<i64>,
    pub phase: Phase,
    /// `pending`, then the operation's own, or how it ended without one.
    pub status: String,
    pub reason: Option<String>,
}

impl Phase {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Launching => "launching",
            Self::Launched => "launched",
            Self::Ended => "ended",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Pending, Self::Launching, Self::Launched, Self::Ended]
            .into_iter()
            .find(|phase| phase.as_str() == name)
    }
}

/// Records a fire of the schedule as it was read, for whom it belongs to by now. Does nothing if it is recorded already, or if
/// the schedule has been armed anew or deleted since.
pub fn record(header: &Header, fire: Fire, now_us: i64) -> Statement {
    let (phase, status) = if fire.skipped {
        (Phase::Ended, RunEnd::SkippedMisfire.as_str())
    } else {
        (Phase::Pending, Phase::Pending.as_str())
    };
    let sql = "INSERT INTO schedules_run (id, schedule_id, nominal_at, cause, kind, principal, recorded_at, finished_at, \
               phase, status, revision) \
               SELECT $1, id, $3, $4, kind, owner, $5, $6, $7, $8, revision FROM schedules_schedule \
               WHERE id = $2 AND generation = $9 ON CONFLICT DO NOTHING";
    Statement::new(sql)
        .bind(operation_id(header.id, fire.nominal_us))
        .bind(header.id)
        .bind(fire.nominal_us)
        .bind(Cause::Cron.as_str())
        .bind(now_us)
        .bind(fire.skipped.then_some(now_us))
        .bind(phase.as_str())
        .bind(status)
        .bind(header.generation)
}

/// Adds a run that somebody asked for. Fails if there is one of that nominal time.
pub fn insert(run: &Run) -> Statement {
    let sql = "INSERT INTO schedules_run (id, schedule_id, nominal_at, cause, kind, principal, recorded_at, phase, status, \
               revision) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
    Statement::new(sql)
        .bind(run.id)
        .bind(run.schedule_id)
        .bind(run.nominal_us)
        .bind(run.cause.as_str())
        .bind(run.kind.as_str())
        .bind(run.principal.as_str())
        .bind(run.recorded_at_us)
        .bind(run.phase.as_str())
        .bind(run.status.as_str())
        .bind(run.revision)
}

/// It is to be launched, if since the schedule was read none of its runs was. Two statements of one batch: the first takes
/// the turn, the second is for who has it.
pub fn start_launch(header: &Header, id: Uuid) -> [Statement; 2] {
    let turn = "UPDATE schedules_schedule SET launches = launches + 1, launching_run = $2 \
                WHERE id = $1 AND launches = $3";
    let run = "UPDATE schedules_run SET phase = 'launching' WHERE id = $2 AND phase = 'pending' AND EXISTS ( \
               SELECT 1 FROM schedules_schedule WHERE id = $1 AND launching_run = $2 AND launches = $3)";
    let bound = |sql: &'static str, launches: i64| {
        Statement::new(sql).bind(header.id).bind(id).bind(launches)
    };
    [
        bound(turn, header.launches),
        bound(run, header.launches + 1),
    ]
}

/// Its operation is there, whatever another server was refused.
pub fn launched(id: Uuid, status: OperationStatus, now_us: i64) -> Statement {
    let sql = "UPDATE schedules_run SET phase = $2, status = $3, reason = NULL, launched_at = $4, finished_at = $5 \
               WHERE id = $1 AND (phase IN ('pending', 'launching') OR phase = 'ended' AND launched_at IS NULL)";
    let is_over = status.is_terminal();
    let phase = if is_over {
        Phase::Ended
    } else {
        Phase::Launched
    };
    Statement::new(sql)
        .bind(id)
        .bind(phase.as_str())
        .bind(status.as_str())
        .bind(now_us)
        .bind(is_over.then_some(now_us))
}

/// It launched nothing and will not, if it is as far as it was when that was decided: another server may have decided since
/// that it launches.
pub fn ended(id: Uuid, seen: Phase, end: &RunEnd, now_us: i64) -> Statement {
    let sql = "UPDATE schedules_run SET phase = 'ended', status = $3, reason = $4, finished_at = $5 \
               WHERE id = $1 AND phase = $2";
    Statement::new(sql)
        .bind(id)
        .bind(seen.as_str())
        .bind(end.as_str())
        .bind(end.reason().map(str::to_owned))
        .bind(now_us)
}

/// Follows the operation's status; none if it is no more.
pub fn followed(id: Uuid, status: Option<OperationStatus>, now_us: i64) -> Statement {
    let sql = "UPDATE schedules_run SET phase = $2, status = $3, reason = $4, finished_at = $5 \
               WHERE id = $1 AND phase = 'launched'";
    let is_over = status.is_none_or(OperationStatus::is_terminal);
    let phase = if is_over {
        Phase::Ended
    } else {
        Phase::Launched
    };
    let shown = status.unwrap_or(OperationStatus::Failed);
    Statement::new(sql)
        .bind(id)
        .bind(phase.as_str())
        .bind(shown.as_str())
        .bind(status.is_none().then(|| "operation_gone".to_owned()))
        .bind(is_over.then_some(now_us))
}

pub fn delete_of(schedule_id: Uuid) -> Statement {
    Statement::new("DELETE FROM schedules_run WHERE schedule_id = $1").bind(schedule_id)
}

pub fn delete(ids: &[Uuid]) -> Statement {
    Statement::new("DELETE FROM schedules_run WHERE id IN ({list})").bind_list(ids.iter().copied())
}

/// Ids of old runs that are over; of each schedule the newest is not among them.
pub async fn old(db: &Database, before_us: i64, limit: u32) -> Result<Vec<Uuid>, ServerError> {
    let sql = "SELECT r.id FROM schedules_run r WHERE r.phase = 'ended' AND r.recorded_at < $1 AND r.nominal_at < \
               (SELECT MAX(n.nominal_at) FROM schedules_run n WHERE n.schedule_id = r.schedule_id) LIMIT $2";
    let statement = Statement::new(sql).bind(before_us).bind(i64::from(limit));
    let table = db.read_one(statement).await?;
    Ok(table
        .iter()
        .map(|row| row.id("id"))
        .collect::<Result<_, _>>()?)
}

/// Where a run is among those that wait: by phase, nominal time and id.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    phase: &'static str,
    nominal_us: i64,
    id: Uuid,
}

impl Place {
    pub const FIRST: Self = Self {
        phase: "",
        nominal_us: i64::MIN,
        id: Uuid::nil(),
    };

    pub fn of(run: &Run) -> Self {
        Self {
            phase: run.phase.as_str(),
            nominal_us: run.nominal_us,
            id: run.id,
        }
    }
}

/// Runs that are recorded and not launched, after a place: those that are to be launched first, then by their fires.
pub async fn waiting(db: &Database, after: Place, limit: u32) -> Result<Vec<Run>, ServerError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM schedules_run r WHERE phase IN ('pending', 'launching') \
         AND (phase, nominal_at, id) > ($1, $2, $3) ORDER BY phase, nominal_at, id LIMIT $4"
    );
    let statement = Statement::new(sql)
        .bind(after.phase)
        .bind(after.nominal_us)
        .bind(after.id)
        .bind(i64::from(limit));
    runs(&db.read_one(statement).await?)
}

/// Runs whose operations are not over as far as is known, by id.
pub async fn launched_after(
    db: &Database,
    after: Uuid,
    limit: u32,
) -> Result<Vec<Run>, ServerError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM schedules_run r WHERE phase = 'launched' AND id > $1 ORDER BY id LIMIT $2"
    );
    let statement = Statement::new(sql).bind(after).bind(i64::from(limit));
    runs(&db.read_one(statement).await?)
}

/// Those of the runs that are to be launched and have the turn, with the count of launches of their schedules.
pub async fn launching_of(db: &Database, ids: &[Uuid]) -> Result<HashMap<Uuid, i64>, ServerError> {
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let sql = "SELECT schedules_run.id, launches FROM schedules_run \
               JOIN schedules_schedule ON schedules_schedule.id = schedule_id \
               WHERE phase = 'launching' AND launching_run = schedules_run.id AND schedules_run.id IN ({list})";
    let statement = Statement::new(sql).bind_list(ids.iter().copied());
    let table = db.read_one(statement).await?;
    table
        .iter()
        .map(|row| Ok((row.id("id")?, row.integer("launches")?)))
        .collect()
}

/// Runs of these schedules that are not over as far as is known, by id, after one.
pub async fn open_of(
    db: &Database,
    schedule_ids: &[Uuid],
    after: Uuid,
    limit: u32,
) -> Result<Vec<Run>, ServerError> {
    if schedule_ids.is_empty() {
        return Ok(Vec::new());
    }
    let sql = format!(
        "SELECT {COLUMNS} FROM schedules_run r WHERE phase <> 'ended' AND schedule_id IN ({{list}}) AND id > $1 \
         ORDER BY id LIMIT {limit}"
    );
    let statement = Statement::new(sql).bind(after);
    let statement = statement.bind_list(schedule_ids.iter().copied());
    runs(&db.read_one(statement).await?)
}

/// The newest run of each of these schedules.
pub async fn newest_of(db: &Database, schedule_ids: &[Uuid]) -> Result<Vec<Run>, ServerError> {
    if schedule_ids.is_empty() {
        return Ok(Vec::new());
    }
    let sql = format!(
        "SELECT {COLUMNS} FROM schedules_run r WHERE r.schedule_id IN ({{list}}) AND r.nominal_at = \
         (SELECT MAX(n.nominal_at) FROM schedules_run n WHERE n.schedule_id = r.schedule_id)"
    );
    let statement = Statement::new(sql).bind_list(schedule_ids.iter().copied());
    runs(&db.read_one(statement).await?)
}

/// Runs of a schedule, newest first, before a nominal time.
pub async fn of_schedule(
    db: &Database,
    schedule_id: Uuid,
    before_us: Option<i64>,
    limit: u32,
) -> Result<Vec<Run>, ServerError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM schedules_run r WHERE schedule_id = $1 AND nominal_at < $2 \
         ORDER BY nominal_at DESC LIMIT $3"
    );
    let statement = Statement::new(sql)
        .bind(schedule_id)
        .bind(before_us.unwrap_or(i64::MAX))
        .bind(i64::from(limit));
    runs(&db.read_one(statement).await?)
}

fn runs(table: &Rows) -> Result<Vec<Run>, ServerError> {
    table.iter().map(run_of).collect()
}

fn run_of(row: Row<'_>) -> Result<Run, ServerError> {
    Ok(Run {
        id: row.id("id")?,
        schedule_id: row.id("schedule_id")?,
        nominal_us: row.integer("nominal_at")?,
        cause: row.word("cause", "a cause", Cause::from_name)?,
        kind: row.word("kind", "a kind", Kind::from_name)?,
        principal: row.text("principal")?.to_owned(),
        recorded_at_us: row.integer("recorded_at")?,
        launched_at_us: row.optional_integer("launched_at")?,
        finished_at_us: row.optional_integer("finished_at")?,
        phase: row.word("phase", "a phase", Phase::from_name)?,
        status: row.text("status")?.to_owned(),
        reason: row.optional_text("reason")?.map(str::to_owned),
        revision: row.optional_integer("revision")?,
    })
}
