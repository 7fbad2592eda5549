//! What the server can ask of a module.

#![expect(non_local_definitions, reason = "how sabi_trait expands")]

use abi_stable::sabi_trait;
use abi_stable::std_types::{RBox, ROption, RResult, RStr, RString};
use async_ffi::FfiFuture;

use super::AnyIface;
use super::data::{AbiError, AbiPayload, AbiRequest, AbiResponse, Ctx};

/// A module's router, owned.
pub type FleetRouterBox = FleetRouter_TO<RBox<()>>;

/// A module, as the server sees it. Nothing of it may panic across the boundary: the guard keeps that.
#[sabi_trait]
pub trait FleetRouter: Send + Sync + 'static {
    /// Builds the router and starts the loops. Called once, after the migrations.
    fn start(&self) -> FfiFuture<RResult<(), AbiError>>;
    /// Answers one request; what a module has no route for is its own 404.
    fn handle(&self, request: AbiRequest) -> FfiFuture<AbiResponse>;
    /// A method another module calls in process.
    fn invoke(
        &self,
        ctx: Ctx,
        method: RString,
        payload: AbiPayload,
    ) -> FfiFuture<RResult<AbiPayload, AbiError>>;
    /// Stops the loops. Requests under way are the server's to wait for.
    fn shutdown(&self, deadline_ms: u64) -> FfiFuture<()>;
    /// Further interfaces of the module; none today.
    #[sabi(last_prefix_field)]
    fn interface(&self, name: RStr<'_>) -> ROption<AnyIface>;
}
