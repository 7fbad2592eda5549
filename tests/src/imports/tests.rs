//! Small workspaces, as texts.

use super::*;

fn read(files: &[(&str, &str)]) -> Vec<String> {
    let sources: Vec<Source> = files
        .iter()
        .map(|(path, text)| Source::from_text(path, text))
        .collect();
    let read = imports(&sources);
    assert_eq!(read.unreached, Vec::<String>::new());
    let edges = read.edges.iter();
    let short = |path: &str| path.trim_start_matches("p/src/").to_owned();
    edges
        .map(|edge| {
            format!(
                "{}:{} {} {}",
                short(&edge.from),
                edge.line,
                edge.name,
                short(&edge.to)
            )
        })
        .collect()
}

fn files_in_circles(files: &[(&str, &str)]) -> Vec<Vec<String>> {
    let sources: Vec<Source> = files
        .iter()
        .map(|(path, text)| Source::from_text(path, text))
        .collect();
    circles(&imports(&sources).edges)
        .into_iter()
        .map(|circle| circle.files.into_iter().collect())
        .collect()
}

#[test]
fn a_use_and_a_path_lead_to_the_file_that_defines_the_name() {
    let found = read(&[
        ("p/src/lib.rs", "mod a;\nmod b;\n"),
        (
            "p/src/a.rs",
            "use crate::b::{One, two as deux};\nfn f() {\n  crate::b::three();\n}\n",
        ),
        (
            "p/src/b.rs",
            "pub struct One;\npub fn two() {}\npub fn three() {}\n",
        ),
    ]);
    assert_eq!(
        found,
        [
            "a.rs:1 crate::b::One b.rs",
            "a.rs:3 crate::b::three b.rs",
            "a.rs:1 crate::b::two b.rs"
        ]
    );
}

#[test]
fn a_name_that_is_passed_on_points_at_its_file_and_makes_no_edge_for_who_passes_it() {
    let found = read(&[
        ("p/src/lib.rs", "mod a;\nmod c;\n"),
        (
            "p/src/a.rs",
            "mod inner;\nmod deep;\npub use inner::{Named, Renamed as Other};\npub use deep::*;\n",
        ),
        (
            "p/src/a/inner.rs",
            "pub struct Named;\npub enum Renamed { A }\n",
        ),
        ("p/src/a/deep.rs", "pub trait Far {}\n"),
        (
            "p/src/c.rs",
            "use crate::a::Named;\nuse super::a::{Far, Other};\n",
        ),
    ]);
    assert_eq!(
        found,
        [
            "c.rs:2 super::a::Far a/deep.rs",
            "c.rs:1 crate::a::Named a/inner.rs",
            "c.rs:2 super::a::Other a/inner.rs",
        ]
    );
}

#[test]
fn a_module_in_scope_leads_on_and_is_no_edge_by_itself() {
    let found = read(&[
        ("p/src/lib.rs", "mod a;\nmod b;\n"),
        (
            "p/src/a.rs",
            "use crate::b::{self, below};\nfn f() {\n  below::g();\n  b::Enum::Variant;\n}\n",
        ),
        ("p/src/b.rs", "pub mod below;\npub enum Enum { Variant }\n"),
        ("p/src/b/below.rs", "pub fn g() {}\n"),
    ]);
    assert_eq!(
        found,
        ["a.rs:4 b::Enum::Variant b.rs", "a.rs:3 below::g b/below.rs"]
    );
}

#[test]
fn a_child_of_its_parents_item_whose_parent_needs_the_child_is_a_circle() {
    let child = (
        "p/src/a/child.rs",
        "use super::Thing;\npub fn make(_: Thing) {}\n",
    );
    let needs = [
        ("p/src/lib.rs", "mod a;\n"),
        (
            "p/src/a.rs",
            "mod child;\npub struct Thing;\nfn f() { child::make(Thing) }\n",
        ),
        child,
    ];
    assert_eq!(
        files_in_circles(&needs),
        [["p/src/a.rs", "p/src/a/child.rs"]]
    );
    let lists = [
        ("p/src/lib.rs", "mod a;\n"),
        (
            "p/src/a.rs",
            "mod child;\npub use child::make;\npub struct Thing;\n",
        ),
        child,
    ];
    assert_eq!(files_in_circles(&lists), Vec::<Vec<String>>::new());
}

#[test]
fn a_name_that_is_passed_on_and_used_is_an_edge() {
    let files = [
        ("p/src/lib.rs", "mod a;\n"),
        (
            "p/src/a.rs",
            "mod child;\npub use child::Part;\npub struct Thing { part: Part }\n",
        ),
        (
            "p/src/a/child.rs",
            "pub struct Part;\nimpl Part { fn of(_: &super::Thing) {} }\n",
        ),
    ];
    assert_eq!(
        files_in_circles(&files),
        [["p/src/a.rs", "p/src/a/child.rs"]]
    );
}

#[test]
fn a_circle_goes_through_any_number_of_files() {
    let files = [
        (
            "p/src/main.rs",
            "mod a;\nmod b;\nmod c;\nfn main() { a::f() }\n",
        ),
        ("p/src/a.rs", "pub fn f() { crate::b::f() }\n"),
        ("p/src/b.rs", "pub fn f() { super::c::f() }\n"),
        ("p/src/c.rs", "use crate::*;\npub fn f() { a::f() }\n"),
    ];
    assert_eq!(
        files_in_circles(&files),
        [["p/src/a.rs", "p/src/b.rs", "p/src/c.rs"]]
    );
}

#[test]
fn tests_methods_other_packages_and_functions_of_types_are_no_edges() {
    let found = read(&[
        ("p/src/lib.rs", "mod a;\nmod b;\n"),
        (
            "p/src/a.rs",
            "use http::b::C;\nuse ::b::D;\n#[cfg(test)]\nmod tests { use crate::b::C; }\nfn f() { x.new(); T::new(); \"crate::b::C\"; }\n",
        ),
        ("p/src/b.rs", "pub struct C;\nimpl C { pub fn new() {} }\n"),
    ]);
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn a_name_that_comes_from_another_package_is_nobodys_and_one_that_a_macro_made_is_of_its_file() {
    let found = read(&[
        ("p/src/lib.rs", "mod a;\nmod b;\n"),
        (
            "p/src/a.rs",
            "use crate::b::Outside;\nuse crate::b::Made;\n",
        ),
        ("p/src/b.rs", "pub use other::Outside;\nids! { Made }\n"),
    ]);
    assert_eq!(found, ["a.rs:2 crate::b::Made b.rs"]);
}

#[test]
fn modules_inside_a_file_belong_to_it_and_see_their_own_names() {
    let found = read(&[
        (
            "p/src/lib.rs",
            "mod a;\npub mod inner {\n  pub struct In;\n  mod file;\n}\n",
        ),
        ("p/src/inner/file.rs", "use super::In;\n"),
        (
            "p/src/a.rs",
            "mod own {\n  use super::super::inner::In;\n}\n",
        ),
    ]);
    assert_eq!(
        found,
        [
            "a.rs:2 super::super::inner::In lib.rs",
            "inner/file.rs:1 super::In lib.rs"
        ]
    );
}

#[test]
fn a_file_that_no_module_leads_to_is_told() {
    let sources = [("p/src/lib.rs", ""), ("p/src/lost.rs", "")]
        .map(|(path, text)| Source::from_text(path, text));
    assert_eq!(imports(&sources).unreached, ["p/src/lost.rs"]);
}
