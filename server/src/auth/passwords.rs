//! Passwords: hashed with argon2id, few at a time because each takes 19 MiB and tens of milliseconds.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use argon2::Argon2;
use argon2::password_hash::{PasswordHash, PasswordHasher as _, PasswordVerifier as _, SaltString};
use fleetwright_protocol::Violation;
use rand::RngCore as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::rate::Key;

/// Hashes at a time: one per core of the small machine; more only wait for the same cores.
const CONCURRENT_MAX: usize = 2;
/// Log-ins that may wait for a turn: about two seconds' worth.
const WAITING_MAX: usize = 32;
/// Of these, those of one address: half, so that nobody alone keeps everybody else out.
const WAITING_OF_ADDRESS_MAX: usize = 16;
/// Places beside them, for who is known: a crowd of strangers does not take them.
const KEPT_PLACES: usize = 16;
/// Of these, those of one user: a person has one or two, and whoever loops must leave room for the others.
const KEPT_OF_ONE_MAX: usize = 4;
/// NIST SP 800-63B asks for at least 8; 12 costs a person little and a guesser much.
pub const CHARS_MIN: usize = 12;
/// Bounds what one hash reads.
pub const CHARS_MAX: usize = 1_024;

/// How many of each address, and of each known user, wait.
type Counts = HashMap<Key, usize>;

/// Hashes and checks passwords off the request threads.
#[derive(Clone)]
pub struct Passwords {
    turns: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    kept: Arc<Semaphore>,
    counts: Arc<Mutex<Counts>>,
    /// Checked for unknown names, so that they take as long as known ones.
    decoy: Arc<str>,
}

/// Who waits for a turn.
#[derive(Clone, Copy, Debug)]
pub enum Asker {
    /// An administrator who sets a password. What these may ask for is limited where they are known.
    Admin,
    /// Has been let in before, under this name. It has the kept places only.
    Known(Key),
    /// Anybody, at this address.
    Stranger(Key),
}

/// A place among those who wait. It counts until the work is over, also when nobody waits for the work any more.
struct Place {
    _permit: OwnedSemaphorePermit,
    counted: Option<(Key, Arc<Mutex<Counts>>)>,
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
            kept: Arc::new(Semaphore::new(KEPT_PLACES)),
            counts: Arc::default(),
            decoy: hash("a password nobody has")?.into(),
        })
    }

    /// The PHC text to store.
    pub async fn hash(&self, password: String) -> Result<String, PasswordError> {
        self.in_turn(Asker::Admin, move || hash(&password)).await?
    }

    /// Whether `password` is the one behind `stored`; without `stored`, never, and as slowly.
    pub async fn verify(
        &self,
        password: String,
        stored: Option<String>,
        asker: Asker,
    ) -> Result<bool, PasswordError> {
        let decoy = Arc::clone(&self.decoy);
        self.in_turn(asker, move || {
            let text = stored.as_deref().unwrap_or(&decoy);
            let parsed = PasswordHash::new(text).map_err(failed)?;
            let same = Argon2::default().verify_password(password.as_bytes(), &parsed);
            Ok(same.is_ok() && stored.is_some())
        })
        .await?
    }

    /// The work keeps its place and its turn to its end: a client that hangs up does not make room for one more.
    async fn in_turn<T: Send + 'static>(
        &self,
        asker: Asker,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, PasswordError> {
        let place = self.place(asker).ok_or(PasswordError::Busy)?;
        let turns = Arc::clone(&self.turns);
        let turn = turns.acquire_owned().await;
        let turn = turn.map_err(|_| PasswordError::Busy)?;
        let held = move || {
            let done = work();
            drop((place, turn));
            done
        };
        tokio::task::spawn_blocking(held)
            .await
            .map_err(|error| PasswordError::Failed(error.to_string()))
    }

    fn place(&self, asker: Asker) -> Option<Place> {
        let (key, places, count_max) = match asker {
            Asker::Admin => {
                let kept = Arc::clone(&self.kept).try_acquire_owned();
                let permit = kept.or_else(|_| Arc::clone(&self.waiting).try_acquire_owned());
                return permit.ok().map(|permit| Place {
                    _permit: permit,
                    counted: None,
                });
            }
            Asker::Known(user) => (user, &self.kept, KEPT_OF_ONE_MAX),
            Asker::Stranger(address) => (address, &self.waiting, WAITING_OF_ADDRESS_MAX),
        };
        // As many keys as there are places, at most.
        let mut counts = lock(&self.counts);
        let count = counts.get(&key).copied().unwrap_or(0);
        if count >= count_max {
            return None;
        }
        let permit = Arc::clone(places).try_acquire_owned().ok()?;
        counts.insert(key, count + 1);
        Some(Place {
            _permit: permit,
            counted: Some((key, Arc::clone(&self.counts))),
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some((key, counts)) = &self.counted else {
            return;
        };
        let mut counts = lock(counts);
        match counts.get_mut(key) {
            Some(count) if *count > 1 => *count -= 1,
            Some(_) | None => {
                counts.remove(key);
            }
        }
    }
}

/// Nothing panics while it holds the lock, so what is in it is whole.
fn lock(counts: &Mutex<Counts>) -> MutexGuard<'_, Counts> {
    counts.lock().unwrap_or_else(PoisonError::into_inner)
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
            passwords.verify(password.to_owned(), stored.cloned(), Asker::Admin)
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

    #[tokio::test]
    async fn strangers_take_neither_all_places_nor_those_kept_for_who_is_known() {
        let passwords = Passwords::new().expect("hashing works");
        let strangers = |address: &str, count: usize| -> Vec<Option<Place>> {
            let asker = Asker::Stranger(Key::of(&[address]));
            (0..count).map(|_| passwords.place(asker)).collect()
        };
        let taken = |places: &[Option<Place>]| places.iter().flatten().count();
        let one = strangers("192.0.2.1", 40);
        assert_eq!(taken(&one), WAITING_OF_ADDRESS_MAX);
        let others: Vec<_> = (0..40)
            .flat_map(|number| strangers(&number.to_string(), 1))
            .collect();
        assert_eq!(taken(&others), WAITING_MAX - WAITING_OF_ADDRESS_MAX);
        let known: Vec<_> = (0..40)
            .map(|number: i32| passwords.place(Asker::Known(Key::of(&[&number.to_string()]))))
            .collect();
        assert_eq!(taken(&known), KEPT_PLACES);
        drop((one, others, known));
        assert!(lock(&passwords.counts).is_empty());
        assert_eq!(taken(&strangers("192.0.2.1", 40)), WAITING_OF_ADDRESS_MAX);
    }

    #[tokio::test]
    async fn one_who_is_known_keeps_out_neither_others_who_are_nor_strangers() {
        let passwords = Passwords::new().expect("hashing works");
        let of = |name: &str| -> Vec<Place> {
            let asker = Asker::Known(Key::of(&[name]));
            (0..60).filter_map(|_| passwords.place(asker)).collect()
        };
        let one = of("ada");
        assert_eq!(one.len(), KEPT_OF_ONE_MAX);
        assert_eq!(of("bob").len(), KEPT_OF_ONE_MAX);
        assert_eq!(passwords.waiting.available_permits(), WAITING_MAX);
        drop(one);
        assert_eq!(passwords.kept.available_permits(), KEPT_PLACES);
    }

    #[tokio::test]
    async fn whoever_hangs_up_makes_no_room_for_more_work_at_once() {
        let passwords = Passwords::new().expect("hashing works");
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let wait = Arc::new(Mutex::new(wait));
        let work = || {
            let wait = Arc::clone(&wait);
            move || {
                let _ = lock_any(&wait).recv();
            }
        };
        for _ in 0..CONCURRENT_MAX {
            let mut asked = Box::pin(passwords.in_turn(Asker::Admin, work()));
            assert!(futures_util::poll!(asked.as_mut()).is_pending());
            // The client is gone; the work goes on.
            drop(asked);
        }
        assert_eq!(passwords.turns.available_permits(), 0);
        let mut next = Box::pin(passwords.in_turn(Asker::Admin, || ()));
        assert!(
            futures_util::poll!(next.as_mut()).is_pending(),
            "no turn is free"
        );
        drop(go);
        next.await.expect("a turn came");
    }

    fn lock_any<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
        mutex.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[test]
    fn passwords_are_neither_short_nor_endless() {
        assert!(check("/password", &"x".repeat(11)).is_some());
        assert!(check("/password", &"ü".repeat(12)).is_none());
        assert!(check("/password", &"x".repeat(1_025)).is_some());
    }
}
