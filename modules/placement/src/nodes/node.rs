//! A node in memory: what the inventory, its operator, its agent and the stored placements say of it. Pure.

use std::collections::BTreeMap;

use fleetwright_protocol::limits::VMS_ENTRIES_MAX;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// No machine has a pebibyte, in MiB: what an agent claims beyond is taken for that.
pub const MEGABYTES_MAX: i64 = 1 << 30;
/// CPUs, likewise.
const CPUS_MAX: i64 = 1 << 20;
/// Of one heartbeat. One that names more is not known to be whole.
const VMS_MAX: usize = VMS_ENTRIES_MAX;
/// Bytes of a VM's id.
pub const VM_ID_MAX: usize = 128;
/// Heartbeats in a row without a VM that was confirmed, after which it is lost.
pub const MISSES_MAX: u8 = 3;

/// What a heartbeat says of a host's capacity. Claims, brought into bounds by [`Capacity::bounded`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capacity {
    pub memory_total_mb: i64,
    pub memory_available_mb: i64,
    pub cpu_count: i64,
    /// Of all CPUs together, in percent.
    pub cpu_load_pct: i64,
    pub kvm_available: bool,
    /// Resident memory in MiB, by VM; 0 where the agent does not know it. None: the agent cannot tell which run.
    pub vms: Option<BTreeMap<String, i64>>,
    pub boot_id: Option<String>,
}

/// One heartbeat.
#[derive(Clone, Debug, PartialEq)]
pub struct Heartbeat {
    pub host_id: Uuid,
    /// By the server's lease clock.
    pub heard_lease_us: i64,
    /// By its wall clock, for people.
    pub heard_at_us: i64,
    pub capacity: Capacity,
}

/// What the inventory says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    pub fqdn: Option<String>,
    pub hostname: Option<String>,
    pub reserved: bool,
    /// Approved, and of no pool.
    pub is_node: bool,
}

/// What an operator decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// None: as the inventory says.
    pub reserved: Option<bool>,
    pub schedulable: bool,
    pub revision: i64,
}

/// A placement that is held or confirmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Live {
    pub id: Uuid,
    pub tenant_id: String,
    pub vm_id: String,
    pub memory_mb: i64,
    pub vcpus: i64,
    pub confirmed: bool,
    pub revision: i64,
    /// Its VM was in the last heartbeat.
    pub seen: bool,
    /// Heartbeats in a row without the VM, since it was confirmed.
    pub misses: u8,
}

/// Whether it can be a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    Ready,
    /// It takes no new placements.
    Draining,
    /// It has not been heard of for too long.
    Stale,
}

/// All that is known of one.
#[derive(Clone, Debug)]
pub struct Node {
    pub id: Uuid,
    /// None: it is not, or no more, in the inventory.
    pub host: Option<Host>,
    /// It was in the inventory. One that is not known yet may still come.
    pub is_deleted: bool,
    pub setting: Setting,
    pub capacity: Option<Capacity>,
    /// Heard of within the time allowed.
    pub is_fresh: bool,
    pub heard_lease_us: i64,
    pub heard_at_us: Option<i64>,
    /// As it was when its placements were read.
    pub generation: i64,
    pub live: BTreeMap<Uuid, Live>,
}

impl Capacity {
    /// With every figure where one can reckon with it.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        let megabytes = |value: i64| value.clamp(0, MEGABYTES_MAX);
        self.memory_total_mb = megabytes(self.memory_total_mb);
        self.memory_available_mb = megabytes(self.memory_available_mb);
        self.cpu_count = self.cpu_count.clamp(0, CPUS_MAX);
        self.cpu_load_pct = self.cpu_load_pct.clamp(0, 100);
        self.vms = self.vms.filter(|vms| vms.len() <= VMS_MAX).map(|vms| {
            let sound = vms.into_iter().filter(|(id, _)| id.len() <= VM_ID_MAX);
            sound
                .map(|(id, resident)| (id, megabytes(resident)))
                .collect()
        });
        self.boot_id = self.boot_id.filter(|id| id.len() <= VM_ID_MAX);
        self
    }

    /// VMs that run, whoever started them.
    pub fn vm_count(&self) -> Option<i64> {
        let vms = self.vms.as_ref()?;
        Some(i64::try_from(vms.len()).unwrap_or(i64::MAX))
    }

    /// What a VM uses, in MiB; 0 where that is not known.
    pub fn resident_mb(&self, vm_id: &str) -> i64 {
        let vms = self.vms.as_ref();
        vms.and_then(|vms| vms.get(vm_id)).copied().unwrap_or(0)
    }
}

impl Default for Setting {
    fn default() -> Self {
        Self {
            reserved: None,
            schedulable: true,
            revision: 0,
        }
    }
}

impl State {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Draining => "draining",
            Self::Stale => "stale",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        let all = [Self::Ready, Self::Draining, Self::Stale];
        all.into_iter().find(|state| state.as_str() == name)
    }
}

impl Live {
    /// What is set aside for it beyond what its VM uses already, in MiB.
    pub fn held_mb(&self, capacity: Option<&Capacity>) -> i64 {
        let resident = capacity.map_or(0, |capacity| capacity.resident_mb(&self.vm_id));
        self.memory_mb.saturating_sub(resident).max(0)
    }

    /// It moves on by what heartbeats say: confirmed, or lost.
    pub fn is_due(&self) -> bool {
        if self.confirmed {
            self.misses >= MISSES_MAX
        } else {
            self.seen
        }
    }
}

impl Node {
    pub fn new(id: Uuid) -> Self {
        Self {
            id,
            host: None,
            is_deleted: false,
            setting: Setting::default(),
            capacity: None,
            is_fresh: false,
            heard_lease_us: i64::MIN,
            heard_at_us: None,
            generation: 0,
            live: BTreeMap::new(),
        }
    }

    pub fn is_node(&self) -> bool {
        self.host.as_ref().is_some_and(|host| host.is_node)
    }

    pub fn is_reserved(&self) -> bool {
        let inventory = self.host.as_ref().is_some_and(|host| host.reserved);
        self.setting.reserved.unwrap_or(inventory)
    }

    pub fn state(&self) -> State {
        match (self.is_fresh, self.setting.schedulable) {
            (false, _) => State::Stale,
            (true, false) => State::Draining,
            (true, true) => State::Ready,
        }
    }

    /// Σ of what its placements hold, in MiB.
    pub fn held_mb(&self) -> i64 {
        let held = self
            .live
            .values()
            .map(|live| live.held_mb(self.capacity.as_ref()));
        held.fold(0, i64::saturating_add)
    }

    pub fn vcpus_placed(&self) -> i64 {
        let vcpus = self.live.values().map(|live| live.vcpus);
        vcpus.fold(0, i64::saturating_add)
    }

    /// Takes what a heartbeat says; its placements learn whether their VMs are there, if it can tell.
    pub fn hear(&mut self, capacity: Capacity) {
        let capacity = capacity.bounded();
        if let Some(vms) = &capacity.vms {
            for live in self.live.values_mut() {
                live.seen = vms.contains_key(&live.vm_id);
                live.misses = if live.seen || !live.confirmed {
                    0
                } else {
                    live.misses.saturating_add(1)
                };
            }
        }
        self.capacity = Some(capacity);
    }

    /// Takes the stored placements; what heartbeats said of those that stay is kept.
    pub fn replace_live(&mut self, live: Vec<Live>) {
        let known = std::mem::take(&mut self.live);
        for mut one in live {
            if let Some(old) = known.get(&one.id) {
                one.seen = old.seen;
                one.misses = if old.confirmed { old.misses } else { 0 };
            }
            self.live.insert(one.id, one);
        }
    }
}
