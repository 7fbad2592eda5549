//! A [`Module`] as the server sees it: every method guarded, every future on the module's runtime.

use std::sync::{Arc, OnceLock};

use abi_stable::sabi_trait::TD_Opaque;
use abi_stable::std_types::{RBox, ROption, RResult, RStr, RString};
use async_ffi::FfiFuture;
use axum::Router;
use tokio::runtime::Handle;

use super::adapter::{panicked, problem_response, serve};
use super::host::Services;
use super::{CallContext, Host, Module, ModuleError, Payload, Problem, runtime};
use crate::abi::{
    AbiError, AbiPayload, AbiRequest, AbiResponse, AnyIface, Ctx, FleetRouter, FleetRouter_TO,
    HostApi_TO, error_code,
};
use crate::guard;

/// The implementation behind `get_fleet_router`.
pub struct ModuleRouter<M> {
    host: Host,
    runtime: Handle,
    started: Arc<OnceLock<(M, Router)>>,
}

impl<M: Module> ModuleRouter<M> {
    /// Connects to the server: fetches its interfaces and sends this library's log there.
    pub fn connect(name: &str, iface: AnyIface) -> Result<Self, ModuleError> {
        let api = iface
            .downcast::<HostApi_TO<RBox<()>>>()
            .map_err(|mismatch| {
                ModuleError::new(format!(
                    "the server's root interface is another: {mismatch}"
                ))
            })?;
        let services = Services::connect(&api)?;
        super::logging::install(Arc::clone(&services.log));
        Self::with_host(Host::new(name, services))
    }

    pub fn with_host(host: Host) -> Result<Self, ModuleError> {
        let runtime = runtime::handle().map_err(ModuleError::new)?;
        Ok(Self {
            host,
            runtime,
            started: Arc::new(OnceLock::new()),
        })
    }

    pub fn into_iface(self) -> AnyIface {
        AnyIface::new::<FleetRouter_TO<RBox<()>>>(FleetRouter_TO::from_value(self, TD_Opaque))
    }
}

impl<M: Module> FleetRouter for ModuleRouter<M> {
    fn start(&self) -> FfiFuture<RResult<(), AbiError>> {
        let (host, started) = (self.host.clone(), Arc::clone(&self.started));
        let start = async move {
            match M::start(host).await {
                Ok(parts) => match started.set(parts) {
                    Ok(()) => RResult::ROk(()),
                    Err(_) => RResult::RErr(AbiError::new(
                        error_code::INVALID,
                        "it has been started before",
                    )),
                },
                Err(ModuleError(reason)) => {
                    RResult::RErr(AbiError::new(error_code::INTERNAL, reason))
                }
            }
        };
        guard::future(self.runtime.clone(), start, |message| {
            RResult::RErr(AbiError::new(
                error_code::PANICKED,
                format!("it panicked in start: {message}"),
            ))
        })
    }

    fn handle(&self, request: AbiRequest) -> FfiFuture<AbiResponse> {
        let (started, runtime) = (Arc::clone(&self.started), self.runtime.clone());
        let handle = async move {
            let Some((_, router)) = started.get() else {
                return problem_response(&Problem::unavailable(), request.ctx.request_id.as_str());
            };
            serve(router.clone(), request, runtime).await
        };
        guard::future(self.runtime.clone(), handle, panicked)
    }

    fn invoke(
        &self,
        ctx: Ctx,
        method: RString,
        payload: AbiPayload,
    ) -> FfiFuture<RResult<AbiPayload, AbiError>> {
        let started = Arc::clone(&self.started);
        let invoke = async move {
            let Some((module, _)) = started.get() else {
                return RResult::RErr(AbiError::new(
                    error_code::UNAVAILABLE,
                    "the module has not started",
                ));
            };
            let payload = match Payload::try_from(payload) {
                Ok(payload) => payload,
                Err(error) => return RResult::RErr(error.into()),
            };
            match module
                .invoke(CallContext::from(&ctx), method.into(), payload)
                .await
            {
                Ok(answer) => RResult::ROk(answer.into()),
                Err(error) => RResult::RErr(error.into()),
            }
        };
        guard::future(self.runtime.clone(), invoke, |message| {
            RResult::RErr(AbiError::new(error_code::PANICKED, message))
        })
    }

    fn shutdown(&self, _deadline_ms: u64) -> FfiFuture<()> {
        let host = self.host.clone();
        guard::future(
            self.runtime.clone(),
            async move { host.stop_loops() },
            |_| (),
        )
    }

    fn interface(&self, _name: RStr<'_>) -> ROption<AnyIface> {
        ROption::RNone
    }
}
