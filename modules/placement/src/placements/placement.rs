//! A placement as it is stored, and the states it goes through: `held→confirmed|expired|released · confirmed→released|lost`.

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::nodes::node::Live;

/// Where a placement is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Held,
    Confirmed,
    Expired,
    Released,
    Lost,
}

/// All of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    pub id: Uuid,
    pub tenant_id: String,
    pub vm_id: String,
    pub node_id: Uuid,
    pub memory_mb: i64,
    pub vcpus: i64,
    pub require_kvm: bool,
    pub labels: BTreeMap<String, String>,
    pub pass: i64,
    pub state: State,
    pub reason: Option<String>,
    pub created_at_us: i64,
    pub created_by: String,
    pub expires_lease_us: i64,
    pub expires_at_us: i64,
    pub confirmed_at_us: Option<i64>,
    pub ended_at_us: Option<i64>,
    pub revision: i64,
}

impl State {
    const ALL: [Self; 5] = [
        Self::Held,
        Self::Confirmed,
        Self::Expired,
        Self::Released,
        Self::Lost,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Confirmed => "confirmed",
            Self::Expired => "expired",
            Self::Released => "released",
            Self::Lost => "lost",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }

    pub fn is_live(self) -> bool {
        matches!(self, Self::Held | Self::Confirmed)
    }
}

impl Placement {
    /// What the registry keeps of it.
    pub fn live(&self) -> Live {
        Live {
            id: self.id,
            tenant_id: self.tenant_id.clone(),
            vm_id: self.vm_id.clone(),
            memory_mb: self.memory_mb,
            vcpus: self.vcpus,
            confirmed: self.state == State::Confirmed,
            revision: self.revision,
            seen: false,
            misses: 0,
        }
    }
}
