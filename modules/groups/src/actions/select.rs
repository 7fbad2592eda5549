//! Selects hosts, as asked over HTTP and by other modules.

use fleetwright_selector::ValidSelector;
use serde_json::Value;

use super::GroupsError;
use crate::engine::{Engine, SelectError, Selected};
use crate::request;

/// What the caller expects to be selected; what is left out is not checked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Expected {
    pub digest: Option<String>,
    pub count: Option<u64>,
}

/// Evaluates a selector as written.
pub async fn select(
    engine: &Engine,
    selector: &Value,
    explain: bool,
) -> Result<Selected, GroupsError> {
    let valid = request::selector(selector)?;
    let selected = engine.select(valid, explain).await;
    selected.map_err(|error| GroupsError::of_select(error, selector))
}

/// A selector with the groups it names by id, to be kept by somebody else.
pub async fn stored_form(engine: &Engine, selector: &Value) -> Result<ValidSelector, GroupsError> {
    let valid = request::selector(selector)?;
    let catalog = engine.catalog().await?;
    valid
        .with_group_ids(|reference| catalog.resolve(reference))
        .map_err(|unknown| {
            GroupsError::of_select(SelectError::UnknownGroups(unknown.names), selector)
        })
}

/// As [`select`], if the selection is what the caller expects.
pub async fn select_expected(
    engine: &Engine,
    selector: &Value,
    expected: &Expected,
) -> Result<Selected, GroupsError> {
    let selected = select(engine, selector, false).await?;
    let selection = &selected.selection;
    let digest_fits = expected
        .digest
        .as_ref()
        .is_none_or(|digest| *digest == selection.digest);
    let count_fits = expected.count.is_none_or(|count| count == selection.count);
    if digest_fits && count_fits {
        return Ok(selected);
    }
    Err(GroupsError::SelectionChanged {
        digest: selection.digest.clone(),
        count: selection.count,
    })
}
