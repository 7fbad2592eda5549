//! Asks the groups module which hosts a selector selects now. Its faults are placed under `/selector`.

use fleetwright_plugin_api::sdk::{CallError, Payload, Server};
use fleetwright_plugin_api::wire::CallContext;
use fleetwright_protocol::{HostId, Violation};
use serde_json::{Value, json};

/// Of a selector with more bytes than this the explicit ids are not stored: the set has the frozen ones, and the
/// rest of a selector is never larger.
const SELECTOR_STORED_BYTES_MAX: usize = 64 * 1024;
/// A set holds at most this many hosts.
const HOSTS_MAX: usize = 100_000;

/// Why a selector selected nothing that can be used.
#[derive(Debug, thiserror::Error)]
pub enum SelectionError {
    #[error("the selector matches no host")]
    SelectionEmpty,
    #[error("{0} hosts are selected, more than one operation may have")]
    SelectionTooLarge(usize),
    #[error("the selection is not the expected one")]
    SelectionChanged { digest: String, count: usize },
    #[error(transparent)]
    Call(#[from] CallError),
}

/// The order hosts are given in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    #[default]
    ById,
    /// Online before offline, then by fully qualified name, then by id.
    OnlineThenName,
}

impl Order {
    fn as_str(self) -> &'static str {
        match self {
            Self::ById => "id",
            Self::OnlineThenName => "online_then_name",
        }
    }
}

/// The hosts a selector selected, in the order asked for.
#[derive(Clone, Debug)]
pub struct Selected {
    pub hosts: Vec<HostId>,
    pub digest: String,
    pub unknown_host_ids: Vec<Value>,
}

/// What the client expects to be selected.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Expected {
    pub digest: Option<String>,
    pub count: Option<u64>,
}

/// What is kept of a selector.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredSelector {
    pub shown: Value,
    /// How many explicit ids are left out of `shown`.
    pub ids_omitted: Option<u64>,
}

impl StoredSelector {
    /// What is kept of a selector.
    pub fn of(mut selector: Value) -> Self {
        let bytes = serde_json::to_vec(&selector).map_or(usize::MAX, |bytes| bytes.len());
        let mut ids_omitted = None;
        if bytes > SELECTOR_STORED_BYTES_MAX
            && let Some(object) = selector.as_object_mut()
            && let Some(Value::Array(ids)) = object.remove("explicit_host_ids")
        {
            ids_omitted = u64::try_from(ids.len()).ok();
        }
        Self {
            shown: selector,
            ids_omitted,
        }
    }

    pub fn to_text(&self) -> String {
        json!({"selector": self.shown, "ids_omitted": self.ids_omitted}).to_string()
    }

    pub fn from_text(text: &str) -> Option<Self> {
        let mut stored: Value = serde_json::from_str(text).ok()?;
        Some(Self {
            ids_omitted: stored.get("ids_omitted").and_then(Value::as_u64),
            shown: stored.get_mut("selector")?.take(),
        })
    }
}

/// Resolves a selector once. An empty or too large selection is an error, as is one that is not as expected.
pub async fn select(
    server: &Server,
    context: &CallContext,
    selector: &Value,
    expected: &Expected,
    order: Order,
) -> Result<Selected, SelectionError> {
    let json = json!({
        "order": order.as_str(),
        "selector": selector,
        "expected_digest": expected.digest,
        "expected_count": expected.count,
    });
    let answer = server
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
pub async fn faults(server: &Server, context: &CallContext, selector: &Value) -> Vec<Violation> {
    match select(server, context, selector, &Expected::default(), Order::ById).await {
        Err(SelectionError::Call(CallError::Problem(problem))) => problem.into_errors(),
        Ok(_) | Err(_) => Vec::new(),
    }
}

fn accept(selected: Selected, expected: &Expected) -> Result<Selected, SelectionError> {
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
        return Err(SelectionError::SelectionChanged { digest, count });
    }
    match count {
        0 => Err(SelectionError::SelectionEmpty),
        1..=HOSTS_MAX => Ok(selected),
        _more => Err(SelectionError::SelectionTooLarge(count)),
    }
}

fn under_selector(error: CallError) -> SelectionError {
    match error {
        CallError::Problem(problem) => {
            SelectionError::Call(CallError::Problem(problem.under("/selector")))
        }
        CallError::Unavailable { .. } | CallError::Server(_) => SelectionError::Call(error),
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
        assert!(matches!(empty, Err(SelectionError::SelectionEmpty)));
        // What the client expected comes first: it asked for hosts that are gone.
        let gone = accept(selected(0), &expecting(None, Some(2)));
        assert!(matches!(gone, Err(SelectionError::SelectionChanged { .. })));
        let many = accept(selected(100_001), &Expected::default());
        assert!(matches!(
            many,
            Err(SelectionError::SelectionTooLarge(100_001))
        ));
        assert!(accept(selected(100_000), &Expected::default()).is_ok());
    }

    #[test]
    fn raw_ids_are_read_in_order() {
        let ids = selected(3).hosts;
        let blob: Vec<u8> = ids.iter().flat_map(|id| *id.as_bytes()).collect();
        assert_eq!(host_ids(&blob), ids);
    }
}
