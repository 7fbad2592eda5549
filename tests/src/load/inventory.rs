//! Inventories and histories written straight into a stopped server's SQLite file: a hundred thousand hosts cannot be
//! enrolled one by one before each measurement.

use fleetwright_protocol::{CommandId, HostId, SetId};
use fleetwright_server::db::{ColumnKind, Db, DbError, Statement};
use serde_json::{Value, json};
use uuid::Uuid;

/// Rows of one statement: large enough that the statement itself costs nothing.
const ROWS: usize = 5_000;
/// 2026-01-01, before any benchmark runs; the retention sweep must not find the history old.
const CREATED_US: i64 = 1_767_225_600_000_000;

/// Sortable ids that no server makes: the time of [`CREATED_US`], a kind, a number.
fn id(kind: u128, number: u64) -> Uuid {
    let milliseconds = u128::try_from(CREATED_US / 1_000).unwrap_or_default();
    let version_and_variant = (0x7 << 76) | (0x8 << 60);
    Uuid::from_u128((milliseconds << 80) | version_and_variant | (kind << 48) | u128::from(number))
}

pub fn host_id(number: u64) -> HostId {
    HostId(id(1, number))
}

/// Adds approved, offline hosts `h<n>.fleet.test`: one in ten is tagged `web`, one in a hundred `db`; platforms and
/// versions vary.
pub async fn add_hosts(db: &Db, count: u64) -> Result<(), DbError> {
    let dialect = db.dialect();
    let hosts = dialect.rows_from_json(
        "$1",
        &[
            ("id", ColumnKind::Bytes),
            ("revision", ColumnKind::Integer),
            ("fqdn", ColumnKind::Text),
            ("hostname", ColumnKind::Text),
            ("platform_release", ColumnKind::Text),
            ("platform_version", ColumnKind::Text),
            ("cpu_count", ColumnKind::Integer),
            ("tags", ColumnKind::Text),
        ],
    );
    let insert_hosts = format!(
        "INSERT INTO hosts (id, revision, approval_status, status, created_at, fqdn, hostname, platform, \
         platform_release, platform_version, architecture, cpu_count, tags) \
         SELECT id, revision, 'approved', 'offline', {CREATED_US}, fqdn, hostname, 'linux', platform_release, \
         platform_version, 'x86_64', cpu_count, tags FROM {hosts} AS new_hosts"
    );
    let tags = dialect.rows_from_json(
        "$1",
        &[("tag", ColumnKind::Text), ("host_id", ColumnKind::Bytes)],
    );
    let insert_tags =
        format!("INSERT INTO host_tags (tag, host_id) SELECT tag, host_id FROM {tags} AS new_tags");
    let numbers: Vec<u64> = (0..count).collect();
    for part in numbers.chunks(ROWS) {
        let host_rows: Vec<Value> = part.iter().map(|number| host_row(*number)).collect();
        let tag_rows: Vec<Value> = part
            .iter()
            .flat_map(|number| {
                tags_of(*number)
                    .into_iter()
                    .map(|tag| json!([tag, hex::encode(host_id(*number).as_bytes())]))
            })
            .collect();
        let hosts = Statement::new(insert_hosts.clone()).bind(Value::from(host_rows).to_string());
        let tags = Statement::new(insert_tags.clone()).bind(Value::from(tag_rows).to_string());
        db.write(move |tx| {
            tx.execute(hosts)?;
            tx.execute(tags)
        })
        .await?;
    }
    let revision = Statement::new("UPDATE settings SET value = $1 WHERE name = 'hosts_revision'")
        .bind((count + 1).to_string());
    db.write(move |tx| tx.execute(revision)).await?;
    Ok(())
}

fn tags_of(number: u64) -> Vec<&'static str> {
    let mut tags = vec!["all"];
    if number.is_multiple_of(10) {
        tags.push("web");
    }
    if number.is_multiple_of(100) {
        tags.push("db");
    }
    tags
}

fn host_row(number: u64) -> Value {
    let release = ["debian", "ubuntu", "rocky", "alpine"][(number % 4) as usize];
    json!([
        hex::encode(host_id(number).as_bytes()),
        number + 1,
        format!("h{number}.fleet.test"),
        format!("h{number}"),
        release,
        format!("{}.{}", 8 + number % 5, number % 12),
        2 + number % 30,
        Value::from(tags_of(number)).to_string(),
    ])
}

/// Adds finished sets over these many hosts each: a history of `sets × hosts` commands.
pub async fn add_history(db: &Db, sets: u64, hosts: u64) -> Result<(), DbError> {
    for set in 0..sets {
        add_finished_set(db, set, hosts).await?;
    }
    Ok(())
}

async fn add_finished_set(db: &Db, set: u64, hosts: u64) -> Result<(), DbError> {
    let set_id = SetId(id(2, set));
    let header = Statement::new(format!(
        "INSERT INTO command_sets (id, owner, created_by, operation_type, timeout_seconds, created_at, expires_at, \
         started_at, finished_at, max_concurrency, materialised, total, held, queued, succeeded) \
         VALUES ($1, 'bench', 'user:bench', 'run_script', 3600, {CREATED_US}, {CREATED_US}, {CREATED_US}, \
         {CREATED_US}, 0, $2, $2, 0, 0, $2)"
    ))
    .bind(set_id)
    .bind(hosts);
    let ids: Vec<u8> = (0..hosts)
        .flat_map(|host| *host_id(host).as_bytes())
        .collect();
    let contents = Statement::new(
        "INSERT INTO command_set_contents (set_id, operation, host_ids, skips) VALUES ($1, $2, $3, '[]')",
    )
    .bind(set_id)
    .bind(r#"{"operation_type":"run_script","parameters":{"script":"true"}}"#)
    .bind(ids);
    db.write(move |tx| {
        tx.execute(header)?;
        tx.execute(contents)
    })
    .await?;
    let rows = db.dialect().rows_from_json(
        "$2",
        &[
            ("id", ColumnKind::Bytes),
            ("ordinal", ColumnKind::Integer),
            ("host_id", ColumnKind::Bytes),
        ],
    );
    let insert = format!(
        "INSERT INTO commands (id, set_id, ordinal, host_id, status, created_at, started_at, finished_at, exit_code, \
         changed, message) SELECT id, $1, ordinal, host_id, 'succeeded', {CREATED_US}, {CREATED_US}, {CREATED_US}, 0, \
         1, '' FROM {rows} AS new_commands"
    );
    let numbers: Vec<u64> = (0..hosts).collect();
    for part in numbers.chunks(ROWS) {
        let rows: Vec<Value> = part
            .iter()
            .map(|host| {
                let command = CommandId(id(3, set * hosts + host));
                json!([
                    hex::encode(command.as_bytes()),
                    host + 1,
                    hex::encode(host_id(*host).as_bytes())
                ])
            })
            .collect();
        let statement = Statement::new(insert.clone())
            .bind(set_id)
            .bind(Value::from(rows).to_string());
        db.write(move |tx| tx.execute(statement)).await?;
    }
    Ok(())
}

/// Opens a stopped server's database, does `work`, and closes it again.
pub fn with_database<F, Fut>(url: &str, work: F)
where
    F: FnOnce(Db) -> Fut,
    Fut: Future<Output = Result<(), DbError>>,
{
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime can be built");
    runtime.block_on(async {
        let db = Db::open(url).await.expect("the database opens");
        work(db.clone()).await.expect("the rows fit the schema");
        db.close().await;
    });
}
