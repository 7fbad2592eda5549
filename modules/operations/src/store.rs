//! The rows of operations, of whichever kind: all SQL they share, the same text on both databases. Each kind has a table of
//! its own with the columns below and its own ones; its name is the kind's, so a module touches no other's table. Not the
//! hosts of an operation and not its counters: those are the core's command sets.
//!
//! | column | |
//! |---|---|
//! | `id` `set_id` | 16 bytes each; the set that delivers it |
//! | `created_by` `created_by_name` `tenant` `created_at` | who, for whom, and when (µs) |
//! | `operation_type` `digest` `reason` `terms` | what, the digest of its hosts, why, and how ([`Kind::Options`] as JSON) |
//! | `parameters` `execution` `selector` | what a client may have made large: read for one operation only |

use fleetwright_plugin_api::sdk::{Cell, Database, Row, RowError, Rows, ServerError, Statement};
use fleetwright_protocol::SetId;
use uuid::Uuid;

use crate::columns::{Columns, text};
use crate::kind::{Asked, Header, Kind};
use crate::selection::StoredSelector;

/// At most 3 KiB together, of which the reason (500 characters) is 2.
const SMALL: [&str; 10] = [
    "id",
    "set_id",
    "created_by",
    "created_by_name",
    "tenant",
    "created_at",
    "operation_type",
    "digest",
    "reason",
    "terms",
];
const LARGE: [&str; 3] = ["parameters", "execution", "selector"];

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

/// Adds an operation. Fails on an id that exists.
pub fn insert<K: Kind>(header: &Header<K>, asked: &Asked<K>) -> Statement {
    let names = [&SMALL[..], &LARGE[..], K::Own::NAMES, K::Large::NAMES].concat();
    let sql = format!(
        "INSERT INTO {} ({}) VALUES ({})",
        K::NAMES.table,
        names.join(", "),
        numbered(names.len()),
    );
    let shared: [Cell; 13] = [
        header.id.into(),
        header.set_id.into(),
        (&header.created_by).into(),
        (&header.created_by_name).into(),
        header.tenant.clone().into(),
        header.created_at_us.into(),
        (&header.operation_type).into(),
        (&header.digest).into(),
        header.reason.clone().into(),
        text(&header.options).into(),
        asked.parameters.to_string().into(),
        text(&asked.execution).into(),
        asked.selector.to_text().into(),
    ];
    shared
        .into_iter()
        .chain(header.own.cells())
        .chain(asked.more.cells())
        .fold(Statement::new(sql), Statement::bind)
}

/// One operation, if it is there and the tenant's.
pub async fn header<K: Kind>(
    db: &Database,
    id: Uuid,
    tenant: Option<&str>,
) -> Result<Option<Header<K>>, ServerError> {
    let found = db.read_one(one(id, tenant, &small::<K>(), K::NAMES.table));
    Ok(headers(&found.await?)?.pop())
}

/// One operation with what was asked.
pub async fn with_asked<K: Kind>(
    db: &Database,
    id: Uuid,
    tenant: Option<&str>,
) -> Result<Option<(Header<K>, Asked<K>)>, ServerError> {
    let large = [&LARGE[..], K::Large::NAMES].concat().join(", ");
    let columns = format!("{}, {large}", small::<K>());
    let found = db.read_one(one(id, tenant, &columns, K::NAMES.table));
    let table = found.await?;
    let Some(row) = table.first() else {
        return Ok(None);
    };
    let asked = Asked {
        parameters: row.json("parameters")?,
        execution: row.json("execution")?,
        selector: StoredSelector::from_text(row.text("selector")?)
            .ok_or_else(|| row.unexpected("selector", "a stored selector"))?,
        more: K::Large::read(row)?,
    };
    Ok(Some((header_of(row)?, asked)))
}

/// Those of the digests (in lower-case hex) that one that is not over keeps among what it may send later.
pub async fn kept_for_later<K: Kind>(
    db: &Database,
    digests: &[String],
) -> Result<Vec<String>, ServerError> {
    let names = K::NAMES;
    let open: Vec<String> = names.open.iter().map(|word| format!("'{word}'")).collect();
    let is_open = format!("{} IN ({})", names.status_column, open.join(", "));
    naming_blobs(db, names.table, K::Large::NAMES, &is_open, digests).await
}

/// Those of the digests that the rows of a table name in one of these columns of JSON, all in one statement: the few rows
/// that name any content at all are looked for once.
pub async fn naming_blobs(
    db: &Database,
    table: &str,
    columns: &[&str],
    condition: &str,
    digests: &[String],
) -> Result<Vec<String>, ServerError> {
    if columns.is_empty() || digests.is_empty() {
        return Ok(Vec::new());
    }
    let texts: Vec<String> = columns
        .iter()
        .map(|column| {
            format!("SELECT {column} AS content FROM {table} WHERE {condition} AND {column} LIKE '%blob_sha256%'")
        })
        .collect();
    let wanted: Vec<String> = (1..=digests.len())
        .map(|place| format!("SELECT CAST(${place} AS TEXT) AS digest"))
        .collect();
    // A name as the module's tables have: its gate knows no other.
    let named = format!("{table}_named");
    let (texts, wanted) = (texts.join(" UNION ALL "), wanted.join(" UNION ALL "));
    let sql = format!(
        "WITH {named} AS MATERIALIZED ({texts}) SELECT wanted.digest FROM ({wanted}) AS wanted \
         WHERE EXISTS (SELECT 1 FROM {named} WHERE {named}.content LIKE '%' || wanted.digest || '%')",
    );
    let statement = digests
        .iter()
        .fold(Statement::new(sql), |sql, digest| sql.bind(digest.as_str()));
    let table = db.read_one(statement).await?;
    let found = table.iter().map(|row| Ok(row.text("digest")?.to_owned()));
    found.collect()
}

/// Those of the operations that are there and the tenant's, in no order.
pub async fn headers_of<K: Kind>(
    db: &Database,
    ids: &[Uuid],
    tenant: Option<&str>,
) -> Result<Vec<Header<K>>, ServerError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let mut sql = format!(
        "SELECT {} FROM {} WHERE id IN ({})",
        small::<K>(),
        K::NAMES.table,
        numbered(ids.len())
    );
    let mut cells: Vec<Cell> = ids.iter().map(|id| (*id).into()).collect();
    if let Some(tenant) = tenant {
        cells.push(tenant.into());
        sql.push_str(&format!(" AND tenant = ${}", cells.len()));
    }
    let statement = cells.into_iter().fold(Statement::new(sql), Statement::bind);
    headers(&db.read_one(statement).await?)
}

/// Operations in the order of lists: by creation time and id, newest first; with one of these words in the status column,
/// or all.
pub async fn list<K: Kind>(
    db: &Database,
    stored_as: Option<&[&'static str]>,
    listing: &Listing,
    limit: u32,
) -> Result<Vec<Header<K>>, ServerError> {
    let mut conditions = vec!["1 = 1".to_owned()];
    conditions.extend(stored_as.map(status_in::<K>));
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
        "SELECT {} FROM {} WHERE {} ORDER BY created_at DESC, id DESC LIMIT {}",
        small::<K>(),
        K::NAMES.table,
        conditions.join(" AND "),
        bound(i64::from(limit).into()),
    );
    let statement = cells.into_iter().fold(Statement::new(sql), Statement::bind);
    headers(&db.read_one(statement).await?)
}

/// Operations that are not over as far as is stored, in id order.
pub async fn open_after<K: Kind>(
    db: &Database,
    after: Uuid,
    limit: u32,
) -> Result<Vec<Header<K>>, ServerError> {
    let sql = format!(
        "SELECT {} FROM {} WHERE {} AND id > $1 ORDER BY id LIMIT $2",
        small::<K>(),
        K::NAMES.table,
        status_in::<K>(K::NAMES.open),
    );
    let statement = Statement::new(sql).bind(after).bind(i64::from(limit));
    headers(&db.read_one(statement).await?)
}

/// Ids of operations created before a time, with their sets, in id order.
pub async fn ids_created_before<K: Kind>(
    db: &Database,
    created_before_us: i64,
    after: Uuid,
    limit: u32,
) -> Result<Vec<(Uuid, SetId)>, ServerError> {
    let sql = format!(
        "SELECT id, set_id FROM {} WHERE id > $1 AND created_at < $2 ORDER BY id LIMIT $3",
        K::NAMES.table
    );
    let statement = Statement::new(sql)
        .bind(after)
        .bind(created_before_us)
        .bind(i64::from(limit));
    let table = db.read_one(statement).await?;
    let pairs = table.iter();
    pairs
        .map(|row| Ok((row.id("id")?, row.id("set_id")?)))
        .collect()
}

/// Drops an operation with everything that is remembered of it.
pub fn delete<K: Kind>(id: Uuid) -> Vec<Statement> {
    let mut statements = K::forget(id);
    let sql = format!("DELETE FROM {} WHERE id = $1", K::NAMES.table);
    statements.push(Statement::new(sql).bind(id));
    statements
}

fn one(id: Uuid, tenant: Option<&str>, columns: &str, table: &str) -> Statement {
    let sql = format!("SELECT {columns} FROM {table} WHERE id = $1");
    match tenant {
        Some(tenant) => Statement::new(sql + " AND tenant = $2")
            .bind(id)
            .bind(tenant),
        None => Statement::new(sql).bind(id),
    }
}

/// The words come from the program, never from a client.
fn status_in<K: Kind>(words: &[&'static str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
    format!("{} IN ({})", K::NAMES.status_column, quoted.join(", "))
}

fn small<K: Kind>() -> String {
    [&SMALL[..], K::Own::NAMES].concat().join(", ")
}

fn numbered(count: usize) -> String {
    let numbers: Vec<String> = (1..=count).map(|number| format!("${number}")).collect();
    numbers.join(", ")
}

fn headers<K: Kind>(table: &Rows) -> Result<Vec<Header<K>>, ServerError> {
    Ok(table.iter().map(header_of).collect::<Result<_, _>>()?)
}

fn header_of<K: Kind>(row: Row<'_>) -> Result<Header<K>, RowError> {
    Ok(Header {
        id: row.id("id")?,
        set_id: row.id("set_id")?,
        created_by: row.text("created_by")?.to_owned(),
        created_by_name: row.text("created_by_name")?.to_owned(),
        tenant: row.optional_text("tenant")?.map(str::to_owned),
        created_at_us: row.integer("created_at")?,
        operation_type: row.text("operation_type")?.to_owned(),
        digest: row.text("digest")?.to_owned(),
        reason: row.optional_text("reason")?.map(str::to_owned),
        options: row.json("terms")?,
        own: K::Own::read(row)?,
    })
}
