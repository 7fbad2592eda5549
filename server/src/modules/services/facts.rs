//! The interfaces that only look at memory: log, clock, features, signals.

use fleetwright_plugin_api::abi::{
    ClockApi, FeaturesApi, FfiFuture, LogApi, LogRecord, RStr, RString, RVec, SignalsApi,
};
use fleetwright_plugin_api::guard;
use tracing::level_filters::LevelFilter;

use super::Services;

impl LogApi for Services {
    fn max_level(&self) -> u32 {
        let level = LevelFilter::current();
        [
            LevelFilter::ERROR,
            LevelFilter::WARN,
            LevelFilter::INFO,
            LevelFilter::DEBUG,
            LevelFilter::TRACE,
        ]
        .iter()
        .zip(1..)
        .filter(|(step, _)| **step <= level)
        .map(|(_, number)| number)
        .max()
        .unwrap_or(0)
    }

    fn log(&self, record: LogRecord) {
        guard::body(
            || {
                let (module, target) = (self.module.as_str(), record.target.as_str());
                let fields = String::from_utf8_lossy(&record.fields);
                let message = record.message.as_str();
                match record.level {
                    1 => tracing::error!(module, target, %fields, "{message}"),
                    2 => tracing::warn!(module, target, %fields, "{message}"),
                    3 => tracing::info!(module, target, %fields, "{message}"),
                    4 => tracing::debug!(module, target, %fields, "{message}"),
                    _ => tracing::trace!(module, target, %fields, "{message}"),
                }
            },
            |_| (),
        );
    }
}

impl ClockApi for Services {
    fn now_us(&self) -> i64 {
        guard::body(|| self.modules.parts().clock.now_us(), |_| 0)
    }

    fn lease_us(&self) -> i64 {
        guard::body(|| self.modules.parts().clock.lease_us(), |_| 0)
    }
}

impl FeaturesApi for Services {
    fn state(&self, feature: RStr<'_>) -> RVec<u8> {
        let state = || {
            let licensing = &self.modules.parts().licensing;
            let state = licensing.feature_state(feature.as_str(), self.licensable());
            serde_json::to_vec(&state).unwrap_or_default().into()
        };
        guard::body(state, |_| RVec::new())
    }
}

impl SignalsApi for Services {
    fn wait(&self, keys: RVec<RString>, since: u64) -> FfiFuture<u64> {
        let signals = self.modules.parts().signals.clone();
        let keys: Vec<String> = keys.iter().map(ToString::to_string).collect();
        let wait = async move { signals.wait(&keys, since).await };
        guard::future(self.runtime.clone(), wait, |_| 0)
    }

    fn publish(&self, key: RString) {
        guard::body(|| self.publish_own(key.as_str()), |_| ());
    }
}

impl Services {
    /// A module raises its own keys only: the core's say what the core has done.
    pub(super) fn publish_own(&self, key: &str) {
        if is_own_key(&self.module, key) {
            self.modules.parts().signals.publish(key);
        } else {
            tracing::warn!(
                module = self.module,
                key,
                "a module published a signal that is not its own"
            );
        }
    }
}

pub(super) fn is_own_key(module: &str, key: &str) -> bool {
    key.strip_prefix(module)
        .is_some_and(|rest| rest.starts_with(':'))
}
