//! What a module gets of the server: the interfaces of the module API, each bound to that module. Work runs as tasks of
//! the server's own runtime; the module's threads only wait for it, and a caller that goes away ends nothing. Reads of the
//! module's tables are the exception: they run where they are waited for, on connections that only modules use.

mod calls;
mod database;
mod facts;
mod fleet;
mod ids;
pub mod sql;

use std::future::Future;

use fleetwright_plugin_api::MODULE_API_VERSION;
use fleetwright_plugin_api::abi::{
    AbiError, AbiPayload, AnyIface, CallApi_TO, CapacityApi_TO, ClockApi_TO, DbApi_TO,
    FeaturesApi_TO, FfiFuture, HostsApi_TO, IdentityApi_TO, LogApi_TO, RBox, ROption, RResult,
    RStr, RVec, ServerApi, ServerApi_TO, SetsApi_TO, SignalsApi_TO, TD_Opaque, error_code,
    interface_name,
};
use fleetwright_plugin_api::guard;
use fleetwright_plugin_api::sdk::ServerError;
use fleetwright_plugin_api::wire::Environment;
use semver::Version;
use serde::Serialize;
use tokio::runtime::Handle;

use super::Modules;
use crate::db::{DbError, Guest};
use crate::licensing::Licensable;

/// The server as one module sees it.
#[derive(Clone)]
pub struct Services {
    module: String,
    /// The module, as the database knows it.
    guest: Guest,
    version: Version,
    signer: String,
    modules: Modules,
    runtime: Handle,
}

impl Services {
    /// Must be called on the server's runtime.
    pub fn new(modules: Modules, module: Licensable<'_>) -> Self {
        Self {
            module: module.name.to_owned(),
            guest: modules.parts().db.guest(module.name),
            version: module.version.clone(),
            signer: module.signer.to_owned(),
            modules,
            runtime: Handle::current(),
        }
    }

    fn licensable(&self) -> Licensable<'_> {
        Licensable {
            name: &self.module,
            version: &self.version,
            signer: &self.signer,
        }
    }

    /// The root interface, to hand across.
    pub fn into_iface(self) -> AnyIface {
        AnyIface::new::<ServerApi_TO<RBox<()>>>(ServerApi_TO::from_value(self, TD_Opaque))
    }

    /// Runs `work` as a task of the server's; the module waits for its answer.
    fn answer<T, F>(&self, work: F) -> FfiFuture<RResult<T, AbiError>>
    where
        F: Future<Output = Result<T, ServerError>> + Send + 'static,
        T: Send + 'static,
    {
        let task = self.runtime.spawn(work);
        let waiting = async move {
            match task.await {
                Ok(result) => result.map_err(AbiError::from).into(),
                Err(error) => RResult::RErr(AbiError::new(error_code::INTERNAL, error.to_string())),
            }
        };
        guard::future(self.runtime.clone(), waiting, |message| {
            RResult::RErr(AbiError::new(error_code::PANICKED, message))
        })
    }

    /// Runs `work` on the thread that waits for it, which spares two hops between threads. Only for work that may end
    /// with its caller and holds nothing that the server needs.
    fn answer_in_place<T, F>(&self, work: F) -> FfiFuture<RResult<T, AbiError>>
    where
        F: Future<Output = Result<T, ServerError>> + Send + 'static,
        T: Send + 'static,
    {
        let work = async move { RResult::from(work.await.map_err(AbiError::from)) };
        guard::future(self.runtime.clone(), work, |message| {
            RResult::RErr(AbiError::new(error_code::PANICKED, message))
        })
    }

    /// The same as [`Self::answer`] for JSON answers.
    fn answer_json<T, F>(&self, work: F) -> FfiFuture<RResult<AbiPayload, AbiError>>
    where
        F: Future<Output = Result<T, ServerError>> + Send + 'static,
        T: Serialize + Send + 'static,
    {
        self.answer(async move {
            let json = serde_json::to_vec(&work.await?)
                .map_err(|error| ServerError::Internal(error.to_string()))?;
            Ok(AbiPayload {
                json: json.into(),
                ..AbiPayload::default()
            })
        })
    }
}

impl ServerApi for Services {
    fn interface(&self, name: RStr<'_>) -> ROption<AnyIface> {
        let me = || self.clone();
        let found = match name.as_str() {
            interface_name::LOG => {
                AnyIface::new::<LogApi_TO<RBox<()>>>(LogApi_TO::from_value(me(), TD_Opaque))
            }
            interface_name::CLOCK => {
                AnyIface::new::<ClockApi_TO<RBox<()>>>(ClockApi_TO::from_value(me(), TD_Opaque))
            }
            interface_name::DB => {
                AnyIface::new::<DbApi_TO<RBox<()>>>(DbApi_TO::from_value(me(), TD_Opaque))
            }
            interface_name::SETS => {
                AnyIface::new::<SetsApi_TO<RBox<()>>>(SetsApi_TO::from_value(me(), TD_Opaque))
            }
            interface_name::HOSTS => {
                AnyIface::new::<HostsApi_TO<RBox<()>>>(HostsApi_TO::from_value(me(), TD_Opaque))
            }
            interface_name::SIGNALS => {
                AnyIface::new::<SignalsApi_TO<RBox<()>>>(SignalsApi_TO::from_value(me(), TD_Opaque))
            }
            interface_name::CALL => {
                AnyIface::new::<CallApi_TO<RBox<()>>>(CallApi_TO::from_value(me(), TD_Opaque))
            }
            interface_name::FEATURES => AnyIface::new::<FeaturesApi_TO<RBox<()>>>(
                FeaturesApi_TO::from_value(me(), TD_Opaque),
            ),
            interface_name::IDENTITY => AnyIface::new::<IdentityApi_TO<RBox<()>>>(
                IdentityApi_TO::from_value(me(), TD_Opaque),
            ),
            interface_name::CAPACITY => AnyIface::new::<CapacityApi_TO<RBox<()>>>(
                CapacityApi_TO::from_value(me(), TD_Opaque),
            ),
            _ => return ROption::RNone,
        };
        ROption::RSome(found)
    }

    fn environment(&self) -> RVec<u8> {
        let environment = Environment {
            module_api: MODULE_API_VERSION.to_owned(),
            settings: self.modules.parts().settings.clone(),
        };
        serde_json::to_vec(&environment).unwrap_or_default().into()
    }
}

/// What a module is told of the database's trouble.
pub(super) fn database_error(error: DbError) -> ServerError {
    match error {
        DbError::Unavailable(reason) => ServerError::Unavailable(reason),
        DbError::Unique(what) | DbError::Constraint(what) => ServerError::Constraint {
            op_index: 0,
            constraint: what,
        },
        DbError::Refused(reason) => ServerError::Forbidden(reason),
        DbError::Row(_) | DbError::Statement(_) | DbError::Unfit(_) => {
            ServerError::Internal(error.to_string())
        }
    }
}

fn parse<T: serde::de::DeserializeOwned>(json: &[u8]) -> Result<T, ServerError> {
    serde_json::from_slice(json).map_err(|error| ServerError::Invalid(error.to_string()))
}

fn panicked(message: String) -> AbiError {
    AbiError::new(error_code::PANICKED, message)
}
