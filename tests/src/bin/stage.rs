//! `fleetwright-stage`: what all tests of one run stand on, made once: fresh programs, a vendor with signed modules, and one
//! PostgreSQL. Prints the variables that tell test programs where it is, an empty line, and stays until its input ends.

use std::io::Read as _;
use std::path::Path;

use fleetwright_tests::binaries::{self, MODULES};
use fleetwright_tests::{postgres, vendor};

fn main() {
    let fresh = binaries::folder();
    let vendor = vendor::vendor();
    for module in MODULES {
        vendor.provide(module);
    }
    tell(binaries::FRESH_VARIABLE, fresh);
    tell(vendor::SHARED_VARIABLE, vendor.folder());
    tell(postgres::SHARED_VARIABLE, postgres::cluster().folder());
    println!();
    // The run has ended, or died.
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    let _ = std::fs::remove_dir_all(vendor.folder());
}

fn tell(variable: &str, path: &Path) {
    println!("{variable}={}", path.display());
}
