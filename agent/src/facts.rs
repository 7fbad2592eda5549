//! What this host says about itself. Read from `/proc` and `/etc`; a fact that cannot be read is left out. Settings may
//! replace any of them.

mod network;
mod system;

use std::path::Path;
use std::time::Duration;

use fleetwright_protocol::{Facts, Heartbeat, VmReport, vms::capped};

use crate::config::FactSettings;
use crate::vms::Vms;

/// Identifies the time since the machine was last started.
pub fn boot_id(file: &Path) -> String {
    id_in(file)
}

/// Identifies the machine; a copy of it usually has the same.
pub fn machine_id(file: &Path) -> String {
    id_in(file)
}

fn id_in(file: &Path) -> String {
    std::fs::read_to_string(file)
        .map(|text| text.trim().chars().take(64).collect())
        .unwrap_or_default()
}

/// The slow facts.
pub fn facts(settings: &FactSettings) -> Facts {
    let release = system::os_release();
    let hostname = settings.hostname.clone().or_else(network::hostname);
    let fqdn = settings
        .fqdn
        .clone()
        .or_else(|| hostname.as_deref().map(network::fqdn_of));
    Facts {
        fqdn,
        hostname,
        platform: settings
            .platform
            .clone()
            .or_else(|| Some(std::env::consts::OS.to_owned())),
        platform_release: settings.platform_release.clone().or(release.id),
        platform_version: settings.platform_version.clone().or(release.version),
        architecture: settings
            .architecture
            .clone()
            .or_else(|| Some(std::env::consts::ARCH.to_owned())),
        agent_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        ipv4: settings.ipv4.clone().unwrap_or_else(network::ipv4),
        ipv6: settings.ipv6.clone().unwrap_or_else(network::ipv6),
        cpu_count: settings.cpu_count.or_else(system::cpu_count),
        memory_total_mb: settings
            .memory_total_mb
            .or_else(|| system::memory().map(|memory| memory.total_mb)),
        kvm_available: settings
            .kvm_available
            .or_else(|| Some(system::kvm_available())),
    }
    .capped()
}

/// The fast facts; remembers the processor's work between two calls.
pub struct Pulse {
    settings: FactSettings,
    boot_id: String,
    vms: Vms,
    last: Option<system::Work>,
}

impl Pulse {
    pub fn new(settings: FactSettings, boot_id: String, vms: Vms) -> Self {
        Self {
            settings,
            boot_id,
            vms,
            last: system::work(),
        }
    }

    /// `period`: between two heartbeats.
    pub fn heartbeat(&mut self, period: Duration) -> Heartbeat {
        let settings = &self.settings;
        let memory = system::memory();
        let now = system::work();
        let load = self
            .last
            .zip(now)
            .and_then(|(last, now)| last.load_pct_until(&now));
        let vms = match &settings.vms {
            Some(said) => Some(said.iter().map(VmReport::named).collect()),
            None => self.vms.latest(period),
        };
        let heartbeat = Heartbeat {
            memory_total_mb: settings
                .memory_total_mb
                .or(memory.map(|memory| memory.total_mb)),
            memory_available_mb: settings
                .memory_available_mb
                .or(memory.map(|memory| memory.available_mb)),
            cpu_count: settings.cpu_count.or_else(system::cpu_count),
            cpu_load_pct: settings.cpu_load_pct.or(load),
            kvm_available: settings
                .kvm_available
                .or_else(|| Some(system::kvm_available())),
            vm_count: settings
                .vm_count
                .or_else(|| u32::try_from(vms.as_ref()?.len()).ok()),
            vms: vms.map(capped),
            boot_id: Some(self.boot_id.clone()),
        };
        self.last = now;
        heartbeat
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_replace_facts_and_the_rest_is_found() {
        let settings = FactSettings {
            fqdn: Some("web1.example".to_owned()),
            memory_total_mb: Some(7),
            vms: Some(vec!["a".to_owned(), "b".to_owned()]),
            ..FactSettings::default()
        };
        let facts = facts(&settings);
        assert_eq!(facts.fqdn.as_deref(), Some("web1.example"));
        assert_eq!(facts.memory_total_mb, Some(7));
        assert_eq!(facts.platform.as_deref(), Some("linux"));
        assert!(facts.cpu_count.is_some_and(|count| count > 0));
        let pulse = |settings| Pulse::new(settings, "boot".to_owned(), Vms::unknown());
        let second = Duration::from_secs(1);
        let beat = pulse(settings).heartbeat(second);
        assert_eq!((beat.memory_total_mb, beat.vm_count), (Some(7), Some(2)));
        assert!(beat.memory_available_mb.is_some_and(|free| free > 0));
        let named = ["a", "b"].map(VmReport::named).to_vec();
        assert_eq!(beat.vms, Some(named));
        let beat = pulse(FactSettings::default()).heartbeat(second);
        assert_eq!((beat.vms, beat.vm_count), (None, None));
    }
}
