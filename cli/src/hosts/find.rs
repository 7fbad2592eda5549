//! Which host is meant, and what hosts are called.

use serde_json::Value;

use crate::client::escape;
use crate::failure::Failure;
use crate::session::Session;
use crate::{output, pages};

/// The id of a host given by id, full name or short name. A name that fits several hosts is refused.
pub fn resolve(session: &Session, host: &str) -> Result<String, Failure> {
    if uuid::Uuid::try_parse(host).is_ok() {
        return Ok(host.to_owned());
    }
    let found = pages::collect(
        &session.client,
        &format!("/hosts?q={}", escape(host)),
        1_000,
    )?;
    match pick(&found, host).as_slice() {
        [only] => Ok(only.clone()),
        [] => Err(Failure::Input(format!("no host is named {host}"))),
        several => Err(Failure::Input(format!(
            "{} hosts are named {host}: {}",
            several.len(),
            several.join(", ")
        ))),
    }
}

/// What people call a host: its full name, else its short one, else its id.
pub fn name_of(host: &Value) -> String {
    ["fqdn", "hostname", "id"]
        .iter()
        .map(|name| output::field(host, name))
        .find(|name| !name.is_empty())
        .unwrap_or_default()
}

/// How many hosts, in words.
pub fn hosts_word(count: usize) -> String {
    if count == 1 {
        "1 host".to_owned()
    } else {
        format!("{count} hosts")
    }
}

fn pick(hosts: &[Value], name: &str) -> Vec<String> {
    let same = |host: &&Value| {
        ["fqdn", "hostname"]
            .iter()
            .any(|field| output::field(host, field).eq_ignore_ascii_case(name))
    };
    hosts
        .iter()
        .filter(same)
        .map(|host| output::field(host, "id"))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_host_is_found_by_its_whole_name_only() {
        let hosts = [
            json!({"id": "1", "fqdn": "web-1.example", "hostname": "web-1"}),
            json!({"id": "2", "fqdn": "web-10.example", "hostname": "web-10"}),
        ];
        assert_eq!(pick(&hosts, "WEB-1"), ["1"]);
        assert_eq!(pick(&hosts, "web-10.example"), ["2"]);
        assert!(pick(&hosts, "web").is_empty());
    }
}
