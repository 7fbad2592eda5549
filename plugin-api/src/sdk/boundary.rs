//! A [`Module`] as the server sees it: every method guarded, every future on the module's runtime.

use std::sync::{Arc, OnceLock};

use abi_stable::sabi_trait::TD_Opaque;
use abi_stable::std_types::{RBox, ROption, RResult, RStr, RString};
use async_ffi::FfiFuture;
use axum::Router;
use fleetwright_http_kit::request_id;
use tokio::runtime::Handle;

use super::adapter::{panicked, problem_response, serve};
use super::server::Services;
use super::{CallContext, Module, ModuleError, Payload, Problem, Server, runtime};
use crate::abi::{
    AbiError, AbiPayload, AbiRequest, AbiResponse, AnyIface, Ctx, FleetRouter, FleetRouter_TO,
    ServerApi_TO, error_code,
};
use crate::guard;

/// The implementation behind `get_fleet_router`.
pub struct ModuleRouter<M> {
    server: Server,
    runtime: Handle,
    started: Arc<Started<M>>,
}

impl<M: Module> ModuleRouter<M> {
    /// Connects to the server: fetches its interfaces and sends this library's log there.
    pub fn connect(name: &str, iface: AnyIface) -> Result<Self, ModuleError> {
        let api = iface
            .downcast::<ServerApi_TO<RBox<()>>>()
            .map_err(|mismatch| {
                ModuleError::new(format!(
                    "the server's root interface is another: {mismatch}"
                ))
            })?;
        let services = Services::connect(&api)?;
        super::logging::install(Arc::clone(&services.log));
        Self::with_server(Server::new(name, services))
    }

    /// On a server that is connected already, such as a test's.
    pub fn with_server(server: Server) -> Result<Self, ModuleError> {
        let runtime = runtime::handle().map_err(ModuleError::new)?;
        Ok(Self {
            server,
            started: Arc::new(Started {
                runtime: runtime.clone(),
                module: OnceLock::new(),
                router: OnceLock::new(),
            }),
            runtime,
        })
    }

    /// What `get_fleet_router` answers.
    pub fn into_iface(self) -> AnyIface {
        AnyIface::new::<FleetRouter_TO<RBox<()>>>(FleetRouter_TO::from_value(self, TD_Opaque))
    }
}

/// What `start` made. The author's types are dropped within the module's runtime, as they were made, and each by itself: a
/// panic that reaches the server's destructor, or a second one while the first unwinds, would end the process.
struct Started<M> {
    runtime: Handle,
    module: OnceLock<M>,
    router: OnceLock<Router>,
}

impl<M> Drop for Started<M> {
    fn drop(&mut self) {
        let _entered = self.runtime.enter();
        guard::body(|| drop(self.module.take()), report_drop);
        guard::body(|| drop(self.router.take()), report_drop);
    }
}

impl<M: Module> FleetRouter for ModuleRouter<M> {
    fn start(&self) -> FfiFuture<RResult<(), AbiError>> {
        let (server, started) = (self.server.clone(), Arc::clone(&self.started));
        let start = async move {
            match M::start(server).await {
                Ok((module, router)) => {
                    if started.module.set(module).is_ok() && started.router.set(router).is_ok() {
                        RResult::ROk(())
                    } else {
                        RResult::RErr(AbiError::new(
                            error_code::INVALID,
                            "it has been started before",
                        ))
                    }
                }
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
            let Some(router) = started.router.get() else {
                let id = request.ctx.request_id.to_string();
                let answer = async { problem_response(&Problem::unavailable()) };
                return request_id::within(id, answer).await;
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
            let Some(module) = started.module.get() else {
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
        let server = self.server.clone();
        guard::future(
            self.runtime.clone(),
            async move { server.stop_loops() },
            |_| (),
        )
    }

    fn interface(&self, _name: RStr<'_>) -> ROption<AnyIface> {
        ROption::RNone
    }
}

fn report_drop(message: String) {
    tracing::error!("the module panicked while it was dropped: {message}");
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::sdk::testing::TestServer;

    static STATE_DROPPED: AtomicBool = AtomicBool::new(false);
    static IN_A_RUNTIME: AtomicBool = AtomicBool::new(false);

    struct PanicsOnDrop;

    impl Drop for PanicsOnDrop {
        fn drop(&mut self) {
            IN_A_RUNTIME.store(Handle::try_current().is_ok(), Ordering::SeqCst);
            panic!("while the module was dropped");
        }
    }

    #[derive(Clone)]
    struct State(#[expect(dead_code, reason = "only its drop matters")] Arc<StateInner>);

    struct StateInner;

    impl Drop for StateInner {
        fn drop(&mut self) {
            STATE_DROPPED.store(true, Ordering::SeqCst);
            panic!("while the state was dropped");
        }
    }

    impl Module for PanicsOnDrop {
        async fn start(_host: Server) -> Result<(Self, Router), ModuleError> {
            let route = axum::routing::get(|_: axum::extract::State<State>| async { "here" });
            let router = Router::new().route("/here", route);
            Ok((Self, router.with_state(State(Arc::new(StateInner)))))
        }
    }

    #[test]
    fn panics_while_a_module_is_dropped_stay_in_its_library() {
        let server = TestServer::new(None).server("bad");
        let router = ModuleRouter::<PanicsOnDrop>::with_server(server).expect("a runtime");
        let runtime = router.runtime.clone();
        let started = runtime.block_on(router.start());
        assert!(started.into_result().is_ok());
        let iface = router.into_iface();
        // Unguarded, this ends the process: the other side's destructor does not let a panic through.
        drop(iface);
        assert!(IN_A_RUNTIME.load(Ordering::SeqCst) && STATE_DROPPED.load(Ordering::SeqCst));
    }
}
