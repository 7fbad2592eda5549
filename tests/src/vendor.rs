//! The vendor of a test: development keys, licences and signed module libraries, made once per run or, without a run's
//! stage, once per process, with the operators' own command line.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};

use crate::binaries::{self, MODULES};
use crate::process::program;
use crate::scratch;
use crate::server_process::private_folder;

/// The folder of a vendor that somebody else made for all tests, with every module signed.
pub const SHARED_VARIABLE: &str = "FLEETWRIGHT_TEST_VENDOR";

pub struct Vendor {
    folder: PathBuf,
    /// The modules that have been copied and signed.
    signed: Mutex<BTreeSet<String>>,
}

/// The run's vendor, or else the process's.
pub fn vendor() -> &'static Vendor {
    static VENDOR: OnceLock<Vendor> = OnceLock::new();
    VENDOR.get_or_init(|| Vendor::shared().unwrap_or_else(Vendor::create))
}

impl Vendor {
    fn create() -> Self {
        let vendor = Self {
            folder: scratch::process_folder("vendor"),
            signed: Mutex::default(),
        };
        private_folder(&vendor.shelf());
        run(
            &["license", "keygen", "--development", "--out"],
            &[&vendor.folder],
        );
        vendor
    }

    fn shared() -> Option<Self> {
        let folder = std::env::var_os(SHARED_VARIABLE)?;
        Some(Self {
            folder: folder.into(),
            signed: Mutex::new(MODULES.map(str::to_owned).into()),
        })
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn public_key(&self) -> PathBuf {
        self.folder.join("vendor.pub")
    }

    pub fn key(&self) -> PathBuf {
        self.folder.join("vendor.key")
    }

    /// Writes a licence; `words` are more arguments of `license issue` (`--all-features`, `--days 30` …).
    pub fn issue_license(&self, words: &[&str], to: &Path) {
        let mut all = vec!["license", "issue", "--customer", "tests"];
        all.extend(words);
        all.push("--key");
        run(&all, &[&self.key(), Path::new("--out"), to]);
    }

    /// Writes the signature beside the library.
    pub fn sign(&self, library: &Path) {
        run(&["module", "sign", "--key"], &[&self.key(), library]);
    }

    /// Puts a signed module where a server looks: the signature first, the library last and in one step, so that a
    /// watching server never sees half of it.
    pub fn install(&self, module: &str, modules_dir: &Path) {
        self.provide(module);
        let name = file_name(module);
        let signature = format!("{name}.sig");
        let copy = |from: &str, to: &str| {
            let to = modules_dir.join(to);
            std::fs::copy(self.shelf().join(from), &to)
                .unwrap_or_else(|error| panic!("{}: {error}", to.display()));
            close_to_others(&to);
        };
        copy(&signature, &signature);
        copy(&name, ".arriving");
        std::fs::rename(modules_dir.join(".arriving"), modules_dir.join(&name))
            .expect("a file can be renamed in its folder");
    }

    /// Copies and signs a module once.
    pub fn provide(&self, module: &str) {
        let mut signed = self
            .signed
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if !signed.insert(module.to_owned()) {
            return;
        }
        let library = self.shelf().join(file_name(module));
        std::fs::copy(binaries::module(module), &library)
            .unwrap_or_else(|error| panic!("{}: {error}", library.display()));
        close_to_others(&library);
        self.sign(&library);
    }

    fn shelf(&self) -> PathBuf {
        self.folder.join("modules")
    }
}

fn file_name(module: &str) -> String {
    format!("{module}.so")
}

fn close_to_others(file: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o644))
        .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
}

fn run(words: &[&str], paths: &[&Path]) {
    let output = program(binaries::cli())
        .args(words)
        .args(paths)
        .output()
        .expect("the command line can be run");
    assert!(
        output.status.success(),
        "fleetwright {words:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
