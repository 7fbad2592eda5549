//! What loaded modules keep that names uploaded content: schedules to come, rollbacks that may be needed. Asked in process.

use std::collections::BTreeSet;
use std::sync::Arc;

use fleetwright_plugin_api::abi::{AbiPayload, Ctx, RString};
use fleetwright_plugin_api::sdk::Payload;
use fleetwright_plugin_api::wire::{BLOBS_IN_USE, BlobsAsked, BlobsInUse, CallContext};
use serde_json::json;

use super::loaded::Loaded;
use super::{Modules, store};
use crate::db::DbError;

/// What modules said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Named {
    /// Those of the digests that a module keeps something for.
    pub digests: BTreeSet<String>,
    /// Modules that this installation has, or once had, and that have not answered. What is stored of them is not known.
    pub silent: BTreeSet<String>,
}

impl Modules {
    /// Asks every module which of the digests (lower-case hex) it keeps something for. Also of one that is not licensed: what
    /// it keeps is there.
    pub async fn naming(&self, digests: &[String]) -> Result<Named, DbError> {
        let mut named = Named {
            silent: store::installed(&self.parts().db).await?,
            ..Named::default()
        };
        for loaded in self.loaded() {
            if let Some(answer) = self.ask(&loaded, digests).await {
                named.digests.extend(answer.in_use);
                named.silent.remove(&loaded.info.name);
            } else {
                named.silent.insert(loaded.info.name.clone());
            }
        }
        if !named.silent.is_empty() {
            tracing::debug!(modules = ?named.silent, "whether they keep something for uploaded content is not known");
        }
        Ok(named)
    }

    async fn ask(&self, loaded: &Arc<Loaded>, digests: &[String]) -> Option<BlobsInUse> {
        let context = CallContext {
            request_id: self.parts().clock.new_id().to_string(),
            principal: "system:blobs".to_owned(),
            ..CallContext::default()
        };
        let asked = json!(BlobsAsked {
            sha256: digests.to_vec()
        });
        let payload = AbiPayload::from(Payload::json(asked));
        let method = RString::from(BLOBS_IN_USE);
        let answer = self
            .invoke_loaded(loaded, Ctx::from(&context), method, payload)
            .await;
        let answer = Payload::try_from(answer.ok()?).ok()?;
        serde_json::from_value(answer.json).ok()
    }
}
