//! What clients send: placements and quotas, read with every fault at its place. Pure.

use crate::names::CHARS_MAX;
use std::collections::BTreeMap;

use fleetwright_plugin_api::sdk::{At, Fields, FromInput, Problem, bounds, read_with};
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::nodes::node::{MEGABYTES_MAX, VM_ID_MAX};

const TENANT_INVALID: &str = "placement-tenant-invalid";
const LABELS_INVALID: &str = "placement-labels-invalid";
const VCPUS_MAX: i64 = 65_536;
const LABELS_MAX: usize = 64;
/// Of all together: a page of 500 placements is read at once, and one read ends at 4 MiB.
const LABELS_BYTES_MAX: usize = 4_096;
const LABEL_CHARS_MAX: usize = 256;
const VM_COUNT_MAX: i64 = 1_000_000_000;
/// A tenant's memory on all nodes together, in MiB.
const QUOTA_MB_MAX: i64 = 1 << 50;

/// The body of `POST /fleet/placements`.
#[derive(Debug, ToSchema)]
pub struct PlacementRequest {
    /// Whose it is. A tenant's token may leave it out.
    #[schema(max_length = 128)]
    pub tenant_id: Option<String>,
    /// As the node's agent will report the VM. Default: the placement's id.
    #[schema(max_length = 128)]
    pub vm_id: Option<String>,
    /// In MiB.
    #[schema(value_type = i64, minimum = 1)]
    pub memory_mb: i64,
    /// Default 1.
    #[schema(value_type = Option<i64>, minimum = 1)]
    pub vcpus: i64,
    /// Default false.
    #[schema(value_type = Option<bool>)]
    pub require_kvm: bool,
    /// Taken if it fits.
    pub preferred_node: Option<Uuid>,
    /// No other node will do. Default false.
    #[schema(value_type = Option<bool>)]
    pub preferred_only: bool,
    /// Only kept.
    #[schema(value_type = Option<BTreeMap<String, String>>)]
    pub labels: BTreeMap<String, String>,
}

/// The body of `PUT /fleet/tenants/{tenant_id}/quota`. What is left out is without a limit.
#[derive(Debug, ToSchema)]
pub struct QuotaRequest {
    /// Live placements.
    pub vm_count: Option<i64>,
    /// Of live placements, in MiB.
    pub memory_mb: Option<i64>,
}

/// Reads a placement.
pub fn placement(body: Value) -> Result<PlacementRequest, Problem> {
    read_with(body, PlacementRequest::read)
}

/// Reads a quota.
pub fn quota(body: Value) -> Result<QuotaRequest, Problem> {
    read_with(body, |value, at| {
        let mut fields = Fields::of(value, at)?;
        let count = bounds::whole("placement-quota-invalid", 0..=VM_COUNT_MAX);
        let vm_count = fields.optional_by("vm_count", count);
        let memory = bounds::whole("placement-quota-invalid", 0..=QUOTA_MB_MAX);
        let memory_mb = fields.optional_by("memory_mb", memory);
        fields.finish();
        Some(QuotaRequest {
            vm_count: vm_count.map(signed),
            memory_mb: memory_mb.map(signed),
        })
    })
}

impl PlacementRequest {
    fn read(value: Value, at: &mut At<'_>) -> Option<Self> {
        let mut fields = Fields::of(value, at)?;
        let tenant_id =
            fields.optional_by("tenant_id", bounds::line(TENANT_INVALID, 1..=CHARS_MAX));
        let vm_id = fields.optional_by("vm_id", vm_id);
        let has_memory = fields.has("memory_mb");
        let memory = bounds::whole("placement-memory-invalid", 1..=MEGABYTES_MAX);
        let memory_mb = fields.optional_by("memory_mb", memory);
        if !has_memory {
            let detail = "This field must be there.";
            fields
                .at()
                .field("memory_mb")
                .refuse("missing-field", detail);
        }
        let vcpus = bounds::whole("placement-vcpus-invalid", 1..=VCPUS_MAX);
        let vcpus = fields.optional_by("vcpus", vcpus);
        let require_kvm = fields.optional("require_kvm");
        let preferred_node = fields.optional("preferred_node");
        let preferred_only = fields.optional("preferred_only").unwrap_or(false);
        let labels = fields.optional_by("labels", labels);
        if preferred_only && preferred_node.is_none() {
            let detail = "preferred_only needs a preferred_node.";
            fields
                .at()
                .field("preferred_only")
                .refuse("placement-preferred-node-missing", detail);
        }
        fields.finish();
        Some(Self {
            tenant_id,
            vm_id,
            memory_mb: signed(memory_mb.unwrap_or_default()),
            vcpus: signed(vcpus.unwrap_or(1)),
            require_kvm: require_kvm.unwrap_or(false),
            preferred_node,
            preferred_only,
            labels: labels.unwrap_or_default(),
        })
    }
}

/// Agents report ids of so many bytes at most.
fn vm_id(value: Value, at: &mut At<'_>) -> Option<String> {
    const CODE: &str = "placement-vm-invalid";
    let id = bounds::line(CODE, 1..=VM_ID_MAX)(value, at)?;
    if id.len() > VM_ID_MAX {
        at.refuse(CODE, format_args!("must be at most {VM_ID_MAX} bytes"));
    }
    Some(id)
}

fn labels(value: Value, at: &mut At<'_>) -> Option<BTreeMap<String, String>> {
    let labels = BTreeMap::<String, String>::from_input(value, at)?;
    let is_long = |text: &String| text.chars().count() > LABEL_CHARS_MAX;
    let too_long = labels
        .iter()
        .any(|(name, value)| name.is_empty() || is_long(name) || is_long(value));
    let bytes: usize = labels
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    if too_long || labels.len() > LABELS_MAX || bytes > LABELS_BYTES_MAX {
        let detail = format_args!(
            "must be at most {LABELS_MAX} labels of 1 to {LABEL_CHARS_MAX} characters, {LABELS_BYTES_MAX} bytes together"
        );
        at.refuse(LABELS_INVALID, detail);
    }
    Some(labels)
}

/// All are bounded far below.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
