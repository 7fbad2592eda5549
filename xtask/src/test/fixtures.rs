//! What the broken and foreign modules of `tests/abi` stand on: crates of three more workspaces. Compiled beside the product,
//! which leaves a processor idle where one large crate is waited for; the tests then compile only the modules.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::cargo::{cargo, root, shown, target};

/// One package at a time, as the tests build them: other choices would have other features. And where the tests look for
/// what was built.
const PACKAGES: [(&str, &str); 5] = [
    ("fixtures/module", "abi-fixtures"),
    ("fixtures/raw", "abi-fixtures"),
    ("fixtures/layout", "abi-fixtures"),
    ("released", "abi-fixtures/released"),
    ("foreign", "abi-fixtures/foreign"),
];

pub fn build() -> Result<String> {
    for (package, folder) in PACKAGES {
        let mut command: Command = cargo();
        command
            .args(["build", "--quiet", "--locked", "--manifest-path"])
            .arg(root().join("tests/abi").join(package).join("Cargo.toml"))
            .arg("--target-dir")
            .arg(target().join(folder));
        let output = command.output().with_context(|| shown(&command))?;
        let text = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{}: {text}", shown(&command));
    }
    Ok(String::new())
}
