//! SQL: in stores, of one's own tables, the same for both databases, and nothing that counts while somebody waits.

use std::collections::{BTreeMap, BTreeSet};

use fleetwright_tests::source;

use crate::{assert_none, is_store, pattern, product, slice_of};

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
    for name in ["groups", "bulk", "rolling", "schedules", "placement"] {
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
