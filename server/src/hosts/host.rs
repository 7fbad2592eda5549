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
    /// What of it was more than is kept, and is cut: a person must know.
    pub cut: Vec<String>,
}

impl Reported {
    pub fn names(&self) -> Names {
        Names {
            fqdn: self.facts.fqdn.clone(),
            hostname: self.facts.hostname.clone(),
        }
    }
}

/// What a host is called.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Names {
    pub fqdn: Option<String>,
    pub hostname: Option<String>,
}

/// What people say about it.
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
    /// What it was called when it was approved, or when a person accepted a new name. `None` before that: a host that waits
    /// for approval is called what it says.
    pub pinned: Option<Names>,
    pub identity: Identity,
    pub journal_id: Option<JournalId>,
    /// The enrollment token of the latest enrollment.
    pub enrolled_with: Option<uuid::Uuid>,
}

impl Host {
    /// What it is called, and selected by.
    pub fn names(&self) -> Names {
        match &self.pinned {
            Some(pinned) => pinned.clone(),
            None => self.reported.names(),
        }
    }

    /// What it says it is called, if it is not called so: it waits for a person.
    pub fn pending_names(&self) -> Option<Names> {
        let said = self.reported.names();
        let pinned = self.pinned.as_ref()?;
        (*pinned != said).then_some(said)
    }
}

/// What people say once they have taken over what the agent says: its tags are added, and of its attributes those that
/// nobody has set.
pub fn accepted(labels: &Labels, reported: &Reported) -> Labels {
    let tags: BTreeSet<&String> = labels.tags.iter().chain(&reported.tags).collect();
    let mut attributes = reported.attributes.clone();
    attributes.extend(labels.attributes.clone());
    Labels {
        tags: tags.into_iter().cloned().collect(),
        attributes,
        reserved: labels.reserved,
    }
}

/// What people search hosts by: the FQDN, or the host name where there is none, in lower case.
pub fn search_name(names: &Names) -> String {
    let name = names.fqdn.as_ref().or(names.hostname.as_ref());
    name.map(|name| name.to_lowercase()).unwrap_or_default()
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
            pinned: None,
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
    fn what_is_accepted_is_added_to_what_people_said_and_overrides_none_of_it() {
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
        let after = accepted(&labels, &reported);
        assert_eq!(after.tags, ["agent", "db", "web"]);
        assert_eq!(after.attributes, map(&[("site", "hq"), ("rack", "7")]));
        assert_eq!(accepted(&after, &reported), after);
    }

    #[test]
    fn the_search_name_falls_back_to_the_host_name() {
        let mut names = Names {
            hostname: Some("Web-1".into()),
            fqdn: None,
        };
        assert_eq!(search_name(&names), "web-1");
        names.fqdn = Some("Web-1.Example.ORG".into());
        assert_eq!(search_name(&names), "web-1.example.org");
        assert_eq!(search_name(&Names::default()), "");
    }

    #[test]
    fn a_host_is_called_what_was_pinned_and_what_it_says_since_waits() {
        let called = |fqdn: Option<&str>| Names {
            fqdn: fqdn.map(str::to_owned),
            hostname: None,
        };
        let mut host = host(1);
        host.reported.facts.fqdn = Some("web-1".into());
        assert_eq!(
            (host.names(), host.pending_names()),
            (called(Some("web-1")), None)
        );
        host.pinned = Some(host.names());
        host.reported.facts.fqdn = Some("db-1".into());
        let pending = Some(called(Some("db-1")));
        assert_eq!(
            (host.names(), host.pending_names()),
            (called(Some("web-1")), pending)
        );
        // Nothing said is no way out, and nothing pinned no way in.
        host.reported.facts.fqdn = None;
        assert_eq!(
            (host.names(), host.pending_names()),
            (called(Some("web-1")), Some(called(None)))
        );
        host.pinned = Some(Names::default());
        host.reported.facts.fqdn = Some("db-1".into());
        assert_eq!(host.names(), called(None));
    }

    #[test]
    fn approval_names_are_read_back() {
        for approval in Approval::ALL {
            assert_eq!(Approval::from_name(approval.as_str()), Some(approval));
        }
        assert_eq!(Approval::from_name("maybe"), None);
    }
}
