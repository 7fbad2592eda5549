//! `fleetwright module`: signs and checks module libraries. Works on files and needs no server.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use fleetwright_signing::signature::SUFFIX;
use fleetwright_signing::{sign_module, verify_module};

use crate::failure::{Completion, Failure};
use crate::{keys, output};

#[derive(Subcommand)]
pub enum ModuleAction {
    /// Sign libraries; the signature is written beside each, with .sig added to its name
    Sign {
        /// The vendor's secret key
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        #[arg(required = true)]
        libraries: Vec<PathBuf>,
    },
    /// Check libraries and the signatures beside them
    Verify {
        /// A vendor's public key; may be given several times
        #[arg(long = "key", value_name = "FILE", required = true)]
        keys: Vec<PathBuf>,
        #[arg(required = true)]
        libraries: Vec<PathBuf>,
    },
}

pub fn run(action: ModuleAction) -> Result<Completion, Failure> {
    match action {
        ModuleAction::Sign { key, libraries } => {
            let key = keys::read_secret(&key)?;
            for library in &libraries {
                let text = sign_module(&key, &read(library)?).map_err(keys::named(library))?;
                let signature = signature_path(library);
                std::fs::write(&signature, text)
                    .map_err(Failure::file(signature.display().to_string()))?;
                output::line(&format!("{}: signed with {}", signature.display(), key.id))?;
            }
        }
        ModuleAction::Verify { keys, libraries } => {
            let trusted = keys
                .iter()
                .map(|key| keys::read_public(key))
                .collect::<Result<Vec<_>, _>>()?;
            for library in &libraries {
                let signature = keys::read_text(&signature_path(library))?;
                // Whether development keys count is the server's decision; here the mark is only shown.
                let (statement, id) = verify_module(&trusted, true, &read(library)?, &signature)
                    .map_err(keys::named(library))?;
                let mark = if id.is_development() {
                    " (development key)"
                } else {
                    ""
                };
                output::line(&format!(
                    "{}: {} {}, features {}, signed with {id}{mark}",
                    library.display(),
                    statement.name,
                    statement.version,
                    statement.features.join(", "),
                ))?;
            }
        }
    }
    Ok(Completion::Done)
}

fn read(library: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(library).map_err(Failure::file(library.display().to_string()))
}

/// `groups.so` → `groups.so.sig`.
fn signature_path(library: &Path) -> PathBuf {
    let mut name = library.as_os_str().to_owned();
    name.push(SUFFIX);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_lies_beside_the_library() {
        assert_eq!(
            signature_path(Path::new("/m/groups.so")),
            Path::new("/m/groups.so.sig")
        );
    }
}
