//! What a module's library says of itself is what the product's one declaration says: the community server answers 402 from
//! the same text.

use fleetwright_plugin_api::info::ModuleInfo;
use fleetwright_plugin_api::product;
use fleetwright_tests::binaries::{self, MODULES};

#[test]
fn a_library_carries_the_declaration_of_the_product() {
    for module in MODULES {
        let library = std::fs::read(binaries::module(module)).expect("a library");
        let info = fleetwright_signing::read_info(&library).expect("an info section");
        let info = ModuleInfo::parse(info).expect("an info");
        let declared = product::declaration(module).expect("one of the product");
        assert_eq!(info.routes, declared.routes, "{module}");
        assert_eq!(info.features, declared.features, "{module}");
        assert_eq!(info.host_api, declared.host_api, "{module}");
        assert_eq!(info.migrations, declared.migrations, "{module}");
    }
}
