//! What a killed server has left in its database: sums against what they count, and everything that clients were told.

use std::collections::BTreeMap;

use fleetwright_server::db::{Db, Statement};
use fleetwright_tests::fleet::TestFleet;
use uuid::Uuid;

use super::heard::{Claim, Heard};

/// What simulated nodes have: memory less the headroom, in MiB, and vCPUs.
const NODE_MB: i64 = 4_096 - 512;
const NODE_VCPUS: i64 = 16;
const LEASED: &str =
    "(stage IN ('assigned', 'building', 'testing') OR (stage = 'review' AND released = 0))";

/// Each finds what must not be.
fn violations() -> Vec<(&'static str, String)> {
    let text = |sql: &str| sql.to_owned();
    vec![
        (
            "seats that are not those of the jobs held",
            text(
                "SELECT name FROM placement_factory WHERE seats_used > seat_limit OR seats_used <> \
             (SELECT COUNT(*) FROM placement_job WHERE factory_id = placement_factory.id)",
            ),
        ),
        (
            "a lease without a holder or a holder without a lease",
            format!(
                "SELECT id FROM placement_job WHERE {LEASED} <> (factory_id IS NOT NULL) OR (factory_id IS NULL) <> (expires_lease IS NULL)"
            ),
        ),
        (
            "kept counts that are not those of the jobs",
            text(
                "SELECT stage FROM placement_job_count WHERE jobs <> (SELECT COUNT(*) FROM placement_job WHERE \
             placement_job.tenant_id = placement_job_count.tenant_id AND placement_job.product_id = placement_job_count.product_id \
             AND placement_job.stage = placement_job_count.stage)",
            ),
        ),
        (
            "jobs that are not in the kept counts",
            text(
                "SELECT id FROM placement_job WHERE NOT EXISTS (SELECT 1 FROM placement_job_count WHERE \
             placement_job.tenant_id = placement_job_count.tenant_id AND placement_job.product_id = placement_job_count.product_id \
             AND placement_job.stage = placement_job_count.stage)",
            ),
        ),
        (
            "queues whose length is not kept",
            text(
                "SELECT id FROM placement_bucket WHERE queued <> \
             (SELECT COUNT(*) FROM placement_job WHERE bucket_id = placement_bucket.id AND stage = 'queued')",
            ),
        ),
        (
            "queued jobs in no queue",
            text(
                "SELECT id FROM placement_job WHERE stage = 'queued' AND NOT EXISTS \
             (SELECT 1 FROM placement_bucket WHERE placement_bucket.id = placement_job.bucket_id)",
            ),
        ),
        (
            "what waits, but not for as many as it says",
            text(
                "SELECT id FROM placement_job WHERE waits_for <> \
             (SELECT COUNT(*) FROM placement_dependency WHERE job_id = placement_job.id AND settled = 0)",
            ),
        ),
        (
            "what waits for one that has shipped",
            text(
                "SELECT placement_job.id FROM placement_dependency JOIN placement_job ON placement_job.id = dependency_id \
             WHERE settled = 0 AND stage = 'shipped'",
            ),
        ),
        (
            "events that are not as many as changes",
            text(
                "SELECT id FROM placement_job WHERE revision <> (SELECT MAX(sequence) FROM placement_job_event WHERE job_id = placement_job.id)",
            ),
        ),
        (
            "a lease that was claimed twice",
            text(
                "SELECT job_id FROM placement_claim GROUP BY job_id, lease_epoch HAVING COUNT(*) > 1",
            ),
        ),
        (
            "reserved that is not the sum of reservations",
            text(
                "SELECT product_id FROM placement_budget WHERE reserved_micros <> (SELECT COALESCE(SUM(rest_micros), 0) \
             FROM placement_reservation WHERE placement_reservation.product_id = placement_budget.product_id)",
            ),
        ),
        (
            "a reservation of a lease that is over",
            text(
                "SELECT job_id FROM placement_reservation WHERE rest_micros < 0 OR NOT EXISTS (SELECT 1 FROM placement_job \
             WHERE id = job_id AND placement_job.lease_epoch = placement_reservation.lease_epoch AND factory_id IS NOT NULL)",
            ),
        ),
        (
            "spent that is not the sum of spending",
            text(
                "SELECT product_id FROM placement_budget WHERE spent_micros <> (SELECT COALESCE(SUM(amount_micros), 0) \
             FROM placement_spend WHERE placement_spend.product_id = placement_budget.product_id)",
            ),
        ),
        (
            "days whose sum is not what was spent",
            text(
                "SELECT product_id FROM placement_budget WHERE spent_micros <> (SELECT COALESCE(SUM(amount_micros), 0) \
             FROM placement_spend_day WHERE placement_spend_day.product_id = placement_budget.product_id)",
            ),
        ),
        (
            "a ceiling that is reached and pauses nothing",
            text(
                "SELECT product_id FROM placement_budget WHERE spent_micros >= ceiling_micros AND paused_by IS NULL",
            ),
        ),
        (
            "a node that has more than fits",
            format!(
                "SELECT host_id FROM placement_placement WHERE state IN ('held', 'confirmed') GROUP BY host_id \
             HAVING SUM(memory_mb) > {NODE_MB} OR SUM(vcpus) > {NODE_VCPUS}"
            ),
        ),
        (
            "a tenant that uses other than its placements",
            text(
                "SELECT tenant_id FROM placement_tenant WHERE vm_count <> (SELECT COUNT(*) FROM placement_placement \
             WHERE placement_placement.tenant_id = placement_tenant.tenant_id AND state IN ('held', 'confirmed')) \
             OR memory_mb <> (SELECT COALESCE(SUM(memory_mb), 0) FROM placement_placement \
             WHERE placement_placement.tenant_id = placement_tenant.tenant_id AND state IN ('held', 'confirmed'))",
            ),
        ),
    ]
}

/// Of a fleet whose server is dead.
pub fn check(fleet: &TestFleet, heard: &Heard) {
    let file = fleet.server.settings.data_dir().join("fleetwright.db");
    let url = match &fleet.server.settings.database_url {
        Some(url) => url.clone(),
        None => format!("sqlite://{}", file.display()),
    };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime can be built");
    runtime.block_on(async {
        let db = Db::open(&url).await.expect("the database opens");
        for (what, sql) in violations() {
            let found = db.read(Statement::new(sql)).await;
            let found = found.unwrap_or_else(|error| panic!("{what}: {error}"));
            assert!(found.first().is_none(), "{what}: {found:?}");
        }
        keeps(&db, heard).await;
        db.close().await;
    });
}

async fn keeps(db: &Db, heard: &Heard) {
    let read = async |sql: &str| db.read(Statement::new(sql)).await.expect("it is read");
    let claims =
        read("SELECT factory_id, claim_id, job_id, lease_epoch FROM placement_claim").await;
    let claims: BTreeMap<(String, i64), Claim> = claims
        .iter()
        .map(|row| {
            let claim = Claim {
                factory_id: id(row.id("factory_id")),
                claim_id: row.text("claim_id").expect("a text").to_owned(),
            };
            let job = id(row.id("job_id"));
            ((job, row.integer("lease_epoch").expect("a number")), claim)
        })
        .collect();
    for (lease, claim) in &heard.claims {
        assert_eq!(
            claims.get(lease),
            Some(claim),
            "a claim that was answered: {lease:?}"
        );
    }
    let spends = read("SELECT product_id, key, amount_micros FROM placement_spend").await;
    let spends: BTreeMap<(String, String), i64> = spends
        .iter()
        .map(|row| {
            let text = |name: &str| row.text(name).expect("a text").to_owned();
            let amount = row.integer("amount_micros").expect("a number");
            ((text("product_id"), text("key")), amount)
        })
        .collect();
    for (key, amount) in &heard.spends {
        assert_eq!(
            spends.get(key),
            Some(amount),
            "spending that was answered: {key:?}"
        );
    }
    let jobs = read("SELECT id, stage FROM placement_job").await;
    let jobs: BTreeMap<String, String> = jobs
        .iter()
        .map(|row| {
            (
                id(row.id("id")),
                row.text("stage").expect("a text").to_owned(),
            )
        })
        .collect();
    for job in &heard.jobs {
        assert!(jobs.contains_key(job), "a job that was answered: {job}");
    }
    for job in &heard.shipped {
        assert_eq!(jobs.get(job).map(String::as_str), Some("shipped"), "{job}");
    }
    let placements = read("SELECT id FROM placement_placement").await;
    let placements: Vec<String> = placements.iter().map(|row| id(row.id("id"))).collect();
    for placement in &heard.placements {
        assert!(
            placements.contains(placement),
            "a placement that was answered: {placement}"
        );
    }
}

fn id<E: std::fmt::Debug>(found: Result<Uuid, E>) -> String {
    found.expect("an id").to_string()
}
