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
        let me = self.clone();
        let call = async move {
            let asked = (module.as_str(), method);
            let answer = me.modules.invoke(&me.module, ctx, asked, payload);
            answer.await.into()
        };
        guard::future(self.runtime.clone(), call, |message| {
            RResult::RErr(super::panicked(message))
        })
    }

    fn route(&self, request: AbiRequest) -> FfiFuture<RResult<AbiResponse, AbiError>> {
        let me = self.clone();
        let call = async move { me.modules.route(&me.module, request).await.into() };
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
