//! Calls into modules: on the modules' own threads, with a deadline, seen by the watchdog.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fleetwright_plugin_api::abi::{
    AbiBody, AbiError, AbiPayload, AbiRequest, AbiResponse, Ctx, FfiFuture, ROption, RString, RVec,
    error_code,
};
use fleetwright_plugin_api::info::RouteKind;
use fleetwright_plugin_api::product;
use fleetwright_plugin_api::sdk::CallError;
use fleetwright_plugin_api::sdk::adapter::header_of;
use fleetwright_plugin_api::wire::CallContext;

use super::loaded::{Loaded, Stage};
use super::providers::Absence;
use super::{Modules, judge, services};
use crate::auth::{Caller, Standing, carried};
use crate::http::Problem;
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

    /// Another module's method, called by the module `from`.
    pub(super) async fn invoke(
        &self,
        from: &str,
        ctx: Ctx,
        (module, method): (&str, RString),
        payload: AbiPayload,
    ) -> Result<AbiPayload, AbiError> {
        let context = CallContext::from(&ctx);
        let caller = self.carried(from, context).await?;
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
        let route = judge::method(&caller, info, &method).map_err(CallError::Problem)?;
        match self.parts().licensing.access(&feature, loaded.licensable()) {
            Access::Full => {}
            // As of a request for the route.
            Access::ContinueOnly(_) if route.is_none_or(|route| route.kind != RouteKind::New) => {}
            Access::ContinueOnly(reason) | Access::Nothing(reason) => {
                return Err(unavailable(feature, reason.as_str()));
            }
        }
        if loaded.stage() == Stage::Failed {
            return Err(unavailable(feature, Absence::Failed.as_str()));
        }
        let ctx = Ctx {
            idempotency: ctx.idempotency,
            ..Ctx::from(&caller.to_context())
        };
        self.invoke_loaded(&loaded, ctx, method, payload).await
    }

    /// A method of a module that is there, whatever is licensed.
    pub(super) async fn invoke_loaded(
        &self,
        loaded: &Arc<Loaded>,
        ctx: Ctx,
        method: RString,
        payload: AbiPayload,
    ) -> Result<AbiPayload, AbiError> {
        let module = loaded.info.name.as_str();
        // Counted before it is looked at: who replaces the module waits for all that may still find it serving.
        let request = loaded.activity.request();
        let Some(router) = loaded.serving() else {
            return Err(AbiError::new(
                error_code::UNAVAILABLE,
                format!("module {module} is not serving now"),
            ));
        };
        let answer = router.invoke(ctx, method, payload);
        match self.call(loaded, request, answer).await {
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

    /// A route of the server, called by the module `from`.
    pub(super) async fn route(
        &self,
        from: &str,
        request: AbiRequest,
    ) -> Result<AbiResponse, AbiError> {
        let invalid =
            |error: &dyn std::fmt::Display| AbiError::new(error_code::INVALID, error.to_string());
        let Some(serve) = self.registry.in_process.get() else {
            return Err(AbiError::new(
                error_code::UNAVAILABLE,
                "the server is not serving yet",
            ));
        };
        let caller = self.carried(from, CallContext::from(&request.ctx)).await?;
        let parts = self.parts();
        let standing = Standing::carried(&parts.identities, &parts.clock, &caller.principal);
        let mut built = ::http::Request::builder()
            .method(request.method.as_str())
            .uri(request.uri.as_str())
            .body(Bytes::from(Vec::from(request.body)))
            .map_err(|error| invalid(&error))?;
        for (name, value) in request.headers.iter().filter_map(header_of) {
            built.headers_mut().append(name, value);
        }
        let response = serve(built, caller, standing).await;
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

    /// Who a call in process is for, as the module `from` carries it on.
    async fn carried(&self, from: &str, context: CallContext) -> Result<Caller, AbiError> {
        let parts = self.parts();
        let now_us = parts.clock.now_us();
        let found = carried::principal(&parts.identities, &context, from, now_us).await;
        let found = found.map_err(|error| AbiError::from(services::database_error(error)))?;
        let principal = found.ok_or_else(|| {
            tracing::warn!(
                module = from,
                principal = context.principal,
                role = context.role,
                "a call in process was for nobody who may make it"
            );
            let detail = "Whoever this is done for may do nothing (any more).";
            AbiError::from(CallError::Problem(Problem::forbidden(detail)))
        })?;
        Ok(Caller {
            principal,
            request_id: context.request_id,
            address: context.address,
            // The key belongs to the caller's own request, whose answer is not this one.
            idempotency: None,
        })
    }
}
