//! The SQL of the inventory: reading and writing single hosts, and the batches that touch many. Listing is in
//! `store/listing.rs`. Every write that a follower of the feed can see is given its revision by the caller, who
//! takes it from [`take_revisions`] in the same transaction.

pub mod listing;
mod missing;
pub mod sessions;

use fleetwright_protocol::{Facts, HostId, JournalId};
use serde_json::json;

use super::host::{
    Approval, Host, Identity, Issued, KeyDigest, Labels, Names, Reported, search_name, status_name,
};
use crate::db::{ColumnKind, Db, DbError, Row, RowError, Rows, Statement, Tx};

pub use missing::missing_in;

/// The columns of a host, all that [`host`] reads.
const COLUMNS: &str = "id, revision, approval_status, status, reserved, created_at, last_seen_at, fqdn, hostname, \
     platform, platform_release, platform_version, architecture, agent_version, cpu_count, memory_total_mb, \
     kvm_available, ipv4, ipv6, tags, agent_tags, attributes, agent_attributes, certificate_generation, \
     certificate_key, next_generation, next_key, locked_reason, journal_id, enrolled_with, pinned_names, agent_cut";

/// A deleted host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tombstone {
    pub id: HostId,
    pub revision: i64,
}

/// What the registry keeps of a host.
#[derive(Clone, Debug)]
pub struct RegistryRow {
    pub id: HostId,
    pub approval: Approval,
    pub online: bool,
    pub last_seen_us: i64,
    pub locked: bool,
    pub current: Issued,
}

pub async fn get(db: &Db, id: HostId) -> Result<Option<Host>, DbError> {
    one(db.read(by_id(id)).await?)
}

pub fn get_in(tx: &mut Tx<'_>, id: HostId) -> Result<Option<Host>, DbError> {
    one(tx.query(by_id(id))?)
}

/// The host whose current or next certificate is for this key.
pub fn find_by_key_in(tx: &mut Tx<'_>, key: KeyDigest) -> Result<Option<Host>, DbError> {
    one(tx.query(by_key(key))?)
}

pub async fn find_by_key(db: &Db, key: KeyDigest) -> Result<Option<Host>, DbError> {
    one(db.read(by_key(key)).await?)
}

fn by_key(key: KeyDigest) -> Statement {
    let sql = format!(
        "SELECT {COLUMNS} FROM hosts WHERE certificate_key = $1 OR next_key = $1 ORDER BY id LIMIT 1"
    );
    Statement::new(sql).bind(key.0)
}

/// Many hosts at once, in the order of their ids; unknown ids are simply absent.
pub fn get_many_in(tx: &mut Tx<'_>, ids: &[HostId]) -> Result<Vec<Host>, DbError> {
    let source = tx
        .dialect()
        .rows_from_json("$1", &[("host_id", ColumnKind::Bytes)]);
    let sql = format!(
        "SELECT {COLUMNS} FROM hosts WHERE id IN (SELECT host_id FROM {source} AS wanted) ORDER BY id"
    );
    let rows = tx.query(Statement::new(sql).bind(hex_rows(ids)))?;
    rows.iter_hosts()
}

/// Takes `count` revisions; returns the first of them.
pub fn take_revisions(tx: &mut Tx<'_>, count: usize) -> Result<i64, DbError> {
    let sql = "UPDATE settings SET value = CAST(CAST(value AS BIGINT) + $1 AS TEXT) \
               WHERE name = 'hosts_revision' RETURNING CAST(value AS BIGINT) AS revision";
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    let rows = tx.query(Statement::new(sql).bind(count))?;
    let last = rows.first().map_or(Ok(0), |row| row.integer("revision"))?;
    Ok(last - count + 1)
}

pub async fn revision(db: &Db) -> Result<i64, DbError> {
    let sql =
        "SELECT CAST(value AS BIGINT) AS revision FROM settings WHERE name = 'hosts_revision'";
    let rows = db.read(Statement::new(sql)).await?;
    Ok(rows.first().map_or(Ok(0), |row| row.integer("revision"))?)
}

pub fn insert_in(tx: &mut Tx<'_>, host: &Host) -> Result<(), DbError> {
    let places: Vec<String> = (1..=33).map(|number| format!("${number}")).collect();
    let sql = format!(
        "INSERT INTO hosts ({COLUMNS}, search_name) VALUES ({})",
        places.join(", ")
    );
    let statement = Statement::new(sql)
        .bind(host.id)
        .bind(host.revision)
        .bind(host.approval.as_str())
        .bind(status_name(host.online))
        .bind(host.labels.reserved)
        .bind(host.created_at_us)
        .bind(host.last_seen_us);
    let statement = bind_facts(statement, &host.reported.facts)
        .bind(json!(host.labels.tags).to_string())
        .bind(json!(host.reported.tags).to_string())
        .bind(json!(host.labels.attributes).to_string())
        .bind(json!(host.reported.attributes).to_string());
    let statement = bind_identity(statement, &host.identity)
        .bind(host.journal_id)
        .bind(host.enrolled_with)
        .bind(pinned_text(host.pinned.as_ref()))
        .bind(json!(host.reported.cut).to_string())
        .bind(search_name(&host.names()));
    tx.execute(statement)?;
    replace_tags(tx, host.id, &host.labels.tags)
}

/// Saves what the agent says, and what the host is called from now on.
pub fn save_reported_in(tx: &mut Tx<'_>, revision: i64, host: &Host) -> Result<(), DbError> {
    let reported = &host.reported;
    let sql = "UPDATE hosts SET fqdn = $1, hostname = $2, platform = $3, platform_release = $4, \
               platform_version = $5, architecture = $6, agent_version = $7, cpu_count = $8, memory_total_mb = $9, \
               kvm_available = $10, ipv4 = $11, ipv6 = $12, agent_tags = $13, agent_attributes = $14, \
               search_name = $15, revision = $16, pinned_names = $17, agent_cut = $18 WHERE id = $19";
    let statement = bind_facts(Statement::new(sql), &reported.facts)
        .bind(json!(reported.tags).to_string())
        .bind(json!(reported.attributes).to_string())
        .bind(search_name(&host.names()))
        .bind(revision)
        .bind(pinned_text(host.pinned.as_ref()))
        .bind(json!(reported.cut).to_string())
        .bind(host.id);
    tx.execute(statement)?;
    Ok(())
}

/// Saves what people say.
pub fn save_labels_in(
    tx: &mut Tx<'_>,
    id: HostId,
    revision: i64,
    labels: &Labels,
) -> Result<(), DbError> {
    let sql =
        "UPDATE hosts SET tags = $1, attributes = $2, reserved = $3, revision = $4 WHERE id = $5";
    let statement = Statement::new(sql)
        .bind(json!(labels.tags).to_string())
        .bind(json!(labels.attributes).to_string())
        .bind(labels.reserved)
        .bind(revision)
        .bind(id);
    tx.execute(statement)?;
    replace_tags(tx, id, &labels.tags)
}

/// Sets one approval for many hosts and unlocks them, and keeps what each is called. The first host gets revision `first`,
/// the next one more.
pub fn save_approval_in(
    tx: &mut Tx<'_>,
    hosts: &[Host],
    first: i64,
    approval: Approval,
) -> Result<(), DbError> {
    let source = tx.dialect().rows_from_json(
        "$1",
        &[
            ("host_id", ColumnKind::Bytes),
            ("new_revision", ColumnKind::Integer),
            ("new_pinned", ColumnKind::Text),
            ("new_search", ColumnKind::Text),
        ],
    );
    let sql = format!(
        "UPDATE hosts SET approval_status = $2, locked_reason = NULL, revision = wanted.new_revision, \
         pinned_names = wanted.new_pinned, search_name = wanted.new_search \
         FROM {source} AS wanted WHERE hosts.id = wanted.host_id"
    );
    let rows: Vec<_> = (first..)
        .zip(hosts)
        .map(|(revision, host)| {
            let pinned = pinned_text(host.pinned.as_ref());
            json!([
                hex::encode(host.id.as_bytes()),
                revision,
                pinned,
                search_name(&host.names())
            ])
        })
        .collect();
    tx.execute(
        Statement::new(sql)
            .bind(json!(rows).to_string())
            .bind(approval.as_str()),
    )?;
    Ok(())
}

/// Marks hosts online or offline. The first host gets revision `first`, the next one more.
pub fn save_statuses_in(
    tx: &mut Tx<'_>,
    statuses: &[(HostId, bool)],
    first: i64,
) -> Result<(), DbError> {
    let source = tx.dialect().rows_from_json(
        "$1",
        &[
            ("host_id", ColumnKind::Bytes),
            ("new_status", ColumnKind::Text),
            ("new_revision", ColumnKind::Integer),
        ],
    );
    let sql = format!(
        "UPDATE hosts SET status = wanted.new_status, revision = wanted.new_revision FROM {source} AS wanted \
         WHERE hosts.id = wanted.host_id"
    );
    let rows: Vec<_> = (first..)
        .zip(statuses)
        .map(|(revision, (id, online))| {
            json!([hex::encode(id.as_bytes()), status_name(*online), revision])
        })
        .collect();
    tx.execute(Statement::new(sql).bind(json!(rows).to_string()))?;
    Ok(())
}

pub fn save_last_seen_in(tx: &mut Tx<'_>, seen: &[(HostId, i64)]) -> Result<(), DbError> {
    let source = tx.dialect().rows_from_json(
        "$1",
        &[
            ("host_id", ColumnKind::Bytes),
            ("seen_at", ColumnKind::Integer),
        ],
    );
    let sql = format!(
        "UPDATE hosts SET last_seen_at = wanted.seen_at FROM {source} AS wanted WHERE hosts.id = wanted.host_id"
    );
    let rows: Vec<_> = seen
        .iter()
        .map(|(id, at)| json!([hex::encode(id.as_bytes()), at]))
        .collect();
    tx.execute(Statement::new(sql).bind(json!(rows).to_string()))?;
    Ok(())
}

pub fn save_identity_in(
    tx: &mut Tx<'_>,
    id: HostId,
    revision: i64,
    identity: &Identity,
) -> Result<(), DbError> {
    let sql = "UPDATE hosts SET certificate_generation = $1, certificate_key = $2, next_generation = $3, \
               next_key = $4, locked_reason = $5, revision = $6 WHERE id = $7";
    tx.execute(
        bind_identity(Statement::new(sql), identity)
            .bind(revision)
            .bind(id),
    )?;
    Ok(())
}

pub fn save_enrolled_with_in(
    tx: &mut Tx<'_>,
    id: HostId,
    token: uuid::Uuid,
) -> Result<(), DbError> {
    let sql = "UPDATE hosts SET enrolled_with = $1 WHERE id = $2";
    tx.execute(Statement::new(sql).bind(token).bind(id))?;
    Ok(())
}

pub fn save_journal_in(tx: &mut Tx<'_>, id: HostId, journal: JournalId) -> Result<(), DbError> {
    let sql = "UPDATE hosts SET journal_id = $1 WHERE id = $2";
    tx.execute(Statement::new(sql).bind(journal).bind(id))?;
    Ok(())
}

pub fn delete_in(tx: &mut Tx<'_>, id: HostId, revision: i64) -> Result<(), DbError> {
    tx.execute(Statement::new("DELETE FROM host_tags WHERE host_id = $1").bind(id))?;
    tx.execute(Statement::new("DELETE FROM hosts WHERE id = $1").bind(id))?;
    let sql = "INSERT INTO host_tombstones (id, revision) VALUES ($1, $2)";
    tx.execute(Statement::new(sql).bind(id).bind(revision))?;
    Ok(())
}

/// Hosts and tombstones after a revision, each in revision order and at most `limit`, on one snapshot.
pub async fn changed_after(
    db: &Db,
    revision: i64,
    limit: u32,
) -> Result<(Vec<Host>, Vec<Tombstone>), DbError> {
    let hosts =
        format!("SELECT {COLUMNS} FROM hosts WHERE revision > $1 ORDER BY revision LIMIT $2");
    let tombstones =
        "SELECT id, revision FROM host_tombstones WHERE revision > $1 ORDER BY revision LIMIT $2";
    let statements = vec![
        Statement::new(hosts).bind(revision).bind(limit),
        Statement::new(tombstones).bind(revision).bind(limit),
    ];
    let mut answers = db.read_all(statements).await?.into_iter();
    let hosts = answers.next().unwrap_or_default().iter_hosts()?;
    let mut deleted = Vec::new();
    for row in &answers.next().unwrap_or_default() {
        deleted.push(Tombstone {
            id: row.id("id")?,
            revision: row.integer("revision")?,
        });
    }
    Ok((hosts, deleted))
}

/// A page of what the registry keeps, in id order after `after`.
pub async fn registry_page(
    db: &Db,
    after: Option<HostId>,
    limit: u32,
) -> Result<Vec<RegistryRow>, DbError> {
    let sql = "SELECT id, approval_status, status, last_seen_at, \
               CASE WHEN locked_reason IS NULL THEN 0 ELSE 1 END AS locked, certificate_generation, certificate_key \
               FROM hosts WHERE id > $1 ORDER BY id LIMIT $2";
    let after = after.map_or(Vec::new(), |id| id.as_bytes().to_vec());
    let rows = db.read(Statement::new(sql).bind(after).bind(limit)).await?;
    Ok(rows.iter().map(registry_row).collect::<Result<_, _>>()?)
}

fn registry_row(row: Row<'_>) -> Result<RegistryRow, RowError> {
    Ok(RegistryRow {
        id: row.id("id")?,
        approval: approval(row)?,
        online: online(row)?,
        last_seen_us: row.optional_integer("last_seen_at")?.unwrap_or(0),
        locked: row.flag("locked")?,
        current: Issued {
            generation: row.integer("certificate_generation")?,
            key: optional_key(row, "certificate_key")?.unwrap_or(KeyDigest([0; 32])),
        },
    })
}

fn by_id(id: HostId) -> Statement {
    Statement::new(format!("SELECT {COLUMNS} FROM hosts WHERE id = $1")).bind(id)
}

fn one(rows: Rows) -> Result<Option<Host>, DbError> {
    Ok(rows.first().map(host).transpose()?)
}

trait HostRows {
    fn iter_hosts(&self) -> Result<Vec<Host>, DbError>;
}

impl HostRows for Rows {
    fn iter_hosts(&self) -> Result<Vec<Host>, DbError> {
        Ok(self.iter().map(host).collect::<Result<_, _>>()?)
    }
}

fn replace_tags(tx: &mut Tx<'_>, id: HostId, tags: &[String]) -> Result<(), DbError> {
    tx.execute(Statement::new("DELETE FROM host_tags WHERE host_id = $1").bind(id))?;
    if tags.is_empty() {
        return Ok(());
    }
    let source = tx
        .dialect()
        .rows_from_json("$1", &[("tag", ColumnKind::Text)]);
    let sql = format!(
        "INSERT INTO host_tags (tag, host_id) SELECT wanted.tag, {} FROM {source} AS wanted",
        match tx.dialect() {
            crate::db::Dialect::Sqlite => "$2",
            crate::db::Dialect::Postgres => "CAST($2 AS bytea)",
        }
    );
    let rows: Vec<_> = tags.iter().map(|tag| json!([tag])).collect();
    tx.execute(Statement::new(sql).bind(json!(rows).to_string()).bind(id))?;
    Ok(())
}

fn bind_facts(statement: Statement, facts: &Facts) -> Statement {
    let memory = facts
        .memory_total_mb
        .map(|value| i64::try_from(value).unwrap_or(i64::MAX));
    statement
        .bind(facts.fqdn.as_deref())
        .bind(facts.hostname.as_deref())
        .bind(facts.platform.as_deref())
        .bind(facts.platform_release.as_deref())
        .bind(facts.platform_version.as_deref())
        .bind(facts.architecture.as_deref())
        .bind(facts.agent_version.as_deref())
        .bind(facts.cpu_count)
        .bind(memory)
        .bind(facts.kvm_available)
        .bind(json!(facts.ipv4).to_string())
        .bind(json!(facts.ipv6).to_string())
}

fn pinned_text(pinned: Option<&Names>) -> Option<String> {
    pinned.map(|names| json!(names).to_string())
}

fn bind_identity(statement: Statement, identity: &Identity) -> Statement {
    statement
        .bind(identity.current.generation)
        .bind(identity.current.key.0)
        .bind(identity.next.map(|next| next.generation))
        .bind(identity.next.map(|next| next.key.0))
        .bind(identity.locked_reason.as_deref())
}

fn host(row: Row<'_>) -> Result<Host, RowError> {
    let next = match (
        row.optional_integer("next_generation")?,
        optional_key(row, "next_key")?,
    ) {
        (Some(generation), Some(key)) => Some(Issued { generation, key }),
        (Some(_), None) | (None, Some(_)) | (None, None) => None,
    };
    Ok(Host {
        id: row.id("id")?,
        revision: row.integer("revision")?,
        approval: approval(row)?,
        online: online(row)?,
        created_at_us: row.integer("created_at")?,
        last_seen_us: row.optional_integer("last_seen_at")?,
        reported: Reported {
            facts: facts(row)?,
            tags: row.json("agent_tags")?,
            attributes: row.json("agent_attributes")?,
            cut: row.json("agent_cut")?,
        },
        labels: Labels {
            tags: row.json("tags")?,
            attributes: row.json("attributes")?,
            reserved: row.flag("reserved")?,
        },
        pinned: match row.optional_text("pinned_names")? {
            Some(_) => Some(row.json("pinned_names")?),
            None => None,
        },
        identity: Identity {
            current: Issued {
                generation: row.integer("certificate_generation")?,
                key: optional_key(row, "certificate_key")?.unwrap_or(KeyDigest([0; 32])),
            },
            next,
            locked_reason: row.optional_text("locked_reason")?.map(str::to_owned),
        },
        journal_id: row.optional_id("journal_id")?,
        enrolled_with: row.optional_id("enrolled_with")?,
    })
}

fn facts(row: Row<'_>) -> Result<Facts, RowError> {
    let text = |column| Ok::<_, RowError>(row.optional_text(column)?.map(str::to_owned));
    Ok(Facts {
        fqdn: text("fqdn")?,
        hostname: text("hostname")?,
        platform: text("platform")?,
        platform_release: text("platform_release")?,
        platform_version: text("platform_version")?,
        architecture: text("architecture")?,
        agent_version: text("agent_version")?,
        cpu_count: row
            .optional_integer("cpu_count")?
            .and_then(|count| u32::try_from(count).ok()),
        memory_total_mb: row
            .optional_integer("memory_total_mb")?
            .and_then(|size| u64::try_from(size).ok()),
        kvm_available: row.optional_integer("kvm_available")?.map(|flag| flag != 0),
        ipv4: row.json("ipv4")?,
        ipv6: row.json("ipv6")?,
    })
}

fn approval(row: Row<'_>) -> Result<Approval, RowError> {
    row.word("approval_status", "an approval status", Approval::from_name)
}

fn online(row: Row<'_>) -> Result<bool, RowError> {
    row.word("status", "a host status", |name| match name {
        "online" => Some(true),
        "offline" => Some(false),
        _ => None,
    })
}

fn optional_key(row: Row<'_>, column: &str) -> Result<Option<KeyDigest>, RowError> {
    match row.optional_bytes(column)? {
        None => Ok(None),
        Some(bytes) => <[u8; 32]>::try_from(bytes)
            .map(|bytes| Some(KeyDigest(bytes)))
            .map_err(|_| row.unexpected(column, "a SHA-256 digest")),
    }
}

fn hex_rows(ids: &[HostId]) -> String {
    let rows: Vec<_> = ids
        .iter()
        .map(|id| json!([hex::encode(id.as_bytes())]))
        .collect();
    json!(rows).to_string()
}
