//! Loads a verified library and checks that both sides mean the same by the types between them. With `loader/file` the
//! only place that touches `libloading` and `abi_stable`, and the only `unsafe` of the server.
//!
//! A library is never unloaded: its threads, statics and trait objects may live anywhere.

#![expect(
    unsafe_code,
    reason = "opening a shared library and reading its symbols"
)]

mod file;
pub mod probe;

use std::os::fd::{IntoRawFd as _, OwnedFd};

use abi_stable::library::{AbiHeaderRef, LibraryError};
use fleetwright_plugin_api::abi::{
    ABI_EPOCH, AbiMigration, AnyIface, FleetModuleRef, FleetRouterBox, INFO_MAGIC, INFO_SYMBOL,
    LayoutMismatch, ModuleInfoHead, ROOT_SYMBOL,
};
use fleetwright_plugin_api::guard;
use libloading::os::unix::{Library as OpenLibrary, RTLD_LOCAL, RTLD_NOW};

pub use file::{FileError, LibraryFile, Stamp, check_folder, seal};

/// Why a library does not become a module; one line for people.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("the system cannot load it: {0}")]
    Open(String),
    #[error("it has no `{0}`: it is not built with the module SDK")]
    Symbol(&'static str),
    #[error("its info head is not a module's")]
    Head,
    #[error("it is built for module ABI {found}, this server has {expected}")]
    Epoch { found: u32, expected: u32 },
    #[error("it is built with panic=abort: a panic in it would end the server")]
    PanicAbort,
    #[error("the info it reports is not the info in its file")]
    OtherInfo,
    #[error("it is built with module API {found}, this server has {expected}")]
    Api { found: String, expected: String },
    #[error("its types differ from this server's: {line}")]
    Layout { line: String, report: String },
    #[error("it does not start: {0}")]
    Root(String),
}

/// A library in memory, its types checked; nothing of its own has run but what runs on loading.
#[derive(Clone, Copy)]
pub struct Library {
    root: FleetModuleRef,
}

impl Library {
    /// Loads from the sealed copy that was verified; `info` is the info section of the same bytes.
    pub fn open(sealed: OwnedFd, info: &[u8]) -> Result<Self, LoadError> {
        // The loader compares names before it looks at files: a descriptor's number must never be used for another
        // library while this one is mapped, which is for ever. So it stays open.
        let descriptor = sealed.into_raw_fd();
        let path = format!("/proc/self/fd/{descriptor}");
        // SAFETY: constructors run here. The bytes carry a trusted vendor's signature, which is what stands for them.
        let library = unsafe { OpenLibrary::open(Some(&path), RTLD_NOW | RTLD_LOCAL) };
        let library = std::mem::ManuallyDrop::new(
            library.map_err(|error| LoadError::Open(readable(&error, &path)))?,
        );
        check_head(&library, info)?;
        let root = guard::body(
            || root_of(&library),
            |message| Err(LoadError::Root(message)),
        )?;
        Ok(Self { root })
    }

    pub fn migrations(&self) -> Result<Vec<AbiMigration>, LoadError> {
        let listed = guard::body(
            || Ok(self.root.migrations()()),
            |message| Err(LoadError::Root(message)),
        )?;
        listed
            .into_result()
            .map(Into::into)
            .map_err(|error| LoadError::Root(error.message.into()))
    }

    /// The module's router, given the server's interfaces.
    pub fn router(&self, host: AnyIface) -> Result<FleetRouterBox, LoadError> {
        let given = guard::body(
            || Ok(self.root.get_fleet_router()(host)),
            |message| Err(LoadError::Root(message)),
        )?;
        let iface = given
            .into_result()
            .map_err(|error| LoadError::Root(error.message.into()))?;
        iface.downcast::<FleetRouterBox>().map_err(layout)
    }
}

type InfoFunction = unsafe extern "C" fn() -> *const ModuleInfoHead;

fn check_head(library: &OpenLibrary, info: &[u8]) -> Result<(), LoadError> {
    // SAFETY: the symbol's type is part of the contract, frozen for ever.
    let function = unsafe { library.get::<InfoFunction>(INFO_SYMBOL.as_bytes()) };
    let function = function.map_err(|_| LoadError::Symbol(INFO_SYMBOL))?;
    // SAFETY: as above; the function takes nothing and returns a pointer to a static, or null.
    let head = unsafe { function() };
    // SAFETY: a non-null pointer leads to the module's static head, whose first fields never change.
    let (magic, size) = match unsafe { head.as_ref() } {
        Some(head) => (head.magic, head.head_size),
        None => return Err(LoadError::Head),
    };
    if magic != INFO_MAGIC || (size as usize) < size_of::<ModuleInfoHead>() {
        return Err(LoadError::Head);
    }
    // SAFETY: the head is at least as large as ours, so all of our fields are there.
    let head = unsafe { &*head };
    if head.abi_epoch != ABI_EPOCH {
        return Err(LoadError::Epoch {
            found: head.abi_epoch,
            expected: ABI_EPOCH,
        });
    }
    if head.panic_unwind != 1 {
        return Err(LoadError::PanicAbort);
    }
    if head.json_ptr.is_null() || head.json_len != info.len() {
        return Err(LoadError::OtherInfo);
    }
    // SAFETY: pointer and length describe the module's static info text.
    let reported = unsafe { std::slice::from_raw_parts(head.json_ptr, head.json_len) };
    if reported == info {
        Ok(())
    } else {
        Err(LoadError::OtherInfo)
    }
}

fn root_of(library: &OpenLibrary) -> Result<FleetModuleRef, LoadError> {
    // SAFETY: the symbol is a `LibHeader`, whose beginning (an `AbiHeader`) is checked before anything else of it.
    let header = unsafe { library.get::<AbiHeaderRef>(ROOT_SYMBOL.as_bytes()) };
    let header = *header.map_err(|_| LoadError::Symbol(ROOT_SYMBOL))?;
    let header = header.upgrade().map_err(library_error)?;
    header
        .init_root_module::<FleetModuleRef>()
        .map_err(library_error)
}

fn library_error(error: LibraryError) -> LoadError {
    match error {
        LibraryError::AbiInstability(report) => {
            layout(LayoutMismatch::from_report(&report.to_string()))
        }
        // What it declares to need was another, or it would not have been opened; what it is built with decides.
        LibraryError::IncompatibleVersionNumber {
            expected_version,
            actual_version,
            ..
        } => LoadError::Api {
            found: actual_version.to_string(),
            expected: expected_version.to_string(),
        },
        LibraryError::RootModule { err, .. } => LoadError::Root(one_line(&err.to_string())),
        other => LoadError::Root(one_line(&other.to_string())),
    }
}

fn layout(mismatch: LayoutMismatch) -> LoadError {
    LoadError::Layout {
        line: mismatch.line,
        report: mismatch.report,
    }
}

/// The linker's words without our descriptor's path, which says nothing to anybody.
fn readable(error: &libloading::Error, path: &str) -> String {
    let mut text = error.to_string();
    if let Some(source) = std::error::Error::source(error) {
        text = source.to_string();
    }
    one_line(&text.replace(&format!("{path}: "), ""))
}

fn one_line(text: &str) -> String {
    text.split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .chars()
        .take(300)
        .collect()
}

#[cfg(test)]
mod tests {
    use abi_stable::sabi_types::VersionNumber;

    use super::*;

    #[test]
    fn a_library_of_another_module_api_is_refused_in_one_line() {
        let version = |major, minor| VersionNumber {
            major,
            minor,
            patch: 0,
        };
        let refused = library_error(LibraryError::IncompatibleVersionNumber {
            library_name: "fleet_module",
            expected_version: version(2, 0),
            actual_version: version(1, 1),
        });
        assert_eq!(
            refused.to_string(),
            "it is built with module API 1.1.0, this server has 2.0.0"
        );
    }
}
