//! Vendor key files: made once, the secret one readable by its owner only.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use clap::Args;
use fleetwright_signing::{PublicKey, SecretKey};

use crate::failure::{Completion, Failure};
use crate::output;

#[derive(Args)]
pub struct KeygenArgs {
    /// Folder for vendor.key and vendor.pub
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    out: PathBuf,
    /// Mark the key, and all it signs, as for development: servers refuse it unless told otherwise
    #[arg(long)]
    development: bool,
}

pub fn keygen(args: &KeygenArgs) -> Result<Completion, Failure> {
    let key = SecretKey::generate(args.development)
        .map_err(|error| Failure::Signing(error.to_string()))?;
    let public = key
        .public()
        .map_err(|error| Failure::Signing(error.to_string()))?;
    std::fs::create_dir_all(&args.out).map_err(Failure::file(args.out.display().to_string()))?;
    // The secret key first: if it is there already, neither file is touched.
    create(&args.out.join("vendor.key"), &key.to_text(), 0o600)?;
    create(&args.out.join("vendor.pub"), &public.to_text(), 0o644)?;
    let kind = if args.development {
        "development key"
    } else {
        "key"
    };
    output::line(&format!("{kind} {} in {}", key.id, args.out.display()))?;
    Ok(Completion::Done)
}

pub fn read_secret(path: &Path) -> Result<SecretKey, Failure> {
    SecretKey::parse(&read_text(path)?).map_err(named(path))
}

pub fn read_public(path: &Path) -> Result<PublicKey, Failure> {
    PublicKey::parse(&read_text(path)?).map_err(named(path))
}

pub fn read_text(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path).map_err(Failure::file(path.display().to_string()))
}

/// An error that says which file it is about.
pub fn named<E: std::fmt::Display>(path: &Path) -> impl FnOnce(E) -> Failure {
    let name = path.display().to_string();
    move |error| Failure::Signing(format!("{name}: {error}"))
}

/// A new file; one that is there is never overwritten, because a lost key cannot be made again.
fn create(path: &Path, text: &str, mode: u32) -> Result<(), Failure> {
    std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(Failure::file(path.display().to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_is_there_is_never_overwritten() {
        let folder =
            std::env::temp_dir().join(format!("fleetwright-keygen-{}", std::process::id()));
        let args = KeygenArgs {
            out: folder.clone(),
            development: true,
        };
        keygen(&args).expect("made");
        let first = read_secret(&folder.join("vendor.key")).expect("a key");
        let second = keygen(&args);
        let kept = read_secret(&folder.join("vendor.key")).expect("a key");
        let public = read_public(&folder.join("vendor.pub")).expect("a key");
        std::fs::remove_dir_all(&folder).expect("cleans up");
        assert!(second.is_err());
        assert_eq!((kept.id, public.id), (first.id, first.id));
        assert!(first.id.is_development());
    }
}
