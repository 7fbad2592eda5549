//! The only types that cross a library boundary, frozen once released. A struct grows through its spare `ext`
//! bytes, an interface through a new name (`fleet.db/2`); nothing here is ever reordered, widened or extended.
//!
//! Not here: what the bytes mean (`wire`, `cells`) and the safe side a module author sees (`sdk`).

#![expect(
    unsafe_code,
    reason = "the boundary itself: erased pointers and symbols read by the other side"
)]

mod data;
mod router;
mod server;

pub use data::{
    AbiBody, AbiError, AbiHeaderPair, AbiMigration, AbiPayload, AbiRequest, AbiResponse,
    AbiStatement, AbiTable, BodyStream, BodyStream_TO, BodyStreamBox, Ctx, LogRecord, Op,
    error_code, op_kind,
};
pub use router::{FleetRouter, FleetRouter_TO, FleetRouterBox};
pub use server::{
    CallApi, CallApi_TO, ClockApi, ClockApi_TO, DbApi, DbApi_TO, FeaturesApi, FeaturesApi_TO,
    HostsApi, HostsApi_TO, IdentityApi, IdentityApi_TO, LogApi, LogApi_TO, ServerApi, ServerApi_TO,
    SetsApi, SetsApi_TO, SignalsApi, SignalsApi_TO, interface_name,
};

// The types the server's side needs to name, so that only the loader depends on where they come from.
pub use abi_stable::sabi_trait::TD_Opaque;
pub use abi_stable::std_types::{RBox, ROption, RResult, RStr, RString, RVec};
pub use async_ffi::FfiFuture;

use abi_stable::StableAbi;
use abi_stable::abi_stability::abi_checking::check_layout_compatibility;
use abi_stable::library::RootModule;
use abi_stable::sabi_types::VersionStrings;
use abi_stable::type_layout::TypeLayout;

/// The first bytes of every info head.
pub const INFO_MAGIC: [u8; 8] = *b"FLEETMOD";
/// Raised only when `ModuleInfoHead`, the root struct or an `abi` type changes shape: then every module is rebuilt.
pub const ABI_EPOCH: u32 = 1;
/// The ELF section with the info JSON, readable before the file is loaded.
pub const INFO_SECTION: &str = ".fleet_modinfo";
/// The C symbol that returns the info head.
pub const INFO_SYMBOL: &str = "get_module_info";
/// The symbol of the library header with the layout-checked root.
pub const ROOT_SYMBOL: &str = "FLEET_MODULE_ROOT";

/// What `get_module_info` returns: plain C, frozen for ever, so that any server can read any module's.
#[repr(C)]
pub struct ModuleInfoHead {
    /// [`INFO_MAGIC`]; anything else is no module.
    pub magic: [u8; 8],
    /// Bytes of this struct as the module was built with it.
    pub head_size: u32,
    /// [`ABI_EPOCH`] of the SDK it was built with; another one is refused.
    pub abi_epoch: u32,
    /// 1 if the module unwinds on panic. One built with `panic=abort` would take the server down and is refused.
    pub panic_unwind: u8,
    /// The info JSON ([`crate::info::ModuleInfo`]) in UTF-8, without a terminating zero.
    pub json_ptr: *const u8,
    /// Its bytes.
    pub json_len: usize,
}

// SAFETY: immutable, and `json_ptr` points at a static.
unsafe impl Sync for ModuleInfoHead {}

impl ModuleInfoHead {
    /// The head of a module whose info JSON is `json`.
    pub const fn new(json: &'static [u8]) -> Self {
        Self {
            magic: INFO_MAGIC,
            head_size: size_of::<Self>() as u32,
            abi_epoch: ABI_EPOCH,
            panic_unwind: if cfg!(panic = "unwind") { 1 } else { 0 },
            json_ptr: json.as_ptr(),
            json_len: json.len(),
        }
    }
}

/// The root struct, reached through `FLEET_MODULE_ROOT`. Never extended.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = FleetModuleRef)))]
#[sabi(missing_field(panic))]
pub struct FleetModule {
    /// Takes the server's `ServerApi`, gives the module's `FleetRouter`, both as `AnyIface`.
    pub get_fleet_router: extern "C" fn(AnyIface) -> RResult<AnyIface, AbiError>,
    /// The module's own migrations, oldest first. Called before `get_fleet_router`.
    #[sabi(last_prefix_field)]
    pub migrations: extern "C" fn() -> RResult<RVec<AbiMigration>, AbiError>,
}

impl RootModule for FleetModuleRef {
    abi_stable::declare_root_module_statics! {FleetModuleRef}
    const BASE_NAME: &'static str = "fleet_module";
    const NAME: &'static str = "fleet_module";
    const VERSION_STRINGS: VersionStrings = abi_stable::package_version_strings!();
}

/// Any interface, erased. Whoever uses it checks its layout, so an old module works in a newer server, and a module that
/// needs what a server does not have is refused in one line.
#[repr(C)]
#[derive(StableAbi)]
pub struct AnyIface {
    layout: &'static TypeLayout,
    ptr: *mut (),
    /// Drops the value in place.
    drop: extern "C" fn(*mut ()),
    /// Frees the memory without dropping the value.
    free: extern "C" fn(*mut ()),
}

// SAFETY: only made from `Send + Sync` values (`AnyIface::new`).
unsafe impl Send for AnyIface {}
// SAFETY: as above; nothing is reachable through a shared reference.
unsafe impl Sync for AnyIface {}

impl AnyIface {
    /// Erases a value. It is dropped by this side's code, whoever holds it then, and a panic of that drop is swallowed.
    pub fn new<T: StableAbi + Send + Sync + 'static>(value: T) -> Self {
        extern "C" fn drop_value<T>(pointer: *mut ()) {
            let _ = std::panic::catch_unwind(|| {
                // SAFETY: `pointer` comes from `Box::<T>::into_raw` below and is dropped at most once.
                unsafe { pointer.cast::<T>().drop_in_place() }
            });
        }
        extern "C" fn free_memory<T>(pointer: *mut ()) {
            // SAFETY: as above; `ManuallyDrop` keeps the value, which was moved out or dropped, from being dropped again.
            drop(unsafe { Box::from_raw(pointer.cast::<std::mem::ManuallyDrop<T>>()) });
        }
        Self {
            layout: T::LAYOUT,
            ptr: Box::into_raw(Box::new(value)).cast(),
            drop: drop_value::<T>,
            free: free_memory::<T>,
        }
    }

    /// The value, if its layout is what this side expects of `T`; else one line per difference.
    pub fn downcast<T: StableAbi + 'static>(self) -> Result<T, LayoutMismatch> {
        check_layout_compatibility(T::LAYOUT, self.layout)
            .map_err(|errors| LayoutMismatch::from_report(&errors.to_string()))?;
        let this = std::mem::ManuallyDrop::new(self);
        // SAFETY: the layouts agree, so the other side's value can be read as `T`; it is moved out exactly once and its
        // memory is then given back to the allocator it came from.
        let value = unsafe { this.ptr.cast::<T>().read() };
        (this.free)(this.ptr);
        Ok(value)
    }
}

impl Drop for AnyIface {
    fn drop(&mut self) {
        (self.drop)(self.ptr);
        (self.free)(self.ptr);
    }
}

/// Two sides disagree about a type. `Display` is one readable line; `report` is everything the checker said.
#[derive(Debug, thiserror::Error)]
#[error("{line}")]
pub struct LayoutMismatch {
    /// Where, expected and found of the first difference.
    pub line: String,
    /// Everything the checker said: tens to hundreds of lines.
    pub report: String,
}

impl LayoutMismatch {
    /// Condenses the checker's report (tens to hundreds of lines) into where, expected and found of its first error.
    pub fn from_report(report: &str) -> Self {
        Self {
            line: report.lines().collect::<Vec<_>>().join(" "),
            report: report.to_owned(),
        }
    }
}
