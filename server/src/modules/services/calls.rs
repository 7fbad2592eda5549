//! `fleet.call/1`: another module's method, or any route of the server, in process; `fleet.identity/1`: as whom.

use fleetwright_plugin_api::abi::{
    AbiError, AbiPayload, AbiRequest, AbiResponse, CallApi, Ctx, FfiFuture, IdentityApi, RResult,
    RString,
};
use fleetwright_plugin_api::guard;

use super::Services;

impl CallApi for Services {
    fn invoke(
        &self,
        ctx: Ctx,
        module: RString,
        method: RString,
        payload: AbiPayload,
    ) -> FfiFuture<RResult<AbiPayload, AbiError>> {
        let modules = self.modules.clone();
        let call = async move {
            modules
                .invoke(ctx, module.as_str(), method, payload)
                .await
                .into()
        };
        guard::future(self.runtime.clone(), call, |message| {
            RResult::RErr(super::panicked(message))
        })
    }

    fn route(&self, request: AbiRequest) -> FfiFuture<RResult<AbiResponse, AbiError>> {
        let modules = self.modules.clone();
        let call = async move { modules.route(request).await.into() };
        guard::future(self.runtime.clone(), call, |message| {
            RResult::RErr(super::panicked(message))
        })
    }
}

impl IdentityApi for Services {
    fn acting(
        &self,
        principal: RString,
        method: RString,
        path: RString,
    ) -> FfiFuture<RResult<AbiPayload, AbiError>> {
        let modules = self.modules.clone();
        self.answer_json(async move {
            let acting = modules.acting(&principal, &method, &path).await;
            acting.map_err(super::database_error)
        })
    }
}
