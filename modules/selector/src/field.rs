//! The fields a criterion can name, by kind. Not their values: those are in the host record.

use std::fmt;

use crate::limits::ATTRIBUTE_KEY_BYTES_MAX;

/// A field of a criterion.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Field {
    /// Held by the host record itself.
    Host(HostField),
    /// Membership of a group, which only the caller can answer.
    Group,
}

/// A field the host record holds, by the kind that decides its operators.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HostField {
    Text(TextField),
    List(ListField),
    Number(NumberField),
    Bool(BoolField),
}

/// A field with at most one text.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TextField {
    /// The host id in its lower-case hyphenated form; always known.
    Id,
    Fact(Fact),
    /// `attributes.<key>`, what people set; the key is compared exactly.
    Attribute(String),
    /// `agent_attributes.<key>`, what the agent says itself.
    AgentAttribute(String),
}

/// A text field with a fixed name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fact {
    Fqdn,
    Hostname,
    Platform,
    PlatformRelease,
    PlatformVersion,
    Architecture,
    AgentVersion,
    Status,
    ApprovalStatus,
}

/// A field with any number of texts; never unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ListField {
    /// What people set.
    Tags,
    /// What the agent says itself.
    AgentTags,
    Ipv4,
    Ipv6,
}

/// A field with a whole number, or a time in microseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NumberField {
    CpuCount,
    MemoryTotalMb,
    CreatedAt,
    LastSeenAt,
}

/// A field that is true or false.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BoolField {
    KvmAvailable,
    Reserved,
}

/// The names of all fixed fields, for messages and completion.
pub(crate) const FIELD_NAMES: &str = "id fqdn hostname platform platform_release platform_version architecture agent_version status \
     approval_status tags agent_tags group ipv4 ipv6 cpu_count memory_total_mb kvm_available reserved created_at last_seen_at \
     attributes.<key> agent_attributes.<key>";

pub(crate) const ATTRIBUTE_PREFIX: &str = "attributes.";
pub(crate) const AGENT_ATTRIBUTE_PREFIX: &str = "agent_attributes.";

impl Field {
    /// The field of that name; `None` if there is none. Names are lower case.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        if name == "group" {
            return Some(Self::Group);
        }
        let text = |field| Some(Self::Host(HostField::Text(field)));
        if name == "id" {
            return text(TextField::Id);
        }
        let usable = |key: &str| !key.is_empty() && key.len() <= ATTRIBUTE_KEY_BYTES_MAX;
        if let Some(key) = name.strip_prefix(ATTRIBUTE_PREFIX) {
            return text(TextField::Attribute(key.to_owned())).filter(|_| usable(key));
        }
        if let Some(key) = name.strip_prefix(AGENT_ATTRIBUTE_PREFIX) {
            return text(TextField::AgentAttribute(key.to_owned())).filter(|_| usable(key));
        }
        if let Some(fact) = Fact::ALL.into_iter().find(|fact| fact.name() == name) {
            return text(TextField::Fact(fact));
        }
        let list = ListField::ALL
            .into_iter()
            .find(|field| field.name() == name)
            .map(HostField::List);
        let number = || {
            NumberField::ALL
                .into_iter()
                .find(|field| field.name() == name)
                .map(HostField::Number)
        };
        let boolean = || {
            BoolField::ALL
                .into_iter()
                .find(|field| field.name() == name)
                .map(HostField::Bool)
        };
        list.or_else(number).or_else(boolean).map(Self::Host)
    }
}

impl Fact {
    pub const ALL: [Self; 9] = [
        Self::Fqdn,
        Self::Hostname,
        Self::Platform,
        Self::PlatformRelease,
        Self::PlatformVersion,
        Self::Architecture,
        Self::AgentVersion,
        Self::Status,
        Self::ApprovalStatus,
    ];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Fqdn => "fqdn",
            Self::Hostname => "hostname",
            Self::Platform => "platform",
            Self::PlatformRelease => "platform_release",
            Self::PlatformVersion => "platform_version",
            Self::Architecture => "architecture",
            Self::AgentVersion => "agent_version",
            Self::Status => "status",
            Self::ApprovalStatus => "approval_status",
        }
    }

    /// The only texts a fact can hold, for those that are a closed set: comparing with another is a mistake, not an empty result.
    #[must_use]
    pub fn accepted_words(self) -> Option<&'static [&'static str]> {
        match self {
            Self::Status => Some(&["online", "offline"]),
            Self::ApprovalStatus => Some(&["pending", "approved", "rejected"]),
            Self::Fqdn
            | Self::Hostname
            | Self::Platform
            | Self::PlatformRelease
            | Self::PlatformVersion
            | Self::Architecture
            | Self::AgentVersion => None,
        }
    }
}

impl ListField {
    pub const ALL: [Self; 4] = [Self::Tags, Self::AgentTags, Self::Ipv4, Self::Ipv6];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Tags => "tags",
            Self::AgentTags => "agent_tags",
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
        }
    }
}

impl NumberField {
    pub const ALL: [Self; 4] = [
        Self::CpuCount,
        Self::MemoryTotalMb,
        Self::CreatedAt,
        Self::LastSeenAt,
    ];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::CpuCount => "cpu_count",
            Self::MemoryTotalMb => "memory_total_mb",
            Self::CreatedAt => "created_at",
            Self::LastSeenAt => "last_seen_at",
        }
    }

    /// Whether the number is a time, written as RFC 3339.
    #[must_use]
    pub fn is_time(self) -> bool {
        match self {
            Self::CpuCount | Self::MemoryTotalMb => false,
            Self::CreatedAt | Self::LastSeenAt => true,
        }
    }
}

impl BoolField {
    pub const ALL: [Self; 2] = [Self::KvmAvailable, Self::Reserved];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::KvmAvailable => "kvm_available",
            Self::Reserved => "reserved",
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Group => formatter.write_str("group"),
            Self::Host(HostField::Text(field)) => write!(formatter, "{field}"),
            Self::Host(HostField::List(field)) => formatter.write_str(field.name()),
            Self::Host(HostField::Number(field)) => formatter.write_str(field.name()),
            Self::Host(HostField::Bool(field)) => formatter.write_str(field.name()),
        }
    }
}

impl fmt::Display for TextField {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id => formatter.write_str("id"),
            Self::Fact(fact) => formatter.write_str(fact.name()),
            Self::Attribute(key) => write!(formatter, "{ATTRIBUTE_PREFIX}{key}"),
            Self::AgentAttribute(key) => write!(formatter, "{AGENT_ATTRIBUTE_PREFIX}{key}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_listed_name_parses_and_prints_back() {
        for name in FIELD_NAMES
            .split_whitespace()
            .filter(|name| !name.contains('<'))
        {
            let field = Field::parse(name).unwrap_or_else(|| panic!("{name} is a field"));
            assert_eq!(field.to_string(), name);
        }
        for name in ["attributes.rack.row", "agent_attributes.rack.row"] {
            let field = Field::parse(name).unwrap_or_else(|| panic!("{name} is a field"));
            assert_eq!(field.to_string(), name);
        }
    }

    #[test]
    fn other_names_are_no_field() {
        for name in [
            "",
            "FQDN",
            "tag",
            "attributes",
            "attributes.",
            "agent_attributes.",
            "operator_tags",
            "tenant_id",
            "group ",
        ] {
            assert_eq!(Field::parse(name), None, "{name:?}");
        }
    }
}
