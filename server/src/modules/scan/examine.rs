//! Everything that can be said of a module file without running any of it: whether it may be loaded.

use std::path::PathBuf;

use fleetwright_plugin_api::MODULE_API_VERSION;
use fleetwright_plugin_api::abi::ABI_EPOCH;
use fleetwright_plugin_api::info::ModuleInfo;
use semver::Version;

use super::super::book::Refused;
use super::super::loader::{LibraryFile, LoadError, Stamp};
use crate::licensing::TrustedKeys;

/// A file that may be loaded: signed by a trusted vendor, for this server.
pub struct Candidate {
    pub path: PathBuf,
    pub stamp: Stamp,
    pub info: ModuleInfo,
    pub sha256: String,
    pub signer: String,
    pub bytes: Vec<u8>,
}

/// Reads the file. It may be large and its disk slow: not on a thread that serves.
pub async fn examine(
    trusted: TrustedKeys,
    path: PathBuf,
    stamp: Stamp,
) -> Result<Candidate, Refused> {
    let examined = tokio::task::spawn_blocking(move || examine_file(&trusted, path, stamp)).await;
    examined.unwrap_or_else(|error| Err(unread(error.to_string())))
}

fn unread(reason: String) -> Refused {
    Refused {
        reason,
        ..Refused::default()
    }
}

fn examine_file(trusted: &TrustedKeys, path: PathBuf, stamp: Stamp) -> Result<Candidate, Refused> {
    let file = LibraryFile::read(&path).map_err(|error| unread(error.to_string()))?;
    let declared = fleetwright_signing::read_info(&file.bytes);
    let claimed_name = declared
        .as_ref()
        .ok()
        .and_then(|info| ModuleInfo::name_in(info));
    let refuse = |reason: String, info: Option<&ModuleInfo>, signed| Refused {
        info: info.cloned().map(Box::new),
        claimed_name: claimed_name.clone(),
        signed,
        ..unread(reason)
    };
    let signature = file
        .signature
        .map_err(|error| refuse(error.to_string(), None, false))?;
    // Of a file that is cut off, or for another machine, that is what to say, not that its signature is wrong.
    let declared = declared.map_err(|error| refuse(error.to_string(), None, false))?;
    let info = ModuleInfo::parse(declared).map_err(|error| error.to_string());
    let said = info.as_ref().ok();
    let verified = fleetwright_signing::verify_module(
        &trusted.keys,
        trusted.allow_development,
        &file.bytes,
        &signature,
    );
    let (statement, key_id) = verified.map_err(|error| refuse(error.to_string(), said, false))?;
    let info = info.map_err(|reason| refuse(reason, None, true))?;
    if info.abi != ABI_EPOCH {
        let wrong = LoadError::Epoch {
            found: info.abi,
            expected: ABI_EPOCH,
        };
        return Err(refuse(wrong.to_string(), Some(&info), true));
    }
    let version = Version::parse(MODULE_API_VERSION)
        .map_err(|error| refuse(error.to_string(), None, true))?;
    if let Err(error) = info.check_host_api(&version) {
        return Err(refuse(error.to_string(), Some(&info), true));
    }
    Ok(Candidate {
        path,
        stamp,
        info,
        sha256: statement.sha256,
        signer: trusted.signer(&key_id.to_string()),
        bytes: file.bytes,
    })
}
