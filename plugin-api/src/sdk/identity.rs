//! Acting for somebody who is not calling now, such as the owner of a schedule.

use std::sync::Arc;

use abi_stable::std_types::{RBox, RString};

use super::{CallContext, ServerError};
use crate::abi::IdentityApi_TO;

/// `fleet.identity/1`.
#[derive(Clone)]
pub struct Identity {
    api: Arc<IdentityApi_TO<RBox<()>>>,
}

impl Identity {
    pub(crate) fn new(api: IdentityApi_TO<RBox<()>>) -> Self {
        Self { api: Arc::new(api) }
    }

    /// The context to call a route with as this principal, with the rights it has now; none if it is gone or may not use the
    /// route. `path` is the full one.
    pub async fn acting(
        &self,
        principal: &str,
        method: &str,
        path: &str,
    ) -> Result<Option<CallContext>, ServerError> {
        let asked = self.api.acting(
            RString::from(principal),
            RString::from(method),
            RString::from(path),
        );
        let answer = asked.await.into_result()?;
        serde_json::from_slice(&answer.json)
            .map_err(|error| ServerError::Invalid(error.to_string()))
    }
}
