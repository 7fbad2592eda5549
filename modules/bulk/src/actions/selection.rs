//! Asks the groups module which hosts a selector selects now. Its faults are placed under `/selector`.

use fleetwright_plugin_api::sdk::{CallError, Host, Payload};
use fleetwright_plugin_api::wire::CallContext;
use fleetwright_protocol::{HostId, Violation};
use serde_json::{Value, json};

use super::BulkError;

/// A set holds at most this many hosts.
const HOSTS_MAX: usize = 100_000;

/// The hosts a selector selected, sorted.
pub struct Selected {
    pub hosts: Vec<HostId>,
    pub digest: String,
    pub unknown_host_ids: Vec<Value>,
}

/// What the client expects to be selected.
#[derive(Default)]
pub struct Expected {
    pub digest: Option<String>,
    pub count: Option<u64>,
}

/// Resolves a selector once. An empty or too large selection is an error, as is one that is not as expected.
pub async fn select(
    host: &Host,
    context: &CallContext,
    selector: &Value,
    expected: &Expected,
) -> Result<Selected, BulkError> {
    let json = json!({
        "selector": selector,
        "expected_digest": expected.digest,
        "expected_count": expected.count,
    });
    let answer = host
        .call()
        .invoke(context, "groups", "select", Payload::json(json));
    let answer = answer.await.map_err(under_selector)?;
    let selected = Selected {
        hosts: host_ids(&answer.blob),
        digest: answer.json["digest"]
            .as_str()
            .unwrap_or_default()
            .to_owned(),
        unknown_host_ids: answer.json["unknown_host_ids"]
            .as_array()
            .cloned()
            .unwrap_or_default(),
    };
    accept(selected, expected)
}

/// The violations of a selector that goes with a body that is refused anyway.
pub async fn faults(host: &Host, context: &CallContext, selector: &Value) -> Vec<Violation> {
    match select(host, context, selector, &Expected::default()).await {
        Err(BulkError::Call(CallError::Problem(problem))) => problem.errors,
        Ok(_) | Err(_) => Vec::new(),
    }
}

fn accept(selected: Selected, expected: &Expected) -> Result<Selected, BulkError> {
    let count = selected.hosts.len();
    let as_expected = expected
        .digest
        .as_ref()
        .is_none_or(|digest| *digest == selected.digest)
        && expected
            .count
            .is_none_or(|wanted| usize::try_from(wanted).is_ok_and(|wanted| wanted == count));
    if !as_expected {
        let digest = selected.digest;
        return Err(BulkError::SelectionChanged { digest, count });
    }
    match count {
        0 => Err(BulkError::SelectionEmpty),
        1..=HOSTS_MAX => Ok(selected),
        _more => Err(BulkError::SelectionTooLarge(count)),
    }
}

fn under_selector(error: CallError) -> BulkError {
    match error {
        CallError::Problem(problem) => {
            BulkError::Call(CallError::Problem(problem.under("/selector")))
        }
        CallError::Unavailable { .. } | CallError::Host(_) => BulkError::Call(error),
    }
}

fn host_ids(blob: &[u8]) -> Vec<HostId> {
    blob.as_chunks::<16>()
        .0
        .iter()
        .map(|bytes| HostId(uuid::Uuid::from_bytes(*bytes)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selected(count: u128) -> Selected {
        Selected {
            hosts: (0..count)
                .map(|number| HostId(uuid::Uuid::from_u128(number)))
                .collect(),
            digest: "sha256:d".to_owned(),
            unknown_host_ids: Vec::new(),
        }
    }

    fn expecting(digest: Option<&str>, count: Option<u64>) -> Expected {
        Expected {
            digest: digest.map(str::to_owned),
            count,
        }
    }

    #[test]
    fn a_selection_is_accepted_only_as_expected() {
        let cases = [
            (None, None, true),
            (Some("sha256:d"), None, true),
            (Some("sha256:e"), None, false),
            (None, Some(2), true),
            (None, Some(3), false),
            (Some("sha256:d"), Some(2), true),
            (Some("sha256:d"), Some(1), false),
        ];
        for (digest, count, fits) in cases {
            let verdict = accept(selected(2), &expecting(digest, count));
            assert_eq!(verdict.is_ok(), fits, "{digest:?} {count:?}");
        }
    }

    #[test]
    fn an_empty_and_a_too_large_selection_are_refused() {
        let empty = accept(selected(0), &Expected::default());
        assert!(matches!(empty, Err(BulkError::SelectionEmpty)));
        // What the client expected comes first: it asked for hosts that are gone.
        let gone = accept(selected(0), &expecting(None, Some(2)));
        assert!(matches!(gone, Err(BulkError::SelectionChanged { .. })));
        let many = accept(selected(100_001), &Expected::default());
        assert!(matches!(many, Err(BulkError::SelectionTooLarge(100_001))));
        assert!(accept(selected(100_000), &Expected::default()).is_ok());
    }

    #[test]
    fn raw_ids_are_read_in_order() {
        let ids = selected(3).hosts;
        let blob: Vec<u8> = ids.iter().flat_map(|id| *id.as_bytes()).collect();
        assert_eq!(host_ids(&blob), ids);
    }
}
