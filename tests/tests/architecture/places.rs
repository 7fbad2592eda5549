//! What may be used where: axum, libraries, tokens, clocks, cargo features, other packages.

use std::collections::{BTreeMap, BTreeSet};

use fleetwright_tests::source::{self, Source};

use crate::{assert_none, pattern, places, product, sources};

#[test]
fn decisions_are_pure() {
    let pure: Vec<Source> = product()
        .into_iter()
        .filter(|file| {
            file.path.ends_with("/decide.rs")
                || file.path.contains("/decide/")
                || file.path.starts_with("modules/selector/src/")
        })
        .collect();
    assert!(
        !pure.is_empty(),
        "no decide.rs was found: the check is blind"
    );
    let impure = r"\basync\b|\.await\b|\btokio\b|\bInstant\b|\bSystemTime\b|\brand::|\bnow_v7\b|\bnew_v4\b|\bsqlx\b|\baxum\b|\bhttp::|\bstd::(fs|net|process|thread)\b|\bDb\b|\bClock\b";
    assert_none(
        "async, clock, randomness, database or HTTP in a decision",
        &places(&pure, impure, |_| false),
    );
}

#[test]
fn axum_is_only_at_the_edges() {
    let edge = |path: &str| {
        path.ends_with("/http.rs")
            || path.contains("/http/")
            // The conventions of HTTP.
            || path.starts_with("http-kit/")
            // The SDK is the adapter between a module's axum and the boundary.
            || path.starts_with("plugin-api/src/sdk")
            || path.ends_with("_http.rs")
            // A module's entry wires its router.
            || (path.starts_with("modules/") && path.ends_with("/src/lib.rs"))
            || path.starts_with("server/src/edge/")
            // The agents' WebSocket is axum's type.
            || path.starts_with("server/src/agents/connection")
    };
    assert_none(
        "axum outside the edges",
        &places(&product(), r"\baxum\b", edge),
    );
}

#[test]
fn the_loader_alone_touches_libraries() {
    let server: Vec<Source> = product()
        .into_iter()
        .filter(|file| file.path.starts_with("server/"))
        .collect();
    let loader = |path: &str| path.starts_with("server/src/modules/loader");
    assert_none(
        "libloading or abi_stable outside server/src/modules/loader",
        &places(&server, r"\blibloading\b|\babi_stable\b", loader),
    );
}

#[test]
fn tokens_and_licences_alone_touch_jwt() {
    let allowed = |path: &str| {
        ["server/src/auth", "server/src/licensing", "signing/"]
            .iter()
            .any(|prefix| path.starts_with(prefix))
    };
    let files: Vec<Source> = product();
    assert_none(
        "jsonwebtoken outside auth and licensing",
        &places(&files, r"\bjsonwebtoken\b", allowed),
    );
}

#[test]
fn no_edition_is_compiled_in() {
    let files = sources();
    let edition = pattern(r#"feature\s*=\s*"(pro|ce|community|enterprise)""#);
    let found: Vec<String> = files
        .iter()
        .filter(|file| !file.path.starts_with("tests/tests/architecture"))
        .filter(|file| edition.is_match(&file.text))
        .map(|file| file.path.clone())
        .collect();
    assert_none("an edition as a cargo feature", &found);
}

/// Package → its own workspace dependencies, from `cargo metadata`.
fn own_dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let output = std::process::Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--no-deps",
            "--offline",
            "--format-version",
            "1",
        ])
        .current_dir(source::workspace())
        .output()
        .expect("cargo can be run");
    assert!(
        output.status.success(),
        "cargo metadata: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let document: serde_json::Value =
        serde_json::from_slice(&output.stdout).expect("cargo metadata speaks JSON");
    let packages = document["packages"].as_array().expect("packages");
    let own = |name: &str| name == "fleetwright" || name.starts_with("fleetwright-");
    packages
        .iter()
        .map(|package| {
            let name = package["name"].as_str().unwrap_or_default().to_owned();
            let dependencies = package["dependencies"].as_array().expect("dependencies");
            let dependencies = dependencies
                .iter()
                // What only a package's own tests use does not ship.
                .filter(|dependency| dependency["kind"].as_str() != Some("dev"))
                .filter_map(|dependency| dependency["name"].as_str())
                .filter(|name| own(name))
                .map(str::to_owned)
                .collect();
            (name, dependencies)
        })
        .collect()
}

#[test]
fn packages_depend_only_downwards() {
    let allowed: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("fleetwright-protocol", &[] as &[&str]),
        ("fleetwright-http-kit", &["fleetwright-protocol"]),
        (
            "fleetwright-plugin-api",
            &["fleetwright-http-kit", "fleetwright-protocol"],
        ),
        (
            "fleetwright-server",
            &[
                "fleetwright-http-kit",
                "fleetwright-protocol",
                "fleetwright-plugin-api",
                "fleetwright-signing",
            ],
        ),
        ("fleetwright-agent", &["fleetwright-protocol"]),
        (
            "fleetwright",
            &["fleetwright-protocol", "fleetwright-signing"],
        ),
        ("fleetwright-signing", &[]),
        ("fleetwright-selector", &[]),
        (
            "fleetwright-operations",
            &["fleetwright-plugin-api", "fleetwright-protocol"],
        ),
        ("xtask", &[]),
    ]);
    let module: &[&str] = &[
        "fleetwright-operations",
        "fleetwright-plugin-api",
        "fleetwright-protocol",
        "fleetwright-selector",
    ];
    let mut upward = Vec::new();
    for (package, dependencies) in own_dependencies() {
        // Tests may depend on everything.
        if package == "fleetwright-tests" {
            continue;
        }
        let may = if package.starts_with("fleetwright-module-") {
            module
        } else {
            allowed.get(package.as_str()).copied().unwrap_or_default()
        };
        upward.extend(
            dependencies
                .iter()
                .filter(|dependency| !may.contains(&dependency.as_str()))
                .map(|dependency| format!("{package} → {dependency}")),
        );
    }
    assert_none("a dependency that goes the wrong way", &upward);
}
