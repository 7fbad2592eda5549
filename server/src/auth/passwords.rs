//! Passwords: hashed with argon2id, few at a time because each takes 19 MiB and tens of milliseconds.

use std::sync::Arc;

use argon2::Argon2;
use argon2::password_hash::{PasswordHash, PasswordHasher as _, PasswordVerifier as _, SaltString};
use fleetwright_protocol::Violation;
use rand::RngCore as _;
use tokio::sync::Semaphore;

/// Hashes at a time: one per core of the small machine; more only wait for the same cores.
const CONCURRENT_MAX: usize = 2;
/// Log-ins that may wait for a turn: about two seconds' worth.
const WAITING_MAX: usize = 32;
/// NIST SP 800-63B asks for at least 8; 12 costs a person little and a guesser much.
pub const CHARS_MIN: usize = 12;
/// Bounds what one hash reads.
pub const CHARS_MAX: usize = 1_024;

/// Hashes and checks passwords off the request threads.
#[derive(Clone)]
pub struct Passwords {
    turns: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    /// Checked for unknown names, so that they take as long as known ones.
    decoy: Arc<str>,
}

#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    #[error("too many log-ins at once")]
    Busy,
    #[error("passwords cannot be hashed: {0}")]
    Failed(String),
}

impl Passwords {
    pub fn new() -> Result<Self, PasswordError> {
        Ok(Self {
            turns: Arc::new(Semaphore::new(CONCURRENT_MAX)),
            waiting: Arc::new(Semaphore::new(WAITING_MAX)),
            decoy: hash("a password nobody has")?.into(),
        })
    }

    /// The PHC text to store.
    pub async fn hash(&self, password: String) -> Result<String, PasswordError> {
        self.in_turn(move || hash(&password)).await?
    }

    /// Whether `password` is the one behind `stored`; without `stored`, never, and as slowly.
    pub async fn verify(
        &self,
        password: String,
        stored: Option<String>,
    ) -> Result<bool, PasswordError> {
        let decoy = Arc::clone(&self.decoy);
        self.in_turn(move || {
            let text = stored.as_deref().unwrap_or(&decoy);
            let parsed = PasswordHash::new(text).map_err(failed)?;
            let same = Argon2::default().verify_password(password.as_bytes(), &parsed);
            Ok(same.is_ok() && stored.is_some())
        })
        .await?
    }

    async fn in_turn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, PasswordError> {
        let _place = self
            .waiting
            .try_acquire()
            .map_err(|_| PasswordError::Busy)?;
        let _turn = self
            .turns
            .acquire()
            .await
            .map_err(|_| PasswordError::Busy)?;
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|error| PasswordError::Failed(error.to_string()))
    }
}

/// What is wrong with a password someone wants to set.
pub fn check(pointer: &str, password: &str) -> Option<Violation> {
    let chars = password.chars().count();
    let valid = (CHARS_MIN..=CHARS_MAX).contains(&chars);
    (!valid).then(|| {
        Violation::new(
            pointer,
            "invalid-field",
            format!("A password has {CHARS_MIN} to {CHARS_MAX} characters."),
        )
    })
}

fn hash(password: &str) -> Result<String, PasswordError> {
    let mut salt = [0_u8; 16];
    rand::rng().fill_bytes(&mut salt);
    let salt = SaltString::encode_b64(&salt).map_err(failed)?;
    Argon2::default()
        .hash_password(password.as_bytes(), &salt)
        .map(|hash| hash.to_string())
        .map_err(failed)
}

fn failed(error: argon2::password_hash::Error) -> PasswordError {
    PasswordError::Failed(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_right_password_of_a_known_user_is_accepted() {
        let passwords = Passwords::new().expect("hashing works");
        let right = "correct horse battery";
        let stored = passwords.hash(right.to_owned()).await.expect("hashed");
        assert!(stored.starts_with("$argon2id$"));
        let verify = |password: &str, stored: Option<&String>| {
            passwords.verify(password.to_owned(), stored.cloned())
        };
        assert!(verify(right, Some(&stored)).await.expect("checked"));
        assert!(!verify("wrong", Some(&stored)).await.expect("checked"));
        let decoy = "a password nobody has";
        assert!(
            !verify(decoy, None).await.expect("checked"),
            "no user, no log-in"
        );
        let again = passwords.hash(right.to_owned()).await.expect("hashed");
        assert_ne!(stored, again, "each hash has its own salt");
    }

    #[test]
    fn passwords_are_neither_short_nor_endless() {
        assert!(check("/password", &"x".repeat(11)).is_some());
        assert!(check("/password", &"ü".repeat(12)).is_none());
        assert!(check("/password", &"x".repeat(1_025)).is_some());
    }
}
