//! What callers do with placements: place, confirm, release, read. A tenant's token does so with its own.

use fleetwright_plugin_api::sdk::{Batch, CallContext, Problem, Reply, ServerError};
use serde_json::Value;
use uuid::Uuid;

use super::decide::Wanted;
use super::placement::{Placement, State};
use super::placer::{Placer, audit, unknown_preferred};
use super::{request, store, view};
use crate::error::{ATTEMPTS_MAX, PlacementError};
use crate::nodes::fleet::NODES_SIGNAL;

const MICROS_PER_SECOND: i64 = 1_000_000;

/// Places a VM.
pub async fn place(
    placer: &Placer,
    context: &CallContext,
    body: Value,
) -> Result<Reply, PlacementError> {
    let asked = request::placement(body)?;
    let tenant_id = match (&context.tenant, asked.tenant_id) {
        (Some(own), Some(other)) if *own != other => {
            return Err(PlacementError::NotFound("tenant"));
        }
        (Some(own), _) => own.clone(),
        (None, Some(tenant_id)) => tenant_id,
        (None, None) => {
            let detail = "This field must be there.";
            return Err(Problem::invalid_field("/tenant_id", "missing-field", detail).into());
        }
    };
    if let (Some(tenant), Some(node_id)) = (&context.tenant, asked.preferred_node)
        && !placer.fleet.read().await?.sees(tenant, node_id)
    {
        return Err(unknown_preferred().into());
    }
    let server = placer.fleet.server();
    let lease_us = i64::from(placer.fleet.limits().lease_seconds) * MICROS_PER_SECOND;
    let (id, now_us) = (server.new_id(), server.now_us());
    let draft = Placement {
        id,
        tenant_id: tenant_id.clone(),
        vm_id: asked.vm_id.unwrap_or_else(|| id.to_string()),
        node_id: Uuid::nil(),
        memory_mb: asked.memory_mb,
        vcpus: asked.vcpus,
        require_kvm: asked.require_kvm,
        labels: asked.labels,
        pass: 1,
        state: State::Held,
        reason: None,
        created_at_us: now_us,
        created_by: context.principal.clone(),
        expires_lease_us: server.lease_us().saturating_add(lease_us),
        expires_at_us: now_us.saturating_add(lease_us),
        confirmed_at_us: None,
        ended_at_us: None,
        revision: 1,
    };
    let wanted = Wanted {
        tenant_id,
        memory_mb: asked.memory_mb,
        vcpus: asked.vcpus,
        require_kvm: asked.require_kvm,
        preferred: asked.preferred_node,
        preferred_only: asked.preferred_only,
    };
    placer.place(context, wanted, draft).await
}

/// One that the caller may see.
pub async fn one(
    placer: &Placer,
    context: &CallContext,
    id: Uuid,
) -> Result<Placement, PlacementError> {
    let found = store::one(placer.fleet.server().db(), id).await?;
    let is_own = |placement: &Placement| {
        let tenant = context.tenant.as_ref();
        tenant.is_none_or(|tenant| *tenant == placement.tenant_id)
    };
    found
        .filter(is_own)
        .ok_or(PlacementError::NotFound("placement"))
}

/// The VM runs where it was placed. Again is as good as once.
pub async fn confirm(
    placer: &Placer,
    context: &CallContext,
    id: Uuid,
) -> Result<Reply, PlacementError> {
    let server = placer.fleet.server();
    for _ in 0..ATTEMPTS_MAX {
        let before = one(placer, context, id).await?;
        if before.state == State::Confirmed {
            return Ok(reply(&before)?);
        }
        let is_late = before.expires_lease_us <= server.lease_us();
        if before.state != State::Held || is_late {
            let detail = match before.state.is_live() {
                true => "The placement's time is over.".to_owned(),
                false => format!("The placement is {}.", before.state.as_str()),
            };
            return Err(Problem::invalid_transition(detail).into());
        }
        let now_us = server.now_us();
        let mut after = before.clone();
        after.state = State::Confirmed;
        after.confirmed_at_us = Some(now_us);
        after.revision += 1;
        let reply = reply(&after)?;
        let batch = store::confirm(Batch::new(), before.node_id, &before.live(), now_us)
            .audit(&audit("placement.confirm", &before))
            .signal(NODES_SIGNAL)
            .respond(&reply);
        match server.db().commit(context, batch).await {
            Ok(()) => {
                placer.fleet.follow_up().await;
                return Ok(reply);
            }
            Err(ServerError::Guard { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(PlacementError::Contended)
}

/// Gives the capacity back. One that has ended already is left as it is.
pub async fn release(
    placer: &Placer,
    context: &CallContext,
    id: Uuid,
) -> Result<(), PlacementError> {
    let server = placer.fleet.server();
    for _ in 0..ATTEMPTS_MAX {
        let before = one(placer, context, id).await?;
        if !before.state.is_live() {
            return Ok(());
        }
        let (node_id, live, to) = (before.node_id, before.live(), State::Released);
        let batch = store::end(Batch::new(), node_id, &live, to, None, server.now_us())
            .audit(&audit("placement.release", &before))
            .signal(NODES_SIGNAL);
        match server.db().commit(context, batch).await {
            Ok(()) => {
                placer.fleet.follow_up().await;
                return Ok(());
            }
            Err(ServerError::Guard { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(PlacementError::Contended)
}

fn reply(placement: &Placement) -> Result<Reply, ServerError> {
    let reply = Reply::json(200, &view::placement(placement))?;
    Ok(reply.with_header("etag", format!("\"{}\"", placement.revision)))
}
