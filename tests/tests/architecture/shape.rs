//! What a reader sees first of a file: how long it is, what it is called, what it says it is for, what is not finished.

use fleetwright_tests::source::{self, Source};

use crate::{assert_none, is_test_file, pattern, places, sources};

const FILE_LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 70;

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
