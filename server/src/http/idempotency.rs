//! `Idempotency-Key`: a repeated request gets the stored response of the first one. The record is written in the
//! transaction of the work itself, so either both exist or neither does.

mod store;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use aws_lc_rs::hmac;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderName, HeaderValue, StatusCode};

use super::Problem;
use crate::db::{Db, DbError, Tx};

pub use store::{Fingerprint, KEY_TAKEN, RECORD_LIFETIME, StoredResponse};

/// Longest key accepted: room for two UUIDs and a name, small enough to index.
const KEY_CHARS_MAX: usize = 255;
/// Rows deleted in one transaction.
const SWEEP_BATCH: u32 = 500;

/// The keys of requests under way. Cheap to clone.
#[derive(Clone)]
pub struct Idempotency {
    shared: Arc<Shared>,
    /// What fingerprints are made with: a body may hold a password, and whoever reads the database must not be able to
    /// try which one.
    secret: Arc<hmac::Key>,
}

/// A key that belongs to the request being served. The work's transaction must call [`IdempotencyClaim::store`];
/// a request that ends without it leaves the key free. Clones share the claim; it ends with the last one.
#[derive(Clone)]
pub struct IdempotencyClaim {
    claim: Arc<Claim>,
}

/// What to do with a request that carries a key.
pub enum Begin {
    Proceed(IdempotencyClaim),
    /// Answer with the stored response.
    Replay(Response),
}

#[derive(Default)]
struct Shared {
    last_handle: AtomicU64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    in_progress: HashMap<(String, String), Fingerprint>,
    claims: HashMap<u64, Weak<Claim>>,
}

struct Claim {
    shared: Arc<Shared>,
    handle: u64,
    principal: String,
    key: String,
    fingerprint: Fingerprint,
}

impl Idempotency {
    /// `secret` lives outside the database. With another one than before, what was asked before is another request.
    pub fn new(secret: &[u8]) -> Self {
        Self {
            shared: Arc::default(),
            secret: Arc::new(hmac::Key::new(hmac::HMAC_SHA256, secret)),
        }
    }

    /// What makes a request the same as another: method, path with query, and body. Keyed, so that it tells nothing of the
    /// body to whoever has not the secret.
    pub fn fingerprint(&self, method: &str, path_and_query: &str, body: &[u8]) -> Fingerprint {
        let mut mac = hmac::Context::with_key(&self.secret);
        for part in [method.as_bytes(), path_and_query.as_bytes(), body] {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        let mut fingerprint = Fingerprint::default();
        // A tag of HMAC-SHA-256 is as long as a fingerprint.
        fingerprint.copy_from_slice(mac.sign().as_ref());
        fingerprint
    }

    /// Takes the key for this request, or finds what the first request with it was answered.
    ///
    /// Errors: 400 for a bad key, 409 `in-progress`, 422 `idempotency-mismatch`.
    pub async fn begin(
        &self,
        db: &Db,
        lease_us: i64,
        principal: &str,
        key: &HeaderValue,
        fingerprint: Fingerprint,
    ) -> Result<Begin, Problem> {
        let key = parse_key(key)?;
        // Taken before the look-up: of two simultaneous requests one must lose here.
        let claim = self.take(principal, key, fingerprint)?;
        match store::find(db, lease_us, principal, key).await? {
            None => Ok(Begin::Proceed(claim)),
            Some(found) if found.fingerprint == fingerprint => {
                Ok(Begin::Replay(replay(found.response)))
            }
            Some(_) => Err(mismatch()),
        }
    }

    /// The claim a module's request was given, by the handle in its call context.
    pub fn claim(&self, handle: u64) -> Option<IdempotencyClaim> {
        let claim = self.shared.lock().claims.get(&handle)?.upgrade()?;
        Some(IdempotencyClaim { claim })
    }

    fn take(
        &self,
        principal: &str,
        key: &str,
        fingerprint: Fingerprint,
    ) -> Result<IdempotencyClaim, Problem> {
        let mut state = self.shared.lock();
        match state
            .in_progress
            .entry((principal.to_owned(), key.to_owned()))
        {
            Entry::Occupied(other) if *other.get() == fingerprint => return Err(in_progress()),
            Entry::Occupied(_) => return Err(mismatch()),
            Entry::Vacant(free) => free.insert(fingerprint),
        };
        // From 1: a context's 0 means that there is no key.
        let handle = self.shared.last_handle.fetch_add(1, Ordering::Relaxed) + 1;
        let claim = Arc::new(Claim {
            shared: Arc::clone(&self.shared),
            handle,
            principal: principal.to_owned(),
            key: key.to_owned(),
            fingerprint,
        });
        state.claims.insert(handle, Arc::downgrade(&claim));
        Ok(IdempotencyClaim { claim })
    }
}

impl IdempotencyClaim {
    /// The number a module's call context carries for this claim.
    pub fn handle(&self) -> u64 {
        self.claim.handle
    }

    /// Keeps the response for repetitions of the request, as part of the work's transaction. `headers` are those
    /// that belong to the resource: `location`, `etag`, `content-type`.
    ///
    /// Fails the transaction if another request has used the key meanwhile; `Problem` makes that a 409.
    pub fn store(
        &self,
        tx: &mut Tx<'_>,
        lease_us: i64,
        status: u16,
        headers: &[(String, String)],
        body: &str,
    ) -> Result<(), DbError> {
        let claim = &self.claim;
        let response = StoredResponse {
            status,
            headers: headers.to_vec(),
            body: body.to_owned(),
        };
        store::insert(
            tx,
            lease_us,
            &claim.principal,
            &claim.key,
            &claim.fingerprint,
            &response,
        )
    }
}

impl std::fmt::Debug for IdempotencyClaim {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "IdempotencyClaim({})", self.claim.handle)
    }
}

impl Shared {
    /// Nothing panics while it holds the lock, so a poisoned state is still consistent.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.claims.remove(&self.handle);
        let name = (
            std::mem::take(&mut self.principal),
            std::mem::take(&mut self.key),
        );
        state.in_progress.remove(&name);
    }
}

/// Deletes one batch of expired records. Returns whether there may be more.
pub async fn sweep(db: &Db, lease_us: i64) -> Result<bool, DbError> {
    db.write(move |tx| {
        let deleted = store::delete_expired(tx, lease_us, SWEEP_BATCH)?;
        Ok(deleted >= u64::from(SWEEP_BATCH))
    })
    .await
}

pub(super) fn in_progress() -> Problem {
    Problem::conflict(
        "in-progress",
        "A request with this Idempotency-Key is still being served.",
    )
    .with_retry_after(1)
}

fn mismatch() -> Problem {
    Problem::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "idempotency-mismatch",
        "This Idempotency-Key was used for another request.",
    )
}

fn parse_key(value: &HeaderValue) -> Result<&str, Problem> {
    value
        .to_str()
        .ok()
        .filter(|key| (1..=KEY_CHARS_MAX).contains(&key.len()))
        .ok_or_else(|| {
            Problem::malformed(format!(
                "Idempotency-Key must be 1 to {KEY_CHARS_MAX} visible ASCII characters."
            ))
        })
}

fn replay(stored: StoredResponse) -> Response {
    let status = StatusCode::from_u16(stored.status).unwrap_or(StatusCode::OK);
    let mut response = (status, stored.body).into_response();
    let headers = response.headers_mut();
    headers.remove(http::header::CONTENT_TYPE);
    for (name, value) in stored.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            headers.insert(name, value);
        }
    }
    headers.insert("idempotent-replayed", HeaderValue::from_static("true"));
    response
}

#[cfg(test)]
mod tests {
    use sha2::{Digest as _, Sha256};

    use super::*;

    const ONE: Fingerprint = [1; 32];
    const OTHER: Fingerprint = [2; 32];

    #[test]
    fn a_key_in_use_is_refused_until_its_last_claim_is_dropped() {
        let keys = Idempotency::new(b"secret");
        let claim = keys.take("user:1", "k", ONE).expect("free");
        let copy = claim.clone();
        let refused = |fingerprint| {
            keys.take("user:1", "k", fingerprint)
                .expect_err("taken")
                .code()
                .to_owned()
        };
        assert_eq!(refused(ONE), "in-progress");
        assert_eq!(refused(OTHER), "idempotency-mismatch");
        assert!(
            keys.take("user:2", "k", ONE).is_ok(),
            "keys are per principal"
        );
        drop(claim);
        assert_eq!(refused(ONE), "in-progress", "a copy still holds it");
        drop(copy);
        assert!(keys.take("user:1", "k", ONE).is_ok());
    }

    #[test]
    fn a_handle_finds_its_claim_while_it_lives() {
        let keys = Idempotency::new(b"secret");
        let claim = keys.take("user:1", "k", ONE).expect("free");
        let handle = claim.handle();
        assert_ne!(handle, 0);
        assert_eq!(keys.claim(handle).map(|found| found.handle()), Some(handle));
        drop(claim);
        assert!(keys.claim(handle).is_none());
    }

    #[test]
    fn method_path_and_body_each_change_the_fingerprint() {
        let keys = Idempotency::new(b"secret");
        let base = keys.fingerprint("POST", "/a", b"b");
        assert_eq!(base, keys.fingerprint("POST", "/a", b"b"));
        assert_ne!(base, keys.fingerprint("PUT", "/a", b"b"));
        assert_ne!(base, keys.fingerprint("POST", "/a?x", b"b"));
        assert_ne!(base, keys.fingerprint("POST", "/a", b"bc"));
        assert_ne!(base, keys.fingerprint("POST", "/ab", b""));
    }

    #[test]
    fn a_fingerprint_says_nothing_without_the_secret() {
        let made = |secret: &[u8]| Idempotency::new(secret).fingerprint("POST", "/a", b"password");
        assert_ne!(made(b"one"), made(b"another"));
        // Whoever has the record and tries bodies has only the plain digest to try them with.
        let mut plain = Sha256::new();
        for part in [&b"POST"[..], b"/a", b"password"] {
            plain.update((part.len() as u64).to_be_bytes());
            plain.update(part);
        }
        assert_ne!(made(b"one"), Fingerprint::from(plain.finalize()));
    }

    #[test]
    fn keys_are_one_to_255_visible_characters() {
        let parse = |text: &str| parse_key(&HeaderValue::try_from(text).expect("header")).is_ok();
        assert!(parse("a"));
        assert!(parse(&"a".repeat(255)));
        assert!(!parse(""));
        assert!(!parse(&"a".repeat(256)));
        assert!(!parse("ä"));
    }
}
