//! Registers factories and hears from them.

use std::collections::BTreeSet;

use fleetwright_plugin_api::sdk::{AuditEntry, Batch, CallContext, Reply, Server, ServerError};
use serde_json::{Value, json};
use uuid::Uuid;

use super::store::{self, Factory};
use crate::error::{ATTEMPTS_MAX, PlacementError};
use crate::jobs::store::lease;
use crate::settings::Settings;

/// Registers a factory, or says anew what the one of that name can: 201 or 200.
pub async fn register(
    server: &Server,
    context: &CallContext,
    name: &str,
    capabilities: &[String],
    seat_limit: i64,
) -> Result<Reply, PlacementError> {
    let tenant_id = context.tenant.clone().unwrap_or_default();
    for _ in 0..ATTEMPTS_MAX {
        let known = store::named(server.db(), &tenant_id, name).await?;
        let after = Factory {
            id: known.as_ref().map_or_else(|| server.new_id(), |one| one.id),
            tenant_id: tenant_id.clone(),
            name: name.to_owned(),
            capabilities: capabilities.to_vec(),
            seat_limit,
            seats_used: known.as_ref().map_or(0, |one| one.seats_used),
            seen_lease_us: server.lease_us(),
            seen_at_us: server.now_us(),
            registered_at_us: known
                .as_ref()
                .map_or_else(|| server.now_us(), |one| one.registered_at_us),
            revision: known.as_ref().map_or(1, |one| one.revision + 1),
        };
        let audit = AuditEntry {
            action: "factory.register".to_owned(),
            target_kind: "factory".to_owned(),
            target_id: after.id.to_string(),
            detail: json!({"name": name, "capabilities": capabilities, "seat_limit": seat_limit}),
        };
        let status = if known.is_some() { 200 } else { 201 };
        let reply = Reply::json(status, &view(server, &after))?;
        let batch = match &known {
            Some(before) => Batch::new().sql_expecting(store::register_again(before, &after), 1),
            None => Batch::new().sql(store::insert(&after, &context.principal)),
        };
        let batch = batch.audit(&audit).respond(&reply);
        match server.db().commit(context, batch).await {
            Ok(()) => return Ok(reply),
            Err(ServerError::Guard { .. } | ServerError::Constraint { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(PlacementError::Contended)
}

/// A factory that this caller may see.
pub async fn visible(
    server: &Server,
    context: &CallContext,
    id: Uuid,
) -> Result<Factory, PlacementError> {
    let found = store::factory(server.db(), id).await?;
    let own = found.filter(|one| {
        context
            .tenant
            .as_ref()
            .is_none_or(|tenant| *tenant == one.tenant_id)
    });
    own.ok_or(PlacementError::NotFound("factory"))
}

/// It lives; exactly these leases go on, and each is answered for. Not in the audit log: it decides nothing.
pub async fn heartbeat(
    server: &Server,
    context: &CallContext,
    id: Uuid,
    claimed: &[(Uuid, i64)],
) -> Result<Value, PlacementError> {
    let lease_us =
        i64::from(Settings::of(server).placement.job_lease_seconds).saturating_mul(1_000_000);
    for _ in 0..ATTEMPTS_MAX {
        visible(server, context, id).await?;
        let held = store::held(server.db(), id).await?;
        let now_lease_us = server.lease_us();
        let expires_lease_us = now_lease_us.saturating_add(lease_us);
        let held: BTreeSet<(Uuid, i64)> = held
            .iter()
            .map(|one| (one.job_id, one.lease_epoch))
            .collect();
        let named: BTreeSet<(Uuid, i64)> = claimed.iter().copied().collect();
        // Jobs in their order and before the factory, as everywhere: two never wait for each other.
        let mut batch = Batch::new();
        let renewed: Vec<(Uuid, i64)> = named.intersection(&held).copied().collect();
        for some in renewed.chunks(lease::RENEWED_TOGETHER_MAX) {
            batch = lease::renew(batch, id, some, expires_lease_us);
        }
        let batch = batch.sql_expecting(store::seen(id, now_lease_us, server.now_us()), 1);
        let answers: Vec<Value> = claimed
            .iter()
            .map(|one| json!({"job_id": one.0, "lease_epoch": one.1, "held": held.contains(one)}))
            .collect();
        match server.db().commit(context, batch).await {
            Ok(()) => return Ok(json!({"factory_id": id, "jobs": answers})),
            Err(ServerError::Guard { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(PlacementError::Contended)
}

/// A factory for people.
pub fn view(server: &Server, factory: &Factory) -> Value {
    let stale_us =
        i64::from(Settings::of(server).placement.factory_stale_seconds).saturating_mul(1_000_000);
    let silent_us = server.lease_us().saturating_sub(factory.seen_lease_us);
    json!({
        "id": factory.id,
        "tenant_id": Some(&factory.tenant_id).filter(|tenant| !tenant.is_empty()),
        "name": factory.name,
        "capabilities": factory.capabilities,
        "seat_limit": factory.seat_limit,
        "seats_used": factory.seats_used,
        "state": if silent_us > stale_us { "stale" } else { "live" },
        "seen_at": fleetwright_plugin_api::sdk::Timestamp(factory.seen_at_us),
        "registered_at": fleetwright_plugin_api::sdk::Timestamp(factory.registered_at_us),
    })
}
