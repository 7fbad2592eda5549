//! Names and addresses, without asking any other machine.

use std::net::{Ipv4Addr, Ipv6Addr};

pub fn hostname() -> Option<String> {
    let text = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    Some(text.trim().to_owned()).filter(|name| !name.is_empty())
}

/// The full name: as it is, or as `/etc/hosts` completes it.
pub fn fqdn_of(hostname: &str) -> String {
    if hostname.contains('.') {
        return hostname.to_owned();
    }
    let hosts = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
    completed(&hosts, hostname).unwrap_or_else(|| hostname.to_owned())
}

/// The addresses of this host's interfaces, loopback and link-local ones left out.
pub fn ipv4() -> Vec<String> {
    parse_fib_trie(&std::fs::read_to_string("/proc/net/fib_trie").unwrap_or_default())
}

pub fn ipv6() -> Vec<String> {
    parse_if_inet6(&std::fs::read_to_string("/proc/net/if_inet6").unwrap_or_default())
}

fn completed(hosts: &str, hostname: &str) -> Option<String> {
    hosts
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default())
        .filter(|line| {
            line.split_ascii_whitespace()
                .skip(1)
                .any(|name| name == hostname)
        })
        .flat_map(|line| line.split_ascii_whitespace().skip(1))
        .find(|name| {
            name.strip_prefix(hostname)
                .is_some_and(|rest| rest.starts_with('.'))
        })
        .map(str::to_owned)
}

/// A local address is a leaf with `/32 host LOCAL` under it.
fn parse_fib_trie(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut leaf: Option<Ipv4Addr> = None;
    for line in text.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            leaf = address.parse().ok();
        } else if line == "/32 host LOCAL"
            && let Some(address) = leaf
            && !address.is_loopback()
            && !address.is_link_local()
        {
            found.push(address.to_string());
        }
    }
    found.sort();
    found.dedup();
    found
}

/// 32 hex digits, then numbers, then the interface.
fn parse_if_inet6(text: &str) -> Vec<String> {
    let mut found: Vec<String> = text
        .lines()
        .filter_map(|line| u128::from_str_radix(line.get(..32)?, 16).ok())
        .map(Ipv6Addr::from_bits)
        .filter(|address| !address.is_loopback() && !address.is_unicast_link_local())
        .map(|address| address.to_string())
        .collect();
    found.sort();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_found_without_loopback_and_link_local_ones() {
        let trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n     |-- 10.0.0.5\n        \
                    /32 host LOCAL\n     |-- 10.0.0.255\n        /32 link BROADCAST\n     |-- 127.0.0.1\n        /32 host LOCAL\n";
        assert_eq!(parse_fib_trie(trie), ["10.0.0.5"]);
        let inet6 = "00000000000000000000000000000001 01 80 10 80 lo\n\
                     fe800000000000000000000000000001 02 40 20 80 eth0\n\
                     20010db8000000000000000000000007 02 40 00 80 eth0\n";
        assert_eq!(parse_if_inet6(inet6), ["2001:db8::7"]);
    }

    #[test]
    fn a_short_name_is_completed_from_hosts() {
        let hosts = "127.0.0.1 localhost\n127.0.1.1 web1.example.org web1 # web1.not\n";
        assert_eq!(
            completed(hosts, "web1").as_deref(),
            Some("web1.example.org")
        );
        assert_eq!(completed(hosts, "web"), None);
    }
}
