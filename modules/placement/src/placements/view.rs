//! What clients see of placements and tenants.

use std::collections::BTreeMap;

use fleetwright_plugin_api::sdk::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::placement::Placement;
use super::tenants::store::Tenant;

/// A lease of a node's memory for a VM.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct PlacementView {
    pub id: Uuid,
    pub tenant_id: String,
    pub vm_id: String,
    pub node_id: Uuid,
    /// In MiB.
    pub memory_mb: i64,
    pub vcpus: i64,
    pub require_kvm: bool,
    pub labels: BTreeMap<String, String>,
    /// 2: no node fitted that is not reserved.
    pub pass: i64,
    /// `held`, `confirmed`, `expired`, `released` or `lost`.
    pub state: &'static str,
    /// Why it ended, where nobody released it.
    pub reason: Option<String>,
    #[schema(format = DateTime)]
    pub created_at: String,
    pub created_by: String,
    /// A held one that nobody confirms until then gives its capacity back.
    #[schema(format = DateTime)]
    pub expires_at: String,
    #[schema(format = DateTime)]
    pub confirmed_at: Option<String>,
    #[schema(format = DateTime)]
    pub ended_at: Option<String>,
    pub revision: i64,
}

/// A page of placements.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct PlacementPage {
    pub items: Vec<PlacementView>,
    #[schema(required)]
    pub next_cursor: Option<String>,
}

/// A tenant: what it may place, and what it has placed.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct TenantView {
    pub tenant_id: String,
    pub quota: QuotaView,
    pub used: UsedView,
    /// Of the quota.
    pub revision: i64,
}

/// Null: without a limit.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct QuotaView {
    pub vm_count: Option<i64>,
    pub memory_mb: Option<i64>,
}

/// By live placements.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct UsedView {
    pub vm_count: i64,
    pub memory_mb: i64,
}

pub fn placement(placement: &Placement) -> PlacementView {
    let time = |at: i64| Timestamp(at).to_string();
    PlacementView {
        id: placement.id,
        tenant_id: placement.tenant_id.clone(),
        vm_id: placement.vm_id.clone(),
        node_id: placement.node_id,
        memory_mb: placement.memory_mb,
        vcpus: placement.vcpus,
        require_kvm: placement.require_kvm,
        labels: placement.labels.clone(),
        pass: placement.pass,
        state: placement.state.as_str(),
        reason: placement.reason.clone(),
        created_at: time(placement.created_at_us),
        created_by: placement.created_by.clone(),
        expires_at: time(placement.expires_at_us),
        confirmed_at: placement.confirmed_at_us.map(time),
        ended_at: placement.ended_at_us.map(time),
        revision: placement.revision,
    }
}

pub fn tenant(tenant: &Tenant) -> TenantView {
    TenantView {
        tenant_id: tenant.tenant_id.clone(),
        quota: QuotaView {
            vm_count: tenant.quota.vm_count_max,
            memory_mb: tenant.quota.memory_mb_max,
        },
        used: UsedView {
            vm_count: tenant.quota.vm_count,
            memory_mb: tenant.quota.memory_mb,
        },
        revision: tenant.revision,
    }
}
