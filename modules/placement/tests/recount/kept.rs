//! What is kept beside the jobs, against the jobs: counts, queues, seats, reservations.

use std::collections::BTreeMap;

use fleetwright_plugin_api::sdk::{Rows, Server, Statement};

/// Fails where something kept is not what a recount gives.
pub async fn check(server: &Server) {
    let jobs = "SELECT tenant_id || '/' || product_id || '/' || stage AS name, COUNT(*) AS amount FROM placement_job \
                GROUP BY tenant_id, product_id, stage";
    let kept = "SELECT tenant_id || '/' || product_id || '/' || stage AS name, jobs AS amount FROM placement_job_count \
                WHERE jobs <> 0";
    assert_eq!(sums(server, kept).await, sums(server, jobs).await, "counts");
    let jobs = "SELECT tenant_id || '/' || product_id || '/' || capabilities || '/' || CAST(priority AS TEXT) || '/' || \
                CAST(attempts AS TEXT) AS name, COUNT(*) AS amount FROM placement_job WHERE stage = 'queued' \
                GROUP BY tenant_id, product_id, capabilities, priority, attempts";
    let kept = "SELECT tenant_id || '/' || product_id || '/' || capabilities || '/' || CAST(priority AS TEXT) || '/' || \
                CAST(attempts AS TEXT) AS name, queued AS amount FROM placement_bucket WHERE queued <> 0";
    assert_eq!(sums(server, kept).await, sums(server, jobs).await, "queues");
    let jobs = "SELECT f.name, COUNT(*) AS amount FROM placement_job j JOIN placement_factory f ON f.id = j.factory_id \
                GROUP BY f.name";
    let kept = "SELECT name, seats_used AS amount FROM placement_factory WHERE seats_used <> 0";
    assert_eq!(sums(server, kept).await, sums(server, jobs).await, "seats");
    let each = "SELECT product_id AS name, CAST(SUM(rest_micros) AS BIGINT) AS amount FROM placement_reservation \
                GROUP BY product_id HAVING SUM(rest_micros) <> 0";
    let kept = "SELECT product_id AS name, reserved_micros AS amount FROM placement_budget WHERE reserved_micros <> 0";
    assert_eq!(
        sums(server, kept).await,
        sums(server, each).await,
        "reservations"
    );
    let stray = "SELECT 'stray' AS name, COUNT(*) AS amount FROM placement_reservation r WHERE NOT EXISTS \
                 (SELECT 1 FROM placement_job j WHERE j.id = r.job_id AND j.lease_epoch = r.lease_epoch \
                  AND j.factory_id IS NOT NULL)";
    assert_eq!(
        sums(server, stray).await["stray"],
        0,
        "reservations without a lease"
    );
}

async fn sums(server: &Server, sql: &'static str) -> BTreeMap<String, i64> {
    let rows: Rows = server.db().read_one(Statement::new(sql)).await.unwrap();
    let sums = rows.iter().map(|row| {
        let name = row.text("name").unwrap().to_owned();
        (name, row.integer("amount").unwrap())
    });
    sums.collect()
}
