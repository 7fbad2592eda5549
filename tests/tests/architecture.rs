//! The rules of ARCHITECTURE.md that a reader of sources can check. Each failure lists every place. The exceptions
//! are named here, with their reasons, and nowhere else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use fleetwright_tests::source::{self, Source};
use regex::Regex;

const FILE_LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 70;

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("a fixed pattern")
}

/// Read once: twenty checks look at every file.
fn sources() -> Vec<Source> {
    static SOURCES: OnceLock<Vec<Source>> = OnceLock::new();
    SOURCES.get_or_init(source::rust_sources).clone()
}

/// Product sources: not the tests package, not files that are tests themselves.
fn product() -> Vec<Source> {
    sources()
        .into_iter()
        .filter(|file| !file.path.starts_with("tests/") && !is_test_file(&file.path))
        .collect()
}

fn is_test_file(path: &str) -> bool {
    path.contains("/tests/")
        || path.ends_with("/tests.rs")
        || path.ends_with("_tests.rs")
        || path.contains("/fuzz/")
}

fn places(files: &[Source], needle: &str, excused: impl Fn(&str) -> bool) -> Vec<String> {
    let needle = pattern(needle);
    files
        .iter()
        .filter(|file| !excused(&file.path))
        .flat_map(|file| {
            let lines = file.code_lines(&needle);
            lines
                .into_iter()
                .map(|line| format!("{}:{line}", file.path))
                .collect::<Vec<_>>()
        })
        .collect()
}

fn assert_none(rule: &str, places: &[String]) {
    assert!(places.is_empty(), "{rule}:\n  {}", places.join("\n  "));
}

/// `server/src/hosts/store.rs` → `hosts`; `None` outside the server and for its top-level files.
fn slice_of(path: &str) -> Option<&str> {
    let rest = path.strip_prefix("server/src/")?;
    match rest.split_once('/') {
        Some((slice, _)) => Some(slice),
        None => rest.strip_suffix(".rs"),
    }
}

fn is_store(path: &str) -> bool {
    path.ends_with("/store.rs") || path.contains("/store/") || path.ends_with("_store.rs")
}

#[test]
fn no_file_is_longer_than_six_hundred_lines() {
    let long: Vec<String> = source::files(&["rs", "ts", "tsx"])
        .iter()
        .filter_map(|path| {
            let lines = std::fs::read_to_string(path).ok()?.lines().count();
            (lines > FILE_LINES_MAX).then(|| format!("{} ({lines})", source::relative(path)))
        })
        .collect();
    assert_none("files over 600 lines", &long);
}

#[test]
fn no_function_is_longer_than_seventy_lines() {
    let files: Vec<Source> = sources()
        .into_iter()
        .filter(|file| !is_test_file(&file.path))
        .collect();
    let long: Vec<String> = files
        .iter()
        .flat_map(|file| file.functions().into_iter().map(move |span| (file, span)))
        .filter(|(_, span)| span.lines > FUNCTION_LINES_MAX)
        .map(|(file, span)| format!("{}:{} {} ({})", file.path, span.line, span.name, span.lines))
        .collect();
    assert_none("functions over 70 lines", &long);
}

#[test]
fn no_file_or_folder_has_a_name_that_says_nothing() {
    let empty = pattern(r"(^|[/_])(utils?|helpers?|commons?|managers?|misc)([_./]|$)");
    let named: Vec<String> = source::files(&["rs", "ts", "tsx"])
        .iter()
        .map(|path| source::relative(path))
        .filter(|path| empty.is_match(path))
        .collect();
    assert_none("names that say nothing", &named);
}

#[test]
fn every_file_says_what_it_is_for() {
    let silent: Vec<String> = sources()
        .iter()
        .filter(|file| !file.text.trim_start().starts_with("//!"))
        .map(|file| file.path.clone())
        .collect();
    assert_none("files without a `//!` header", &silent);
}

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

const UNSAFE_ALLOWED: [&str; 6] = [
    "server/src/modules/loader",
    "plugin-api/src/abi",
    "plugin-api/src/sdk",
    // The two small files the boundary's generated code stands on.
    "plugin-api/src/guard",
    "plugin-api/src/info",
    // Named system calls of the agent.
    "agent/src/",
];

#[test]
fn unsafe_is_only_where_it_is_named() {
    let allowed = |path: &str| UNSAFE_ALLOWED.iter().any(|prefix| path.starts_with(prefix));
    let files = sources();
    let ours: Vec<Source> = files
        .into_iter()
        .filter(|file| !file.path.starts_with("tests/abi/"))
        .collect();
    assert_none(
        "unsafe outside the loader, the ABI and the agent's system calls",
        &places(&ours, r"\bunsafe\b", allowed),
    );
}

#[test]
fn every_unsafe_block_says_why_it_is_sound() {
    let word = pattern(r"\bunsafe\s*(\{|impl\b)");
    let mut bare = Vec::new();
    for file in product() {
        let lines: Vec<&str> = file.text.lines().collect();
        for line in file.code_lines(&word) {
            // The comment stands directly above the statement, which may span a few lines.
            let from = line.saturating_sub(8);
            let near = lines.get(from..line).unwrap_or_default();
            if !near.iter().any(|text| text.contains("SAFETY:")) {
                bare.push(format!("{}:{line}", file.path));
            }
        }
    }
    assert_none("unsafe without a SAFETY comment", &bare);
}

#[test]
fn lints_are_expected_never_allowed() {
    let files = sources();
    assert_none(
        "#[allow] (use #[expect(…, reason = …)])",
        &places(&files, r"#!?\[allow\(", |path| {
            path.starts_with("tests/abi/")
        }),
    );
    let todo = pattern(r"\bTODO\b|\bFIXME\b|\bXXX\b");
    let unfinished: Vec<String> = files
        .iter()
        .filter(|file| !file.path.starts_with("tests/tests/architecture"))
        .filter(|file| file.text.lines().any(|line| todo.is_match(line)))
        .map(|file| file.path.clone())
        .collect();
    assert_none("unfinished business", &unfinished);
    assert_none(
        "todo!, unimplemented!, dbg!",
        &places(&files, r"\b(todo|unimplemented|dbg)!", |_| false),
    );
}

#[test]
fn whatever_can_panic_says_why_it_does_not() {
    let word = pattern(r"\.unwrap\(\)|\.expect\(|\bpanic!|\bunreachable!");
    let mut bare = Vec::new();
    let shipped = product()
        .into_iter()
        .filter(|file| !file.path.starts_with("xtask/"));
    for file in shipped {
        let lines: Vec<&str> = file.text.lines().collect();
        for line in file.code_lines(&word) {
            let from = line.saturating_sub(6);
            let near = lines.get(from..line).unwrap_or_default();
            if !near.iter().any(|text| text.contains("//")) {
                bare.push(format!("{}:{line}", file.path));
            }
        }
    }
    assert_none(
        "a possible panic without a comment that proves it away",
        &bare,
    );
}

#[test]
fn sql_is_only_in_stores() {
    let sql = pattern(
        r"\bSELECT\b.+\bFROM\b|\bINSERT\s+INTO\b|\bDELETE\s+FROM\b|\bUPDATE\s+\w+\s+SET\b|\bCREATE\s+(TABLE|INDEX)\b|\bFROM\s+\w+\s+WHERE\b",
    );
    let home = |path: &str| {
        is_store(path)
            || path.starts_with("server/src/db")
            // The module's test double and the SDK carry no SQL; the CLI and the agent have no database.
            || path.starts_with("xtask/")
    };
    let found: Vec<String> = product()
        .iter()
        .filter(|file| !home(&file.path))
        .flat_map(|file| {
            file.string_lines(&sql)
                .into_iter()
                .map(|line| format!("{}:{line}", file.path))
                .collect::<Vec<_>>()
        })
        .collect();
    assert_none("SQL outside store.rs", &found);
}

/// Table names that statements in a text write (or, with `reads`, also read).
fn tables(text: &str, reads: bool) -> BTreeSet<String> {
    let writing =
        r"(?i:INSERT\s+INTO|INSERT\s+OR\s+\w+\s+INTO|UPDATE|DELETE\s+FROM)\s+([a-z_][a-z_0-9]*)";
    let reading = r"\b(?:FROM|JOIN|TABLE(?:\s+IF\s+NOT\s+EXISTS)?|INSERT\s+INTO|UPDATE|ON)\s+([a-z_][a-z_0-9]*)";
    let needle = pattern(if reads { reading } else { writing });
    needle
        .captures_iter(text)
        .filter_map(|found| found.get(1))
        .map(|name| name.as_str().to_owned())
        // `ON CONFLICT … DO UPDATE SET` names no table.
        .filter(|name| name != "set" && name != "conflict")
        .collect()
}

#[test]
fn one_slice_writes_each_table() {
    let mut writers: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for file in product() {
        let Some(slice) = slice_of(&file.path) else {
            continue;
        };
        if slice == "db" {
            continue;
        }
        for table in tables(&file.strings, false) {
            writers.entry(table).or_default().insert(slice.to_owned());
        }
    }
    assert!(
        !writers.is_empty(),
        "no writing statement was found: the check is blind"
    );
    let shared: Vec<String> = writers
        .iter()
        // One key per setting, each with one owner; the table is only a place to put them.
        .filter(|(table, slices)| slices.len() > 1 && *table != "settings")
        .map(|(table, slices)| format!("{table}: {slices:?}"))
        .collect();
    assert_none("tables that several slices write", &shared);
}

#[test]
fn a_slice_never_reaches_into_anothers_store() {
    let needle = pattern(r"\bcrate::(\w+)::(?:\w+::)?store\b");
    let mut reaching = Vec::new();
    for file in product() {
        let Some(slice) = slice_of(&file.path) else {
            continue;
        };
        for found in needle.captures_iter(&file.code) {
            if found.get(1).is_some_and(|name| name.as_str() != slice) {
                reaching.push(format!("{}: {}", file.path, &found[0]));
            }
        }
    }
    assert_none("another slice's store", &reaching);
}

#[test]
fn a_module_touches_only_its_own_tables() {
    let mut foreign = Vec::new();
    for name in ["groups", "bulk", "rolling", "schedules"] {
        let folder = source::workspace().join("modules").join(name);
        let prefix = format!("{name}_");
        let sources = product()
            .into_iter()
            .filter(|file| file.path.starts_with(&format!("modules/{name}/")))
            .filter(|file| is_store(&file.path))
            .map(|file| (file.path.clone(), file.strings.clone()));
        let migrations = source::files(&["sql"])
            .into_iter()
            .filter(|path| path.starts_with(&folder))
            .map(|path| {
                let text = std::fs::read_to_string(&path).expect("a migration can be read");
                // Comments may name anything.
                let text = pattern(r"--[^\n]*").replace_all(&text, "").into_owned();
                (source::relative(&path), text)
            });
        for (path, text) in sources.chain(migrations) {
            let touched = tables(&text, true);
            foreign.extend(
                touched
                    .into_iter()
                    .filter(|table| !table.starts_with(&prefix) && !is_sql_source(table))
                    .map(|table| format!("{path}: {table}")),
            );
        }
    }
    // What every kind of operation does is written once, for the table each kind names: those names are modules' own, and the
    // shared text has none.
    let naming = pattern(r#"\btable:\s*"([a-z_0-9]+)""#);
    let mut named = 0;
    for file in product() {
        let Some((module, _)) = file
            .path
            .strip_prefix("modules/")
            .and_then(|rest| rest.split_once('/'))
        else {
            continue;
        };
        for found in naming.captures_iter(&file.text) {
            named += 1;
            if !found[1].starts_with(&format!("{module}_")) {
                foreign.push(format!("{}: {}", file.path, &found[1]));
            }
        }
        if module == "operations" && is_store(&file.path) {
            let touched = tables(&file.strings, true).into_iter();
            foreign.extend(touched.map(|table| format!("{}: {table}", file.path)));
        }
    }
    assert!(named >= 2, "no kind names its table: the check is blind");
    assert_none("a module touching a table that is not its own", &foreign);
}

/// Row sources that are no tables: JSON functions, common table expressions' usual names.
fn is_sql_source(name: &str) -> bool {
    [
        "json_each",
        "json_array_elements",
        "source",
        "unnest",
        "delete",
    ]
    .contains(&name)
}

#[test]
fn nothing_counts_rows_where_a_request_waits() {
    let counting = pattern(r"(?i)\bCOUNT\s*\(");
    let found: Vec<String> = product()
        .iter()
        .filter(|file| is_store(&file.path))
        .flat_map(|file| {
            file.string_lines(&counting)
                .into_iter()
                .map(|line| format!("{}:{line}", file.path))
                .collect::<Vec<_>>()
        })
        // Walks the whole log because that is what is asked for; an administrator's request.
        .filter(|place| !place.starts_with("server/src/audit/"))
        // Administrators are few, and the last one must not be removed.
        .filter(|place| !place.starts_with("server/src/auth/"))
        .collect();
    assert_none("COUNT in a store", &found);
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
            &[
                "fleetwright-plugin-api",
                "fleetwright-protocol",
                "fleetwright-selector",
            ],
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

#[test]
fn both_databases_have_the_same_migrations_and_tables() {
    let read = |dialect: &str| -> BTreeMap<String, BTreeSet<String>> {
        let needle = pattern(r"CREATE TABLE (?:IF NOT EXISTS )?(\w+)");
        source::files(&["sql"])
            .into_iter()
            .filter_map(|path| {
                let name = source::relative(&path);
                let marker = format!("/{dialect}/");
                let key = name
                    .contains(&marker)
                    .then(|| name.replace(&marker, "/*/"))?;
                let text = std::fs::read_to_string(&path).expect("a migration can be read");
                let tables = needle
                    .captures_iter(&text)
                    .map(|found| found[1].to_owned())
                    .collect();
                Some((key, tables))
            })
            .collect()
    };
    let sqlite = read("sqlite");
    assert!(
        !sqlite.is_empty(),
        "no migration was found: the check is blind"
    );
    assert_eq!(sqlite, read("postgres"));
}
