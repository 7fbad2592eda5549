//! The licence: which features may be used now. Verified offline, looked at again while the server runs, and never able
//! to strand what is under way: after a lapse only new work is refused.
//!
//! A feature belongs to who signed its module: each signer's licence grants that signer's modules their features, and
//! licences of several signers stand beside each other.
//!
//! `decide` says what a licence means at a time, `store` keeps it and the clock's floor, `trust` reads the vendor's
//! keys, `actions` loads, watches and replaces it.

pub mod actions;
pub mod decide;
pub mod http;
mod memory;
mod store;
pub mod trust;

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use fleetwright_plugin_api::wire::FeatureState;

use crate::clock::SharedClock;
use crate::db::Db;
use crate::events::Signals;
use crate::hosts::HostRegistry;

pub use decide::{Access, Entitlement, Licensable, Reason};
pub use trust::TrustedKeys;

/// The signal that a feature's state has changed.
pub const LICENSE_SIGNAL: &str = "license";

/// What licensing needs of the rest of the server.
pub struct LicensingParts {
    pub clock: SharedClock,
    pub db: Db,
    pub signals: Signals,
    pub registry: HostRegistry,
    pub trusted: TrustedKeys,
    /// The watched file with one licence or several, beside those that `PUT /license` stored.
    pub license_file: Option<PathBuf>,
}

/// A handle on the licence; cheap to clone.
#[derive(Clone)]
pub struct Licensing {
    inner: Arc<LicensingState>,
}

struct LicensingState {
    parts: LicensingParts,
    installation_id: String,
    current: ArcSwap<Entitlement>,
    /// One look at a time: a look reads, decides and remembers.
    looking: tokio::sync::Mutex<memory::Memory>,
}

impl Licensing {
    pub fn current(&self) -> Arc<Entitlement> {
        self.inner.current.load_full()
    }

    /// What requests of a feature of a module may do now.
    pub fn access(&self, feature: &str, module: Licensable<'_>) -> Access {
        self.inner.current.load().access(feature, module)
    }

    /// The same for a module's own loops.
    pub fn feature_state(&self, feature: &str, module: Licensable<'_>) -> FeatureState {
        let (new_work, reason) = match self.access(feature, module) {
            Access::Full => (true, None),
            Access::ContinueOnly(reason) | Access::Nothing(reason) => {
                (false, Some(reason.as_str().to_owned()))
            }
        };
        FeatureState {
            feature: feature.to_owned(),
            new_work,
            reason,
        }
    }

    /// Names this installation; a licence may be for one alone.
    pub fn installation_id(&self) -> &str {
        &self.inner.installation_id
    }
}
