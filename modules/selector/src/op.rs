//! The operators of a leaf by name. Not their meaning: that is in `evaluate`.

use std::cmp::Ordering;

/// An operator as it is written on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Op {
    Equals,
    NotEquals,
    Contains,
    In,
    NotIn,
    StartsWith,
    EndsWith,
    Matches,
    Exists,
    Gt,
    Gte,
    Lt,
    Lte,
    VersionGt,
    VersionGte,
    VersionLt,
    VersionLte,
}

/// How two ordered values are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Comparison {
    Equal,
    NotEqual,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

impl Op {
    pub const ALL: [Self; 17] = [
        Self::Equals,
        Self::NotEquals,
        Self::Contains,
        Self::In,
        Self::NotIn,
        Self::StartsWith,
        Self::EndsWith,
        Self::Matches,
        Self::Exists,
        Self::Gt,
        Self::Gte,
        Self::Lt,
        Self::Lte,
        Self::VersionGt,
        Self::VersionGte,
        Self::VersionLt,
        Self::VersionLte,
    ];

    /// The operator of that name; names are lower case.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|op| op.name() == name)
    }

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Equals => "equals",
            Self::NotEquals => "not_equals",
            Self::Contains => "contains",
            Self::In => "in",
            Self::NotIn => "not_in",
            Self::StartsWith => "starts_with",
            Self::EndsWith => "ends_with",
            Self::Matches => "matches",
            Self::Exists => "exists",
            Self::Gt => "gt",
            Self::Gte => "gte",
            Self::Lt => "lt",
            Self::Lte => "lte",
            Self::VersionGt => "version_gt",
            Self::VersionGte => "version_gte",
            Self::VersionLt => "version_lt",
            Self::VersionLte => "version_lte",
        }
    }
}

impl Comparison {
    /// Whether `left ? right` holds, given how left orders against right.
    #[must_use]
    pub fn holds(self, ordering: Ordering) -> bool {
        match self {
            Self::Equal => ordering.is_eq(),
            Self::NotEqual => ordering.is_ne(),
            Self::Greater => ordering.is_gt(),
            Self::GreaterOrEqual => ordering.is_ge(),
            Self::Less => ordering.is_lt(),
            Self::LessOrEqual => ordering.is_le(),
        }
    }

    /// The operator that writes this comparison on a number or a time.
    #[must_use]
    pub fn number_op(self) -> Op {
        match self {
            Self::Equal => Op::Equals,
            Self::NotEqual => Op::NotEquals,
            Self::Greater => Op::Gt,
            Self::GreaterOrEqual => Op::Gte,
            Self::Less => Op::Lt,
            Self::LessOrEqual => Op::Lte,
        }
    }

    /// The operator that writes this comparison on a version. Versions have no equality operator of their own: the two equalities
    /// are written as those of a text.
    #[must_use]
    pub fn version_op(self) -> Op {
        match self {
            Self::Equal => Op::Equals,
            Self::NotEqual => Op::NotEquals,
            Self::Greater => Op::VersionGt,
            Self::GreaterOrEqual => Op::VersionGte,
            Self::Less => Op::VersionLt,
            Self::LessOrEqual => Op::VersionLte,
        }
    }
}
