//! The secrets of a command on this host: in memory, and, where a plan has to outlive this process or the machine, in a file of
//! its own in the folder of the run, which goes with the end of the command.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use fleetwright_protocol::{EnvironmentValue, SecretRef, SecretValue, SecretValues};

use super::CannotRun;
use crate::private_file;

const FILE_NAME: &str = "secrets.json";
/// What a plan has kept of files it replaces: they may hold earlier secrets.
const SAVED: &str = "saved-";

/// The name of a copy of what stood where this step of a plan deploys a file.
pub fn saved_name(step: usize) -> String {
    format!("{SAVED}{step}")
}

/// The value of one.
pub fn value<'a>(
    reference: &SecretRef,
    secrets: &'a SecretValues,
) -> Result<&'a SecretValue, CannotRun> {
    secrets.get(&reference.key()).ok_or_else(|| {
        let name = &reference.secret;
        CannotRun::Refused(format!("the secret {name} did not come with the command"))
    })
}

/// Variables with the values of the secrets among them.
pub fn variables(
    asked: &BTreeMap<String, EnvironmentValue>,
    secrets: &SecretValues,
) -> Result<BTreeMap<String, String>, CannotRun> {
    let text = |given: &EnvironmentValue| match given {
        EnvironmentValue::Text(text) => Ok(text.clone()),
        EnvironmentValue::Secret(named) => {
            let bytes = value(&named.clone().into(), secrets)?.bytes();
            let text = std::str::from_utf8(bytes).ok();
            let text = text.filter(|text| !text.contains('\0'));
            let name = &named.secret;
            text.map(str::to_owned).ok_or_else(|| {
                CannotRun::Refused(format!(
                    "the secret {name} cannot be a variable: it is not text, or holds a NUL"
                ))
            })
        }
    };
    let variables = asked
        .iter()
        .map(|(name, given)| Ok((name.clone(), text(given)?)));
    variables.collect()
}

/// Keeps them in the folder of a run, on disk before this returns.
pub fn keep(folder: &Path, secrets: &SecretValues) -> io::Result<()> {
    if secrets.is_empty() {
        return Ok(());
    }
    private_file::write(&folder.join(FILE_NAME), &serde_json::to_vec(secrets)?)
}

/// Those kept in the folder of a run; none if there are none.
pub fn kept(folder: &Path) -> io::Result<SecretValues> {
    match std::fs::read(folder.join(FILE_NAME)) {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(SecretValues::new()),
        Err(error) => Err(error),
    }
}

/// The command is over: removes what the folder of its run holds of secrets. The rest stays until the server has heard of the
/// end.
pub fn forget(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let secret = name.starts_with(FILE_NAME) || name.starts_with(SAVED);
        if secret && let Err(error) = std::fs::remove_file(entry.path()) {
            tracing::warn!(folder = %folder.display(), %error, "cannot remove the secrets of a run");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets() -> SecretValues {
        let value = |bytes: &[u8]| SecretValue::new(bytes.to_vec());
        SecretValues::from([
            ("a/b".to_owned(), value(b"text")),
            ("bin@2".to_owned(), value(&[0xff])),
            ("nul".to_owned(), value(b"a\0b")),
        ])
    }

    #[test]
    fn a_variable_gets_the_value_and_what_cannot_be_one_is_told_without_it() {
        let read = |json: serde_json::Value| {
            let asked: BTreeMap<String, EnvironmentValue> = serde_json::from_value(json).unwrap();
            variables(&asked, &secrets()).map_err(|error| error.to_string())
        };
        let good = read(serde_json::json!({"X": "1", "Y": {"secret": "a/b"}})).unwrap();
        assert_eq!((good["X"].as_str(), good["Y"].as_str()), ("1", "text"));
        for (reference, word) in [
            (
                serde_json::json!({"secret": "a/b", "version": 1}),
                "did not come",
            ),
            (
                serde_json::json!({"secret": "bin", "version": 2}),
                "not text",
            ),
            (serde_json::json!({"secret": "nul"}), "NUL"),
        ] {
            let why = read(serde_json::json!({ "X": reference })).unwrap_err();
            assert!(why.contains(word) && !why.contains("a\0b"), "{why}");
        }
    }

    #[test]
    fn what_a_folder_keeps_is_private_and_goes_with_the_end() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        assert!(kept(folder.path()).unwrap().is_empty());
        keep(folder.path(), &secrets()).unwrap();
        assert_eq!(kept(folder.path()).unwrap(), secrets());
        let mode = std::fs::metadata(folder.path().join(FILE_NAME));
        assert_eq!(mode.unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::write(folder.path().join(saved_name(3)), "old").unwrap();
        std::fs::write(folder.path().join("exit"), "record").unwrap();
        forget(folder.path());
        let left: Vec<_> = std::fs::read_dir(folder.path())
            .unwrap()
            .flatten()
            .collect();
        assert_eq!(left.len(), 1);
        forget(&folder.path().join("gone"));
    }
}
