//! Debian packages of the programs, made with `dpkg-deb` of already built files. What is in them is said here; their
//! descriptions and scripts are in `dist/debian/`. Modules are not packaged: they are dropped in.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::install::install;
use crate::cargo::{self, root};

/// A Debian package: its folder in `dist/debian/`, and what it puts where.
pub struct Package {
    folder: &'static str,
    pub name: &'static str,
    program: &'static str,
    /// Beside the program. Sources are below `dist/`.
    files: &'static [(&'static str, &'static str)],
    /// Made empty.
    folders: &'static [&'static str],
    /// Settings a person may change; an upgrade keeps them.
    settings: &'static [&'static str],
    /// Beside the libraries the program is linked to.
    depends: &'static [&'static str],
}

pub const PACKAGES: [Package; 3] = [
    Package {
        folder: "server",
        name: "fleetwright-server",
        program: "fleetwright-server",
        files: &[
            (
                "systemd/fleetwright-server.service",
                "usr/lib/systemd/system/fleetwright-server.service",
            ),
            (
                "debian/server/sysusers.conf",
                "usr/lib/sysusers.d/fleetwright-server.conf",
            ),
            ("config/server.toml", "etc/fleetwright/server.toml"),
        ],
        folders: &["usr/lib/fleetwright/modules"],
        settings: &["/etc/fleetwright/server.toml"],
        depends: &[
            "systemd | systemd-standalone-sysusers | systemd-sysusers",
            "init-system-helpers (>= 1.52)",
        ],
    },
    Package {
        folder: "agent",
        name: "fleetwright-agent",
        program: "fleetwright-agent",
        files: &[
            (
                "systemd/fleetwright-agent.service",
                "usr/lib/systemd/system/fleetwright-agent.service",
            ),
            ("config/agent.toml", "etc/fleetwright/agent.toml"),
        ],
        folders: &[],
        settings: &["/etc/fleetwright/agent.toml"],
        depends: &["init-system-helpers (>= 1.52)"],
    },
    Package {
        folder: "cli",
        name: "fleetwright",
        program: "fleetwright",
        files: &[],
        folders: &[],
        settings: &[],
        depends: &[],
    },
];

/// The scripts a package may have.
const SCRIPTS: [&str; 3] = ["postinst", "prerm", "postrm"];

/// What the files of a package are squeezed with.
#[derive(Clone, Copy)]
pub enum Compression {
    /// Small: for people.
    Xz,
    /// Fast: for a package that lives for a minute.
    None,
}

/// Packs what is in `programs` into `.deb` files in `into`; returns them.
pub fn pack(programs: &Path, into: &Path, compression: Compression) -> Result<Vec<PathBuf>> {
    let architecture = architecture()?;
    fs::create_dir_all(into).with_context(|| into.display().to_string())?;
    PACKAGES
        .iter()
        .map(|package| {
            let tree = into.join("tree").join(package.name);
            let shipped = programs.join(package.program);
            lay_out(package, &shipped, &tree)?;
            fs::write(
                tree.join("DEBIAN/control"),
                control(package, &shipped, &tree, &architecture)?,
            )?;
            let file = into.join(format!(
                "{}_{}_{architecture}.deb",
                package.name,
                env!("CARGO_PKG_VERSION")
            ));
            let mut command = Command::new("dpkg-deb");
            command
                .arg(match compression {
                    Compression::Xz => "-Zxz",
                    Compression::None => "-Znone",
                })
                .args(["--root-owner-group", "--build"])
                .arg(&tree)
                .arg(&file);
            cargo::run(quiet(command))?;
            fs::remove_dir_all(&tree)?;
            Ok(file)
        })
        .collect()
}

fn lay_out(package: &Package, program: &Path, tree: &Path) -> Result<()> {
    if tree.exists() {
        fs::remove_dir_all(tree)?;
    }
    let dist = root().join("dist");
    install(program, &tree.join("usr/bin").join(package.program), 0o755)?;
    for (from, to) in package.files {
        install(&dist.join(from), &tree.join(to), 0o644)?;
    }
    for folder in package.folders {
        fs::create_dir_all(tree.join(folder))?;
    }
    let documents = tree.join("usr/share/doc").join(package.name);
    install(
        &root().join("LICENSE-CE"),
        &documents.join("copyright"),
        0o644,
    )?;
    install(
        &root().join("CHANGELOG.md"),
        &documents.join("NEWS.md"),
        0o644,
    )?;
    let own = dist.join("debian").join(package.folder);
    fs::create_dir_all(tree.join("DEBIAN"))?;
    for script in SCRIPTS {
        if own.join(script).exists() {
            install(&own.join(script), &tree.join("DEBIAN").join(script), 0o755)?;
        }
    }
    if !package.settings.is_empty() {
        let list: String = package
            .settings
            .iter()
            .map(|path| format!("{path}\n"))
            .collect();
        fs::write(tree.join("DEBIAN/conffiles"), list)?;
    }
    plain_modes(tree)
}

/// Folders are 0755 whatever the builder's umask is.
fn plain_modes(folder: &Path) -> Result<()> {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            plain_modes(&entry.path())?;
        }
    }
    Ok(())
}

fn control(package: &Package, program: &Path, tree: &Path, architecture: &str) -> Result<String> {
    let described = root()
        .join("dist/debian")
        .join(package.folder)
        .join("control");
    let described =
        fs::read_to_string(&described).with_context(|| described.display().to_string())?;
    let mut depends = library_packages(&read_symbols(program)?)?;
    depends.extend(package.depends.iter().map(|&other| other.to_owned()));
    let (head, rest) = described
        .split_once('\n')
        .context("a control file has more than one line")?;
    Ok(format!(
        "{head}\nVersion: {}\nArchitecture: {architecture}\nMaintainer: Fleetwright <packages@fleetwright.example>\n\
         Depends: {}\nInstalled-Size: {}\n{rest}",
        env!("CARGO_PKG_VERSION"),
        depends.join(", "),
        kibibytes(tree)?,
    ))
}

/// What the dynamic linker is told, as text.
fn read_symbols(program: &Path) -> Result<String> {
    let output = Command::new("objdump")
        .arg("-p")
        .arg(program)
        .output()
        .context("cannot run objdump, which comes with the linker")?;
    ensure!(
        output.status.success(),
        "objdump cannot read {}",
        program.display()
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The Debian packages of the libraries in a listing of `objdump -p`. A library nobody foresaw is an error: the
/// programs are meant to need next to nothing.
fn library_packages(symbols: &str) -> Result<Vec<String>> {
    let mut depends = Vec::new();
    let mut glibc = (0, 0);
    for line in symbols.lines() {
        let mut words = line.split_whitespace();
        let Some(last) = words.next_back() else {
            continue;
        };
        if let Some(version) = last.strip_prefix("GLIBC_") {
            let (major, minor) = version.split_once('.').unwrap_or((version, "0"));
            let minor = minor.split('.').next().unwrap_or_default();
            if let (Ok(major), Ok(minor)) = (major.parse(), minor.parse()) {
                glibc = glibc.max((major, minor));
            }
        }
        if words.next() == Some("NEEDED") {
            match last {
                "libc.so.6" | "libm.so.6" | "libdl.so.2" | "libpthread.so.0" => {}
                library if library.starts_with("ld-linux") => {}
                "libgcc_s.so.1" => depends.push("libgcc-s1".to_owned()),
                other => {
                    anyhow::bail!("the program is linked to {other}, which no package is known of")
                }
            }
        }
    }
    ensure!(
        glibc != (0, 0),
        "the program says no version of the C library"
    );
    depends.insert(0, format!("libc6 (>= {}.{})", glibc.0, glibc.1));
    Ok(depends)
}

fn architecture() -> Result<String> {
    let output = Command::new("dpkg")
        .arg("--print-architecture")
        .output()
        .context("cannot run dpkg: packages are made on Debian or one of its kind")?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

fn kibibytes(folder: &Path) -> Result<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        sum += if entry.file_type()?.is_dir() {
            kibibytes(&entry.path())?
        } else {
            entry.metadata()?.len().div_ceil(1024)
        };
    }
    Ok(sum)
}

fn quiet(mut command: Command) -> Command {
    command.stdout(std::process::Stdio::null());
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTING: &str = "Dynamic Section:\n  NEEDED               libgcc_s.so.1\n  NEEDED               libc.so.6\n\
        Version References:\n  required from libc.so.6:\n    0x06969189 0x00 11 GLIBC_2.29\n    0x0d696913 0x00 21 GLIBC_2.3.4\n\
            0x069691b4 0x00 02 GLIBC_2.34\n    0x09691a75 0x00 03 GLIBC_2.2.5\n";

    #[test]
    fn the_newest_symbol_says_which_c_library_is_needed() {
        let depends = library_packages(LISTING).expect("known libraries");
        assert_eq!(depends, ["libc6 (>= 2.34)", "libgcc-s1"]);
    }

    #[test]
    fn a_library_nobody_foresaw_is_an_error() {
        let listing = LISTING.replace("libgcc_s.so.1", "libssl.so.3");
        assert!(library_packages(&listing).is_err());
    }

    #[test]
    fn every_script_of_a_package_ends_on_its_first_error() {
        for package in PACKAGES {
            for script in SCRIPTS {
                let path = root().join("dist/debian").join(package.folder).join(script);
                if let Ok(text) = fs::read_to_string(&path) {
                    assert!(
                        text.starts_with("#!/bin/sh\nset -e\n"),
                        "{}",
                        path.display()
                    );
                }
            }
        }
    }
}
