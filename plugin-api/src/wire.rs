//! What the server's services and a module tell each other, as plain data. These shapes travel as JSON (and raw
//! bytes for ids) inside the few frozen structs of `abi`, so a field added here never breaks a module: readers
//! ignore what they do not know and every field added later has a default.
//!
//! Times are microseconds since the Unix epoch (`_us`); ids are UUIDs.

mod capacity;

pub use capacity::{CapacityChanges, NodeCapacity, VmReport};

use std::collections::BTreeMap;

use fleetwright_protocol::{CommandId, ExecutionOptions, HostId, SetId};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Rows one `SqlRows` op or one read may hold; more must be paged.
pub const ROWS_PER_WRITE_MAX: usize = 5_000;
/// Rows one read may answer, all its statements together; more must be paged.
pub const ROWS_PER_READ_MAX: usize = 10_000;
/// Bytes one read may return.
pub const BYTES_PER_READ_MAX: usize = 4 * 1024 * 1024;

/// One value of a row or parameter. The same set on SQLite and PostgreSQL: `BIGINT`, `DOUBLE PRECISION`, `TEXT`,
/// `BLOB`/`BYTEA`; booleans are 0 and 1.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// SQL's `NULL`.
    Null,
    /// Also counts, times in microseconds and booleans.
    Integer(i64),
    /// A `DOUBLE PRECISION`.
    Real(f64),
    /// Also words of enums and JSON documents.
    Text(String),
    /// Also ids, 16 bytes each.
    Bytes(Vec<u8>),
}

/// Who a request or a loop acts for. Built by the server; a module passes it on unchanged, and the server judges each call by
/// it and by what the principal may do at that time: never by more than both.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CallContext {
    /// As in the `x-request-id` of the answer; stands in logs and audit rows.
    pub request_id: String,
    /// `user:<id>`, `token:<id>`, or `module:<name>` for a module's own loops.
    pub principal: String,
    /// The name of the user or token, for people.
    pub principal_name: String,
    /// `viewer`, `operator`, `admin`; empty for a module's own loops.
    pub role: String,
    /// The tenant a token is bound to; none sees all of them.
    pub tenant: Option<String>,
    /// What a token is narrowed to, such as `hosts:read`; empty: everything the role may do.
    pub scopes: Vec<String>,
    /// The client's IP address; empty for loops.
    pub address: String,
    /// The server's handle on this request's `Idempotency-Key`; 0 if it has none.
    pub idempotency: u64,
}

/// The method by which the server asks a module which uploaded content it keeps something for. Content is removed only where
/// every module has answered.
pub const BLOBS_IN_USE: &str = "blobs_in_use";

/// What [`BLOBS_IN_USE`] is asked with: digests in lower-case hex, at most 500.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobsAsked {
    /// The digests.
    pub sha256: Vec<String>,
}

/// Its answer: those that something is kept for which may still be run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobsInUse {
    /// Some of those asked for.
    pub in_use: Vec<String>,
}

/// The stable statuses of a command (a host's row in a set).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CommandStatus {
    /// In a held set and not yet released; shown to people as queued.
    Held,
    /// Waits for a slot, its host or its turn.
    Queued,
    /// Its host says that it has started.
    Running,
    /// Ended as it should, its health check too where there is one.
    Succeeded,
    /// Ended otherwise, or can never start; `reason` says which.
    Failed,
    /// Never started and never will; `reason` says why.
    Skipped,
}

impl CommandStatus {
    /// In the order they are passed through.
    pub const ALL: [Self; 6] = [
        Self::Held,
        Self::Queued,
        Self::Running,
        Self::Succeeded,
        Self::Failed,
        Self::Skipped,
    ];

    /// The word in the API and in the database.
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

    /// The status of that word.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == name)
    }

    /// Whether it stays as it is for ever.
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
    /// Their commands are skipped with reason `offline`.
    Skip,
}

/// Creates a set: one operation over frozen hosts (at most 100,000, passed beside this as raw ids).
/// The core adds the skips it knows of (`not_approved`, `offline`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SetCreate {
    /// The caller's choice (UUIDv7): it must know the id before the batch is committed.
    pub set_id: SetId,
    /// One of the eight of [`fleetwright_protocol::OperationType`].
    pub operation_type: String,
    /// Already validated with `fleetwright_protocol::validate`; the core validates again.
    pub parameters: Value,
    /// What the hosts are told beside the parameters.
    #[serde(default)]
    pub options: ExecutionOptions,
    /// How long one host may run it, 7 days at most; longer is failed as `timed_out`.
    pub timeout_seconds: u64,
    /// What has not started so long after the creation is skipped as `expired`; 30 days at most.
    pub expires_in_seconds: u64,
    /// 0: no limit.
    #[serde(default)]
    pub max_concurrency: u64,
    /// What happens to those hosts of it that are not connected.
    #[serde(default)]
    pub offline: OfflinePolicy,
    /// Nothing is sent until released (`SetControl::release`).
    #[serde(default)]
    pub held: bool,
    /// The principal who asks, where it is only previewed: whether it may use the secrets that are named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_behalf_of: Option<String>,
}

/// What a set would be if it were created now.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SetPreview {
    /// Hosts given, skipped ones among them.
    pub total: u64,
    /// Host and reason, in the order of the ids given.
    pub skips: Vec<(HostId, String)>,
}

/// Changes how a set is run. With `expect_generation`, a set that has moved on refuses the whole batch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SetControl {
    /// The set to change.
    pub set_id: SetId,
    /// What to change.
    pub action: SetAction,
    /// The [`SetView::generation`] that was seen when this was decided.
    #[serde(default)]
    pub expect_generation: Option<i64>,
}

/// One change of a set. A finished set takes none, a cancelled one only `GiveUp` and `Cancel`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum SetAction {
    /// Releases the next `count` held commands in order.
    Release {
        /// How many; more than are held releases all.
        count: u64,
    },
    /// Releases the held commands with these ordinals, `to` excluded. Those that are not held any more stay as they are.
    ReleaseRange {
        /// The first of them.
        from: u64,
        /// The first that is not among them.
        to: u64,
    },
    /// Commands before this ordinal that have not started never will: they are failed as `unreachable`, a delivered one
    /// once it cannot start any more.
    GiveUp {
        /// The first that is still waited for.
        below: u64,
    },
    /// Nothing more is sent until `Resume`; what was sent goes on.
    Pause,
    /// Sends again. Nothing to do for a set that is not paused.
    Resume,
    /// Another bound for how many hosts run it at once.
    Limit {
        /// 0: no limit.
        max_concurrency: u64,
    },
    /// Nothing new starts. With `kill`, running ones are ended too; without hosts, it is for the whole set.
    Cancel {
        /// End running ones; otherwise they may finish.
        #[serde(default)]
        kill: bool,
        /// Only these hosts.
        #[serde(default)]
        hosts: Option<Vec<HostId>>,
        /// `cancelled`, `halted` or `secret_unavailable`: the reason queued commands are skipped with.
        #[serde(default = "cancelled")]
        reason: String,
    },
}

/// One row of the audit log. Who, when, from where and under which request is added by the server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// `bulk.create`, `group.update`, …
    pub action: String,
    /// What kind of thing: `group`, `bulk_operation`, …
    pub target_kind: String,
    /// Its id; for what has none, its name.
    pub target_id: String,
    /// SHA-256 digests or short facts; never secrets or scripts.
    #[serde(default)]
    pub detail: Value,
}

/// The response to store under the request's `Idempotency-Key`, in the same transaction as its work.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RespondRecord {
    /// Of HTTP.
    pub status: u16,
    /// Lower-case names; only those that belong to the resource (`location`, `etag`, `content-type`).
    pub headers: Vec<(String, String)>,
    /// The text of the answer, sent again as it is.
    pub body: String,
}

/// A set with its counters. The counters always sum to `total`; `held + queued` is what people call queued.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SetView {
    /// The `set_id` it was created with.
    pub id: SetId,
    /// The name of the module that made it; `core` for single commands.
    pub owner: String,
    /// One of the eight operation types.
    pub operation_type: String,
    /// Rises with every control, and with nothing else; see [`SetControl::expect_generation`].
    pub generation: i64,
    /// Rises with every change of a counter or control; a cheap ETag for progress.
    pub revision: i64,
    /// 0: no limit.
    pub max_concurrency: u64,
    /// Nothing is sent until it is resumed.
    pub paused: bool,
    /// The whole set was cancelled (not only some hosts).
    pub cancelled: bool,
    /// The frozen hosts.
    pub total: u64,
    /// Waiting to be released.
    pub held: u64,
    /// Waiting to be sent.
    pub queued: u64,
    /// Sent and not ended, as [`CommandStatus::Running`].
    pub running: u64,
    /// Ended well.
    pub succeeded: u64,
    /// Ended badly, or given up.
    pub failed: u64,
    /// Never started and never will.
    pub skipped: u64,
    /// Of `skipped`: those that the cancel of the whole set skipped, not an earlier one of single hosts.
    pub skipped_cancelled: u64,
    /// Of `failed`: those that never started.
    #[serde(default)]
    pub failed_unreachable: u64,
    /// Commands before this ordinal are not waited for any more.
    #[serde(default)]
    pub given_up_below: u64,
    /// On the wall clock, as all dates here.
    pub created_at_us: i64,
    /// When what has not started is skipped.
    pub expires_at_us: i64,
    /// When the first host started.
    pub started_at_us: Option<i64>,
    /// When the last one ended.
    pub finished_at_us: Option<i64>,
}

impl SetView {
    /// Whether every host's command is terminal.
    pub fn is_finished(&self) -> bool {
        self.held + self.queued + self.running == 0
    }
}

/// One host's row in a set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CommandView {
    /// Its own id, which its output is stored under.
    pub id: CommandId,
    /// The set it is a row of.
    pub set_id: SetId,
    /// The host it is for.
    pub host_id: HostId,
    /// Position in the frozen order of the set.
    pub ordinal: u64,
    /// Terminal ones stay as they are.
    pub status: CommandStatus,
    /// Why it was skipped or failed: `offline`, `expired`, `timed_out`, …
    #[serde(default)]
    pub reason: Option<String>,
    /// From 1. The next begins only when the host has proven that this one never started.
    pub attempt: u32,
    /// Its host has been or will be told to end it.
    #[serde(default)]
    pub cancel_requested: bool,
    /// Of the process; none if there was none, or a signal ended it.
    #[serde(default)]
    pub exit_code: Option<i32>,
    /// Whether the host is different now; none as long as there is no result.
    #[serde(default)]
    pub changed: Option<bool>,
    /// A sentence for people, never output; empty if there is nothing to say.
    #[serde(default)]
    pub message: String,
    /// On the wall clock, as all dates here.
    pub created_at_us: i64,
    /// When the server heard that it had started; if it heard of its end first, that less the time it took.
    #[serde(default)]
    pub started_at_us: Option<i64>,
    /// When it became terminal.
    #[serde(default)]
    pub finished_at_us: Option<i64>,
    /// The last bytes of each stream (at most 2 KiB, lossy UTF-8), for lists.
    #[serde(default)]
    pub stdout_tail: String,
    /// As `stdout_tail`.
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
    /// As many as were asked for, at most.
    pub items: Vec<CommandView>,
    /// The ordinal to go on at; none at the end.
    pub next_cursor: Option<u64>,
}

/// A command's stored output. Of a long stream the middle is dropped: `head` then `tail`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CommandOutput {
    /// What it wrote to its standard output.
    pub stdout: StreamOutput,
    /// What it wrote to its standard error.
    pub stderr: StreamOutput,
}

/// What is stored of one stream.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StreamOutput {
    /// Of the whole stream, also of what is not kept.
    pub total_bytes: u64,
    /// Lower-case hex digest of the whole stream; empty if nothing was printed.
    pub sha256: String,
    /// From the beginning; all of it if the stream was short. Base64 in JSON.
    #[serde(with = "fleetwright_protocol::outcome::base64_bytes")]
    pub head: Vec<u8>,
    /// From the end, where the middle was dropped. Base64 in JSON.
    #[serde(with = "fleetwright_protocol::outcome::base64_bytes")]
    pub tail: Vec<u8>,
}

/// A host as the inventory feed tells it. Volatile fields (last seen, load) are not in it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HostRecord {
    /// Given at the enrollment; never another's.
    pub id: HostId,
    /// The inventory's when this was stored; each change raises it.
    pub revision: i64,
    /// `pending`, `approved` or `rejected`.
    pub approval_status: String,
    /// `online` or `offline`.
    pub status: String,
    /// Kept free of placements.
    pub reserved: bool,
    /// When it was enrolled.
    pub created_at_us: i64,
    /// Its fully qualified name, as it was when it was approved or a person accepted it.
    #[serde(default)]
    pub fqdn: Option<String>,
    /// Its short name, likewise.
    #[serde(default)]
    pub hostname: Option<String>,
    /// The kind of system: `linux`, unless the agent's configuration says otherwise.
    #[serde(default)]
    pub platform: Option<String>,
    /// The distribution, such as `debian`.
    #[serde(default)]
    pub platform_release: Option<String>,
    /// The distribution's version, such as `12`.
    #[serde(default)]
    pub platform_version: Option<String>,
    /// As the kernel names it: `x86_64`, `aarch64`.
    #[serde(default)]
    pub architecture: Option<String>,
    /// The version of the agent that reported last.
    #[serde(default)]
    pub agent_version: Option<String>,
    /// Logical processors.
    #[serde(default)]
    pub cpu_count: Option<u32>,
    /// In mebibytes.
    #[serde(default)]
    pub memory_total_mb: Option<u64>,
    /// Whether it has `/dev/kvm`.
    #[serde(default)]
    pub kvm_available: Option<bool>,
    /// Without prefix lengths.
    #[serde(default)]
    pub ipv4: Vec<String>,
    /// Without prefix lengths and zones.
    #[serde(default)]
    pub ipv6: Vec<String>,
    /// What people set, sorted, each once.
    #[serde(default)]
    pub tags: Vec<String>,
    /// What people set.
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
    /// What its agent says itself, sorted, each once: a claim.
    #[serde(default)]
    pub agent_tags: Vec<String>,
    /// What its agent says itself: a claim.
    #[serde(default)]
    pub agent_attributes: BTreeMap<String, String>,
}

/// One entry of the inventory feed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum HostChange {
    /// It is new or has changed; this is all of it.
    Upsert(Box<HostRecord>),
    /// It is gone.
    Deleted {
        /// The host that was.
        id: HostId,
        /// That of the deletion.
        revision: i64,
    },
}

/// A page of the feed in revision order. Apply it, then ask again after `revision` until `at_end`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HostChanges {
    /// Of each host only its last change.
    pub changes: Vec<HostChange>,
    /// That of the last change here: ask after it next.
    pub revision: i64,
    /// Nothing newer was there.
    pub at_end: bool,
}

/// Whether a feature may start new work now, and if not, why (the 402 body's `reason`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FeatureState {
    /// The feature that was asked for.
    pub feature: String,
    /// Whether something may be created, retried or launched; what is under way goes on in any case.
    pub new_work: bool,
    /// `not_licensed`, `license_expired` or `host_limit_exceeded`; none if it may.
    #[serde(default)]
    pub reason: Option<String>,
}

fn cancelled() -> String {
    "cancelled".to_owned()
}

/// The query of `fleet.sets/1` `commands`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CommandQuery {
    /// Whose rows.
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
    /// Rows in one answer, at most.
    pub limit: u32,
}

/// What `ServerApi::environment` tells.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Environment {
    /// The server's module-API version.
    pub module_api: String,
    /// Switches a module may know: `preemption`, `budgets` (booleans); `placement` (an object of the numbers and words of the
    /// server's `[placement]` table).
    pub settings: BTreeMap<String, Value>,
}
