//! Callers who were refused: rows of the log too, although nobody unknown may make it grow. One row at the first attempt,
//! and then one a minute for each address and user with how many there were; of how many addresses and users is bounded,
//! and what is beyond that is counted together.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::json;

use super::{AuditContext, append, entry};
use crate::db::{Db, DbError};
use crate::http::Timestamp;
use crate::http::peer::{self, SUBSCRIBER_BITS};

/// Addresses without a known user that are told apart in a minute, and as many pairs of address and user: at 300 bytes a row
/// the worst minute writes 40 kB. They are two bounds, so that who knows no user cannot hide who does.
const APART_MAX: usize = 64;
/// Who nobody is.
const NOBODY: &str = "anonymous";

/// What was attempted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Attempt {
    SignIn,
    /// With a refresh token that is unknown, used or over.
    Refresh,
    /// With an enrollment token that is unknown, used up or over.
    Enrollment,
}

impl Attempt {
    fn action(self) -> &'static str {
        match self {
            Self::SignIn => "session.refused",
            Self::Refresh => "session.refresh_refused",
            Self::Enrollment => "host.enroll_refused",
        }
    }
}

/// An attempt that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    pub attempt: Attempt,
    /// Id and name of the user whose name was given, if there is one. Another name is not kept: people type passwords
    /// into the wrong field.
    pub user: Option<(String, String)>,
    pub address: String,
    /// It was not even looked at, because there were too many before it.
    pub throttled: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    attempt: Attempt,
    user: Option<(String, String)>,
    /// `None`: of any address.
    address: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counted {
    refused: u64,
    throttled: u64,
    first_us: i64,
    last_us: i64,
}

#[derive(Default)]
pub struct Attempts {
    /// Counted and not yet written.
    pending: Arc<Mutex<Pending>>,
}

type Pending = BTreeMap<Key, Counted>;

impl Attempts {
    /// Counts an attempt. The first of its kind is written at once, by a task of its own: how long an answer takes must not
    /// tell whether there is such a user. A failure of that is told.
    pub fn note(&self, db: &Db, now_us: i64, request_id: &str, refused: &Refused) {
        let Some((key, counted)) = self.count(now_us, refused) else {
            return;
        };
        let (db, request_id) = (db.clone(), request_id.to_owned());
        let (pending, back) = (Arc::clone(&self.pending), key.clone());
        tokio::spawn(async move {
            let written = db.write(move |tx| write(tx, now_us, request_id, key, counted));
            if let Err(error) = written.await {
                put_back(&mut lock(&pending), back, counted);
                tracing::warn!(%error, "a refused attempt could not be written to the audit log");
            }
        });
    }

    /// Writes what was counted since the last time; call it once a minute, and at the end. What could not be written is
    /// written the next time.
    pub async fn flush(&self, db: &Db, now_us: i64) -> Result<(), DbError> {
        let taken = self.take();
        if taken.is_empty() {
            return Ok(());
        }
        let back = taken.clone();
        let written = db.write(move |tx| {
            taken
                .into_iter()
                .try_for_each(|(key, counted)| write(tx, now_us, String::new(), key, counted))
        });
        written.await.inspect_err(|_| {
            let mut pending = self.lock();
            for (key, counted) in back {
                put_back(&mut pending, key, counted);
            }
        })
    }

    /// What is to be written at once.
    fn count(&self, now_us: i64, refused: &Refused) -> Option<(Key, Counted)> {
        let mut pending = self.lock();
        let mut key = Key {
            attempt: refused.attempt,
            user: refused.user.clone(),
            address: Some(network(&refused.address)),
        };
        key.bound(&pending);
        let one = Counted {
            refused: u64::from(!refused.throttled),
            throttled: u64::from(refused.throttled),
            first_us: now_us,
            last_us: now_us,
        };
        match pending.get_mut(&key) {
            None => {
                pending.insert(key.clone(), Counted::default());
                Some((key, one))
            }
            Some(counted) => {
                counted.add(one);
                None
            }
        }
    }

    /// Who was silent since the last time is forgotten.
    fn take(&self) -> Vec<(Key, Counted)> {
        let mut pending = self.lock();
        pending.retain(|_, counted| counted.refused + counted.throttled > 0);
        let taken = pending.iter().map(|(key, counted)| (key.clone(), *counted));
        let taken = taken.collect();
        pending
            .values_mut()
            .for_each(|counted| *counted = Counted::default());
        taken
    }

    /// Nothing panics while it holds the lock.
    fn lock(&self) -> MutexGuard<'_, Pending> {
        lock(&self.pending)
    }
}

impl Key {
    /// Too many to tell apart are counted together.
    fn bound(&mut self, pending: &Pending) {
        let alike = |other: &&Key| other.user.is_some() == self.user.is_some();
        if !pending.contains_key(self) && pending.keys().filter(alike).count() >= APART_MAX {
            self.user = None;
            self.address = None;
        }
    }
}

impl Counted {
    fn add(&mut self, other: Self) {
        if self.refused + self.throttled == 0 {
            *self = other;
            return;
        }
        self.refused += other.refused;
        self.throttled += other.throttled;
        self.first_us = self.first_us.min(other.first_us);
        self.last_us = self.last_us.max(other.last_us);
    }
}

/// Counts again what could not be written.
fn put_back(pending: &mut Pending, mut key: Key, counted: Counted) {
    key.bound(pending);
    pending.entry(key).or_default().add(counted);
}

fn lock(pending: &Mutex<Pending>) -> MutexGuard<'_, Pending> {
    pending.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What limits count as one address, as it stands in the log.
fn network(address: &str) -> String {
    match address.parse().map(peer::network) {
        Ok(IpAddr::V6(network)) => format!("{network}/{SUBSCRIBER_BITS}"),
        Ok(IpAddr::V4(address)) => address.to_string(),
        Err(_) => String::new(),
    }
}

fn write(
    tx: &mut crate::db::Tx<'_>,
    now_us: i64,
    request_id: String,
    key: Key,
    counted: Counted,
) -> Result<(), DbError> {
    let detail = json!({
        "name": key.user.as_ref().map(|(_, name)| name),
        "refused": counted.refused,
        "throttled": counted.throttled,
        "first_at": Timestamp(counted.first_us),
        "last_at": Timestamp(counted.last_us),
        // Too many to tell apart.
        "many_addresses": key.address.is_none(),
    });
    let context = AuditContext {
        request_id,
        principal: NOBODY.to_owned(),
        principal_name: NOBODY.to_owned(),
        tenant: None,
        address: key.address.unwrap_or_default(),
    };
    let (kind, id) = match key.user {
        Some((id, _)) => ("user", id),
        None => ("", String::new()),
    };
    append(
        tx,
        now_us,
        &context,
        &entry(key.attempt.action(), kind, id, detail),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(user: Option<&str>, address: &str) -> Refused {
        Refused {
            attempt: Attempt::SignIn,
            user: user.map(|name| (format!("id of {name}"), name.to_owned())),
            address: address.to_owned(),
            throttled: false,
        }
    }

    #[test]
    fn the_first_attempt_is_written_at_once_and_the_others_once_a_minute_with_their_number() {
        let attempts = Attempts::default();
        let admin = refused(Some("admin"), "192.0.2.1");
        let (_, first) = attempts.count(1, &admin).expect("written at once");
        assert_eq!(first.refused, 1);
        for at_us in 2..12 {
            assert!(attempts.count(at_us, &admin).is_none());
        }
        let throttled = Refused {
            throttled: true,
            ..admin.clone()
        };
        assert!(attempts.count(12, &throttled).is_none());
        let taken = attempts.take();
        let [(_, counted)] = taken.as_slice() else {
            panic!("one row: {taken:?}");
        };
        let expected = Counted {
            refused: 10,
            throttled: 1,
            first_us: 2,
            last_us: 12,
        };
        assert_eq!(*counted, expected);
        // Somebody who goes on is counted on; somebody who is silent for a minute is new again.
        assert!(attempts.count(70, &admin).is_none());
        assert_eq!(attempts.take().len(), 1);
        assert_eq!(attempts.take().len(), 0);
        assert!(attempts.count(200, &admin).is_some());
    }

    #[test]
    fn what_could_not_be_written_is_counted_the_next_time() {
        let attempts = Attempts::default();
        let admin = refused(Some("admin"), "192.0.2.1");
        let (key, first) = attempts.count(1, &admin).expect("written at once");
        attempts.count(2, &admin);
        put_back(&mut attempts.lock(), key, first);
        let taken = attempts.take();
        // One more comes while that is not written.
        attempts.count(3, &admin);
        let mut pending = attempts.lock();
        for (key, counted) in taken {
            put_back(&mut pending, key, counted);
        }
        drop(pending);
        let expected = Counted {
            refused: 3,
            throttled: 0,
            first_us: 1,
            last_us: 3,
        };
        let taken = attempts.take();
        assert_eq!(
            taken
                .iter()
                .map(|(_, counted)| *counted)
                .collect::<Vec<_>>(),
            [expected]
        );
    }

    #[test]
    fn a_flood_of_names_and_addresses_makes_few_rows_and_hides_no_known_user() {
        let attempts = Attempts::default();
        let mut at_once = 0;
        for number in 0..50_000_u32 {
            let address = std::net::Ipv4Addr::from_bits(number).to_string();
            at_once += usize::from(attempts.count(1, &refused(None, &address)).is_some());
        }
        assert_eq!(at_once, APART_MAX + 1);
        let known = attempts.count(2, &refused(Some("admin"), "192.0.2.1"));
        let (key, _) = known.expect("a row of its own");
        assert_eq!(key.address.as_deref(), Some("192.0.2.1"));
        assert!(attempts.lock().len() <= 2 * APART_MAX + 2);
        let together: u64 = attempts
            .take()
            .iter()
            .map(|(_, counted)| counted.refused)
            .sum();
        assert_eq!(together as usize + at_once, 50_000, "none is lost");
        // Random names from one address are one key.
        let attempts = Attempts::default();
        for _ in 0..1_000 {
            attempts.count(1, &refused(None, "192.0.2.1"));
        }
        assert_eq!(attempts.lock().len(), 1);
    }

    #[test]
    fn addresses_of_one_network_of_version_6_are_one() {
        assert_eq!(network("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::/64");
        assert_eq!(network("::ffff:192.0.2.1"), "192.0.2.1");
        assert_eq!(network("192.0.2.1"), "192.0.2.1");
        assert_eq!(network(""), "");
    }
}
