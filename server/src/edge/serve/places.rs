//! Who has a place at a port. Connections are counted for their address until they have shown who they are, and for that
//! principal from then on. Places are short only in an attack: then the newcomer who has been here longest without having
//! shown anything goes, never one who is known. So a crowd of strangers lets in whoever comes to sign in, and shuts out
//! nobody who has.

use std::collections::hash_map::Entry as Slot;
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::auth::rate::Key;
use crate::config::Network;
use crate::http::peer;

/// How many connections a port holds, and whose.
#[derive(Clone, Copy, Debug)]
pub struct PlaceLimits {
    /// Connections at a time, upgraded ones included; more wait in the kernel's queue.
    pub connections_max: usize,
    /// Of these, those who have not shown who they are.
    pub newcomers_max: usize,
    /// Of these, those of one address. A trusted proxy is many addresses, and has no such limit.
    pub newcomers_of_address_max: usize,
    /// Places that are kept for one principal; what it opens beyond counts as newcomers.
    pub of_principal_max: usize,
    /// A newcomer that has begun to speak has so long to show who it is before it makes room for others.
    pub grace: Duration,
}

/// The places of one port.
pub struct Places {
    limits: PlaceLimits,
    trusted_proxies: Vec<Network>,
    state: Mutex<State>,
    /// A place may have become free.
    freed: Notify,
}

#[derive(Default)]
struct State {
    last_number: u64,
    taken: HashMap<u64, Taken>,
    newcomers: BTreeSet<Rank>,
    newcomers_by_address: HashMap<IpAddr, BTreeSet<Rank>>,
    by_principal: HashMap<Key, usize>,
}

/// In which order newcomers go: those who say nothing first, and of each the oldest first.
type Rank = (HasBegun, u64);

/// Whether the client has begun a handshake. Where there is none, nobody has.
type HasBegun = bool;

struct Taken {
    address: IpAddr,
    since: Instant,
    has_begun: HasBegun,
    known_as: Option<Key>,
    shared: Arc<Shared>,
}

/// What a connection and its place share.
struct Shared {
    number: u64,
    /// Set when the connection must make room.
    end: CancellationToken,
    /// The server works on an answer, which has an end of its own: the client cannot hasten it.
    is_served: AtomicBool,
    /// The principal it is kept for, here as well so that a request costs no look at all connections.
    shown: Mutex<Option<Key>>,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoPlace {
    /// The address has its share, and all of it is too fresh to go.
    OfAddress,
    /// There will be [`Places::room`].
    Yet,
}

/// When one more can come in.
#[derive(Debug, PartialEq)]
enum Room {
    Now,
    From(Instant),
    WhenFreed,
}

/// A connection's place. It is free again when this is dropped.
pub struct Place {
    places: Arc<Places>,
    shared: Arc<Shared>,
}

/// A connection's place as its requests see it.
#[derive(Clone)]
pub struct Seat {
    places: Arc<Places>,
    shared: Arc<Shared>,
}

impl Places {
    pub fn new(limits: PlaceLimits, trusted_proxies: Vec<Network>) -> Arc<Self> {
        Arc::new(Self {
            limits,
            trusted_proxies,
            state: Mutex::default(),
            freed: Notify::new(),
        })
    }

    /// Waits until one more can come in: there is room, or somebody whose time is over.
    pub async fn room(&self) {
        loop {
            let freed = self.freed.notified();
            match self.next_room() {
                Room::From(at) if at <= Instant::now() => return,
                Room::From(at) => tokio::select! {
                    () = freed => {}
                    () = tokio::time::sleep_until(at) => {}
                },
                Room::WhenFreed => freed.await,
                Room::Now => return,
            }
        }
    }

    fn next_room(&self) -> Room {
        let state = self.lock();
        if !self.is_full(&state) {
            return Room::Now;
        }
        let first = self.first_to_go(&state, &state.newcomers);
        first.map_or(Room::WhenFreed, |(_, ripe_at)| Room::From(ripe_at))
    }

    /// A place for a connection from this address that came `now`.
    pub fn take(self: &Arc<Self>, address: IpAddr, now: Instant) -> Result<Place, NoPlace> {
        let is_proxy = self
            .trusted_proxies
            .iter()
            .any(|network| network.contains(address));
        let address = peer::network(address);
        let mut state = self.lock();
        let of_address = state.newcomers_by_address.get(&address);
        let goes = of_address
            .filter(|of_address| {
                !is_proxy && of_address.len() >= self.limits.newcomers_of_address_max
            })
            .map(|of_address| self.first_to_go(&state, of_address));
        if let Some(goes) = goes {
            let made = self.make_room(&mut state, goes, now);
            made.ok_or(NoPlace::OfAddress)?;
        }
        if self.is_full(&state) {
            let goes = self.first_to_go(&state, &state.newcomers);
            let made = self.make_room(&mut state, goes, now);
            made.ok_or(NoPlace::Yet)?;
        }
        state.last_number += 1;
        let shared = Arc::new(Shared {
            number: state.last_number,
            end: CancellationToken::new(),
            is_served: AtomicBool::new(false),
            shown: Mutex::default(),
        });
        let taken = Taken {
            address,
            since: now,
            has_begun: false,
            known_as: None,
            shared: Arc::clone(&shared),
        };
        state.taken.insert(shared.number, taken);
        state.add_newcomer((false, shared.number), address);
        let places = Arc::clone(self);
        Ok(Place { places, shared })
    }

    /// Places that are kept for anybody. The rest is the newcomers': however many are known, whoever comes to sign in finds
    /// somebody who can be made to go.
    fn known_max(&self) -> usize {
        self.limits.connections_max - self.limits.connections_max / 16
    }

    fn is_full(&self, state: &State) -> bool {
        state.taken.len() >= self.limits.connections_max
            || state.newcomers.len() >= self.limits.newcomers_max
    }

    /// The one that goes first, and when it may be made to: of those whose turn it is, one that nobody works for.
    fn first_to_go(&self, state: &State, newcomers: &BTreeSet<Rank>) -> Option<(u64, Instant)> {
        let is_idle = |(_, number): &&Rank| {
            let taken = state.taken.get(number);
            taken.is_some_and(|taken| !taken.shared.is_served.load(Ordering::Relaxed))
        };
        let idle = newcomers.iter().find(is_idle);
        let (has_begun, number) = *idle.or_else(|| newcomers.first())?;
        let since = state.taken.get(&number)?.since;
        let ripe_at = if has_begun {
            since + self.limits.grace
        } else {
            since
        };
        Some((number, ripe_at))
    }

    fn make_room(
        &self,
        state: &mut State,
        goes: Option<(u64, Instant)>,
        now: Instant,
    ) -> Option<()> {
        let (number, _) = goes.filter(|(_, ripe_at)| *ripe_at <= now)?;
        let gone = state.remove(number)?;
        gone.shared.end.cancel();
        Some(())
    }

    fn keep_for(&self, shared: &Shared, principal: Key) {
        let mut shown = shared.shown.lock().unwrap_or_else(PoisonError::into_inner);
        if *shown == Some(principal) {
            return;
        }
        let mut state = self.lock();
        let Some(taken) = state.taken.get(&shared.number) else {
            return;
        };
        let (address, before) = (taken.address, taken.known_as);
        let rank = (taken.has_begun, shared.number);
        state.forget_principal(before);
        let count = state.by_principal.get(&principal).copied().unwrap_or(0);
        let others = state.taken.len() - state.newcomers.len() - usize::from(before.is_some());
        let is_kept = count < self.limits.of_principal_max && others < self.known_max();
        if is_kept {
            state.by_principal.insert(principal, count + 1);
            state.remove_newcomer(rank, address);
        } else if before.is_some() {
            state.add_newcomer(rank, address);
        }
        if let Some(taken) = state.taken.get_mut(&shared.number) {
            taken.known_as = is_kept.then_some(principal);
        }
        // Who is not kept is looked at again: there may be a place for it then.
        *shown = is_kept.then_some(principal);
        drop(state);
        self.freed.notify_one();
    }

    /// Nothing panics while it holds the lock, so what is in it is whole.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn add_newcomer(&mut self, rank: Rank, address: IpAddr) {
        self.newcomers.insert(rank);
        let of_address = self.newcomers_by_address.entry(address).or_default();
        of_address.insert(rank);
    }

    fn remove_newcomer(&mut self, rank: Rank, address: IpAddr) {
        self.newcomers.remove(&rank);
        if let Slot::Occupied(mut of_address) = self.newcomers_by_address.entry(address) {
            of_address.get_mut().remove(&rank);
            if of_address.get().is_empty() {
                of_address.remove();
            }
        }
    }

    fn forget_principal(&mut self, principal: Option<Key>) {
        let Some(principal) = principal else { return };
        if let Slot::Occupied(mut count) = self.by_principal.entry(principal) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }

    fn remove(&mut self, number: u64) -> Option<Taken> {
        let taken = self.taken.remove(&number)?;
        self.remove_newcomer((taken.has_begun, number), taken.address);
        self.forget_principal(taken.known_as);
        Some(taken)
    }
}

impl Place {
    pub fn seat(&self) -> Seat {
        Seat {
            places: Arc::clone(&self.places),
            shared: Arc::clone(&self.shared),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.lock().remove(self.shared.number);
        self.places.freed.notify_one();
    }
}

impl Seat {
    /// Whoever is at the other end has shown that it is this principal: the place is kept for it.
    pub fn keep_for(&self, principal: Key) {
        self.places.keep_for(&self.shared, principal);
    }

    /// Whether the server is at work on an answer, for whose end the client can do nothing.
    pub fn set_served(&self, is_served: bool) {
        self.shared.is_served.store(is_served, Ordering::Relaxed);
    }

    /// The client has begun to show who it is.
    pub fn set_begun(&self) {
        let (number, mut state) = (self.shared.number, self.places.lock());
        let Some(taken) = state.taken.get_mut(&number) else {
            return;
        };
        let (before, address) = ((taken.has_begun, number), taken.address);
        taken.has_begun = true;
        let is_newcomer = taken.known_as.is_none();
        if is_newcomer {
            state.remove_newcomer(before, address);
            state.add_newcomer((true, number), address);
        }
    }

    /// Ready when the connection must make room for others.
    pub async fn until_ended(&self) {
        self.shared.end.cancelled().await;
    }
}

#[cfg(test)]
mod tests;
