//! A vendor for development: a key pair, a licence for everything, and signatures on modules, all made with the
//! built `fleetwright` program.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};

use crate::cargo;

pub struct Vendor {
    program: PathBuf,
    folder: PathBuf,
}

impl Vendor {
    /// Makes `vendor.key`, `vendor.pub` and `license.jwt` in `folder`.
    pub fn create(program: PathBuf, folder: PathBuf) -> Result<Self> {
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        let vendor = Self { program, folder };
        vendor.run(
            &["license", "keygen", "--development", "--out"],
            &[&vendor.folder],
        )?;
        vendor.run(
            &[
                "license",
                "issue",
                "--customer",
                "development",
                "--all-features",
                "--days",
                "365",
                "--key",
            ],
            &[&vendor.key(), Path::new("--out"), &vendor.license()],
        )?;
        Ok(vendor)
    }

    pub fn public_key(&self) -> PathBuf {
        self.folder.join("vendor.pub")
    }

    pub fn license(&self) -> PathBuf {
        self.folder.join("license.jwt")
    }

    /// Writes the signature beside the library.
    pub fn sign_module(&self, library: &Path) -> Result<()> {
        self.run(&["module", "sign", "--key"], &[&self.key(), library])
    }

    fn key(&self) -> PathBuf {
        self.folder.join("vendor.key")
    }

    fn run(&self, words: &[&str], paths: &[&Path]) -> Result<()> {
        let mut command = Command::new(&self.program);
        command
            .args(words)
            .args(paths)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        cargo::run(command)
    }
}
