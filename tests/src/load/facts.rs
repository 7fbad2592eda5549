//! What a simulated host says of itself.

use fleetwright_protocol::Facts;

pub fn facts(name: &str) -> Facts {
    Facts {
        fqdn: Some(name.to_owned()),
        hostname: name.split('.').next().map(str::to_owned),
        platform: Some("linux".to_owned()),
        platform_release: Some("debian".to_owned()),
        platform_version: Some("12.11".to_owned()),
        architecture: Some("x86_64".to_owned()),
        agent_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        ipv4: vec!["192.0.2.1".to_owned()],
        cpu_count: Some(4),
        memory_total_mb: Some(8_192),
        kvm_available: Some(true),
        ..Facts::default()
    }
}
