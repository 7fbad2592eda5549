//! Every way a module file can be bad: the server stays up, lists it as failed with the reason, and its routes answer 402.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use fleetwright_signing::{SecretKey, sign_module};
use serde_json::{Value, json};

use crate::fixtures::{
    GOOD, HEAD_EPOCH, HEAD_UNWIND, LAYOUT, claims, library, module, modules, patched, put_license,
    raw, start, start_with_fixture, wait_state, with_head_byte, write, write_signed,
};

/// Makes the file in the folder; returns nothing but what must be in the reason.
type Make = fn(&Path);

fn flipped(folder: &Path) {
    let path = folder.join("flipped.so");
    let mut bytes = library(GOOD);
    write_signed(&path, &bytes);
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    write(&path, &bytes);
}

fn stranger(folder: &Path) {
    let bytes = library(GOOD);
    let key = SecretKey::generate(true).expect("a key");
    write(&folder.join("stranger.so"), &bytes);
    let signature = sign_module(&key, &bytes).expect("signed");
    write(&folder.join("stranger.so.sig"), signature.as_bytes());
}

/// Signed as the module it was, then renamed inside.
fn renamed(folder: &Path) {
    let path = folder.join("renamed.so");
    write_signed(&path, &library(GOOD));
    write(
        &path,
        &patched(
            library(GOOD),
            "\"name\": \"fixture\"",
            "\"name\": \"another\"",
        ),
    );
}

fn truncated(folder: &Path) {
    let path = folder.join("truncated.so");
    let bytes = library(GOOD);
    write_signed(&path, &bytes);
    write(&path, &bytes[..bytes.len() - 4_096]);
}

fn other_machine(folder: &Path) {
    let path = folder.join("machine.so");
    let mut bytes = library(GOOD);
    write_signed(&path, &bytes);
    bytes[18..20].copy_from_slice(&243_u16.to_le_bytes());
    write(&path, &bytes);
}

fn text(folder: &Path) {
    write(&folder.join("text.so"), b"#!/bin/sh\n");
    write(&folder.join("text.so.sig"), b"x");
}

fn writable(folder: &Path) {
    let path = folder.join("writable.so");
    write_signed(&path, &library(GOOD));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).expect("modes");
}

fn link(folder: &Path) {
    let aside = folder.join("link.bin");
    write(&aside, &library(GOOD));
    symlink(&aside, folder.join("link.so")).expect("a link");
}

fn signed(folder: &Path, name: &str, bytes: &[u8]) {
    write_signed(&folder.join(name), bytes);
}

/// Only the info JSON of the library changes, as another author would have written it.
fn declared(folder: &Path, name: &str, changes: &[(&str, &str)]) {
    let bytes = changes
        .iter()
        .fold(library(GOOD), |bytes, (from, to)| patched(bytes, from, to));
    signed(folder, name, &bytes);
}

const CASES: [(&str, Make, &str); 24] = [
    (
        "unsigned.so",
        |folder| write(&folder.join("unsigned.so"), &library(GOOD)),
        "it is unsigned",
    ),
    ("flipped.so", flipped, "does not match the file"),
    ("stranger.so", stranger, "does not trust"),
    ("renamed.so", renamed, "does not match the file"),
    ("truncated.so", truncated, "cut off or damaged"),
    ("machine.so", other_machine, "built for riscv64"),
    ("text.so", text, "not an ELF"),
    ("writable.so", writable, "written by its group or by others"),
    ("link.so", link, "symbolic link"),
    (
        "directory.so",
        |folder| std::fs::create_dir(folder.join("directory.so")).expect("a folder"),
        "not a regular file",
    ),
    (
        "abi.so",
        |folder| {
            declared(
                folder,
                "abi.so",
                &[("\"abi\":1", "\"abi\":9"), ("\"fixture\"", "\"fix_abi\"")],
            )
        },
        "ABI 9",
    ),
    (
        "api.so",
        |folder| {
            declared(
                folder,
                "api.so",
                &[("\"^2.0\"", "\"^9.0\""), ("\"fixture\"", "\"fix_api\"")],
            )
        },
        "it needs module API ^9.0, this server has 2.1.0",
    ),
    (
        "api1.so",
        |folder| {
            declared(
                folder,
                "api1.so",
                &[("\"^2.0\"", "\"^1.0\""), ("\"fixture\"", "\"fix_one\"")],
            )
        },
        "it needs module API ^1.0, this server has 2.1.0",
    ),
    (
        "body.so",
        |folder| {
            declared(
                folder,
                "body.so",
                &[("2097152", "9097152"), ("\"fixture\"", "\"fix_bod\"")],
            )
        },
        "route POST /fleet/x-fixture/admin: its bodies must be limited to 1 byte at least and 8 MiB at most",
    ),
    (
        "nobody.so",
        |folder| {
            declared(
                folder,
                "nobody.so",
                &[("2097152", "0      "), ("\"fixture\"", "\"fix_nob\"")],
            )
        },
        "route POST /fleet/x-fixture/admin: its bodies must be limited to 1 byte at least and 8 MiB at most",
    ),
    (
        "feature.so",
        |folder| declared(folder, "feature.so", &[("\"x_fixture\"", "\"y_fixture\"")]),
        "unknown feature `y_fixture`",
    ),
    (
        "route.so",
        |folder| {
            declared(
                folder,
                "route.so",
                &[
                    ("/fleet/x-fixture/room", "/fleet/groups/{group}"),
                    ("\"fixture\"", "\"fix_thf\""),
                ],
            )
        },
        "belongs to the module groups",
    ),
    (
        "epoch.so",
        |folder| {
            let bytes = patched(library(GOOD), "\"fixture\"", "\"fix_epo\"");
            signed(folder, "epoch.so", &with_head_byte(bytes, HEAD_EPOCH, 9));
        },
        "built for module ABI 9",
    ),
    (
        "abort.so",
        |folder| {
            let bytes = patched(library(GOOD), "\"fixture\"", "\"fix_abt\"");
            signed(folder, "abort.so", &with_head_byte(bytes, HEAD_UNWIND, 0));
        },
        "panic=abort",
    ),
    (
        "layout.so",
        |folder| signed(folder, "layout.so", &library(LAYOUT)),
        "expected u32, found u64",
    ),
    (
        "info_panics.so",
        |folder| signed(folder, "info_panics.so", &library(raw("info_panics"))),
        "no info today",
    ),
    (
        "info_null.so",
        |folder| {
            signed(
                folder,
                "info_null.so",
                &patched(library(raw("info_null")), "\"raw\"", "\"nul\""),
            )
        },
        "info head",
    ),
    (
        "router_panics.so",
        |folder| {
            signed(
                folder,
                "router_panics.so",
                &patched(library(raw("router_panics")), "\"raw\"", "\"rou\""),
            )
        },
        "no router today",
    ),
    (
        "root_panics.so",
        |folder| {
            signed(
                folder,
                "root_panics.so",
                &patched(library(raw("root_panics")), "\"raw\"", "\"roo\""),
            )
        },
        "panic",
    ),
];

#[test]
fn every_bad_file_is_refused_with_its_reason_and_the_server_lives() {
    let fleet = start();
    let folder = fleet.server.settings.modules_dir();
    put_license(
        &fleet,
        &claims(&["x_fixture", "x_raw", "x_layout", "fleet_groups"]),
    );
    // Made aside and then moved: the server watches, and some are good before they are spoiled.
    let aside = fleet.path("aside");
    std::fs::create_dir_all(&aside).expect("a folder");
    for (_, make, _) in &CASES {
        make(&aside);
    }
    let mut made: Vec<_> = std::fs::read_dir(&aside)
        .expect("the folder")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    // Signatures first.
    made.sort_by_key(|name| !name.to_string_lossy().ends_with(".sig"));
    for name in made {
        std::fs::rename(aside.join(&name), folder.join(&name)).expect("a file can be moved");
    }
    let found = modules(&fleet);
    for (file, _, reason) in &CASES {
        let item = found
            .iter()
            .find(|item| item["file"] == *file)
            .unwrap_or_else(|| panic!("{file} is not listed"));
        assert_eq!(item["state"], "failed", "{item}");
        let said = item["reason"].as_str().unwrap_or_default();
        assert!(said.contains(reason), "{file}: {said}");
        assert_eq!(said.lines().count(), 1, "{file}: one readable line");
    }
    // Signed modules that do not load are there and do not work; the product's own routes are not theirs to break.
    for path in ["/fleet/x-fixture/notes", "/fleet/groups"] {
        let answer = fleet.admin.get(path);
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (402, "feature-not-available"),
            "{path}"
        );
    }
    assert_eq!(
        fleet.admin.get("/fleet/groups").json()["reason"],
        "module_not_installed"
    );
    fleet.admin.get("/hosts").expect(200);
}

#[test]
fn a_module_that_fails_after_loading_is_listed_with_its_reason() {
    let fleet = start();
    put_license(&fleet, &claims(&["x_fixture"]));
    let cases = [
        ("start_panics", "it panicked in start: no start today"),
        ("start_refuses", "it has no mind to start"),
        (
            "migrations_panic",
            "it panicked in migrations: no migrations today",
        ),
        (
            "migrates_foreign",
            "the table `hosts` is not one of the module's own",
        ),
    ];
    for (variant, reason) in cases {
        // A file of the same module and version with other content takes the place of the one before.
        crate::fixtures::drop_module(&fleet, "fixture.so", &library(module(variant)));
        let item = wait_for_reason(&fleet, reason);
        assert_eq!(item["state"], "failed");
        let answer = fleet.admin.get("/fleet/x-fixture/room");
        assert_eq!(
            (answer.status, answer.json()["reason"].as_str()),
            (402, Some("module_failed")),
            "{variant}"
        );
    }
    crate::fixtures::drop_module(&fleet, "fixture.so", &library(GOOD));
    wait_state(&fleet, "fixture", "running");
    assert_eq!(
        fleet.admin.get("/fleet/x-fixture/room").expect(200)["variant"],
        "good"
    );
    fleet
        .admin
        .post("/fleet/x-fixture/notes", &json!({"id": 1, "text": "a"}))
        .expect(201);
}

#[test]
fn a_file_of_a_modules_name_that_was_refused_is_module_failed() {
    let fleet = start_with_fixture();
    let folder = fleet.server.settings.modules_dir();
    let reason = |path: &str| {
        let answer = fleet.admin.get(path);
        assert_eq!(answer.status, 402, "{path}");
        let body = answer.json();
        assert!(body["upgrade_url"].is_string(), "{body}");
        body["reason"].as_str().expect("a reason").to_owned()
    };
    let invoked = || {
        let path = "/fleet/x-fixture/misbehave/invoke-absent";
        let answer = fleet.admin.post(path, &json!({}));
        assert_eq!(answer.status, 402);
        answer.json()
    };
    let asked = ["/fleet/groups", "/fleet/rolling", "/fleet/bulk"];
    assert_eq!(asked.map(reason), ["module_not_installed"; 3]);
    assert_eq!(invoked()["reason"], "module_not_installed");
    // The first has the module's name and nothing that could be read; the second is unsigned, has another name, and
    // says inside what it is.
    let (named, inside) = (folder.join("groups.so"), folder.join("other.so"));
    write(&named, b"not a library");
    let library = patched(
        library(GOOD),
        "\"name\": \"fixture\"",
        "\"name\": \"rolling\"",
    );
    write(&inside, &library);
    modules(&fleet);
    let failed = "module_failed";
    assert_eq!(asked.map(reason), [failed, failed, "module_not_installed"]);
    let told = invoked();
    assert_eq!(
        (&told["reason"], &told["module"], &told["feature"]),
        (
            &json!(failed),
            &json!("rolling"),
            &json!("fleet_rolling_deployments")
        )
    );
    // Nothing of an unsigned file is mounted, and what runs is not in its power.
    fleet.admin.get("/fleet/x-fixture/room").expect(200);
    for file in [named, inside] {
        std::fs::remove_file(file).expect("removed");
    }
    modules(&fleet);
    assert_eq!(asked.map(reason), ["module_not_installed"; 3]);
}

fn wait_for_reason(fleet: &fleetwright_tests::fleet::TestFleet, reason: &str) -> Value {
    fleetwright_tests::wait::wait_for(reason, crate::fixtures::PATIENCE, || {
        let item = crate::fixtures::listed(fleet, "fixture")?;
        item["reason"]
            .as_str()
            .is_some_and(|said| said.contains(reason))
            .then_some(item)
    })
}

#[test]
fn a_file_that_others_could_write_loads_once_they_cannot() {
    let fleet = start();
    let folder = fleet.server.settings.modules_dir();
    let aside = fleet.path("open.bin");
    write_signed(&aside, &library(GOOD));
    let mode = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("modes");
    };
    mode(&aside, 0o664);
    let path = folder.join("fixture.so");
    std::fs::rename(fleet.path("open.bin.sig"), folder.join("fixture.so.sig")).expect("moved");
    std::fs::rename(&aside, &path).expect("moved");
    let refused = wait_state(&fleet, "fixture", "failed");
    assert_eq!(
        refused["reason"],
        "fixture.so may be written by its group or by others"
    );
    mode(&path, 0o644);
    wait_state(&fleet, "fixture", "unlicensed");
}
