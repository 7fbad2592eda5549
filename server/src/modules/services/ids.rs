//! Ids as they cross the boundary.

use fleetwright_plugin_api::sdk::ServerError;

/// Ids as 16 raw bytes each.
pub(super) fn raw_ids<T>(
    raw: &[u8],
    read: impl Fn(&[u8]) -> Option<T>,
) -> Result<Vec<T>, ServerError> {
    let ids: Option<Vec<T>> = raw.chunks(16).map(read).collect();
    ids.ok_or_else(|| ServerError::Invalid("ids are not 16 bytes each".to_owned()))
}
