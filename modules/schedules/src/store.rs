//! The tables `schedules_*`: all of this module's SQL, the same text on both databases. Not the decisions: what moves a
//! schedule or a run on is conditional on what was read.

pub mod runs;

use fleetwright_operations::store as operations;
use fleetwright_plugin_api::sdk::{Cell, Database, Migration, Row, Rows, ServerError, Statement};
use serde_json::Value;
use uuid::Uuid;

use crate::decide::{Kind, MisfirePolicy, Next, OverlapPolicy};

/// The forward-only history of this module's schema.
pub const MIGRATIONS: [Migration; 2] = [
    Migration {
        version: 1,
        name: "schedules",
        sqlite: include_str!("../migrations/0001_schedules.sqlite.sql"),
        postgres: include_str!("../migrations/0001_schedules.postgres.sql"),
    },
    Migration {
        version: 2,
        name: "run_revisions",
        sqlite: include_str!("../migrations/0002_run_revisions.sqlite.sql"),
        postgres: include_str!("../migrations/0002_run_revisions.postgres.sql"),
    },
];

/// At most 3 KiB a row, of which the expression is 1: a page of 500 fits one read. What a client may make large is read for
/// one schedule only.
const HEADER_COLUMNS: &str = "id, name, cron, timezone, enabled, kind, operation_type, overlap_policy, misfire_policy, \
     jitter_seconds, starts_at, ends_at, created_by, created_by_name, owner, owner_name, created_at, updated_at, \
     revision, next_nominal_at, next_due_at, computed_at, generation, launches";

/// A schedule's row without what it sends and selects.
#[derive(Clone, Debug, PartialEq)]
pub struct Header {
    pub id: Uuid,
    pub name: String,
    pub cron: String,
    pub timezone: String,
    pub enabled: bool,
    pub kind: Kind,
    pub operation_type: String,
    pub overlap: OverlapPolicy,
    pub misfire: MisfirePolicy,
    pub jitter_seconds: u64,
    pub starts_at_us: Option<i64>,
    pub ends_at_us: Option<i64>,
    pub created_by: Person,
    /// As whom it launches.
    pub owner: Person,
    pub created_at_us: i64,
    pub updated_at_us: i64,
    pub revision: i64,
    pub next: Option<Next>,
    pub computed_at_us: i64,
    /// Of `next`.
    pub generation: i64,
    /// How often one of its runs was decided to be launched.
    pub launches: i64,
}

/// A principal and how it is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    pub id: String,
    pub name: String,
}

/// What a schedule launches.
#[derive(Clone, Debug, PartialEq)]
pub struct Work {
    /// In canonical form, with groups by id.
    pub selector: Value,
    pub parameters: Value,
    pub options: Value,
}

/// Which schedules a list shows, ascending by id.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ListFilter {
    pub name_key: Option<String>,
    pub enabled: Option<bool>,
    pub after: Option<Uuid>,
}

/// Names are the same in any ASCII case.
pub fn name_key(name: &str) -> String {
    name.to_ascii_lowercase()
}

/// Adds a schedule. Fails on a name that is taken.
pub fn insert(header: &Header, work: &Work) -> Statement {
    let columns = "id, created_by, created_by_name, created_at, next_nominal_at, next_due_at, computed_at, generation";
    let sql = format!(
        "INSERT INTO schedules_schedule ({columns}, {SAVED_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, \
         $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27)"
    );
    let statement = Statement::new(sql)
        .bind(header.id)
        .bind(header.created_by.id.as_str())
        .bind(header.created_by.name.as_str())
        .bind(header.created_at_us)
        .bind(header.next.map(|next| next.nominal_us))
        .bind(header.next.map(|next| next.due_us))
        .bind(header.computed_at_us)
        .bind(header.generation);
    saved(statement, header, work)
}

/// Replaces what a client may change, if the schedule still has the revision before this one. Its next fire stays.
pub fn update(header: &Header, work: &Work) -> Statement {
    let assignments: Vec<String> = SAVED_COLUMNS
        .split(", ")
        .zip(3..)
        .map(|(column, place)| format!("{column} = ${place}"))
        .collect();
    let sql = format!(
        "UPDATE schedules_schedule SET {} WHERE id = $1 AND revision = $2",
        assignments.join(", ")
    );
    let statement = Statement::new(sql)
        .bind(header.id)
        .bind(header.revision - 1);
    saved(statement, header, work)
}

const SAVED_COLUMNS: &str = "name, name_key, cron, timezone, enabled, kind, operation_type, selector, parameters, options, \
     overlap_policy, misfire_policy, jitter_seconds, starts_at, ends_at, owner, owner_name, updated_at, revision";

fn saved(statement: Statement, header: &Header, work: &Work) -> Statement {
    statement
        .bind(header.name.as_str())
        .bind(name_key(&header.name))
        .bind(header.cron.as_str())
        .bind(header.timezone.as_str())
        .bind(header.enabled)
        .bind(header.kind.as_str())
        .bind(header.operation_type.as_str())
        .bind(work.selector.to_string())
        .bind(work.parameters.to_string())
        .bind(work.options.to_string())
        .bind(header.overlap.as_str())
        .bind(header.misfire.as_str())
        .bind(i64::try_from(header.jitter_seconds).unwrap_or(i64::MAX))
        .bind(header.starts_at_us)
        .bind(header.ends_at_us)
        .bind(header.owner.id.as_str())
        .bind(header.owner.name.as_str())
        .bind(header.updated_at_us)
        .bind(header.revision)
}

/// Arms a schedule anew after its times were changed.
pub fn arm(id: Uuid, next: Option<Next>, now_us: i64) -> Statement {
    let sql = "UPDATE schedules_schedule SET next_nominal_at = $2, next_due_at = $3, computed_at = $4, \
               generation = generation + 1 WHERE id = $1";
    armed(Statement::new(sql).bind(id), next, now_us)
}

/// The same after a fire, unless somebody has armed it since it was read.
pub fn go_on(header: &Header, next: Option<Next>, now_us: i64) -> Statement {
    let sql = "UPDATE schedules_schedule SET next_nominal_at = $2, next_due_at = $3, computed_at = $4, \
               generation = generation + 1 WHERE id = $1 AND generation = $5";
    armed(Statement::new(sql).bind(header.id), next, now_us).bind(header.generation)
}

fn armed(statement: Statement, next: Option<Next>, now_us: i64) -> Statement {
    statement
        .bind(next.map(|next| next.nominal_us))
        .bind(next.map(|next| next.due_us))
        .bind(now_us)
}

/// Deletes a schedule that still has this revision.
pub fn delete(id: Uuid, revision: i64) -> Statement {
    Statement::new("DELETE FROM schedules_schedule WHERE id = $1 AND revision = $2")
        .bind(id)
        .bind(revision)
}

/// Forgets which groups a schedule names.
pub fn delete_groups(id: Uuid) -> Statement {
    Statement::new("DELETE FROM schedules_group WHERE schedule_id = $1").bind(id)
}

/// To be given the rows of [`group_cells`].
pub const INSERT_GROUPS: &str = "INSERT INTO schedules_group (group_id, schedule_id) VALUES {rows}";

pub fn group_cells(id: Uuid, group_ids: &[Uuid]) -> Vec<Cell> {
    let cells = group_ids
        .iter()
        .flat_map(|group_id| [Cell::from(*group_id), Cell::from(id)]);
    cells.collect()
}

/// Ids and names of schedules whose selectors name the group.
pub async fn naming_group(
    db: &Database,
    group_id: Uuid,
    limit: u32,
) -> Result<Vec<(Uuid, String)>, ServerError> {
    let sql = "SELECT id, name FROM schedules_group JOIN schedules_schedule ON schedules_schedule.id = schedule_id \
               WHERE group_id = $1 ORDER BY id LIMIT $2";
    let statement = Statement::new(sql).bind(group_id).bind(i64::from(limit));
    let table = db.read_one(statement).await?;
    table
        .iter()
        .map(|row| Ok((row.id("id")?, row.text("name")?.to_owned())))
        .collect()
}

/// Those of the contents (digests in lower-case hex) that a schedule launches, or has for its rollback.
pub async fn naming_blobs(db: &Database, digests: &[String]) -> Result<Vec<String>, ServerError> {
    let columns = ["parameters", "options"];
    operations::naming_blobs(db, "schedules_schedule", &columns, "1 = 1", digests).await
}

pub async fn header(db: &Database, id: Uuid) -> Result<Option<Header>, ServerError> {
    let sql = format!("SELECT {HEADER_COLUMNS} FROM schedules_schedule WHERE id = $1");
    let table = db.read_one(Statement::new(sql).bind(id)).await?;
    table.first().map(header_of).transpose()
}

/// Those of the schedules that are there, in no order.
pub async fn headers_of(db: &Database, ids: &[Uuid]) -> Result<Vec<Header>, ServerError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let sql = format!("SELECT {HEADER_COLUMNS} FROM schedules_schedule WHERE id IN ({{list}})");
    let statement = Statement::new(sql).bind_list(ids.iter().copied());
    headers(&db.read_one(statement).await?)
}

/// One schedule with what it launches.
pub async fn with_work(db: &Database, id: Uuid) -> Result<Option<(Header, Work)>, ServerError> {
    let sql = format!(
        "SELECT {HEADER_COLUMNS}, selector, parameters, options FROM schedules_schedule WHERE id = $1"
    );
    let table = db.read_one(Statement::new(sql).bind(id)).await?;
    let Some(row) = table.first() else {
        return Ok(None);
    };
    let work = Work {
        selector: row.json("selector")?,
        parameters: row.json("parameters")?,
        options: row.json("options")?,
    };
    Ok(Some((header_of(row)?, work)))
}

pub async fn list(
    db: &Database,
    filter: &ListFilter,
    limit: u32,
) -> Result<Vec<Header>, ServerError> {
    let mut conditions = vec!["id > $1".to_owned()];
    let mut cells: Vec<Cell> = vec![filter.after.unwrap_or(Uuid::nil()).into()];
    if let Some(name_key) = &filter.name_key {
        cells.push(name_key.as_str().into());
        conditions.push(format!("name_key = ${}", cells.len()));
    }
    if let Some(enabled) = filter.enabled {
        cells.push(enabled.into());
        conditions.push(format!("enabled = ${}", cells.len()));
    }
    cells.push(i64::from(limit).into());
    let sql = format!(
        "SELECT {HEADER_COLUMNS} FROM schedules_schedule WHERE {} ORDER BY id LIMIT ${}",
        conditions.join(" AND "),
        cells.len()
    );
    let statement = cells.into_iter().fold(Statement::new(sql), Statement::bind);
    headers(&db.read_one(statement).await?)
}

/// Schedules that are due, the earliest first.
pub async fn due(db: &Database, now_us: i64, limit: u32) -> Result<Vec<Header>, ServerError> {
    let sql = format!(
        "SELECT {HEADER_COLUMNS} FROM schedules_schedule WHERE next_due_at <= $1 ORDER BY next_due_at LIMIT $2"
    );
    let statement = Statement::new(sql).bind(now_us).bind(i64::from(limit));
    headers(&db.read_one(statement).await?)
}

/// Schedules whose next fire was computed at a time that is still to come: the clock was set back.
pub async fn ahead(db: &Database, now_us: i64, limit: u32) -> Result<Vec<Header>, ServerError> {
    let sql = format!(
        "SELECT {HEADER_COLUMNS} FROM schedules_schedule \
         WHERE computed_at > $1 AND next_due_at IS NOT NULL LIMIT $2"
    );
    let statement = Statement::new(sql).bind(now_us).bind(i64::from(limit));
    headers(&db.read_one(statement).await?)
}

/// When the next fire of all is due.
pub async fn earliest_due(db: &Database) -> Result<Option<i64>, ServerError> {
    let sql = "SELECT next_due_at FROM schedules_schedule WHERE next_due_at IS NOT NULL ORDER BY next_due_at LIMIT 1";
    let table = db.read_one(Statement::new(sql)).await?;
    Ok(table
        .first()
        .map(|row| row.integer("next_due_at"))
        .transpose()?)
}

fn headers(table: &Rows) -> Result<Vec<Header>, ServerError> {
    table.iter().map(header_of).collect()
}

fn header_of(row: Row<'_>) -> Result<Header, ServerError> {
    let person = |id: &str, name: &str| {
        Ok::<_, ServerError>(Person {
            id: row.text(id)?.to_owned(),
            name: row.text(name)?.to_owned(),
        })
    };
    let next = row
        .optional_integer("next_nominal_at")?
        .zip(row.optional_integer("next_due_at")?);
    Ok(Header {
        id: row.id("id")?,
        name: row.text("name")?.to_owned(),
        cron: row.text("cron")?.to_owned(),
        timezone: row.text("timezone")?.to_owned(),
        enabled: row.flag("enabled")?,
        kind: row.word("kind", "a kind", Kind::from_name)?,
        operation_type: row.text("operation_type")?.to_owned(),
        overlap: row.word(
            "overlap_policy",
            "an overlap policy",
            OverlapPolicy::from_name,
        )?,
        misfire: row.word(
            "misfire_policy",
            "a misfire policy",
            MisfirePolicy::from_name,
        )?,
        jitter_seconds: row.count("jitter_seconds")?,
        starts_at_us: row.optional_integer("starts_at")?,
        ends_at_us: row.optional_integer("ends_at")?,
        created_by: person("created_by", "created_by_name")?,
        owner: person("owner", "owner_name")?,
        created_at_us: row.integer("created_at")?,
        updated_at_us: row.integer("updated_at")?,
        revision: row.integer("revision")?,
        next: next.map(|(nominal_us, due_us)| Next { nominal_us, due_us }),
        computed_at_us: row.integer("computed_at")?,
        generation: row.integer("generation")?,
        launches: row.integer("launches")?,
    })
}
