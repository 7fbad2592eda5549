//! What the server's services and a module tell each other, as plain data. These shapes travel as JSON (and raw
//! bytes for ids) inside the few frozen structs of `abi`, so a field added here never breaks a module: readers
//! ignore what they do not know and every field added later has a default.
//!
//! Times are microseconds since the Unix epoch (`_us`); ids are UUIDs.

use std::collections::BTreeMap;

use fleetwright_protocol::{CommandId, ExecutionOptions, HostId, SetId};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Rows one `SqlRows` op or one read may hold; more must be paged.
pub const ROWS_PER_WRITE_MAX: usize = 5_000;
pub const ROWS_PER_READ_MAX: usize = 10_000;
/// Bytes one read may return.
pub const BYTES_PER_READ_MAX: usize = 4 * 1024 * 1024;

/// One value of a row or parameter. The same set on SQLite and PostgreSQL: `BIGINT`, `DOUBLE PRECISION`, `TEXT`,
/// `BLOB`/`BYTEA`; booleans are 0 and 1.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    Null,
    Integer(i64),
    Real(f64),
    Text(String),
    Bytes(Vec<u8>),
}

/// Who a request or a loop acts for. Built by the server; a module passes it on unchanged.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CallContext {
    pub request_id: String,
    /// `user:<id>`, `token:<id>`, or `module:<name>` for a module's own loops.
    pub principal: String,
    pub principal_name: String,
    /// `viewer`, `operator`, `admin`; empty for a module's own loops.
    pub role: String,
    pub tenant: Option<String>,
    pub address: String,
    /// The server's handle on this request's `Idempotency-Key`; 0 if it has none.
    pub idempotency: u64,
}

/// The stable statuses of a command (a host's row in a set).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CommandStatus {
    /// In a held set and not yet released; shown to people as queued.
    Held,
    Queued,
    Running,
    Succeeded,
    Failed,
    Skipped,
}

impl CommandStatus {
    pub const ALL: [Self; 6] = [
        Self::Held,
        Self::Queued,
        Self::Running,
        Self::Succeeded,
        Self::Failed,
        Self::Skipped,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == name)
    }

    pub fn is_terminal(self) -> bool {
        match self {
            Self::Held | Self::Queued | Self::Running => false,
            Self::Succeeded | Self::Failed | Self::Skipped => true,
        }
    }
}

/// What to do with hosts that are offline when the set is created.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OfflinePolicy {
    /// They wait, without taking a slot, until they connect or the set expires.
    #[default]
    Queue,
    Skip,
}

/// Creates a set: one operation over frozen hosts (at most 100,000, passed beside this as raw ids).
/// The core adds the skips it knows of (`not_approved`, `offline`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SetCreate {
    pub set_id: SetId,
    pub operation_type: String,
    /// Already validated with `fleetwright_protocol::validate`; the core validates again.
    pub parameters: Value,
    #[serde(default)]
    pub options: ExecutionOptions,
    pub timeout_seconds: u64,
    pub expires_in_seconds: u64,
    /// 0: no limit.
    #[serde(default)]
    pub max_concurrency: u64,
    #[serde(default)]
    pub offline: OfflinePolicy,
    /// Nothing is sent until released (`SetControl::release`).
    #[serde(default)]
    pub held: bool,
}

/// What a set would be if it were created now.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SetPreview {
    pub total: u64,
    /// Host and reason, in the order of the ids given.
    pub skips: Vec<(HostId, String)>,
}

/// Changes how a set is run. With `expect_generation`, a set that has moved on refuses the whole batch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SetControl {
    pub set_id: SetId,
    pub action: SetAction,
    #[serde(default)]
    pub expect_generation: Option<i64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum SetAction {
    /// Releases the next `count` held commands in order.
    Release {
        count: u64,
    },
    /// Releases the held commands with these ordinals, `to` excluded. Those that are not held any more stay as they are.
    ReleaseRange {
        from: u64,
        to: u64,
    },
    /// Commands before this ordinal that have not started never will: they are failed as `unreachable`, a delivered one
    /// once it cannot start any more.
    GiveUp {
        below: u64,
    },
    Pause,
    Resume,
    Limit {
        max_concurrency: u64,
    },
    /// Nothing new starts. With `kill`, running ones are ended too; without hosts, it is for the whole set.
    Cancel {
        #[serde(default)]
        kill: bool,
        /// Only these hosts.
        #[serde(default)]
        hosts: Option<Vec<HostId>>,
        /// `cancelled` or `halted`: the reason queued commands are skipped with.
        #[serde(default = "cancelled")]
        reason: String,
    },
}

/// One row of the audit log. Who, when, from where and under which request is added by the server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// `bulk.create`, `group.update`, …
    pub action: String,
    pub target_kind: String,
    pub target_id: String,
    /// SHA-256 digests or short facts; never secrets or scripts.
    #[serde(default)]
    pub detail: Value,
}

/// The response to store under the request's `Idempotency-Key`, in the same transaction as its work.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RespondRecord {
    pub status: u16,
    /// Lower-case names; only those that belong to the resource (`location`, `etag`, `content-type`).
    pub headers: Vec<(String, String)>,
    pub body: String,
}

/// A set with its counters. The counters always sum to `total`; `held + queued` is what people call queued.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SetView {
    pub id: SetId,
    pub owner: String,
    pub operation_type: String,
    pub generation: i64,
    /// Rises with every change of a counter or control; a cheap ETag for progress.
    pub revision: i64,
    pub max_concurrency: u64,
    pub paused: bool,
    /// The whole set was cancelled (not only some hosts).
    pub cancelled: bool,
    pub total: u64,
    pub held: u64,
    pub queued: u64,
    pub running: u64,
    pub succeeded: u64,
    pub failed: u64,
    pub skipped: u64,
    /// Of `skipped`: those that the cancel of the whole set skipped, not an earlier one of single hosts.
    pub skipped_cancelled: u64,
    /// Of `failed`: those that never started.
    #[serde(default)]
    pub failed_unreachable: u64,
    /// Commands before this ordinal are not waited for any more.
    #[serde(default)]
    pub given_up_below: u64,
    pub created_at_us: i64,
    pub expires_at_us: i64,
    pub started_at_us: Option<i64>,
    pub finished_at_us: Option<i64>,
}

impl SetView {
    pub fn is_finished(&self) -> bool {
        self.held + self.queued + self.running == 0
    }
}

/// One host's row in a set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CommandView {
    pub id: CommandId,
    pub set_id: SetId,
    pub host_id: HostId,
    /// Position in the frozen order of the set.
    pub ordinal: u64,
    pub status: CommandStatus,
    #[serde(default)]
    pub reason: Option<String>,
    pub attempt: u32,
    #[serde(default)]
    pub cancel_requested: bool,
    #[serde(default)]
    pub exit_code: Option<i32>,
    #[serde(default)]
    pub changed: Option<bool>,
    #[serde(default)]
    pub message: String,
    pub created_at_us: i64,
    #[serde(default)]
    pub started_at_us: Option<i64>,
    #[serde(default)]
    pub finished_at_us: Option<i64>,
    /// The last bytes of each stream (at most 2 KiB, lossy UTF-8), for lists.
    #[serde(default)]
    pub stdout_tail: String,
    #[serde(default)]
    pub stderr_tail: String,
    /// A result that came after the row was terminal.
    #[serde(default)]
    pub late_result: Option<Value>,
    /// What the result says of its parts: each package, each step. In lists only if it is short (16 KiB).
    #[serde(default)]
    pub details: Option<Value>,
}

/// A page of a set's rows, in ordinal order. Pass `next_cursor` back for more.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CommandPage {
    pub items: Vec<CommandView>,
    pub next_cursor: Option<u64>,
}

/// A command's stored output. Of a long stream the middle is dropped: `head` then `tail`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CommandOutput {
    pub stdout: StreamOutput,
    pub stderr: StreamOutput,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StreamOutput {
    pub total_bytes: u64,
    pub sha256: String,
    #[serde(with = "fleetwright_protocol::outcome::base64_bytes")]
    pub head: Vec<u8>,
    #[serde(with = "fleetwright_protocol::outcome::base64_bytes")]
    pub tail: Vec<u8>,
}

/// A host as the inventory feed tells it. Volatile fields (last seen, load) are not in it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HostRecord {
    pub id: HostId,
    pub revision: i64,
    pub approval_status: String,
    /// `online` or `offline`.
    pub status: String,
    pub reserved: bool,
    pub created_at_us: i64,
    #[serde(default)]
    pub fqdn: Option<String>,
    #[serde(default)]
    pub hostname: Option<String>,
    #[serde(default)]
    pub platform: Option<String>,
    #[serde(default)]
    pub platform_release: Option<String>,
    #[serde(default)]
    pub platform_version: Option<String>,
    #[serde(default)]
    pub architecture: Option<String>,
    #[serde(default)]
    pub agent_version: Option<String>,
    #[serde(default)]
    pub cpu_count: Option<u32>,
    #[serde(default)]
    pub memory_total_mb: Option<u64>,
    #[serde(default)]
    pub kvm_available: Option<bool>,
    #[serde(default)]
    pub ipv4: Vec<String>,
    #[serde(default)]
    pub ipv6: Vec<String>,
    #[serde(default)]
    pub tags: Vec<String>,
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
}

/// One entry of the inventory feed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum HostChange {
    Upsert(Box<HostRecord>),
    Deleted { id: HostId, revision: i64 },
}

/// A page of the feed in revision order. Apply it, then ask again after `revision` until `at_end`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HostChanges {
    pub changes: Vec<HostChange>,
    pub revision: i64,
    pub at_end: bool,
}

/// Whether a feature may start new work now, and if not, why (the 402 body's `reason`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FeatureState {
    pub feature: String,
    pub new_work: bool,
    #[serde(default)]
    pub reason: Option<String>,
}

fn cancelled() -> String {
    "cancelled".to_owned()
}

/// The query of `fleet.sets/1` `commands`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CommandQuery {
    pub set_id: SetId,
    /// `queued` finds held ones too: both wait.
    #[serde(default)]
    pub status: Option<CommandStatus>,
    /// Only those of these hosts, unless there are none.
    #[serde(default)]
    pub hosts: Vec<HostId>,
    /// The ordinal to start at.
    #[serde(default)]
    pub cursor: u64,
    pub limit: u32,
}

/// What `ServerApi::environment` tells.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Environment {
    /// The server's module-API version.
    pub module_api: String,
    /// Switches a module may know: `preemption`, `budgets`.
    pub settings: BTreeMap<String, Value>,
}
