//! apt and dpkg, with a repository of packages made by dpkg-deb.

use std::fs;

use fleetwright_agent::operations::packages::Change::{Install, Remove};

use crate::root::{PrivateRoot, tool};
use crate::story::How::{Plain, Purged, Refreshed};
use crate::story::{COMMON, VERSIONS, play, step};

fn root() -> PrivateRoot {
    let mut root = PrivateRoot::new();
    root.folders(&[
        "root/var/lib/dpkg/info",
        "root/var/lib/dpkg/updates",
        "root/var/lib/apt/lists/partial",
        "root/var/cache/apt/archives/partial",
        "root/var/log/apt",
        "root/etc/apt/apt.conf.d",
        "root/etc/apt/preferences.d",
        "root/etc/apt/sources.list.d",
        "root/etc/apt/trusted.gpg.d",
        "repo",
    ]);
    root.write("root/var/lib/dpkg/status", "");
    for (name, version) in [
        ("fw-one", "1.0-1"),
        ("fw-one", "1.1-1"),
        ("fw-two", "2.0-1"),
    ] {
        package(&root, name, version, "exit 0");
    }
    package(
        &root,
        "fw-bad",
        "1.0-1",
        "echo fw-bad does not want to >&2; exit 1",
    );
    package(&root, "fw-stuck", "1.0-1", "exit 0");
    hook(
        &root,
        "fw-stuck-1.0-1",
        "prerm",
        "echo fw-stuck stays >&2; exit 1",
    );
    build(&root, "fw-stuck-1.0-1");
    let index = tool(
        &root.path("repo"),
        &["dpkg-scanpackages", "--multiversion", "."],
    );
    root.write("repo/Packages", &index);
    let here = root.path("").display().to_string();
    let source = format!("deb [trusted=yes] file:{here}repo ./\n");
    root.write("root/etc/apt/sources.list", &source);
    let settings = r#"
Dir "@root";
Dir::State::status "@root/var/lib/dpkg/status";
Dir::Bin::dpkg "dpkg";
APT::Architecture "amd64";
APT::Sandbox::User "root";
DPkg::Options { "--root=@root"; "--force-script-chrootless"; "--force-not-root"; "--log=@root/var/log/dpkg.log"; };
"#;
    root.write("apt.conf", &settings.replace('@', &here));
    root.enclose(
        "apt",
        r#"export APT_CONFIG=@/apt.conf DPKG_ROOT=@/root; exec "$tool" "$@""#,
    );
    root
}

fn package(root: &PrivateRoot, name: &str, version: &str, when_installed: &str) {
    let built = format!("build/{name}-{version}");
    let control = format!(
        "Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: T <t@example.org>\nDescription: test\n"
    );
    root.write(&format!("{built}/DEBIAN/control"), &control);
    root.write(
        &format!("{built}/DEBIAN/conffiles"),
        &format!("/etc/{name}.conf\n"),
    );
    root.write(
        &format!("{built}/etc/{name}.conf"),
        &format!("of {version}\n"),
    );
    let folder = format!("{name}-{version}");
    hook(root, &folder, "postinst", when_installed);
    build(root, &folder);
}

/// What dpkg runs at one moment of a package's life.
fn hook(root: &PrivateRoot, folder: &str, moment: &str, script: &str) {
    let inside = format!("build/{folder}/DEBIAN/{moment}");
    let script = root.write(&inside, &format!("#!/bin/sh\n{script}\n"));
    tool(&root.path(""), &["chmod", "755", script.to_str().unwrap()]);
}

fn build(root: &PrivateRoot, folder: &str) {
    let built = format!("build/{folder}");
    let words = ["dpkg-deb", "--root-owner-group", "--build", &built, "repo"];
    tool(&root.path(""), &words);
}

#[test]
fn apt_does_what_every_manager_does() {
    let root = root();
    play(&root, &COMMON);
}

#[test]
fn apt_installs_the_version_asked_for() {
    let root = root();
    play(&root, &COMMON[..1]);
    play(&root, &VERSIONS);
}

#[test]
#[rustfmt::skip]
fn apt_keeps_changed_configuration_and_purges_it() {
    let root = root();
    play(&root, &[step(Install, &["fw-one=1.0-1"], Refreshed, true, true, &[("installed", Some("1.0-1"))])]);
    let configuration = root.path("root/etc/fw-one.conf");
    fs::write(&configuration, "of the operator\n").unwrap();
    play(&root, &[
        step(Install, &["fw-one=1.1-1"], Plain, true, true, &[("upgraded", Some("1.1-1"))]),
        step(Remove, &["fw-one"], Plain, true, true, &[("removed", None)]),
        step(Remove, &["fw-one"], Plain, true, false, &[("absent", None)]),
    ]);
    assert_eq!(fs::read_to_string(&configuration).unwrap(), "of the operator\n");
    play(&root, &[
        step(Remove, &["fw-one"], Purged, true, true, &[("removed", None)]),
        step(Remove, &["fw-one"], Purged, true, false, &[("absent", None)]),
    ]);
    assert!(!configuration.exists());
}

#[test]
#[rustfmt::skip]
fn a_package_that_stays_half_configured_is_failed_and_the_others_installed() {
    let root = root();
    play(&root, &[
        step(Install, &["fw-bad", "fw-two"], Refreshed, false, true, &[
            ("failed", Some("1.0-1 (half configured)")),
            ("installed", Some("2.0-1")),
        ]),
        step(Remove, &["fw-bad"], Purged, true, true, &[("removed", None)]),
    ]);
}

#[test]
#[rustfmt::skip]
fn a_package_that_refuses_to_go_is_failed_and_so_is_what_apt_then_left_alone() {
    let root = root();
    play(&root, &[
        step(Install, &["fw-stuck", "fw-two"], Refreshed, true, true, &[("installed", Some("1.0-1")), ("installed", Some("2.0-1"))]),
        step(Remove, &["fw-stuck", "fw-two"], Plain, false, false, &[("failed", Some("1.0-1")), ("failed", Some("2.0-1"))]),
        step(Remove, &["fw-two"], Plain, true, true, &[("removed", None)]),
    ]);
}

#[test]
#[rustfmt::skip]
fn apt_that_cannot_refresh_installs_nothing() {
    let root = root();
    root.write("root/etc/apt/sources.list", "deb [trusted=yes] file:/nowhere-at-all ./\n");
    play(&root, &[step(Install, &["fw-one"], Refreshed, false, false, &[("failed", None)])]);
}
