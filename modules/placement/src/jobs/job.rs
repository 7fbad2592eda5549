//! A job as it is stored, without its body: whole, or without its checkpoint as lists and graphs show it.

use fleetwright_plugin_api::sdk::{Row, RowError};
use uuid::Uuid;

use super::stage::Stage;

/// How urgent a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    Low,
    Normal,
    High,
    Critical,
}

impl Priority {
    /// In rising order.
    pub const ALL: [Self; 4] = [Self::Low, Self::Normal, Self::High, Self::Critical];

    /// The word in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Normal => "normal",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.as_str() == name)
    }

    /// 0 low to 3 critical: as stored, and in scores.
    pub fn order(self) -> i64 {
        match self {
            Self::Low => 0,
            Self::Normal => 1,
            Self::High => 2,
            Self::Critical => 3,
        }
    }

    pub fn from_order(order: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.order() == order)
    }
}

/// Who holds a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    pub factory_id: Uuid,
    pub claim_id: Option<String>,
    /// Wall clock.
    pub claimed_at_us: i64,
    /// Lease clock.
    pub expires_lease_us: i64,
}

/// A job that was read without its checkpoint. What writes jobs takes a whole [`Job`], so that no checkpoint is ever lost.
pub type Brief = Job<NotRead>;

/// What was not read is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotRead;

/// What is read of a checkpoint: all of it, or nothing.
pub trait Checkpoint: Clone + Sized {
    /// What stands for it in a list of columns.
    const COLUMN: &'static str;

    fn of(row: Row<'_>) -> Result<Self, RowError>;
}

impl Checkpoint for Option<String> {
    const COLUMN: &'static str = "checkpoint";

    fn of(row: Row<'_>) -> Result<Self, RowError> {
        Ok(row.optional_text("checkpoint")?.map(str::to_owned))
    }
}

impl Checkpoint for NotRead {
    const COLUMN: &'static str = "NULL AS checkpoint";

    fn of(_row: Row<'_>) -> Result<Self, RowError> {
        Ok(Self)
    }
}

/// One job.
#[derive(Clone, Debug, PartialEq)]
pub struct Job<C = Option<String>> {
    pub id: Uuid,
    /// Empty: nobody's.
    pub tenant_id: String,
    pub idempotency_key: String,
    pub request_digest: String,
    pub product_id: String,
    pub kind: String,
    pub priority: Priority,
    /// Sorted, without repetition.
    pub capabilities: Vec<String>,
    pub has_work: bool,
    pub estimate_micros: i64,
    pub max_attempts: i64,
    pub attempts: i64,
    pub preemptions: i64,
    pub stage: Stage,
    pub reason: Option<String>,
    /// A review that waits for a human: no lease, no seat.
    pub released: bool,
    pub checkpoint: C,
    /// How many of its dependencies are not settled.
    pub waits_for: i64,
    pub parent_id: Option<Uuid>,
    /// Rises on claim, reap, eviction and operator action: who says an older one holds it no more.
    pub lease_epoch: i64,
    /// None where nobody holds it.
    pub lease: Option<Lease>,
    pub created_at_us: i64,
    pub created_by: String,
    pub created_by_name: String,
    pub updated_at_us: i64,
    pub ended_at_us: Option<i64>,
    pub revision: i64,
}

impl<C: Checkpoint> Job<C> {
    /// The queue it stands in when it is queued: equal for jobs whose scores differ by age alone.
    pub fn bucket(&self) -> Bucket {
        Bucket {
            tenant_id: self.tenant_id.clone(),
            product_id: self.product_id.clone(),
            capabilities: self.capabilities.clone(),
            priority: self.priority,
            attempts: self.attempts,
        }
    }

    /// Read from a row of [`COLUMNS`](super::store::COLUMNS).
    pub fn of(row: Row<'_>) -> Result<Self, RowError> {
        let lease = match row.optional_id("factory_id")? {
            None => None,
            Some(factory_id) => Some(Lease {
                factory_id,
                claim_id: row.optional_text("claim_id")?.map(str::to_owned),
                claimed_at_us: row.integer("claimed_at")?,
                expires_lease_us: row.integer("expires_lease")?,
            }),
        };
        let priority = Priority::from_order(row.integer("priority")?)
            .ok_or_else(|| row.unexpected("priority", "a priority"))?;
        Ok(Self {
            id: row.id("id")?,
            tenant_id: row.text("tenant_id")?.to_owned(),
            idempotency_key: row.text("idempotency_key")?.to_owned(),
            request_digest: row.text("request_digest")?.to_owned(),
            product_id: row.text("product_id")?.to_owned(),
            kind: row.text("kind")?.to_owned(),
            priority,
            capabilities: row.json("capabilities")?,
            has_work: row.flag("has_work")?,
            estimate_micros: row.integer("estimate_micros")?,
            max_attempts: row.integer("max_attempts")?,
            attempts: row.integer("attempts")?,
            preemptions: row.integer("preemptions")?,
            stage: row.word("stage", "a stage", Stage::from_name)?,
            reason: row.optional_text("reason")?.map(str::to_owned),
            released: row.flag("released")?,
            checkpoint: C::of(row)?,
            waits_for: row.integer("waits_for")?,
            parent_id: row.optional_id("parent_id")?,
            lease_epoch: row.integer("lease_epoch")?,
            lease,
            created_at_us: row.integer("created_at")?,
            created_by: row.text("created_by")?.to_owned(),
            created_by_name: row.text("created_by_name")?.to_owned(),
            updated_at_us: row.integer("updated_at")?,
            ended_at_us: row.optional_integer("ended_at")?,
            revision: row.integer("revision")?,
        })
    }
}

/// What jobs of one queue have in common.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Bucket {
    pub tenant_id: String,
    pub product_id: String,
    pub capabilities: Vec<String>,
    pub priority: Priority,
    pub attempts: i64,
}

impl Bucket {
    /// Made of its fields, so that whoever queues a job needs not look for its queue: a UUID of their SHA-256.
    pub fn id(&self) -> Uuid {
        use sha2::Digest as _;
        let fields = (
            &self.tenant_id,
            &self.product_id,
            &self.capabilities,
            self.priority.order(),
            self.attempts,
        );
        // Texts, numbers and lists of texts can always be written as JSON.
        let text = serde_json::to_vec(&fields).unwrap_or_default();
        let digest: [u8; 32] = sha2::Sha256::digest(&text).into();
        let mut bytes = [0_u8; 16];
        for (to, from) in bytes.iter_mut().zip(digest) {
            *to = from;
        }
        uuid::Builder::from_custom_bytes(bytes).into_uuid()
    }
}
