//! Request bodies, as they are read and documented: every violation with its place, not the first. Pure. The selector is
//! only known to be an object here: the groups module reads it.

use fleetwright_operations::request::{
    NewOperation, What, expires_in_seconds, offline, timeout_seconds,
};
use fleetwright_plugin_api::sdk::{
    At, Fields, FromFields, FromInput, Problem, bounds, from_input, read,
};
use fleetwright_plugin_api::wire::OfflinePolicy;
use fleetwright_protocol::limits::{EXPIRES_IN_SECONDS_MAX, TIMEOUT_SECONDS_DEFAULT};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::decide::policy::{OnThreshold, Partition, Policy, RequireApproval, Sizing, Wave};

/// A set holds at most this many hosts, so a larger batch would say nothing.
const BATCH_SIZE_MAX: i64 = 100_000;
/// Far more waves than a person plans.
const WAVES_MAX: usize = 100;
/// A host that may take longer than its command lives would be waited for in vain; the same for pauses.
const SECONDS_MAX: i64 = EXPIRES_IN_SECONDS_MAX.cast_signed();
const HOST_WAIT_SECONDS_DEFAULT: u64 = 600;
/// Of the size of batches, where it is wrong or neither it nor waves are there.
const SIZE_INVALID: &str = "rolling-batch-size-invalid";
/// Of the list of waves, and of each in it.
const WAVES_INVALID: &str = "rolling-batches-invalid";
const MICROS_PER_SECOND: i64 = 1_000_000;

/// The body of `POST /fleet/rolling`.
pub type RollingRequest = NewOperation<RollingBody>;

/// The fields that only deployments have.
#[derive(Debug, ToSchema)]
#[schema(as = RollingRequest, description = "The body of `POST /fleet/rolling`.")]
pub struct RollingBody {
    /// A run that takes longer is failed with reason `timed_out`. Default 3600.
    timeout_seconds: Option<u64>,
    /// Whatever has not started by then is skipped with reason `expired`. Default 30 days.
    expires_in_seconds: Option<u64>,
    /// `queue` (default): offline hosts come last and are waited for; `skip`: they are skipped.
    #[schema(value_type = Option<String>, example = "queue")]
    offline: Option<OfflinePolicy>,
    /// Hosts in each batch. Either this or `batches`.
    batch_size: Option<u64>,
    /// Growing waves: up to how many hosts, or up to what share of them (rounded up), after each.
    #[schema(value_type = Option<Vec<Value>>, example = json!([1, "10%", "50%", "100%"]))]
    batches: Option<Vec<Wave>>,
    /// Between the end of a batch and the next. Default 0.
    batch_delay_seconds: Option<u64>,
    /// It halts as soon as more than this share of all hosts has failed. Default 0: at the first failure.
    failure_threshold_pct: Option<u64>,
    /// The same for the hosts of the current batch.
    batch_failure_threshold_pct: Option<u64>,
    /// Whether hosts that never started count as failures for the thresholds. Default true.
    count_unreachable: Option<bool>,
    /// `halt` (default) or `pause`.
    #[schema(value_type = Option<String>, example = "halt")]
    on_threshold: Option<OnThreshold>,
    /// `first`: batch 2 waits for an approval; `each`: every batch after the first does.
    #[schema(value_type = Option<String>, example = "first")]
    require_approval: Option<RequireApproval>,
    /// A host that has not started so long after its batch was dispatched is failed as `unreachable`. Default 600.
    host_wait_seconds: Option<u64>,
    /// `{"operation_type", "parameters"}`: runs on the hosts that had started, should it halt.
    #[schema(value_type = Option<Object>)]
    rollback: Option<What>,
}

/// The body of `POST /fleet/rolling/{id}/cancel`; may be left out.
#[derive(Debug, ToSchema)]
pub struct RollingCancelRequest {
    /// `finish` (default): what runs may end by itself; `kill`: it is ended.
    #[schema(value_type = Option<String>, example = "finish")]
    running: Option<Running>,
}

from_input!(RollingCancelRequest { running });

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Running {
    Finish,
    Kill,
}

/// The body of `POST /fleet/rolling/{id}/approve`.
#[derive(Debug, ToSchema)]
pub struct ApproveRequest {
    /// The batch that waits.
    pub batch: u64,
}

/// What the fields say that only a deployment has.
#[derive(Clone, Debug, PartialEq)]
pub struct RollingFields {
    pub options: RollingOptions,
    pub rollback: Option<What>,
}

/// How a deployment is run: a few small values, shown in lists and stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = RollingTerms)]
pub struct RollingOptions {
    pub timeout_seconds: u64,
    pub expires_in_seconds: u64,
    #[schema(value_type = String, example = "queue")]
    pub offline: OfflinePolicy,
    /// As the hosts are told.
    pub dry_run: bool,
    #[schema(value_type = Object)]
    pub sizing: Sizing,
    pub batch_delay_seconds: u64,
    pub failure_threshold_pct: u64,
    pub batch_failure_threshold_pct: Option<u64>,
    pub count_unreachable: bool,
    pub on_threshold: OnThreshold,
    pub require_approval: Option<RequireApproval>,
    pub host_wait_seconds: u64,
}

impl RollingOptions {
    /// What decisions make of it, for so many hosts.
    pub fn policy(&self, total: u64, has_rollback: bool) -> Policy {
        Policy {
            total,
            partition: Partition::new(&self.sizing, total),
            batch_delay_us: micros(self.batch_delay_seconds),
            host_wait_us: micros(self.host_wait_seconds),
            failure_threshold_pct: self.failure_threshold_pct,
            batch_failure_threshold_pct: self.batch_failure_threshold_pct,
            count_unreachable: self.count_unreachable,
            on_threshold: self.on_threshold,
            require_approval: self.require_approval,
            has_rollback,
        }
    }
}

/// Reads the body of a new deployment.
pub fn new_rolling(body: Value) -> Result<NewOperation<RollingFields>, Problem> {
    let request: RollingRequest = read(body)?;
    Ok(request.map_own(RollingBody::fields))
}

impl RollingBody {
    fn fields(self, dry_run: bool) -> RollingFields {
        let options = RollingOptions {
            timeout_seconds: self.timeout_seconds.unwrap_or(TIMEOUT_SECONDS_DEFAULT),
            // Batches wait for each other, for approvals and for pauses: a deployment that is under way is not to run out of time.
            expires_in_seconds: self.expires_in_seconds.unwrap_or(EXPIRES_IN_SECONDS_MAX),
            offline: self.offline.unwrap_or_default(),
            dry_run,
            sizing: match (self.batch_size, self.batches) {
                (_, Some(waves)) => Sizing::Waves(waves),
                // Without either it was refused when it was read.
                (size, None) => Sizing::BatchSize(size.unwrap_or(1)),
            },
            batch_delay_seconds: self.batch_delay_seconds.unwrap_or(0),
            failure_threshold_pct: self.failure_threshold_pct.unwrap_or(0),
            batch_failure_threshold_pct: self.batch_failure_threshold_pct,
            count_unreachable: self.count_unreachable.unwrap_or(true),
            on_threshold: self.on_threshold.unwrap_or_default(),
            require_approval: self.require_approval,
            host_wait_seconds: self.host_wait_seconds.unwrap_or(HOST_WAIT_SECONDS_DEFAULT),
        };
        RollingFields {
            options,
            rollback: self.rollback,
        }
    }
}

impl FromFields for RollingBody {
    fn from_fields(fields: &mut Fields<'_, '_>) -> Option<Self> {
        let has_size = fields.has("batch_size");
        let size = bounds::whole(SIZE_INVALID, 1..=BATCH_SIZE_MAX);
        let delay = bounds::whole("rolling-delay-invalid", 0..=SECONDS_MAX);
        let threshold = || bounds::whole("rolling-threshold-invalid", 0..=100);
        let host_wait = bounds::whole("rolling-host-wait-invalid", 1..=SECONDS_MAX);
        Some(Self {
            timeout_seconds: fields.optional_by("timeout_seconds", timeout_seconds),
            expires_in_seconds: fields.optional_by("expires_in_seconds", expires_in_seconds),
            offline: fields.optional_by("offline", offline),
            batch_size: fields.optional_by("batch_size", size),
            batches: batches(fields, has_size),
            batch_delay_seconds: fields.optional_by("batch_delay_seconds", delay),
            failure_threshold_pct: fields.optional_by("failure_threshold_pct", threshold()),
            batch_failure_threshold_pct: fields
                .optional_by("batch_failure_threshold_pct", threshold()),
            count_unreachable: fields.optional("count_unreachable"),
            on_threshold: fields.optional("on_threshold"),
            require_approval: fields.optional("require_approval"),
            host_wait_seconds: fields.optional_by("host_wait_seconds", host_wait),
            rollback: fields.optional("rollback"),
        })
    }
}

impl FromInput for ApproveRequest {
    fn from_input(value: Value, at: &mut At<'_>) -> Option<Self> {
        const CODE: &str = "rolling-batch-invalid";
        let mut fields = Fields::of(value, at)?;
        if !fields.has("batch") {
            fields.at().field("batch").refuse(CODE, "is required");
        }
        let batch = fields.optional_by("batch", bounds::whole(CODE, 1..=i64::MAX));
        fields.finish();
        Some(Self { batch: batch? })
    }
}

impl RollingCancelRequest {
    pub fn kill(&self) -> bool {
        self.running == Some(Running::Kill)
    }
}

impl FromInput for Running {
    fn from_input(value: Value, at: &mut At<'_>) -> Option<Self> {
        let words = [("finish", Self::Finish), ("kill", Self::Kill)];
        bounds::word(&value, at, "rolling-running-invalid", &words)
    }
}

impl FromInput for OnThreshold {
    fn from_input(value: Value, at: &mut At<'_>) -> Option<Self> {
        let words = [("halt", Self::Halt), ("pause", Self::Pause)];
        bounds::word(&value, at, "rolling-on-threshold-invalid", &words)
    }
}

impl FromInput for RequireApproval {
    fn from_input(value: Value, at: &mut At<'_>) -> Option<Self> {
        let words = [("first", Self::First), ("each", Self::Each)];
        bounds::word(&value, at, "rolling-approval-invalid", &words)
    }
}

/// The waves, which are there exactly where no size is.
fn batches(fields: &mut Fields<'_, '_>, has_size: bool) -> Option<Vec<Wave>> {
    if !has_size && !fields.has("batches") {
        let detail = "is required, or batches instead";
        fields.at().field("batch_size").refuse(SIZE_INVALID, detail);
    }
    fields.optional_by("batches", |value, at| {
        if has_size {
            at.refuse(WAVES_INVALID, "goes instead of batch_size, not with it");
            return None;
        }
        waves(value, at)
    })
}

fn waves(value: Value, at: &mut At<'_>) -> Option<Vec<Wave>> {
    let list = value
        .as_array()
        .filter(|list| (1..=WAVES_MAX).contains(&list.len()));
    let Some(list) = list else {
        let detail =
            format_args!("must be a list of 1 to {WAVES_MAX} numbers of hosts or percentages");
        at.refuse(WAVES_INVALID, detail);
        return None;
    };
    let (mut waves, mut hosts, mut percent) = (Vec::new(), 0, 0);
    for (index, item) in list.iter().enumerate() {
        let Some(wave) = wave(item) else {
            let detail = "must be a number of hosts, or a percentage from \"1%\" to \"100%\"";
            at.item(index).refuse(WAVES_INVALID, detail);
            continue;
        };
        let (before, after) = match wave {
            Wave::Hosts(after) => (std::mem::replace(&mut hosts, after), after),
            Wave::Percent(after) => (std::mem::replace(&mut percent, after), after),
        };
        if after <= before {
            let detail = "must be larger than the one before";
            at.item(index).refuse(WAVES_INVALID, detail);
        }
        waves.push(wave);
    }
    Some(waves)
}

fn wave(item: &Value) -> Option<Wave> {
    if let Some(hosts) = item.as_u64() {
        let fits = i64::try_from(hosts).is_ok_and(|hosts| (1..=BATCH_SIZE_MAX).contains(&hosts));
        return fits.then_some(Wave::Hosts(hosts));
    }
    let digits = item.as_str()?.strip_suffix('%')?;
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let percent: u64 = plain.then(|| digits.parse().ok()).flatten()?;
    (1..=100)
        .contains(&percent)
        .then_some(Wave::Percent(percent))
}
fn micros(seconds: u64) -> i64 {
    i64::try_from(seconds)
        .unwrap_or(i64::MAX)
        .saturating_mul(MICROS_PER_SECOND)
}

#[cfg(test)]
mod tests;
