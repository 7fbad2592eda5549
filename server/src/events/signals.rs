//! Level-triggered wake-ups. Publishing a key raises its generation; whoever waits for anything newer than the
//! last generation seen returns at once, also when the publishing came first. So nothing is missed and many
//! publishings between two waits are one wake-up.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::select_all;
use tokio::sync::Notify;

/// Keys remembered. Above it those nobody waits for are forgotten; a waiter for a forgotten key is woken once
/// too often, never too seldom. Room for the keys of 10,000 live sets.
const KEYS_MAX: usize = 16_384;

/// Keys with generations. Cheap to clone. A key `part:thing` also raises `part:*`.
#[derive(Clone, Default)]
pub struct Signals {
    shared: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    generation: u64,
    /// Every forgotten key's generation is at most this.
    forgotten: u64,
    keys: HashMap<String, Key>,
}

#[derive(Default)]
struct Key {
    generation: u64,
    notify: Arc<Notify>,
}

impl Signals {
    pub fn publish(&self, key: &str) {
        let mut state = self.lock();
        state.generation += 1;
        state.raise(key);
        if let Some((part, thing)) = key.split_once(':')
            && thing != "*"
        {
            state.raise(&format!("{part}:*"));
        }
        state.prune();
    }

    /// Waits until one of `keys` has been published after generation `since`. Returns the generation to pass
    /// next time. 0 means "anything ever"; with no keys it never returns.
    pub async fn wait(&self, keys: &[String], since: u64) -> u64 {
        loop {
            let waiters: Vec<Arc<Notify>> = {
                let mut state = self.lock();
                if keys.iter().any(|key| state.generation_of(key) > since) {
                    return state.generation;
                }
                keys.iter().map(|key| state.waiter(key)).collect()
            };
            if waiters.is_empty() {
                return std::future::pending().await;
            }
            let mut notified: Vec<_> = waiters
                .iter()
                .map(|notify| Box::pin(notify.notified()))
                .collect();
            // Registered before looking again, so that a publishing in between is not lost.
            for one in &mut notified {
                one.as_mut().enable();
            }
            if self.is_newer(keys, since) {
                continue;
            }
            select_all(notified).await;
        }
    }

    /// The newest generation of all keys: start waiting from here to hear only of what comes.
    pub fn current(&self) -> u64 {
        self.lock().generation
    }

    fn is_newer(&self, keys: &[String], since: u64) -> bool {
        let state = self.lock();
        keys.iter().any(|key| state.generation_of(key) > since)
    }

    /// Nothing panics while it holds the lock, so a poisoned state is still consistent.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn raise(&mut self, name: &str) {
        let generation = self.generation;
        match self.keys.get_mut(name) {
            Some(key) => {
                key.generation = generation;
                key.notify.notify_waiters();
            }
            None => {
                let key = Key {
                    generation,
                    notify: Arc::default(),
                };
                self.keys.insert(name.to_owned(), key);
            }
        }
    }

    fn generation_of(&self, name: &str) -> u64 {
        self.keys
            .get(name)
            .map_or(self.forgotten, |key| key.generation)
    }

    fn waiter(&mut self, name: &str) -> Arc<Notify> {
        let forgotten = self.forgotten;
        let key = self.keys.entry(name.to_owned()).or_insert_with(|| Key {
            generation: forgotten,
            notify: Arc::default(),
        });
        Arc::clone(&key.notify)
    }

    /// Forgets the older half of the keys nobody waits for.
    fn prune(&mut self) {
        if self.keys.len() <= KEYS_MAX {
            return;
        }
        let idle = |key: &Key| Arc::strong_count(&key.notify) == 1;
        let mut generations: Vec<u64> = self
            .keys
            .values()
            .filter(|key| idle(key))
            .map(|key| key.generation)
            .collect();
        generations.sort_unstable();
        let Some(&cut) = generations.get(generations.len() / 2) else {
            return;
        };
        self.keys
            .retain(|_, key| !idle(key) || key.generation > cut);
        self.forgotten = self.forgotten.max(cut);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    fn keys(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn a_publishing_before_the_wait_is_not_lost() {
        let signals = Signals::default();
        let since = signals.current();
        signals.publish("hosts");
        let woken = signals.wait(&keys(&["hosts"]), since).now_or_never();
        assert_eq!(woken, Some(since + 1));
    }

    #[test]
    fn many_publishings_are_one_wake_up() {
        let signals = Signals::default();
        for _ in 0..10 {
            signals.publish("hosts");
        }
        let seen = signals
            .wait(&keys(&["hosts"]), 0)
            .now_or_never()
            .expect("woken");
        assert!(
            signals
                .wait(&keys(&["hosts"]), seen)
                .now_or_never()
                .is_none()
        );
    }

    #[test]
    fn other_keys_wake_nobody() {
        let signals = Signals::default();
        signals.publish("license");
        let waiting = signals.wait(&keys(&["hosts"]), 0).now_or_never();
        assert!(waiting.is_none());
    }

    #[test]
    fn a_star_hears_every_key_of_its_part() {
        let signals = Signals::default();
        signals.publish("bulk:7");
        assert!(signals.wait(&keys(&["bulk:*"]), 0).now_or_never().is_some());
        assert!(signals.wait(&keys(&["set:*"]), 0).now_or_never().is_none());
    }

    #[tokio::test]
    async fn a_waiter_is_woken_by_a_later_publishing() {
        let signals = Signals::default();
        let wanted = keys(&["a", "b"]);
        let mut waiting = Box::pin(signals.wait(&wanted, 0));
        assert!(futures_util::poll!(waiting.as_mut()).is_pending());
        signals.publish("b");
        assert_eq!(waiting.await, 1);
    }

    #[test]
    fn forgotten_keys_wake_too_often_rather_than_never() {
        let signals = Signals::default();
        for number in 0..=KEYS_MAX {
            signals.publish(&format!("k{number}"));
        }
        assert!(signals.lock().keys.len() < KEYS_MAX);
        assert!(signals.wait(&keys(&["k0"]), 0).now_or_never().is_some());
    }
}
