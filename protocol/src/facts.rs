//! What a host says about itself. Facts change rarely and enter the inventory; a heartbeat is volatile.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::limits::{FACT_CHARS_MAX, FACT_ENTRIES_MAX};
use crate::vms::{self, VmReport};

/// The slow facts of a host. A field the agent does not know is absent, never a made-up value.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Facts {
    pub fqdn: Option<String>,
    pub hostname: Option<String>,
    /// `linux`, `freebsd`, …
    pub platform: Option<String>,
    /// The distribution: `debian`, `ubuntu`, …
    pub platform_release: Option<String>,
    /// Its version: `12.11`.
    pub platform_version: Option<String>,
    pub architecture: Option<String>,
    pub agent_version: Option<String>,
    pub ipv4: Vec<String>,
    pub ipv6: Vec<String>,
    pub cpu_count: Option<u32>,
    pub memory_total_mb: Option<u64>,
    pub kvm_available: Option<bool>,
}

/// The fast facts: sent with every heartbeat, kept in memory, never in the inventory feed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Heartbeat {
    pub memory_total_mb: Option<u64>,
    pub memory_available_mb: Option<u64>,
    pub cpu_count: Option<u32>,
    pub cpu_load_pct: Option<f32>,
    pub kvm_available: Option<bool>,
    pub vm_count: Option<u32>,
    /// Empty: it runs none; none: the agent does not know. One of before 1.1 left an empty list out, whether it knew or not.
    #[serde(
        deserialize_with = "vms::read",
        skip_serializing_if = "Option::is_none"
    )]
    pub vms: Option<Vec<VmReport>>,
    pub boot_id: Option<String>,
}

impl Facts {
    /// The same facts with every string and list cut to its limit: hosts are not trusted to be modest.
    #[must_use]
    pub fn capped(mut self) -> Self {
        for text in [
            &mut self.fqdn,
            &mut self.hostname,
            &mut self.platform,
            &mut self.platform_release,
            &mut self.platform_version,
            &mut self.architecture,
            &mut self.agent_version,
        ]
        .into_iter()
        .flatten()
        {
            cap_text(text);
        }
        for list in [&mut self.ipv4, &mut self.ipv6] {
            cap_list(list);
        }
        self
    }
}

impl Heartbeat {
    /// The same as a server reads it that has welcomed the agent with this version: one before 1.1 breaks off at an entry that is
    /// an object, and keeps few.
    #[must_use]
    pub fn for_server(mut self, protocol: &str) -> Self {
        if !vms::reads_objects(protocol)
            && let Some(vms) = &mut self.vms
        {
            vms.truncate(FACT_ENTRIES_MAX);
            vms.iter_mut().for_each(|vm| vm.memory_resident_mb = None);
        }
        self
    }
}

/// Cuts a list of short strings (addresses, tags) to its limits.
pub fn cap_list(list: &mut Vec<String>) {
    list.truncate(FACT_ENTRIES_MAX);
    list.iter_mut().for_each(cap_text);
}

/// Cuts a string map (attributes) to its limits; which keys survive depends on their order only.
#[must_use]
pub fn cap_map(map: BTreeMap<String, String>) -> BTreeMap<String, String> {
    map.into_iter()
        .take(FACT_ENTRIES_MAX)
        .map(|(mut key, mut value)| {
            cap_text(&mut key);
            cap_text(&mut value);
            (key, value)
        })
        .collect()
}

fn cap_text(text: &mut String) {
    if let Some((at, _)) = text.char_indices().nth(FACT_CHARS_MAX) {
        text.truncate(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_facts_are_cut_at_a_character_boundary() {
        let facts = Facts {
            fqdn: Some("é".repeat(FACT_CHARS_MAX + 10)),
            ipv4: vec!["1".into(); FACT_ENTRIES_MAX + 5],
            ..Facts::default()
        }
        .capped();
        assert_eq!(
            facts.fqdn.as_deref().map(|text| text.chars().count()),
            Some(FACT_CHARS_MAX)
        );
        assert_eq!(facts.ipv4.len(), FACT_ENTRIES_MAX);
    }
}
