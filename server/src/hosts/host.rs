//! A host as the inventory knows it. Pure: no database, no HTTP; the wire forms are in `view` and `feed`.

use std::collections::{BTreeMap, BTreeSet};

use fleetwright_protocol::{Facts, HostId, JournalId};
use serde::{Deserialize, Serialize};

/// Whether the operator let the host in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Approval {
    Pending,
    Approved,
    Rejected,
}

impl Approval {
    pub const ALL: [Self; 3] = [Self::Pending, Self::Approved, Self::Rejected];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Rejected => "rejected",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|approval| approval.as_str() == name)
    }
}

/// The SHA-256 of a certificate's public key (its SubjectPublicKeyInfo).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct KeyDigest(pub [u8; 32]);

impl From<KeyDigest> for String {
    fn from(digest: KeyDigest) -> Self {
        hex::encode(digest.0)
    }
}

impl TryFrom<String> for KeyDigest {
    type Error = hex::FromHexError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let mut digest = [0; 32];
        hex::decode_to_slice(text, &mut digest)?;
        Ok(Self(digest))
    }
}

/// A generation of a host's certificate, and the key it was issued for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issued {
    pub generation: i64,
    pub key: KeyDigest,
}

/// Which certificate a host may present. `next` has been issued by a renewal and has not been seen yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub current: Issued,
    pub next: Option<Issued>,
    /// Set when two machines were seen with the same identity; nobody gets in until the operator approves again.
    pub locked_reason: Option<String>,
}

/// What the agent says about its host.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reported {
    pub facts: Facts,
    pub tags: Vec<String>,
    pub attributes: BTreeMap<String, String>,
}

/// What the operator says about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels {
    pub tags: Vec<String>,
    pub attributes: BTreeMap<String, String>,
    /// Kept free of placements.
    pub reserved: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Host {
    pub id: HostId,
    pub revision: i64,
    pub approval: Approval,
    pub online: bool,
    pub created_at_us: i64,
    pub last_seen_us: Option<i64>,
    pub reported: Reported,
    pub labels: Labels,
    pub identity: Identity,
    pub journal_id: Option<JournalId>,
    /// The enrollment token of the latest enrollment.
    pub enrolled_with: Option<uuid::Uuid>,
}

impl Host {
    pub fn tags(&self) -> Vec<String> {
        effective_tags(&self.labels, &self.reported)
    }

    pub fn attributes(&self) -> BTreeMap<String, String> {
        effective_attributes(&self.labels, &self.reported)
    }
}

/// The operator's and the agent's tags together, sorted, each once.
pub fn effective_tags(labels: &Labels, reported: &Reported) -> Vec<String> {
    let all: BTreeSet<&String> = labels.tags.iter().chain(&reported.tags).collect();
    all.into_iter().cloned().collect()
}

/// The operator's and the agent's attributes together; the operator's value wins.
pub fn effective_attributes(labels: &Labels, reported: &Reported) -> BTreeMap<String, String> {
    let mut all = reported.attributes.clone();
    all.extend(labels.attributes.clone());
    all
}

/// What people search hosts by: the FQDN, or the host name where there is none, in lower case.
pub fn search_name(facts: &Facts) -> String {
    facts
        .fqdn
        .as_ref()
        .or(facts.hostname.as_ref())
        .map(|name| name.to_lowercase())
        .unwrap_or_default()
}

pub fn status_name(online: bool) -> &'static str {
    if online { "online" } else { "offline" }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// An approved host at this revision; its id is the revision.
    pub fn host(revision: i64) -> Host {
        let key = KeyDigest([7; 32]);
        Host {
            id: HostId(uuid::Uuid::from_u128(revision.unsigned_abs().into())),
            revision,
            approval: Approval::Approved,
            online: true,
            created_at_us: 1,
            last_seen_us: None,
            reported: Reported::default(),
            labels: Labels::default(),
            identity: Identity {
                current: Issued { generation: 1, key },
                next: None,
                locked_reason: None,
            },
            journal_id: None,
            enrolled_with: None,
        }
    }

    fn map(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
        entries
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn the_operator_adds_tags_and_overrides_attributes() {
        let labels = Labels {
            tags: vec!["web".into(), "db".into()],
            attributes: map(&[("site", "hq")]),
            reserved: false,
        };
        let reported = Reported {
            tags: vec!["web".into(), "agent".into()],
            attributes: map(&[("site", "unknown"), ("rack", "7")]),
            ..Reported::default()
        };
        assert_eq!(effective_tags(&labels, &reported), ["agent", "db", "web"]);
        assert_eq!(
            effective_attributes(&labels, &reported),
            map(&[("site", "hq"), ("rack", "7")])
        );
    }

    #[test]
    fn the_search_name_falls_back_to_the_host_name() {
        let mut facts = Facts {
            hostname: Some("Web-1".into()),
            ..Facts::default()
        };
        assert_eq!(search_name(&facts), "web-1");
        facts.fqdn = Some("Web-1.Example.ORG".into());
        assert_eq!(search_name(&facts), "web-1.example.org");
        assert_eq!(search_name(&Facts::default()), "");
    }

    #[test]
    fn approval_names_are_read_back() {
        for approval in Approval::ALL {
            assert_eq!(Approval::from_name(approval.as_str()), Some(approval));
        }
        assert_eq!(Approval::from_name("maybe"), None);
    }
}
