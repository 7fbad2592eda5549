//! The latest heartbeat of every host that is online, in the order in which they came: what modules that place work follow. In
//! memory only; it begins anew with the server. A heartbeat costs O(log n) of the hosts, a page of the feed what is in it.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fleetwright_plugin_api::sdk::CAPACITY_SIGNAL;
use fleetwright_plugin_api::wire::{CapacityChanges, NodeCapacity, VmReport as NodeVm};
use fleetwright_protocol::{Heartbeat, HostId, VmReport};
use tokio::sync::Notify;

use super::labels;
use crate::events::Signals;
use crate::loops::Place;

/// Hosts in one page.
const NODES_MAX: u32 = 1_000;
/// Virtual machines in one page, so that it is some MiB at most; a host by itself may have more than are left.
const VMS_MAX: usize = 16_384;
/// Followers are told at most five times a second: ten thousand agents say a thousand heartbeats in that time.
const PAUSE: Duration = Duration::from_millis(200);
/// A boot id is a UUID on Linux; other systems' are no longer.
const BOOT_ID_BYTES_MAX: usize = 64;
/// More mebibytes than any machine has; below what a database's integers and a float's whole numbers hold.
const MEBIBYTES_MAX: u64 = 1 << 40;
/// More processors than any machine has.
const CPUS_MAX: u32 = 1 << 20;

/// The heartbeats, and who waits for them.
pub(super) struct Heartbeats {
    /// Of which life of the server they are.
    epoch: u64,
    board: Mutex<Board>,
    wake: Notify,
}

#[derive(Default)]
struct Board {
    /// That of the newest heartbeat.
    sequence: u64,
    /// Those that are in the feed.
    order: BTreeMap<u64, HostId>,
    entries: HashMap<HostId, Entry>,
}

#[derive(Clone)]
struct Entry {
    /// Its place in the feed, if it is in it.
    place: Option<u64>,
    /// On the lease clock.
    seen_us: i64,
    heartbeat: Heartbeat,
}

impl Heartbeats {
    /// `epoch` is another one each time the server starts.
    pub fn new(epoch: u64) -> Self {
        Self {
            epoch,
            board: Mutex::default(),
            wake: Notify::new(),
        }
    }

    /// Keeps what a host said in place of what it said before. Of one that is no node its machines are not kept, and followers
    /// do not see it.
    pub fn put(&self, id: HostId, heartbeat: Heartbeat, seen_us: i64, is_node: bool) {
        let mut heartbeat = harmless(heartbeat);
        if !is_node {
            heartbeat.vms = None;
        }
        self.lock().put(id, heartbeat, seen_us, is_node);
        if is_node {
            self.wake.notify_one();
        }
    }

    pub fn get(&self, id: HostId) -> Option<Heartbeat> {
        let board = self.lock();
        board.entries.get(&id).map(|entry| entry.heartbeat.clone())
    }

    pub fn forget(&self, ids: &[HostId]) {
        let mut board = self.lock();
        for id in ids {
            board.remove(*id);
        }
    }

    /// What came after a sequence, of hosts that are nodes still.
    pub fn changes(
        &self,
        after: u64,
        limit: u32,
        is_node: impl Fn(HostId) -> bool,
    ) -> CapacityChanges {
        let (sequence, more, found) = self.lock().page(after, limit.clamp(1, NODES_MAX));
        let nodes = found.into_iter().filter(|(id, _)| is_node(*id));
        CapacityChanges {
            epoch: self.epoch,
            sequence,
            more,
            nodes: nodes.map(|(id, entry)| node(id, entry)).collect(),
        }
    }

    /// Tells followers that there is something new, for ever.
    pub async fn publish(&self, signals: &Signals, place: Place) {
        loop {
            self.wake.notified().await;
            let run = place.begin();
            signals.publish(CAPACITY_SIGNAL);
            drop(run);
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Nothing panics while it holds the lock.
    fn lock(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Board {
    fn put(&mut self, id: HostId, heartbeat: Heartbeat, seen_us: i64, is_node: bool) {
        self.remove(id);
        let place = is_node.then(|| {
            self.sequence += 1;
            self.order.insert(self.sequence, id);
            self.sequence
        });
        let entry = Entry {
            place,
            seen_us,
            heartbeat,
        };
        self.entries.insert(id, entry);
    }

    fn remove(&mut self, id: HostId) {
        if let Some(place) = self.entries.remove(&id).and_then(|entry| entry.place) {
            self.order.remove(&place);
        }
    }

    /// The sequence to go on after, whether there are newer ones, and the entries. A sequence that this life has not reached is
    /// another one's.
    fn page(&self, after: u64, limit: u32) -> (u64, bool, Vec<(HostId, Entry)>) {
        let after = if after > self.sequence { 0 } else { after };
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let mut found = Vec::new();
        let (mut last, mut vms_left) = (after, VMS_MAX);
        let newer = self.order.range(after.saturating_add(1)..);
        for (sequence, id) in newer {
            let Some(entry) = self.entries.get(id) else {
                continue;
            };
            let vms = entry.heartbeat.vms.as_ref().map_or(0, Vec::len);
            let is_full = found.len() >= limit || (vms > vms_left && !found.is_empty());
            if is_full {
                return (last, true, found);
            }
            vms_left = vms_left.saturating_sub(vms);
            found.push((*id, entry.clone()));
            last = *sequence;
        }
        (last, false, found)
    }
}

/// Within bounds, and fit to be shown: a host is not believed. Machines are sorted by id; of two entries of one the larger stays.
fn harmless(heartbeat: Heartbeat) -> Heartbeat {
    let mebibytes = |value: Option<u64>| value.filter(|value| *value <= MEBIBYTES_MAX);
    let clean = |vms: Vec<VmReport>| {
        let escaped = vms.into_iter().map(|vm| VmReport {
            id: labels::escaped(&vm.id),
            memory_resident_mb: mebibytes(vm.memory_resident_mb),
        });
        let mut vms: Vec<_> = escaped.filter(VmReport::is_sound).collect();
        // The larger one first.
        vms.sort_unstable_by(|one, other| {
            let by_id = one.id.cmp(&other.id);
            by_id.then(other.memory_resident_mb.cmp(&one.memory_resident_mb))
        });
        vms.dedup_by(|later, first| later.id == first.id);
        vms.shrink_to_fit();
        vms
    };
    Heartbeat {
        memory_total_mb: mebibytes(heartbeat.memory_total_mb),
        memory_available_mb: mebibytes(heartbeat.memory_available_mb),
        cpu_count: heartbeat.cpu_count.filter(|count| *count <= CPUS_MAX),
        cpu_load_pct: heartbeat
            .cpu_load_pct
            .filter(|load| load.is_finite())
            .map(|load| load.clamp(0.0, 100.0)),
        vms: heartbeat.vms.map(clean),
        boot_id: heartbeat
            .boot_id
            .filter(|boot_id| boot_id.len() <= BOOT_ID_BYTES_MAX)
            .map(|boot_id| labels::escaped(&boot_id)),
        ..heartbeat
    }
}

fn node(host_id: HostId, entry: Entry) -> NodeCapacity {
    let heartbeat = entry.heartbeat;
    let vm = |vm: VmReport| NodeVm {
        id: vm.id,
        memory_resident_mb: vm.memory_resident_mb,
    };
    NodeCapacity {
        host_id,
        seen_us: entry.seen_us,
        boot_id: heartbeat.boot_id,
        memory_total_mb: heartbeat.memory_total_mb,
        memory_available_mb: heartbeat.memory_available_mb,
        cpu_count: heartbeat.cpu_count,
        cpu_load_pct: heartbeat.cpu_load_pct.map(f64::from),
        kvm_available: heartbeat.kvm_available,
        vms: heartbeat.vms.map(|vms| vms.into_iter().map(vm).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn id(number: u128) -> HostId {
        HostId(Uuid::from_u128(number))
    }

    fn with_vms(count: usize) -> Heartbeat {
        let vms = (0..count).map(|number| VmReport::named(format!("vm{number}")));
        Heartbeat {
            vms: Some(vms.collect()),
            ..Heartbeat::default()
        }
    }

    fn told(heartbeats: &Heartbeats, after: u64, limit: u32) -> (Vec<HostId>, u64, bool) {
        let page = heartbeats.changes(after, limit, |_| true);
        assert_eq!(page.epoch, 9);
        let ids = page.nodes.iter().map(|node| node.host_id).collect();
        (ids, page.sequence, page.more)
    }

    #[test]
    fn following_the_feed_shows_each_host_once_at_its_latest() {
        let heartbeats = Heartbeats::new(9);
        let beat = |number, at| heartbeats.put(id(number), with_vms(1), at, true);
        assert_eq!(told(&heartbeats, 0, 10), (vec![], 0, false));
        beat(1, 10);
        beat(2, 20);
        beat(1, 30);
        assert_eq!(told(&heartbeats, 0, 10), (vec![id(2), id(1)], 3, false));
        assert_eq!(told(&heartbeats, 0, 1), (vec![id(2)], 2, true));
        assert_eq!(told(&heartbeats, 2, 1), (vec![id(1)], 3, false));
        assert_eq!(told(&heartbeats, 3, 0), (vec![], 3, false));
        // Of another life of the server.
        assert_eq!(told(&heartbeats, 4, 10), (vec![id(2), id(1)], 3, false));
        let greatest = told(&heartbeats, u64::MAX, u32::MAX);
        assert_eq!(greatest, (vec![id(2), id(1)], 3, false));
        let page = heartbeats.changes(2, 10, |_| true);
        assert_eq!(page.nodes[0].seen_us, 30);
        heartbeats.forget(&[id(1), id(7)]);
        assert_eq!(told(&heartbeats, 0, 10), (vec![id(2)], 2, false));
        assert_eq!(heartbeats.get(id(1)), None);
        let board = heartbeats.lock();
        assert_eq!((board.order.len(), board.entries.len()), (1, 1));
    }

    #[test]
    fn a_page_ends_by_its_machines_and_holds_one_host_at_least() {
        let heartbeats = Heartbeats::new(9);
        for number in 1..=5 {
            heartbeats.put(id(number), with_vms(VMS_MAX / 2), 0, true);
        }
        heartbeats.put(id(6), with_vms(VMS_MAX + 1), 0, true);
        heartbeats.put(id(7), Heartbeat::default(), 0, true);
        let mut pages = Vec::new();
        let mut after = 0;
        loop {
            let (ids, sequence, more) = told(&heartbeats, after, 100);
            pages.push(ids.len());
            after = sequence;
            if !more {
                break;
            }
        }
        assert_eq!((pages, after), (vec![2, 2, 1, 2], 7));
    }

    #[test]
    fn what_is_no_node_is_in_no_page_and_its_machines_are_not_kept() {
        let heartbeats = Heartbeats::new(9);
        let said = Heartbeat {
            cpu_count: Some(4),
            ..with_vms(2)
        };
        heartbeats.put(id(1), said.clone(), 0, false);
        assert_eq!(told(&heartbeats, 0, 10), (vec![], 0, false));
        let kept = heartbeats.get(id(1)).unwrap();
        assert_eq!((kept.cpu_count, kept.vms), (Some(4), None));
        heartbeats.put(id(1), said.clone(), 0, true);
        heartbeats.put(id(2), said, 0, true);
        // Refused since: it is passed over.
        let page = heartbeats.changes(0, 10, |host| host != id(2));
        assert_eq!((page.nodes.len(), page.sequence, page.more), (1, 2, false));
    }

    #[test]
    fn what_a_host_says_is_bounded() {
        let vm = |id: &str, memory| VmReport {
            id: id.to_owned(),
            memory_resident_mb: memory,
        };
        let heartbeats = Heartbeats::new(9);
        let said = Heartbeat {
            memory_total_mb: Some(u64::MAX),
            memory_available_mb: Some(7),
            cpu_count: Some(u32::MAX),
            cpu_load_pct: Some(1e9),
            boot_id: Some("x".repeat(65)),
            vms: Some(vec![
                vm("b", Some(1)),
                vm("a", None),
                vm("b", Some(9)),
                vm("b", None),
                vm("\u{202e}c", Some(u64::MAX)),
                vm(&"\u{202e}".repeat(40), None),
            ]),
            ..Heartbeat::default()
        };
        heartbeats.put(id(1), said, 5, true);
        let node = heartbeats.changes(0, 1, |_| true).nodes.remove(0);
        let bounded = (node.memory_total_mb, node.memory_available_mb);
        assert_eq!(bounded, (None, Some(7)));
        let (cpus, load, boot) = (node.cpu_count, node.cpu_load_pct, node.boot_id);
        assert_eq!((cpus, load, boot), (None, Some(100.0), None));
        let vms: Vec<_> = node.vms.into_iter().flatten().collect();
        let vms: Vec<_> = vms
            .iter()
            .map(|vm| (&*vm.id, vm.memory_resident_mb))
            .collect();
        assert_eq!(vms, [("\\u{202e}c", None), ("a", None), ("b", Some(9))]);
    }

    #[tokio::test]
    async fn followers_are_told_once_of_many() {
        let heartbeats = Heartbeats::new(9);
        let signals = Signals::default();
        let loops = crate::loops::Loops::new(crate::clock::SystemClock::shared());
        let publishing = heartbeats.publish(&signals, loops.take(crate::loops::Loop::Capacity));
        let beat = |number| heartbeats.put(id(number), Heartbeat::default(), 0, true);
        let following = async {
            (0..1_000).for_each(beat);
            let heard = signals.wait(&[CAPACITY_SIGNAL.to_owned()], 0).await;
            (0..1_000).for_each(beat);
            let again = signals.wait(&[CAPACITY_SIGNAL.to_owned()], heard).await;
            (heard, again)
        };
        tokio::select! {
            () = publishing => {}
            told = following => assert_eq!(told, (1, 2)),
        }
    }
}
