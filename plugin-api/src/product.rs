//! The product's own modules, each declared in one file under `product/`: what a server without them answers 402 to, what
//! a module's library carries, and what its requests are judged by. A Pro route is declared there and nowhere else.

use std::sync::LazyLock;

use crate::info::Declaration;

/// Selectors and groups.
pub const GROUPS: &str = include_str!("../product/groups.json");
/// One operation on many hosts at once.
pub const BULK: &str = include_str!("../product/bulk.json");
/// One operation on many hosts, batch by batch.
pub const ROLLING: &str = include_str!("../product/rolling.json");
/// Operations at given times.
pub const SCHEDULES: &str = include_str!("../product/schedules.json");
/// Which node a VM goes to, which worker takes which job, and what it may cost.
pub const PLACEMENT: &str = include_str!("../product/placement.json");

static DECLARATIONS: LazyLock<Vec<Declaration>> = LazyLock::new(|| {
    // Fixed at compile time; the test below reads each.
    let texts = [GROUPS, BULK, ROLLING, SCHEDULES, PLACEMENT];
    let read = |text| Declaration::parse(text).expect("a declaration of the product is valid");
    texts.into_iter().map(read).collect()
});

/// All of them, whether the module is there or not.
pub fn declarations() -> &'static [Declaration] {
    &DECLARATIONS
}

/// The one of this name.
pub fn declaration(module: &str) -> Option<&'static Declaration> {
    DECLARATIONS.iter().find(|one| one.name == module)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn every_file_of_the_folder_is_a_declaration_of_its_name_and_is_embedded() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/product");
        let mut there: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        there.sort();
        let mut embedded: Vec<String> = declarations()
            .iter()
            .map(|one| format!("{}.json", one.name))
            .collect();
        embedded.sort();
        assert_eq!(embedded, there);
    }

    #[test]
    fn no_two_modules_declare_one_route() {
        let mut owners = BTreeMap::new();
        for one in declarations() {
            for route in &one.routes {
                let key = (route.method.as_str(), route.shape());
                let before = owners.insert(key, one.name.as_str());
                assert_eq!(before, None, "{} {}", route.method, route.path);
            }
        }
    }
}
