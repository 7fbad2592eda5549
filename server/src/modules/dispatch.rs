//! Calls into modules: on the modules' own threads, with a deadline, seen by the watchdog.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fleetwright_plugin_api::abi::{
    AbiBody, AbiError, AbiPayload, AbiRequest, AbiResponse, Ctx, FfiFuture, ROption, RString, RVec,
    error_code,
};
use fleetwright_plugin_api::product;
use fleetwright_plugin_api::sdk::CallError;
use fleetwright_plugin_api::sdk::adapter::header_of;
use fleetwright_plugin_api::wire::CallContext;

use super::Modules;
use super::loaded::{Loaded, Stage};
use super::providers::Absence;
use crate::licensing::Access;

/// The HTTP API's request timeout; streams are exempt once they have begun.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Why a call has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallFailure {
    Deadline,
    /// The call panicked past every guard, or its threads are gone.
    Lost,
}

impl Modules {
    /// Runs one call of a module's. It goes on if the caller goes away, and `held` lives as long as it does.
    pub(super) async fn call<T: Send + 'static>(
        &self,
        loaded: &Arc<Loaded>,
        held: impl Send + 'static,
        future: FfiFuture<T>,
    ) -> Result<T, CallFailure> {
        let watched = loaded.activity.watch(future);
        let mut task = self.registry.runtime.spawn(async move {
            let _held = held;
            watched.await
        });
        match tokio::time::timeout(DEADLINE, &mut task).await {
            Ok(Ok(answer)) => {
                loaded.activity.answered_in_time();
                Ok(answer)
            }
            Ok(Err(error)) => {
                tracing::error!(%error, module = loaded.info.name, "a call into a module was lost");
                Err(CallFailure::Lost)
            }
            Err(_) => {
                task.abort();
                loaded.activity.missed_deadline();
                Err(CallFailure::Deadline)
            }
        }
    }

    /// Another module's method.
    pub(super) async fn invoke(
        &self,
        ctx: Ctx,
        module: &str,
        method: RString,
        payload: AbiPayload,
    ) -> Result<AbiPayload, AbiError> {
        let unavailable = |feature: String, reason: &str| {
            AbiError::from(CallError::Unavailable {
                feature,
                module: module.to_owned(),
                reason: reason.to_owned(),
            })
        };
        let Some(loaded) = self.find(module) else {
            let declared = product::declaration(module);
            let feature = declared.and_then(|one| one.features.first().cloned());
            let absence = Absence::of(&self.book(), module);
            return Err(unavailable(feature.unwrap_or_default(), absence.as_str()));
        };
        let info = &loaded.info;
        let feature = info.features.first().cloned().unwrap_or_default();
        if let Access::Nothing(reason) =
            self.parts().licensing.access(&feature, loaded.licensable())
        {
            return Err(unavailable(feature, reason.as_str()));
        }
        if loaded.stage() == Stage::Failed {
            return Err(unavailable(feature, Absence::Failed.as_str()));
        }
        // Counted before it is looked at: who replaces the module waits for all that may still find it serving.
        let request = loaded.activity.request();
        let Some(router) = loaded.serving() else {
            return Err(AbiError::new(
                error_code::UNAVAILABLE,
                format!("module {module} is not serving now"),
            ));
        };
        let answer = router.invoke(ctx, method, payload);
        match self.call(&loaded, request, answer).await {
            Ok(answer) => answer.into_result(),
            Err(CallFailure::Deadline) => Err(AbiError::new(
                error_code::UNAVAILABLE,
                format!("module {module} did not answer in time"),
            )),
            Err(CallFailure::Lost) => Err(AbiError::new(
                error_code::INTERNAL,
                format!("module {module} failed"),
            )),
        }
    }

    /// A route of the server, called by a module.
    pub(super) async fn route(&self, request: AbiRequest) -> Result<AbiResponse, AbiError> {
        let invalid =
            |error: &dyn std::fmt::Display| AbiError::new(error_code::INVALID, error.to_string());
        let Some(serve) = self.registry.in_process.get() else {
            return Err(AbiError::new(
                error_code::UNAVAILABLE,
                "the server is not serving yet",
            ));
        };
        let context = CallContext::from(&request.ctx);
        let mut built = ::http::Request::builder()
            .method(request.method.as_str())
            .uri(request.uri.as_str())
            .body(Bytes::from(Vec::from(request.body)))
            .map_err(|error| invalid(&error))?;
        for (name, value) in request.headers.iter().filter_map(header_of) {
            built.headers_mut().append(name, value);
        }
        let response = serve(built, context).await;
        let (parts, body) = response.into_parts();
        let headers =
            parts
                .headers
                .iter()
                .map(|(name, value)| fleetwright_plugin_api::abi::AbiHeaderPair {
                    name: RString::from(name.as_str()),
                    value: RVec::from(value.as_bytes().to_vec()),
                });
        Ok(AbiResponse {
            status: parts.status.as_u16(),
            headers: headers.collect(),
            body: AbiBody {
                bytes: Vec::from(body).into(),
                stream: ROption::RNone,
            },
            ext: RVec::new(),
        })
    }
}
