//! A module as module API 2.0.0 built it: it takes every interface that there was, and tells what the server says through them.

pub mod abi;

use std::sync::Arc;

use abi::{
    AbiBody, AbiError, AbiMigration, AbiPayload, AbiRequest, AbiResponse, AnyIface, CallApi_TO, ClockApi_TO, Ctx, DbApi_TO,
    FeaturesApi_TO, FfiFuture, FleetModule, FleetModuleRef, FleetRouter, FleetRouter_TO, HostsApi_TO, IdentityApi_TO, LogApi_TO,
    LogRecord, ModuleInfoHead, RBox, ROption, RResult, RStr, RString, RVec, ServerApi_TO, SetsApi_TO, SignalsApi_TO, TD_Opaque,
    interface_name,
};
use abi_stable::StableAbi;
use abi_stable::library::{__call_root_module_loader, CheckTypeLayout, LibHeader, RootModuleResult};
use abi_stable::prefix_type::PrefixTypeTrait;
use async_ffi::FutureExt as _;
use serde_json::{Value, json};

const INFO: &[u8] = include_bytes!("../module.json");

#[used]
#[unsafe(link_section = ".fleet_modinfo")]
static INFO_JSON: [u8; INFO.len()] = *include_bytes!("../module.json");

static HEAD: ModuleInfoHead = ModuleInfoHead::new(&INFO_JSON);

#[unsafe(no_mangle)]
pub extern "C" fn get_module_info() -> *const ModuleInfoHead {
    &raw const HEAD
}

type Server = ServerApi_TO<RBox<()>>;

struct Router {
    server: Arc<Server>,
}

fn taken<T: StableAbi + 'static>(server: &Server, name: &'static str) -> Result<T, String> {
    let found = server.interface(RStr::from_str(name)).into_option();
    let found = found.ok_or_else(|| format!("there is no {name}"))?;
    found.downcast::<T>().map_err(|mismatch| format!("{name}: {mismatch}"))
}

/// Takes each of the nine, and uses those that answer at once or read.
async fn look(server: &Server) -> Result<Value, String> {
    let log: LogApi_TO<RBox<()>> = taken(server, interface_name::LOG)?;
    let clock: ClockApi_TO<RBox<()>> = taken(server, interface_name::CLOCK)?;
    let db: DbApi_TO<RBox<()>> = taken(server, interface_name::DB)?;
    let _sets: SetsApi_TO<RBox<()>> = taken(server, interface_name::SETS)?;
    let hosts: HostsApi_TO<RBox<()>> = taken(server, interface_name::HOSTS)?;
    let signals: SignalsApi_TO<RBox<()>> = taken(server, interface_name::SIGNALS)?;
    let call: CallApi_TO<RBox<()>> = taken(server, interface_name::CALL)?;
    let features: FeaturesApi_TO<RBox<()>> = taken(server, interface_name::FEATURES)?;
    let _identity: IdentityApi_TO<RBox<()>> = taken(server, interface_name::IDENTITY)?;
    let text = |text: &str| RString::from(text);
    log.log(LogRecord {
        level: 3,
        target: text("released"),
        message: text("it looks"),
        fields: RVec::new(),
        ext: RVec::new(),
    });
    signals.publish(text("released:looked"));
    let read = db.read(RVec::new()).await.into_result();
    let tables = read.map_err(|error| error.message.to_string())?;
    let seen = hosts.changes(0, 10).await.into_result();
    let seen = seen.map_err(|error| error.message.to_string())?;
    let ctx = Ctx {
        request_id: text("1"),
        principal: text("module:released"),
        principal_name: text(""),
        role: text(""),
        tenant: ROption::RNone,
        address: text(""),
        idempotency: 0,
        ext: RVec::new(),
    };
    let nobody = call.invoke(ctx, text("nobody"), text("nothing"), AbiPayload::default()).await;
    let json = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap_or_default();
    Ok(json!({
        "interfaces": interface_name::ALL.len(),
        "clock": clock.now_us() > 0 && clock.lease_us() > 0,
        "tables": tables.len(),
        "hosts": json(&seen.json),
        "feature": json(&features.state(RStr::from_str("x_released"))),
        "nobody": nobody.into_result().is_err(),
        "environment": json(&server.environment()),
    }))
}

impl FleetRouter for Router {
    fn start(&self) -> FfiFuture<RResult<(), AbiError>> {
        let server = Arc::clone(&self.server);
        async move {
            match look(&server).await {
                Ok(_) => RResult::ROk(()),
                Err(why) => RResult::RErr(AbiError::new(1, why)),
            }
        }
        .into_ffi()
    }

    fn handle(&self, _request: AbiRequest) -> FfiFuture<AbiResponse> {
        let server = Arc::clone(&self.server);
        async move {
            let (status, body) = match look(&server).await {
                Ok(seen) => (200, seen),
                Err(why) => (500, json!(why)),
            };
            AbiResponse {
                status,
                headers: RVec::new(),
                body: AbiBody {
                    bytes: RVec::from(body.to_string().into_bytes()),
                    stream: ROption::RNone,
                },
                ext: RVec::new(),
            }
        }
        .into_ffi()
    }

    fn invoke(&self, _ctx: Ctx, _method: RString, _payload: AbiPayload) -> FfiFuture<RResult<AbiPayload, AbiError>> {
        async { RResult::RErr(AbiError::new(11, "it has no methods")) }.into_ffi()
    }

    fn shutdown(&self, _deadline_ms: u64) -> FfiFuture<()> {
        async {}.into_ffi()
    }

    fn interface(&self, _name: RStr<'_>) -> ROption<AnyIface> {
        ROption::RNone
    }
}

extern "C" fn get_fleet_router(host: AnyIface) -> RResult<AnyIface, AbiError> {
    match host.downcast::<Server>() {
        Ok(server) => {
            let router = Router { server: Arc::new(server) };
            let router = FleetRouter_TO::from_value(router, TD_Opaque);
            RResult::ROk(AnyIface::new::<FleetRouter_TO<RBox<()>>>(router))
        }
        Err(mismatch) => RResult::RErr(AbiError::new(1, mismatch.to_string())),
    }
}

extern "C" fn migrations() -> RResult<RVec<AbiMigration>, AbiError> {
    RResult::ROk(RVec::new())
}

fn root() -> FleetModuleRef {
    FleetModule { get_fleet_router, migrations }.leak_into_prefix()
}

extern "C" fn erased_root() -> RootModuleResult {
    __call_root_module_loader(root)
}

#[unsafe(no_mangle)]
pub static FLEET_MODULE_ROOT: LibHeader =
    unsafe { LibHeader::from_constructor::<FleetModuleRef>(erased_root, CheckTypeLayout::Yes) };
