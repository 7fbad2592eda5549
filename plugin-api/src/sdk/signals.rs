//! Coalesced, level-triggered wake-ups. A signal is a hint: whoever wakes reads the database, and also looks on a timer.

use std::sync::Arc;

use abi_stable::std_types::{RBox, RString, RVec};

use crate::abi::SignalsApi_TO;

/// `fleet.signals/1`. Keys: `set:<uuid>`, `hosts`, `license`, and `<module>:…` for a module's own.
#[derive(Clone)]
pub struct Signals {
    api: Arc<SignalsApi_TO<RBox<()>>>,
}

impl Signals {
    pub(crate) fn new(api: SignalsApi_TO<RBox<()>>) -> Self {
        Self { api: Arc::new(api) }
    }

    /// Waits until any of the keys is published after generation `since` (0: ever), and gives the generation to
    /// pass next time.
    pub async fn wait(&self, keys: &[String], since: u64) -> u64 {
        let keys: RVec<RString> = keys.iter().map(|key| RString::from(key.as_str())).collect();
        self.api.wait(keys, since).await
    }

    /// Wakes whoever waits for the key, at once and not with a batch. Own keys only (`<module>:…`).
    pub fn publish(&self, key: &str) {
        self.api.publish(RString::from(key));
    }
}
