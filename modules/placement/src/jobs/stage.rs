//! The stages of a job.

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    Queued,
    Blocked,
    Assigned,
    Building,
    Review,
    Testing,
    Shipped,
    Failed,
    DeadLetter,
    Cancelled,
}

impl Stage {
    /// All of them, in the order a job usually meets them.
    pub const ALL: [Self; 10] = [
        Self::Queued,
        Self::Blocked,
        Self::Assigned,
        Self::Building,
        Self::Review,
        Self::Testing,
        Self::Shipped,
        Self::Failed,
        Self::DeadLetter,
        Self::Cancelled,
    ];

    /// The word in the API and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Blocked => "blocked",
            Self::Assigned => "assigned",
            Self::Building => "building",
            Self::Review => "review",
            Self::Testing => "testing",
            Self::Shipped => "shipped",
            Self::Failed => "failed",
            Self::DeadLetter => "dead_letter",
            Self::Cancelled => "cancelled",
        }
    }

    /// The stage of that word; `done` is another word for `shipped`.
    pub fn from_name(name: &str) -> Option<Self> {
        if name == "done" {
            return Some(Self::Shipped);
        }
        Self::ALL.into_iter().find(|stage| stage.as_str() == name)
    }

    /// Nothing leads out of it.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Shipped | Self::DeadLetter | Self::Cancelled)
    }
}
