//! The tables `groups_*`: all of this module's SQL, the same text on both databases. Not the decisions: whoever writes has
//! decided on a catalogue of one generation, and the first statement of every batch refuses it if that is not the newest.

use fleetwright_plugin_api::sdk::{Batch, Database, Migration, Row, Rows, ServerError, Statement};
use fleetwright_plugin_api::wire::BYTES_PER_READ_MAX;
use fleetwright_selector::{Selector, ValidSelector};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::catalog::{Changes, Group, name_key};

/// The forward-only history of this module's schema.
pub const MIGRATIONS: [Migration; 1] = [Migration {
    version: 1,
    name: "groups",
    sqlite: include_str!("../migrations/0001_groups.sqlite.sql"),
    postgres: include_str!("../migrations/0001_groups.postgres.sql"),
}];

/// Deletions read at once. With [`crate::decide::GROUPS_MAX`] changed groups still within the 10,000 rows of one read.
const REMOVED_PER_READ: i64 = 4_000;
/// Octets of the larger columns of one group, so that one read carries it: the rest of a row (a name, ids, times) is under a
/// KiB. Two full lists of host ids have 3.2 MB, so only a selector that names very many groups comes near.
pub const OCTETS_PER_GROUP_MAX: usize = BYTES_PER_READ_MAX - 4 * 1024;
/// Of the 4 MiB of one read; a row with more than this is read alone.
const OCTETS_PER_READ: u64 = 3 * 1024 * 1024;
/// Rows of one read, each a parameter.
const GROUPS_PER_READ: usize = 500;

const COLUMNS: &str = "id, name, description, parent_id, explicit_host_ids, selector, selector_host_ids, \
     created_at, updated_at, revision, generation";

const NEWEST: &str = "SELECT generation FROM groups_graph WHERE id = 1";

/// The newest generation: all that most requests need to read.
pub async fn generation(db: &Database) -> Result<i64, ServerError> {
    newest(&db.read_one(Statement::new(NEWEST)).await?)
}

fn newest(graph: &Rows) -> Result<i64, ServerError> {
    let row = graph.first();
    let row = row.ok_or_else(|| ServerError::Internal("groups_graph has no row".to_owned()))?;
    Ok(row.integer("generation")?)
}

/// Changes since a generation, and whether they are exactly those up to `changes.generation`. If not, somebody wrote in
/// between and the next call brings the rest.
pub async fn changes(db: &Database, since: i64) -> Result<(Changes, bool), ServerError> {
    let heads = db.read(head_statements(since)).await?;
    let [graph, written, removed] = heads.as_slice() else {
        return Err(ServerError::Internal(
            "a read answered other tables".to_owned(),
        ));
    };
    let newest = newest(graph)?;
    let mut generation = newest;
    let mut changes = Changes::default();
    for row in removed.iter() {
        changes.removed.push(row.id("id")?);
    }
    if i64::try_from(removed.len()) == Ok(REMOVED_PER_READ)
        && let Some(last) = removed.last()
    {
        generation = last.integer("generation")?;
    }
    let mut consistent = generation == newest;
    for ids in chunks(written)? {
        let table = db.read_one(by_ids(&ids)).await?;
        consistent &= table.len() == ids.len();
        for row in &table {
            let group = group(row)?;
            consistent &= group.generation <= generation;
            changes.written.push(group);
        }
    }
    changes.generation = generation;
    Ok((changes, consistent))
}

/// Starts a batch that is refused unless `generation` is still the newest; it makes the next one.
pub fn next_generation(generation: i64) -> Batch {
    let sql =
        "UPDATE groups_graph SET generation = generation + 1 WHERE id = 1 AND generation = $1";
    Batch::new().sql_expecting(Statement::new(sql).bind(generation), 1)
}

/// Adds a group.
pub fn insert(group: &Group) -> Statement {
    let stored = Stored::of(group);
    Statement::new(
        "INSERT INTO groups_group (id, name, name_key, description, parent_id, explicit_host_ids, selector, \
         selector_host_ids, octets, created_at, updated_at, revision, generation) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
    )
    .bind(group.id)
    .bind(group.name.as_str())
    .bind(name_key(&group.name))
    .bind(group.description.as_str())
    .bind(group.parent_id)
    .bind(stored.explicit)
    .bind(stored.selector)
    .bind(stored.selector_ids)
    .bind(stored.octets)
    .bind(group.created_at_us)
    .bind(group.updated_at_us)
    .bind(group.revision)
    .bind(group.generation)
}

/// Replaces a group.
pub fn update(group: &Group) -> Statement {
    let stored = Stored::of(group);
    Statement::new(
        "UPDATE groups_group SET name = $2, name_key = $3, description = $4, parent_id = $5, explicit_host_ids = $6, \
         selector = $7, selector_host_ids = $8, octets = $9, updated_at = $10, revision = $11, generation = $12 \
         WHERE id = $1",
    )
    .bind(group.id)
    .bind(group.name.as_str())
    .bind(name_key(&group.name))
    .bind(group.description.as_str())
    .bind(group.parent_id)
    .bind(stored.explicit)
    .bind(stored.selector)
    .bind(stored.selector_ids)
    .bind(stored.octets)
    .bind(group.updated_at_us)
    .bind(group.revision)
    .bind(group.generation)
}

/// Moves all children of a group to another parent.
pub fn reparent(from: Uuid, to: Option<Uuid>, now_us: i64, generation: i64) -> Statement {
    let sql = "UPDATE groups_group SET parent_id = $2, updated_at = $3, revision = revision + 1, generation = $4 \
               WHERE parent_id = $1";
    Statement::new(sql)
        .bind(from)
        .bind(to)
        .bind(now_us)
        .bind(generation)
}

pub fn delete(id: Uuid) -> Statement {
    Statement::new("DELETE FROM groups_group WHERE id = $1").bind(id)
}

/// Remembers a deletion for those who follow the generations.
pub fn insert_removed(id: Uuid, generation: i64) -> Statement {
    Statement::new("INSERT INTO groups_removed (id, generation) VALUES ($1, $2)")
        .bind(id)
        .bind(generation)
}

/// How much of a read the group takes.
pub fn octets(group: &Group) -> usize {
    Stored::of(group).octets
}

/// Raw ids, one after the other.
pub fn raw_ids(ids: &[Uuid]) -> Vec<u8> {
    ids.iter().flat_map(|id| *id.as_bytes()).collect()
}

/// A group's larger columns.
struct Stored {
    explicit: Vec<u8>,
    selector: Option<String>,
    selector_ids: Vec<u8>,
    octets: usize,
}

impl Stored {
    fn of(group: &Group) -> Self {
        let explicit = raw_ids(&group.explicit_host_ids);
        let selector = group.selector.as_ref().map(criteria_text);
        let ids = group
            .selector
            .as_ref()
            .map(ValidSelector::explicit_host_ids);
        let selector_ids = raw_ids(ids.unwrap_or_default());
        let octets = explicit.len()
            + selector_ids.len()
            + selector.as_ref().map_or(0, String::len)
            + group.description.len();
        Self {
            explicit,
            selector,
            selector_ids,
            octets,
        }
    }
}

fn head_statements(since: i64) -> Vec<Statement> {
    // Who knows no group yet need not hear of those that are gone.
    let removed_since = if since == 0 { i64::MAX } else { since };
    vec![
        Statement::new(NEWEST),
        Statement::new(
            "SELECT id, octets FROM groups_group WHERE generation > $1 ORDER BY generation, id",
        )
        .bind(since),
        Statement::new(
            "SELECT id, generation FROM groups_removed WHERE generation > $1 ORDER BY generation LIMIT $2",
        )
        .bind(removed_since)
        .bind(REMOVED_PER_READ),
    ]
}

/// The ids of (id, octets) rows, in lists that one read can answer.
fn chunks(heads: &Rows) -> Result<Vec<Vec<Uuid>>, ServerError> {
    let mut chunks: Vec<Vec<Uuid>> = Vec::new();
    let mut octets = u64::MAX;
    for row in heads {
        octets = octets.saturating_add(row.count("octets")?);
        match chunks.last_mut() {
            Some(chunk) if octets <= OCTETS_PER_READ && chunk.len() < GROUPS_PER_READ => {
                chunk.push(row.id("id")?);
            }
            Some(_) | None => {
                octets = row.count("octets")?;
                chunks.push(vec![row.id("id")?]);
            }
        }
    }
    Ok(chunks)
}

fn by_ids(ids: &[Uuid]) -> Statement {
    let sql = format!("SELECT {COLUMNS} FROM groups_group WHERE id IN ({{list}})");
    Statement::new(sql).bind_list(ids.iter().copied())
}

fn group(row: Row<'_>) -> Result<Group, ServerError> {
    let id: Uuid = row.id("id")?;
    let selector = row.optional_text("selector")?.map(|text| {
        Ok::<_, ServerError>(selector_of(id, text, &ids(row.bytes("selector_host_ids")?)))
    });
    Ok(Group {
        id,
        name: row.text("name")?.to_owned(),
        description: row.text("description")?.to_owned(),
        parent_id: row.optional_id("parent_id")?,
        explicit_host_ids: ids(row.bytes("explicit_host_ids")?),
        selector: selector.transpose()?,
        created_at_us: row.integer("created_at")?,
        updated_at_us: row.integer("updated_at")?,
        revision: row.integer("revision")?,
        generation: row.integer("generation")?,
    })
}

fn ids(raw: &[u8]) -> Vec<Uuid> {
    let (ids, _cut) = raw.as_chunks::<16>();
    ids.iter().map(|id| Uuid::from_bytes(*id)).collect()
}

/// The canonical JSON without its explicit ids.
fn criteria_text(selector: &ValidSelector) -> String {
    let mut json = selector.to_json();
    if let Some(object) = json.as_object_mut() {
        object.remove("explicit_host_ids");
    }
    json.to_string()
}

/// A stored selector. One that can no longer be read selects nothing, which is logged: a group must not grow by a defect.
fn selector_of(group_id: Uuid, text: &str, host_ids: &[Uuid]) -> ValidSelector {
    let mut json: Value = serde_json::from_str(text).unwrap_or_else(|_| json!({}));
    if !host_ids.is_empty()
        && let Some(object) = json.as_object_mut()
    {
        let texts = host_ids.iter().map(|id| id.hyphenated().to_string());
        object.insert("explicit_host_ids".to_owned(), texts.collect());
    }
    Selector::parse_stored(&json).unwrap_or_else(|violations| {
        tracing::error!(%group_id, ?violations, "a stored selector cannot be read");
        ValidSelector::of_hosts(Vec::new())
    })
}
