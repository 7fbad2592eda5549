//! A claim as it was asked for.

use fleetwright_plugin_api::sdk::CallContext;

use super::decide::Ask;

/// A claim as it was asked for.
#[derive(Clone, Debug)]
pub struct Claim {
    pub context: CallContext,
    pub ask: Ask,
    pub claim_id: Option<String>,
    pub explain: bool,
    /// Only explained.
    pub is_dry: bool,
}
