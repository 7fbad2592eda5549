//! Makes a module's library: the symbols the server looks for, and the info section it reads before loading.

use abi_stable::std_types::{RResult, RString, RVec};

use super::{Module, ModuleRouter};
use crate::abi::{AbiError, AbiMigration, AnyIface, error_code};
use crate::guard;

pub use abi_stable::library::{
    __call_root_module_loader, CheckTypeLayout, LibHeader, RootModuleResult,
};
pub use abi_stable::prefix_type::PrefixTypeTrait;
pub use abi_stable::std_types;

/// Exports a [`Module`] from a `cdylib`.
///
/// `info` is the text of the module's one declaration (`name`, `host_api`, `features`, `routes`, `migrations`,
/// `description`; see [`Declaration`](crate::info::Declaration)), `openapi` the committed OpenAPI document of its routes. The
/// version is the package's.
#[macro_export]
macro_rules! export_module {
    ($module:ty, info = $info:expr, openapi = $openapi:expr $(,)?) => {
        #[expect(
            unsafe_code,
            reason = "the symbols the server looks for, checked by it before use"
        )]
        const _: () = {
            use $crate::abi;
            use $crate::sdk::export;

            const INFO: &str = $info;
            const OPENAPI: &str = $openapi;
            const VERSION: &str = env!("CARGO_PKG_VERSION");
            const LENGTH: usize = export::info_length(INFO, VERSION, OPENAPI);

            #[used]
            #[unsafe(link_section = ".fleet_modinfo")]
            static INFO_JSON: [u8; LENGTH] = export::info_json::<LENGTH>(INFO, VERSION, OPENAPI);

            static HEAD: abi::ModuleInfoHead = abi::ModuleInfoHead::new(&INFO_JSON);

            #[unsafe(no_mangle)]
            pub extern "C" fn get_module_info() -> *const abi::ModuleInfoHead {
                &raw const HEAD
            }

            #[unsafe(no_mangle)]
            pub extern "C" fn get_fleet_router(
                server: abi::AnyIface,
            ) -> export::std_types::RResult<abi::AnyIface, abi::AbiError> {
                export::get_fleet_router::<$module>(&INFO_JSON, server)
            }

            extern "C" fn migrations()
            -> export::std_types::RResult<export::std_types::RVec<abi::AbiMigration>, abi::AbiError>
            {
                export::migrations::<$module>()
            }

            fn root() -> abi::FleetModuleRef {
                export::PrefixTypeTrait::leak_into_prefix(abi::FleetModule {
                    get_fleet_router,
                    migrations,
                })
            }

            extern "C" fn erased_root() -> export::RootModuleResult {
                export::__call_root_module_loader(root)
            }

            // What abi_stable's own attribute expands to, under our symbol and without naming the crate.
            // SAFETY: `erased_root` gives exactly a `FleetModuleRef`.
            #[unsafe(no_mangle)]
            pub static FLEET_MODULE_ROOT: export::LibHeader = unsafe {
                export::LibHeader::from_constructor::<abi::FleetModuleRef>(
                    erased_root,
                    export::CheckTypeLayout::Yes,
                )
            };
        };
    };
}

/// The body of the exported `get_fleet_router`.
pub fn get_fleet_router<M: Module>(info: &[u8], server: AnyIface) -> RResult<AnyIface, AbiError> {
    let connect = || {
        let name = crate::info::ModuleInfo::parse(info)
            .map(|info| info.name)
            .map_err(|error| error.to_string());
        name.and_then(|name| {
            ModuleRouter::<M>::connect(&name, server).map_err(|error| error.to_string())
        })
    };
    let connected = guard::body(connect, |message| {
        Err(format!("it panicked in get_fleet_router: {message}"))
    });
    match connected {
        Ok(router) => RResult::ROk(router.into_iface()),
        Err(reason) => RResult::RErr(AbiError::new(error_code::INTERNAL, reason)),
    }
}

/// The body of the root struct's `migrations`.
pub fn migrations<M: Module>() -> RResult<RVec<AbiMigration>, AbiError> {
    let list = guard::body(
        || Ok(M::migrations()),
        |message| Err(format!("it panicked in migrations: {message}")),
    );
    match list {
        Ok(list) => RResult::ROk(
            list.into_iter()
                .map(|migration| AbiMigration {
                    version: migration.version,
                    name: RString::from(migration.name),
                    sqlite: RString::from(migration.sqlite),
                    postgres: RString::from(migration.postgres),
                    ext: RVec::new(),
                })
                .collect(),
        ),
        Err(reason) => RResult::RErr(AbiError::new(error_code::PANICKED, reason)),
    }
}

/// The ABI epoch is written here as text; the test below keeps it equal to the constant.
const VERSION_KEY: &[u8] = b",\"abi\":1,\"version\":\"";
const OPENAPI_KEY: &[u8] = b"\",\"openapi\":";

/// How long the info JSON is: the declaration without its last brace, the version, the OpenAPI document.
pub const fn info_length(info: &str, version: &str, openapi: &str) -> usize {
    last_brace(info.as_bytes())
        + VERSION_KEY.len()
        + version.len()
        + OPENAPI_KEY.len()
        + openapi.len()
        + 1
}

/// The info JSON, put together at compile time so that it can lie in a section of its own.
pub const fn info_json<const LENGTH: usize>(
    info: &str,
    version: &str,
    openapi: &str,
) -> [u8; LENGTH] {
    let mut json = [0_u8; LENGTH];
    let at = copy(&mut json, 0, info.as_bytes(), last_brace(info.as_bytes()));
    let at = copy(&mut json, at, VERSION_KEY, VERSION_KEY.len());
    let at = copy(&mut json, at, version.as_bytes(), version.len());
    let at = copy(&mut json, at, OPENAPI_KEY, OPENAPI_KEY.len());
    let at = copy(&mut json, at, openapi.as_bytes(), openapi.len());
    copy(&mut json, at, b"}", 1);
    json
}

/// At compile time only: an index past the end stops the build.
const fn copy(to: &mut [u8], at: usize, from: &[u8], length: usize) -> usize {
    let mut index = 0;
    while index < length {
        to[at + index] = from[index];
        index += 1;
    }
    at + length
}

const fn last_brace(json: &[u8]) -> usize {
    let mut end = json.len();
    while end > 0 {
        end -= 1;
        if json[end] == b'}' {
            return end;
        }
    }
    // Runs while the module is compiled, never in it: a build error for its author.
    panic!("the declaration must be a JSON object")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_info_is_one_document() {
        const INFO: &str = "{\"name\":\"a\",\"host_api\":\"^1\",\"features\":[],\"routes\":[]}\n";
        const LENGTH: usize = info_length(INFO, "1.2.3", "{\"openapi\":\"3.1.0\"}\n");
        let json = info_json::<LENGTH>(INFO, "1.2.3", "{\"openapi\":\"3.1.0\"}\n");
        let info = crate::info::ModuleInfo::parse(&json).unwrap();
        assert_eq!(info.abi, crate::abi::ABI_EPOCH);
        assert_eq!(
            (
                info.version.to_string().as_str(),
                info.openapi["openapi"].as_str()
            ),
            ("1.2.3", Some("3.1.0"))
        );
    }
}
