//! Packs a release into `target/dist/`: programs, signed modules, a development licence, service files, and a bill
//! of materials; with `--deb`, Debian packages too.

pub mod deb;
mod install;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use self::deb::Compression;
use self::install::install;
use crate::cargo::{self, MODULES, Profile, module_library, module_package, root, target};
use crate::keys::Vendor;
use crate::sbom;
use crate::steps::{Steps, say};

const PROGRAMS: [(&str, &str); 3] = [
    ("fleetwright-server", "fleetwright-server"),
    ("fleetwright-agent", "fleetwright-agent"),
    ("fleetwright", "fleetwright"),
];

pub fn run(arguments: &[String]) -> Result<()> {
    let with_packages = match arguments {
        [] => false,
        [one] if one == "--deb" => true,
        [unknown, ..] => bail!("unexpected argument: {unknown}"),
    };
    let mut steps = Steps::default();
    let modules = MODULES.map(module_package);
    let packages: Vec<&str> = PROGRAMS
        .iter()
        .map(|(package, _)| *package)
        .chain(modules.iter().map(String::as_str))
        .collect();
    steps.step("Release build", || {
        cargo::build(Profile::Release, &packages)
    })?;
    let dist = target().join("dist");
    steps.step("Programs", || {
        if dist.exists() {
            fs::remove_dir_all(&dist)?;
        }
        PROGRAMS.iter().try_for_each(|(_, program)| {
            ship(
                &Profile::Release.folder().join(program),
                &dist.join("bin").join(program),
                0o755,
            )
        })
    })?;
    steps.step("Modules, signed with a development key", || {
        let vendor = Vendor::create(dist.join("bin/fleetwright"), dist.join("dev"))?;
        MODULES.iter().try_for_each(|module| {
            let shipped = dist.join(format!("modules/{module}.so"));
            ship(&module_library(Profile::Release, module), &shipped, 0o644)?;
            vendor.sign_module(&shipped)
        })
    })?;
    steps.step("Service files and bill of materials", || {
        for folder in ["systemd", "config"] {
            for file in files_of(folder)? {
                let name = file.file_name().context("a file without a name")?;
                install(&file, &dist.join(folder).join(name), 0o644)?;
            }
        }
        let document = sbom::document(&packages)?;
        fs::write(dist.join("sbom.cdx.json"), format!("{document:#}\n")).context("sbom.cdx.json")
    })?;
    if with_packages {
        steps.step("Debian packages", || {
            deb::pack(&dist.join("bin"), &dist.join("deb"), Compression::Xz).map(drop)
        })?;
    }
    list(&dist)
}

/// Copies and drops the debug information: the figures of a crash are looked up in the build's own folder.
fn ship(built: &Path, shipped: &Path, mode: u32) -> Result<()> {
    install(built, shipped, mode)?;
    let mut command = Command::new("strip");
    command.arg("--strip-debug").arg(shipped);
    // A linker is there, or nothing would have been built; `strip` is in the same package.
    cargo::run(command)
}

/// The files of a folder of `dist/` in the sources.
fn files_of(folder: &str) -> Result<Vec<PathBuf>> {
    let folder = root().join("dist").join(folder);
    let entries = fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
    Ok(entries.flatten().map(|entry| entry.path()).collect())
}

fn list(dist: &Path) -> Result<()> {
    println!("\n{}", dist.display());
    for folder in ["bin", "modules", "dev", "systemd", "config", "deb", "."] {
        if !dist.join(folder).exists() {
            continue;
        }
        let mut names: Vec<(String, u64)> = fs::read_dir(dist.join(folder))?
            .flatten()
            .filter_map(|entry| {
                Some((
                    entry.file_name().into_string().ok()?,
                    entry.metadata().ok()?,
                ))
            })
            .filter(|(_, meta)| meta.is_file())
            .map(|(name, meta)| (name, meta.len()))
            .collect();
        names.sort();
        for (name, bytes) in names {
            let place = if folder == "." {
                name
            } else {
                format!("{folder}/{name}")
            };
            say(&format!("{place:<36} {:>9.1} KiB", kibibytes(bytes)));
        }
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "for people; exact below 8 PiB")]
fn kibibytes(bytes: u64) -> f64 {
    bytes as f64 / 1024.0
}
