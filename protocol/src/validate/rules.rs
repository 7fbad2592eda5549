//! The rules for single texts: paths, modes, names. Each pushes what it finds under the given pointer.

use std::collections::BTreeMap;

use crate::secret::{self, EnvironmentValue, SecretRef};
use crate::violation::Violation;

/// PATH_MAX on Linux.
const PATH_BYTES_MAX: usize = 4096;
/// Longer than any real unit, package or account name.
const NAME_BYTES_MAX: usize = 255;

/// Whether the text is an absolute path without `..`, empty ends or NUL.
pub fn absolute_path(text: &str) -> bool {
    text.starts_with('/')
        && text.len() < PATH_BYTES_MAX
        && !text.contains('\0')
        && !text.split('/').any(|part| part == "..")
}

/// Whether the text is a lower-case hex SHA-256.
pub fn sha256_hex(text: &str) -> bool {
    text.len() == 64
        && text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

pub(super) fn path(found: &mut Vec<Violation>, pointer: &str, text: &str) {
    if !absolute_path(text) {
        let detail = "must be an absolute path without `..` or NUL";
        found.push(Violation::new(pointer, "operation-path-invalid", detail));
    }
}

pub(super) fn no_nul(found: &mut Vec<Violation>, pointer: &str, code: &str, text: &str) {
    if text.contains('\0') {
        found.push(Violation::new(pointer, code, "must not contain NUL"));
    }
}

pub(super) fn environment(
    found: &mut Vec<Violation>,
    pointer: &str,
    variables: &BTreeMap<String, EnvironmentValue>,
) {
    for (name, value) in variables {
        let pointer = format!("{pointer}/{}", pointer_token(name));
        variable_name(found, &pointer, name);
        match value {
            EnvironmentValue::Text(text) => {
                no_nul(found, &pointer, "operation-environment-invalid", text);
            }
            EnvironmentValue::Secret(named) => secret(found, &pointer, &named.clone().into()),
        }
    }
}

/// A name of the closed grammar, and a version that can be.
pub(super) fn secret(found: &mut Vec<Violation>, pointer: &str, reference: &SecretRef) {
    if !secret::is_name(&reference.secret) {
        let detail = "a secret's name is parts of a-z, 0-9, `.`, `_` and `-`, joined by `/`, at most 128 bytes";
        found.push(Violation::new(pointer, "operation-secret-invalid", detail));
    }
    if reference.version == Some(0) {
        let detail = "versions are counted from 1";
        found.push(Violation::new(pointer, "operation-secret-invalid", detail));
    }
}

/// Portable names, and nothing that changes how the dynamic linker loads code into the child.
fn variable_name(found: &mut Vec<Violation>, pointer: &str, name: &str) {
    let portable = name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && !name.is_empty()
        && !name.as_bytes()[0].is_ascii_digit(); // not empty, checked before
    if !portable {
        let detail = "must be letters, digits and `_`, not starting with a digit";
        found.push(Violation::new(
            pointer,
            "operation-environment-invalid",
            detail,
        ));
    } else if name.starts_with("LD_") {
        let detail = "variables of the dynamic linker are not allowed";
        found.push(Violation::new(
            pointer,
            "operation-environment-invalid",
            detail,
        ));
    }
}

/// Three or four octal digits without setuid, setgid or sticky bit.
pub(super) fn mode(found: &mut Vec<Violation>, pointer: &str, text: &str) {
    let octal =
        (3..=4).contains(&text.len()) && text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    let bits = u32::from_str_radix(text, 8).unwrap_or(u32::MAX);
    if !octal || bits > 0o777 {
        let detail = "must be octal, at most 0777 (no setuid, setgid or sticky bit)";
        found.push(Violation::new(pointer, "operation-mode-invalid", detail));
    }
}

pub(super) fn account(found: &mut Vec<Violation>, pointer: &str, name: &str) {
    if !word(name, b"._-") || name.starts_with('-') {
        found.push(Violation::new(
            pointer,
            "operation-account-invalid",
            "is not an account name",
        ));
    }
}

pub(super) fn service(found: &mut Vec<Violation>, pointer: &str, name: &str) {
    if !word(name, b"._-@:\\") || name.starts_with('-') {
        found.push(Violation::new(
            pointer,
            "operation-service-invalid",
            "is not a service name",
        ));
    }
}

/// `name` or `name=version`.
pub(super) fn package(found: &mut Vec<Violation>, pointer: &str, text: &str) {
    let (name, version) = match text.split_once('=') {
        Some((name, version)) => (name, Some(version)),
        None => (text, None),
    };
    let name_fits = word(name, b"._+-:@/") && !name.starts_with(['-', '/', '.']);
    let version_fits = version.is_none_or(|version| word(version, b"._+-:~^"));
    if !name_fits || !version_fits {
        found.push(Violation::new(
            pointer,
            "operation-package-invalid",
            "is not a package name",
        ));
    }
}

/// A text as shown in an error: short and printable.
pub(super) fn shown(text: &str) -> String {
    text.chars()
        .filter(|character| !character.is_control())
        .take(64)
        .collect()
}

/// A key as a JSON pointer token (RFC 6901).
pub(super) fn pointer_token(key: &str) -> String {
    shown(key).replace('~', "~0").replace('/', "~1")
}

fn word(text: &str, also: &[u8]) -> bool {
    !text.is_empty()
        && text.len() <= NAME_BYTES_MAX
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || also.contains(&byte))
}
