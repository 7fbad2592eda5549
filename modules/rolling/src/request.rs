//! Reads request bodies: every violation with its place, not the first. Pure. The selector is only known to be an
//! object here: the groups module reads it.

use std::collections::BTreeMap;

use fleetwright_operations::fields::Fields;
use fleetwright_operations::request::{self as part, NewOperation, What, new_operation};
use fleetwright_plugin_api::wire::OfflinePolicy;
use fleetwright_protocol::Violation;
use fleetwright_protocol::limits::EXPIRES_IN_SECONDS_MAX;
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
const MICROS_PER_SECOND: i64 = 1_000_000;

/// The body of `POST /fleet/rolling`.
#[derive(ToSchema)]
#[expect(
    dead_code,
    reason = "documents the body; `new_rolling` reads it, to report every violation"
)]
pub struct RollingRequest {
    /// One of the eight operation types.
    operation_type: String,
    /// As the operation type says.
    #[schema(value_type = Object)]
    parameters: Option<Value>,
    /// Resolved once; the hosts it selects now are frozen.
    #[schema(value_type = Object)]
    selector: Value,
    /// Hosts in each batch. Either this or `batches`.
    batch_size: Option<u64>,
    /// Growing waves: up to how many hosts, or up to what share of them (rounded up), after each.
    #[schema(value_type = Option<Vec<Value>>, example = json!([1, "10%", "50%", "100%"]))]
    batches: Option<Vec<Value>>,
    /// Between the end of a batch and the next. Default 0.
    batch_delay_seconds: Option<u64>,
    /// It halts as soon as more than this share of all hosts has failed. Default 0: at the first failure.
    failure_threshold_pct: Option<u64>,
    /// The same for the hosts of the current batch.
    batch_failure_threshold_pct: Option<u64>,
    /// Whether hosts that never started count as failures for the thresholds. Default true.
    count_unreachable: Option<bool>,
    /// `halt` (default) or `pause`.
    #[schema(example = "halt")]
    on_threshold: Option<String>,
    /// `first`: batch 2 waits for an approval; `each`: every batch after the first does.
    #[schema(example = "first")]
    require_approval: Option<String>,
    /// A host that has not started so long after its batch was dispatched is failed as `unreachable`. Default 600.
    host_wait_seconds: Option<u64>,
    /// `{"operation_type", "parameters"}`: runs on the hosts that had started, should it halt.
    #[schema(value_type = Option<Object>)]
    rollback: Option<Value>,
    /// A run that takes longer is failed with reason `timed_out`. Default 3600.
    timeout_seconds: Option<u64>,
    /// Whatever has not started by then is skipped with reason `expired`. Default 30 days.
    expires_in_seconds: Option<u64>,
    /// `queue` (default): offline hosts come last and are waited for; `skip`: they are skipped.
    #[schema(example = "queue")]
    offline: Option<String>,
    /// Why, for people and for the audit log. At most 500 characters.
    reason: Option<String>,
    /// Answer what would be created and store nothing.
    plan_only: Option<bool>,
    /// Sent to the hosts, which report what would change and touch nothing.
    dry_run: Option<bool>,
    working_directory: Option<String>,
    environment: Option<BTreeMap<String, String>>,
    run_as: Option<String>,
    /// `{"script", "timeout_seconds", "retries", "interval_seconds", "soak_seconds"}`: a host succeeds only if this
    /// script exits with 0, run after the operation and the soak. It adds its own time to `timeout_seconds`.
    #[schema(value_type = Option<Object>)]
    health_check: Option<Value>,
    /// Refuse with 409 unless the selection has this digest.
    #[schema(example = "sha256:…")]
    expected_digest: Option<String>,
    /// Refuse with 409 unless the selection has this many hosts.
    expected_count: Option<u64>,
}

/// The body of `POST /fleet/rolling/{id}/cancel`; may be left out.
#[derive(ToSchema)]
#[expect(
    dead_code,
    reason = "documents the body; `cancel` reads it, to report every violation"
)]
pub struct RollingCancelRequest {
    /// `finish` (default): what runs may end by itself; `kill`: it is ended.
    #[schema(example = "finish")]
    running: Option<String>,
}

/// The body of `POST /fleet/rolling/{id}/approve`.
#[derive(ToSchema)]
#[expect(
    dead_code,
    reason = "documents the body; `approve` reads it, to report every violation"
)]
pub struct ApproveRequest {
    /// The batch that waits.
    batch: u64,
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
pub fn new_rolling(body: &Value) -> Result<NewOperation<RollingFields>, Vec<Violation>> {
    new_operation(body, |fields, dry_run| {
        let options = options(fields, dry_run);
        let rollback = rollback(fields);
        Some(RollingFields {
            options: options?,
            rollback,
        })
    })
}

/// Reads the body of a cancel: whether what runs is ended.
pub fn cancel(body: &Value) -> Result<bool, Vec<Violation>> {
    let mut fields = Fields::of(body)?;
    let running = fields.word("running", "rolling-running-invalid", &["finish", "kill"]);
    fields.finish()?;
    Ok(running == Some("kill"))
}

/// Reads the body of an approval: the batch.
pub fn approve(body: &Value) -> Result<u64, Vec<Violation>> {
    const CODE: &str = "rolling-batch-invalid";
    let mut fields = Fields::of(body)?;
    let batch = fields.number("batch", CODE, 1..=i64::MAX);
    if !fields.has("batch") {
        fields.refuse("batch", CODE, "is required");
    }
    fields.finish()?;
    // An absent one was reported above.
    batch.ok_or_else(Vec::new)
}

fn options(fields: &mut Fields<'_>, dry_run: bool) -> Option<RollingOptions> {
    const THRESHOLD: &str = "rolling-threshold-invalid";
    let timeout_seconds = part::timeout_seconds(fields);
    let expires_in_seconds = part::expires_in_seconds(fields);
    let offline = part::offline(fields);
    let sizing = sizing(fields);
    let batch_delay_seconds = fields.number(
        "batch_delay_seconds",
        "rolling-delay-invalid",
        0..=SECONDS_MAX,
    );
    let failure_threshold_pct = fields.number("failure_threshold_pct", THRESHOLD, 0..=100);
    let batch_failure_threshold_pct =
        fields.number("batch_failure_threshold_pct", THRESHOLD, 0..=100);
    let count_unreachable = fields.flag("count_unreachable") || !fields.has("count_unreachable");
    let on_threshold = fields.word(
        "on_threshold",
        "rolling-on-threshold-invalid",
        &["halt", "pause"],
    );
    let require_approval = fields.word(
        "require_approval",
        "rolling-approval-invalid",
        &["first", "each"],
    );
    let host_wait_seconds = fields.number(
        "host_wait_seconds",
        "rolling-host-wait-invalid",
        1..=SECONDS_MAX,
    );
    Some(RollingOptions {
        timeout_seconds: timeout_seconds?,
        // Batches wait for each other, for approvals and for pauses: a deployment that is under way is not to run out of time.
        expires_in_seconds: expires_in_seconds.unwrap_or(EXPIRES_IN_SECONDS_MAX),
        offline,
        dry_run,
        sizing: sizing?,
        batch_delay_seconds: batch_delay_seconds.unwrap_or(0),
        failure_threshold_pct: failure_threshold_pct.unwrap_or(0),
        batch_failure_threshold_pct,
        count_unreachable,
        on_threshold: if on_threshold == Some("pause") {
            OnThreshold::Pause
        } else {
            OnThreshold::Halt
        },
        require_approval: require_approval.map(|word| match word {
            "first" => RequireApproval::First,
            _each => RequireApproval::Each,
        }),
        host_wait_seconds: host_wait_seconds.unwrap_or(HOST_WAIT_SECONDS_DEFAULT),
    })
}

fn sizing(fields: &mut Fields<'_>) -> Option<Sizing> {
    const SIZE: &str = "rolling-batch-size-invalid";
    const WAVES: &str = "rolling-batches-invalid";
    let size = fields.number("batch_size", SIZE, 1..=BATCH_SIZE_MAX);
    let waves = fields.value("batches");
    match (fields.has("batch_size"), waves) {
        (true, Some(_waves)) => {
            fields.refuse("batches", WAVES, "goes instead of batch_size, not with it");
            None
        }
        (true, None) => size.map(Sizing::BatchSize),
        (false, Some(waves)) => self::waves(fields, waves).map(Sizing::Waves),
        (false, None) => {
            fields.refuse("batch_size", SIZE, "is required, or batches instead");
            None
        }
    }
}

fn waves(fields: &mut Fields<'_>, value: &Value) -> Option<Vec<Wave>> {
    const CODE: &str = "rolling-batches-invalid";
    let list = value
        .as_array()
        .filter(|list| (1..=WAVES_MAX).contains(&list.len()));
    let Some(list) = list else {
        let detail = format!("must be a list of 1 to {WAVES_MAX} numbers of hosts or percentages");
        fields.refuse("batches", CODE, &detail);
        return None;
    };
    let (mut waves, mut hosts, mut percent) = (Vec::new(), 0, 0);
    for (index, item) in list.iter().enumerate() {
        let place = format!("batches/{index}");
        let Some(wave) = wave(item) else {
            let detail = "must be a number of hosts, or a percentage from \"1%\" to \"100%\"";
            fields.refuse(&place, CODE, detail);
            continue;
        };
        let (before, after) = match wave {
            Wave::Hosts(after) => (std::mem::replace(&mut hosts, after), after),
            Wave::Percent(after) => (std::mem::replace(&mut percent, after), after),
        };
        if after <= before {
            fields.refuse(&place, CODE, "must be larger than the one before");
        }
        waves.push(wave);
    }
    (waves.len() == list.len()).then_some(waves)
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

fn rollback(fields: &mut Fields<'_>) -> Option<What> {
    let value = fields.value("rollback")?;
    let read = || -> Result<Option<What>, Vec<Violation>> {
        let mut inner = Fields::of(value)?;
        let what = part::what(&mut inner);
        inner.finish()?;
        Ok(what)
    };
    read().unwrap_or_else(|found| {
        let found = found.into_iter().map(|one| one.under("/rollback"));
        fields.refuse_all(found.collect());
        None
    })
}

fn micros(seconds: u64) -> i64 {
    i64::try_from(seconds)
        .unwrap_or(i64::MAX)
        .saturating_mul(MICROS_PER_SECOND)
}

#[cfg(test)]
mod tests;
