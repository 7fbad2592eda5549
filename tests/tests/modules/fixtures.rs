//! Builds the libraries of `tests/abi`, changes their bytes, signs them and drops them where a server looks.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use fleetwright_signing::license::{self, ISSUER};
use fleetwright_signing::{Claims, SecretKey};
use fleetwright_tests::fleet::{Setup, TestFleet};
use fleetwright_tests::source;
use fleetwright_tests::vendor::vendor;
use fleetwright_tests::wait::wait_for;
use serde_json::{Value, json};

/// A debug server on a busy machine looks once a second and tries each library in a child.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Which crate of `tests/abi`, and the variable that makes it fail in some way.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Build {
    package: &'static str,
    variant: &'static str,
}

pub const GOOD: Build = module("good");
pub const LAYOUT: Build = Build {
    package: "layout",
    variant: "",
};
/// As module API 2.0.0 built modules.
pub const RELEASED: Build = Build {
    package: "released",
    variant: "",
};
pub const FOREIGN: Build = Build {
    package: "foreign",
    variant: "",
};

pub const fn module(variant: &'static str) -> Build {
    Build {
        package: "module",
        variant,
    }
}

pub const fn raw(variant: &'static str) -> Build {
    Build {
        package: "raw",
        variant,
    }
}

/// What goes into the libraries.
const SOURCES: [&str; 3] = ["tests/abi", "plugin-api", "rust-toolchain.toml"];

/// The library's bytes, built when no run before has built it from the same sources.
pub fn library(build: Build) -> Vec<u8> {
    static BUILT: OnceLock<Mutex<BTreeMap<Build, Vec<u8>>>> = OnceLock::new();
    let mut built = BUILT
        .get_or_init(Mutex::default)
        .lock()
        .expect("no builder panicked");
    built.entry(build).or_insert_with(|| provide(build)).clone()
}

fn provide(build: Build) -> Vec<u8> {
    let target = source::workspace().join("target/abi-fixtures");
    let kept = target.join("kept");
    std::fs::create_dir_all(&kept).expect("target can be written");
    let kept = kept.join(format!("{}-{}.so", build.package, build.variant));
    // One process builds and copies at a time: all variants of a crate have one output file.
    let lock = File::create(target.join("fixtures.lock")).expect("target can be written");
    lock.lock().expect("a file can be locked");
    let is_fresh =
        source::modified(&kept).is_some_and(|built| !source::has_changed_since(built, &SOURCES));
    if !is_fresh {
        // A copy that was cut short must not be newer than the sources.
        let arriving = kept.with_extension("arriving");
        std::fs::copy(compile(build, &target), &arriving).expect("the library was built");
        std::fs::rename(arriving, &kept).expect("a file can be renamed in its folder");
    }
    std::fs::read(kept).expect("the library was built")
}

fn compile(build: Build, target: &Path) -> PathBuf {
    let root = source::workspace();
    let (folder, package, output) = match build.package {
        "module" => ("fixtures", "fixture-module", "libfixture_module.so"),
        "raw" => ("fixtures", "fixture-raw", "libfixture_raw.so"),
        "layout" => (
            "fixtures",
            "fleetwright-plugin-api@2.0.1",
            "libfixture_layout.so",
        ),
        "released" => (
            "released",
            "fleetwright-plugin-api",
            "libfixture_released.so",
        ),
        _ => ("foreign", "foreign-module", "libforeign_module.so"),
    };
    let target = if folder == "fixtures" {
        target.to_owned()
    } else {
        target.join(folder)
    };
    let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["build", "--quiet", "--locked", "--manifest-path"])
        .arg(root.join("tests/abi").join(folder).join("Cargo.toml"))
        .args(["--package", package, "--target-dir"])
        .arg(&target)
        .env("FIXTURE_VARIANT", build.variant)
        .env("RAW_VARIANT", build.variant)
        .status()
        .expect("cargo can be run");
    assert!(status.success(), "building {package}: {status}");
    target.join("debug").join(output)
}

/// The bytes with `from` replaced by `to`, of the same length, wherever it is.
pub fn patched(mut bytes: Vec<u8>, from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len(), "a patch keeps every place");
    let places: Vec<usize> = bytes
        .windows(from.len())
        .enumerate()
        .filter(|(_, part)| *part == from.as_bytes())
        .map(|(at, _)| at)
        .collect();
    assert!(!places.is_empty(), "{from} is not in the library");
    for at in places {
        bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
    }
    bytes
}

/// Changes one byte of the head that `get_module_info` gives.
pub fn with_head_byte(mut bytes: Vec<u8>, offset: usize, value: u8) -> Vec<u8> {
    let mut heads = bytes
        .windows(12)
        .enumerate()
        .filter(|(_, part)| part.starts_with(b"FLEETMOD") && part[8] == 40);
    let at = heads.next().expect("the head is in the data").0;
    drop(heads);
    bytes[at + offset] = value;
    bytes
}

pub const HEAD_EPOCH: usize = 12;
pub const HEAD_UNWIND: usize = 16;

/// Where files are put before they are dropped.
pub fn write_signed(path: &Path, bytes: &[u8]) {
    write(path, bytes);
    vendor().sign(path);
}

pub fn write(path: &Path, bytes: &[u8]) {
    std::fs::write(path, bytes).expect("the test's folder can be written");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644))
        .expect("its modes can be set");
}

/// Signs a library aside and moves it in, signature first.
pub fn drop_module(fleet: &TestFleet, file: &str, bytes: &[u8]) {
    let aside = fleet.path("aside");
    std::fs::create_dir_all(&aside).expect("the test's folder can be written");
    write_signed(&aside.join(file), bytes);
    let folder = fleet.server.settings.modules_dir();
    for name in [format!("{file}.sig"), file.to_owned()] {
        std::fs::rename(aside.join(&name), folder.join(&name)).expect("a file can be moved");
    }
}

/// A community server that trusts the test's vendor.
pub fn start() -> TestFleet {
    Setup::community().start()
}

/// With the good fixture running.
pub fn start_with_fixture() -> TestFleet {
    let fleet = start();
    drop_module(&fleet, "fixture.so", &library(GOOD));
    put_license(&fleet, &claims(&["x_fixture"]));
    wait_state(&fleet, "fixture", "running");
    fleet
}

pub fn modules(fleet: &TestFleet) -> Vec<Value> {
    fleet.admin.post("/modules/rescan", &json!({})).expect(200)["items"]
        .as_array()
        .expect("a list")
        .clone()
}

pub fn listed(fleet: &TestFleet, name: &str) -> Option<Value> {
    fleet.admin.get("/modules").expect(200)["items"]
        .as_array()?
        .iter()
        .find(|item| item["name"] == name)
        .cloned()
}

pub fn wait_state(fleet: &TestFleet, name: &str, state: &str) -> Value {
    wait_for(&format!("module {name} to be {state}"), PATIENCE, || {
        listed(fleet, name).filter(|item| item["state"] == state)
    })
}

/// A licence for these features: from an hour ago, for a day.
pub fn claims(features: &[&str]) -> Claims {
    let now = now_s();
    Claims {
        iss: ISSUER.to_owned(),
        sub: "tests".to_owned(),
        features: features
            .iter()
            .map(|feature| (*feature).to_owned())
            .collect(),
        modules: BTreeMap::new(),
        installation: None,
        max_hosts: None,
        iat: now - 3_600,
        nbf: now - 3_600,
        exp: now + 86_400,
        grace_days: 0,
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the server under test reads the machine's clock"
)]
pub fn now_s() -> i64 {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("after 1970");
    i64::try_from(since.as_secs()).expect("a time")
}

pub fn vendor_key() -> SecretKey {
    let text = std::fs::read_to_string(vendor().key()).expect("the vendor's key");
    SecretKey::parse(&text).expect("a key")
}

/// Drops a licence into the watched file.
pub fn put_license(fleet: &TestFleet, claims: &Claims) {
    put_license_text(
        fleet,
        &license::issue(&vendor_key(), claims).expect("issued"),
    );
}

pub fn put_license_text(fleet: &TestFleet, text: &str) {
    let arriving = fleet.path("license.arriving");
    std::fs::write(&arriving, text).expect("the test's folder can be written");
    std::fs::rename(arriving, license_file(fleet)).expect("a file can be moved");
}

pub fn license_file(fleet: &TestFleet) -> PathBuf {
    fleet.server.settings.license_file.clone()
}

pub fn wait_license(fleet: &TestFleet, state: &str) -> Value {
    wait_for(&format!("the licence to be {state}"), PATIENCE, || {
        let license = fleet.admin.get("/license").expect(200);
        (license["state"] == state).then_some(license)
    })
}
