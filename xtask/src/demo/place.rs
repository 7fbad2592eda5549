//! The folders of one run of the demo, and a place for modules that the server accepts.

use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::cargo;
use crate::steps::say;

pub struct Place {
    pub folder: PathBuf,
    pub modules: PathBuf,
    /// The checkout lies where others may write, so the modules are kept elsewhere.
    modules_apart: bool,
}

impl Place {
    /// A fresh folder named after this process; those of runs that ended are removed.
    pub fn new() -> Result<Self> {
        let base = cargo::target().join("demo");
        remove_ended_runs(&base);
        let folder = base.join(format!("run-{}", std::process::id()));
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        private_folder(&folder)?;
        let folder = folder.canonicalize()?;
        let modules_apart = !only_owner_writes(&folder)?;
        let modules = if modules_apart {
            let apart =
                std::env::temp_dir().join(format!("fleetwright-demo-{}", std::process::id()));
            private_folder(&apart)?;
            apart.canonicalize()?
        } else {
            folder.join("modules")
        };
        for part in [
            &modules,
            &folder.join("keys"),
            &folder.join("server"),
            &folder.join("agents"),
        ] {
            private_folder(part)?;
        }
        Ok(Self {
            folder,
            modules,
            modules_apart,
        })
    }

    pub fn operator_config(&self) -> PathBuf {
        self.folder.join("operator.toml")
    }

    pub fn explain_modules_folder(&self) {
        if self.modules_apart {
            say(&format!(
                "{} can be written by others, and a server loads no module from such a place: using {}",
                self.folder.display(),
                self.modules.display()
            ));
        }
    }

    /// Copies a built library to where the server looks, without write permission for others.
    pub fn install_module(&self, library: &Path, name: &str) -> Result<PathBuf> {
        let installed = self.modules.join(format!("{name}.so"));
        fs::copy(library, &installed).with_context(|| library.display().to_string())?;
        fs::set_permissions(&installed, fs::Permissions::from_mode(0o644))?;
        Ok(installed)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.modules_apart {
            // Nothing depends on it; the next start would not find it anyway.
            let _ = fs::remove_dir_all(&self.modules);
        }
    }
}

pub fn private_folder(folder: &Path) -> Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .with_context(|| folder.display().to_string())
}

/// The server's rule: every component belongs to root or to us and is closed to other writers, save root's
/// sticky folders such as `/tmp`.
fn only_owner_writes(folder: &Path) -> Result<bool> {
    let me = fs::metadata("/proc/self")?.uid();
    for component in folder.ancestors() {
        let meta = fs::metadata(component).with_context(|| component.display().to_string())?;
        if !is_closed(meta.uid(), meta.mode(), me) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn is_closed(owner: u32, mode: u32, me: u32) -> bool {
    let others_write = mode & 0o022 != 0;
    let sticky_of_root = owner == 0 && mode & 0o1000 != 0;
    (owner == 0 || owner == me) && (!others_write || sticky_of_root)
}

fn remove_ended_runs(base: &Path) {
    let Ok(entries) = fs::read_dir(base) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix("run-"));
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            // An old run's files are only in the way; a failure to remove them is not worth stopping for.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_others_can_write_is_not_closed() {
        for (owner, mode, expected) in [
            (0, 0o755, true),
            (7, 0o700, true),
            (7, 0o775, false),
            (0, 0o777, false),
            (0, 0o1777, true),
            (7, 0o1777, false),
            (8, 0o755, false),
        ] {
            assert_eq!(is_closed(owner, mode, 7), expected, "{owner} {mode:o}");
        }
    }
}
