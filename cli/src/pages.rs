//! Reads lists page after page.

use clap::Args;
use serde_json::Value;

use crate::client::{Client, escape};
use crate::failure::Failure;

/// How many items a list shows.
#[derive(Args, Clone, Copy, Debug)]
pub struct ListArgs {
    /// Show at most this many
    #[arg(long, default_value_t = 1_000)]
    pub limit: usize,
}

/// The largest page the server gives.
const PAGE_MAX: usize = 500;

/// Up to `limit` items of a list. `path` may carry a query of its own.
pub fn collect(client: &Client, path: &str, limit: usize) -> Result<Vec<Value>, Failure> {
    let mut items = Vec::new();
    let mut cursor: Option<String> = None;
    while items.len() < limit {
        let size = PAGE_MAX.min(limit - items.len());
        let page = client.get(&page_path(path, size, cursor.as_deref()))?;
        let (more, next) = split(page)?;
        items.extend(more);
        match next {
            Some(next) => cursor = Some(next),
            None => break,
        }
    }
    Ok(items)
}

/// The path of a list, narrowed to one status.
pub fn with_status(path: &str, status: Option<&str>) -> String {
    match status {
        Some(status) => format!("{path}?status={}", escape(status)),
        None => path.to_owned(),
    }
}

fn page_path(path: &str, size: usize, cursor: Option<&str>) -> String {
    let joint = if path.contains('?') { '&' } else { '?' };
    let cursor = cursor
        .map(|cursor| format!("&cursor={}", escape(cursor)))
        .unwrap_or_default();
    format!("{path}{joint}limit={size}{cursor}")
}

fn split(mut page: Value) -> Result<(Vec<Value>, Option<String>), Failure> {
    let next = page
        .get("next_cursor")
        .and_then(Value::as_str)
        .map(str::to_owned);
    match page.get_mut("items").map(Value::take) {
        Some(Value::Array(items)) => Ok((items, next)),
        _ => Err(Failure::Answer("a list without items".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cursor_is_carried_beside_a_query_of_the_path() {
        assert_eq!(
            page_path("/hosts?q=a", 5, Some("x=")),
            "/hosts?q=a&limit=5&cursor=x%3D"
        );
        assert_eq!(page_path("/hosts", 5, None), "/hosts?limit=5");
    }

    #[test]
    fn a_page_without_items_is_an_error() {
        assert!(split(serde_json::json!({"next_cursor": null})).is_err());
    }
}
