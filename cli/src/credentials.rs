//! The file in which `login` keeps server and token. Readable by its owner only.

use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::failure::Failure;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Credentials {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
}

pub fn default_path() -> Result<PathBuf, Failure> {
    let base = match std::env::var_os("XDG_CONFIG_HOME").filter(|value| !value.is_empty()) {
        Some(base) => PathBuf::from(base),
        None => match std::env::var_os("HOME") {
            Some(home) => PathBuf::from(home).join(".config"),
            None => {
                return Err(Failure::Settings(
                    "HOME is not set: name a file with --config".to_owned(),
                ));
            }
        },
    };
    Ok(base.join("fleetwright/config.toml"))
}

/// `None` if there is no file yet.
pub fn read(path: &Path) -> Result<Option<Credentials>, Failure> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Failure::file(path.display().to_string())(error)),
    };
    toml::from_str(&text)
        .map(Some)
        .map_err(|error| Failure::Settings(format!("{}: {error}", path.display())))
}

/// Replaces the file in one step, so that a reader never sees half of it.
pub fn write(path: &Path, credentials: &Credentials) -> Result<(), Failure> {
    let name = path.display().to_string();
    let text = toml::to_string(credentials)
        .map_err(|error| Failure::Settings(format!("{name}: {error}")))?;
    if let Some(folder) = path.parent() {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(Failure::file(name.as_str()))?;
    }
    let fresh = path.with_extension(format!("{}.new", std::process::id()));
    let written = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&fresh)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .and_then(|()| std::fs::rename(&fresh, path));
    if written.is_err() {
        // Nothing depends on the left-over; the first error is the one to tell.
        let _ = std::fs::remove_file(&fresh);
    }
    written.map_err(Failure::file(name))
}

/// Held while the file is read and replaced by something that must happen once; released when dropped.
pub fn lock(path: &Path) -> Result<std::fs::File, Failure> {
    let name = path.with_extension("lock");
    let shown = name.display().to_string();
    let file = std::fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&name)
        .map_err(Failure::file(shown.as_str()))?;
    file.lock().map_err(Failure::file(shown))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn what_is_written_is_private_and_read_back() {
        let folder =
            std::env::temp_dir().join(format!("fleetwright-credentials-{}", std::process::id()));
        let path = folder.join("deep/config.toml");
        let credentials = Credentials {
            server: Some("http://x".into()),
            token: Some("t".into()),
            ..Credentials::default()
        };
        write(&path, &credentials).expect("writes");
        write(&path, &credentials).expect("replaces");
        let mode = std::fs::metadata(&path)
            .expect("is there")
            .permissions()
            .mode();
        let read_back = read(&path).expect("reads");
        std::fs::remove_dir_all(&folder).expect("cleans up");
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(read_back, Some(credentials));
    }
}
