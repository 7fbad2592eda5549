//! What a selector can see of one host. Not the inventory's record: the caller copies the fields over.

use std::borrow::Cow;
use std::collections::BTreeMap;

use uuid::Uuid;

use crate::field::{BoolField, Fact, ListField, NumberField, TextField};

/// One host's fields; `None` is a field the host does not have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostFields {
    pub id: Uuid,
    pub fqdn: Option<String>,
    pub hostname: Option<String>,
    pub platform: Option<String>,
    pub platform_release: Option<String>,
    pub platform_version: Option<String>,
    pub architecture: Option<String>,
    pub agent_version: Option<String>,
    /// `online` or `offline`.
    pub status: Option<String>,
    /// `pending`, `approved` or `rejected`.
    pub approval_status: Option<String>,
    /// What people set.
    pub tags: Vec<String>,
    /// What the agent says itself: a claim.
    pub agent_tags: Vec<String>,
    pub ipv4: Vec<String>,
    pub ipv6: Vec<String>,
    /// What people set.
    pub attributes: BTreeMap<String, String>,
    /// What the agent says itself: a claim.
    pub agent_attributes: BTreeMap<String, String>,
    pub cpu_count: Option<i64>,
    pub memory_total_mb: Option<i64>,
    pub kvm_available: Option<bool>,
    pub reserved: Option<bool>,
    /// Microseconds since 1970.
    pub created_at_us: Option<i64>,
    /// Microseconds since 1970. Read by [`crate::evaluate()`] only: the index asks its caller instead, because every heartbeat changes it.
    pub last_seen_at_us: Option<i64>,
}

impl HostFields {
    /// A host of which nothing but its id is known.
    #[must_use]
    pub fn new(id: Uuid) -> Self {
        Self {
            id,
            ..Self::default()
        }
    }

    #[must_use]
    pub fn text(&self, field: &TextField) -> Option<Cow<'_, str>> {
        match field {
            TextField::Id => Some(Cow::Owned(self.id.hyphenated().to_string())),
            TextField::Fact(fact) => self.fact(*fact).map(Cow::Borrowed),
            TextField::Attribute(key) => value_of(&self.attributes, key),
            TextField::AgentAttribute(key) => value_of(&self.agent_attributes, key),
        }
    }

    #[must_use]
    pub fn fact(&self, fact: Fact) -> Option<&str> {
        let value = match fact {
            Fact::Fqdn => &self.fqdn,
            Fact::Hostname => &self.hostname,
            Fact::Platform => &self.platform,
            Fact::PlatformRelease => &self.platform_release,
            Fact::PlatformVersion => &self.platform_version,
            Fact::Architecture => &self.architecture,
            Fact::AgentVersion => &self.agent_version,
            Fact::Status => &self.status,
            Fact::ApprovalStatus => &self.approval_status,
        };
        value.as_deref()
    }

    #[must_use]
    pub fn list(&self, field: ListField) -> &[String] {
        match field {
            ListField::Tags => &self.tags,
            ListField::AgentTags => &self.agent_tags,
            ListField::Ipv4 => &self.ipv4,
            ListField::Ipv6 => &self.ipv6,
        }
    }

    #[must_use]
    pub fn number(&self, field: NumberField) -> Option<i64> {
        match field {
            NumberField::CpuCount => self.cpu_count,
            NumberField::MemoryTotalMb => self.memory_total_mb,
            NumberField::CreatedAt => self.created_at_us,
            NumberField::LastSeenAt => self.last_seen_at_us,
        }
    }

    #[must_use]
    pub fn boolean(&self, field: BoolField) -> Option<bool> {
        match field {
            BoolField::KvmAvailable => self.kvm_available,
            BoolField::Reserved => self.reserved,
        }
    }
}

fn value_of<'a>(attributes: &'a BTreeMap<String, String>, key: &str) -> Option<Cow<'a, str>> {
    attributes
        .get(key)
        .map(|value| Cow::Borrowed(value.as_str()))
}
