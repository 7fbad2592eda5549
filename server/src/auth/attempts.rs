//! Whether a password may be tried now. What fails is counted three times: for its address, for a name at an address, and
//! for a name at all addresses. So nobody guesses one name from many addresses, nor many names from one; and none of it
//! keeps people out who come back to where they signed in before: the failures of others, of an office or of an attacker
//! with many addresses, are not asked for them. Only the name at that very address is.

use std::net::IpAddr;
use std::time::Duration;

use moka::sync::Cache;
use uuid::Uuid;

use super::rate::{Key, RateLimit};
use crate::audit::{self, store::AuditFilter};
use crate::db::{Db, DbError};
use crate::http::peer;

const MINUTE_US: i64 = 60_000_000;
/// An office shares an address: so many people may mistype at the same time. It keeps the processor free.
const ADDRESS_FACTOR: u32 = 30;
/// A person signs in from a few addresses; the guesses of one name are then 43,200 a day at the default limit, from however
/// many addresses.
const NAME_FACTOR: u32 = 3;
/// Sessions of one user a minute, and refreshes as many: each is a write and stays for a month. More than a person's
/// programs begin, and nothing beside what the one writer can do.
const SESSIONS_OF_USER: u32 = 60;
/// Names at addresses where they signed in, 16 bytes each. Only who has a password gets one in.
const FAMILIAR_MAX: u64 = 20_000;
/// As long as a session lives.
const FAMILIAR_FOR: Duration = Duration::from_secs(30 * 24 * 3_600);

/// Of each kind, the newest: a few megabytes for a moment.
const READ_BACK_MAX: u32 = 2_500;

/// The limits on failures, and where people have signed in before.
pub struct Attempts {
    by_address: RateLimit,
    by_name_there: RateLimit,
    by_name: RateLimit,
    /// Bearers that were none. Apart from the passwords: a program that goes on with a token that was revoked does not
    /// keep people at its address from signing in.
    bearers: RateLimit,
    /// What succeeded, by user.
    sessions: RateLimit,
    familiar: Cache<Key, ()>,
}

/// One try that was let in. It counts as a failure until it is given back.
#[derive(Debug)]
pub struct Attempt {
    address: Key,
    there: Key,
    name: Key,
    is_familiar: bool,
    is_counted_for_address: bool,
}

/// How somebody gets new tokens.
#[derive(Clone, Copy, Debug)]
pub enum Begun {
    SignIn,
    Refresh,
}

impl Attempts {
    /// `failures_per_minute` of one name at one address; 0 turns every limit off.
    pub fn new(failures_per_minute: u32) -> Self {
        let limit = |factor| RateLimit::new(failures_per_minute.saturating_mul(factor), MINUTE_US);
        let of_user = SESSIONS_OF_USER * u32::from(failures_per_minute > 0);
        Self {
            bearers: limit(ADDRESS_FACTOR),
            sessions: RateLimit::new(of_user, MINUTE_US),
            by_address: limit(ADDRESS_FACTOR),
            by_name_there: limit(1),
            by_name: limit(NAME_FACTOR),
            familiar: Cache::builder()
                .max_capacity(FAMILIAR_MAX)
                .time_to_live(FAMILIAR_FOR)
                .build(),
        }
    }

    /// Lets a try in, or says after how many seconds to come again.
    pub fn begin(&self, address: &str, name: &str, now_us: i64) -> Result<Attempt, u64> {
        let address = network(address);
        let mut attempt = Attempt {
            address: Key::of(&[&address]),
            there: Key::of(&[&address, name]),
            name: Key::of(&[name]),
            is_familiar: false,
            is_counted_for_address: false,
        };
        attempt.is_familiar = self.familiar.contains_key(&attempt.there);
        match self.by_address.take(attempt.address, now_us) {
            Ok(()) => attempt.is_counted_for_address = true,
            Err(_) if attempt.is_familiar => {}
            Err(seconds) => return Err(seconds),
        }
        let taken = self
            .by_name_there
            .take(attempt.there, now_us)
            .and_then(|()| {
                if attempt.is_familiar {
                    return Ok(());
                }
                let taken = self.by_name.take(attempt.name, now_us);
                taken.inspect_err(|_| self.by_name_there.refund(attempt.there))
            });
        if let Err(seconds) = taken {
            // Nothing was tried.
            self.refund_address(&attempt);
            return Err(seconds);
        }
        Ok(attempt)
    }

    /// The password was right, or nobody looked at it.
    pub fn give_back(&self, attempt: &Attempt) {
        self.refund_address(attempt);
        self.by_name_there.refund(attempt.there);
        if !attempt.is_familiar {
            self.by_name.refund(attempt.name);
        }
    }

    /// Who signed in where before this process was there: without it, strangers who guess a name in the first minutes would
    /// keep its owner out.
    pub async fn read_back(&self, db: &Db, now_us: i64) -> Result<(), DbError> {
        let for_us = i64::try_from(FAMILIAR_FOR.as_micros()).unwrap_or(i64::MAX);
        for action in ["session.create", "session.refresh"] {
            let filter = AuditFilter {
                action: Some(action.to_owned()),
                since_us: Some(now_us.saturating_sub(for_us)),
                ..AuditFilter::default()
            };
            let newest = audit::store::page(db, &filter, i64::MAX, READ_BACK_MAX).await?;
            for row in newest {
                self.remember(&row.context.address, &row.context.principal_name);
            }
        }
        Ok(())
    }

    /// Somebody of this name is at home at this address.
    pub fn remember(&self, address: &str, name: &str) {
        self.familiar
            .insert(Key::of(&[&network(address), name]), ());
    }

    /// Counts a secret that was none, such as an unknown refresh token, for its address; or says when to come again. A
    /// secret that is one is never asked for this.
    pub fn count_failure(&self, address: &str, now_us: i64) -> Result<(), u64> {
        self.by_address.take(Key::of(&[&network(address)]), now_us)
    }

    /// The same for an API token that was none.
    pub fn count_bearer(&self, address: &str, now_us: i64) -> Result<(), u64> {
        self.bearers.take(Key::of(&[&network(address)]), now_us)
    }

    /// Counts a session that is about to begin or to be refreshed, by whoever has shown that it is this user's; or says
    /// when to come again. They are apart, so that whoever refreshes without end does not keep the user from signing in.
    pub fn count_session(&self, what: Begun, user: Uuid, now_us: i64) -> Result<(), u64> {
        let kind = match what {
            Begun::SignIn => "sign-in",
            Begun::Refresh => "refresh",
        };
        self.sessions
            .take(Key::of(&[kind, &user.to_string()]), now_us)
    }

    fn refund_address(&self, attempt: &Attempt) {
        if attempt.is_counted_for_address {
            self.by_address.refund(attempt.address);
        }
    }
}

impl Attempt {
    pub fn is_familiar(&self) -> bool {
        self.is_familiar
    }

    pub fn address(&self) -> Key {
        self.address
    }

    pub fn name(&self) -> Key {
        self.name
    }
}

/// What limits take for one address.
fn network(address: &str) -> String {
    let parsed = address.parse::<IpAddr>().map(peer::network);
    parsed.map_or_else(|_| address.to_owned(), |network| network.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_US: i64 = 1_000_000;

    fn fails(attempts: &Attempts, address: &str, name: &str, now_us: i64) -> bool {
        attempts.begin(address, name, now_us).is_ok()
    }

    fn signs_in(attempts: &Attempts, address: &str, name: &str, now_us: i64) -> bool {
        match attempts.begin(address, name, now_us) {
            Ok(attempt) => {
                attempts.give_back(&attempt);
                attempts.remember(address, name);
                true
            }
            Err(_) => false,
        }
    }

    #[test]
    fn a_hundred_failures_of_one_address_shut_nobody_else_out() {
        let attempts = Attempts::new(10);
        for guess in 0..110 {
            assert!(fails(&attempts, "192.0.2.1", &format!("guess{guess}"), 0));
        }
        assert!(signs_in(&attempts, "192.0.2.1", "ada", 0));
    }

    #[test]
    fn an_address_has_an_end_but_not_for_who_signed_in_there_before() {
        let attempts = Attempts::new(10);
        assert!(signs_in(&attempts, "192.0.2.1", "ada", 0));
        let tried =
            (0..5_000).filter(|guess| fails(&attempts, "192.0.2.1", &format!("g{guess}"), 0));
        assert_eq!(tried.count(), 300);
        assert!(!signs_in(&attempts, "192.0.2.1", "bob", 0));
        for _ in 0..3 {
            assert!(signs_in(&attempts, "192.0.2.1", "ada", 0));
        }
        let guesses = (0..50).filter(|_| fails(&attempts, "192.0.2.1", "ada", 0));
        assert_eq!(guesses.count(), 10, "the exception is bounded, too");
    }

    #[test]
    fn a_name_is_guessed_slowly_from_wherever_and_its_owner_comes_in_at_home() {
        let attempts = Attempts::new(10);
        assert!(signs_in(&attempts, "198.51.100.7", "ada", 0));
        let guessed = (0..1_000)
            .filter(|number| {
                let address = format!("192.0.{}.{}", number / 250, number % 250);
                fails(&attempts, &address, "ada", 0)
            })
            .count();
        assert_eq!(guessed, 30);
        assert!(!signs_in(&attempts, "203.0.113.9", "ada", 0), "not at home");
        assert!(signs_in(&attempts, "198.51.100.7", "ada", 0));
        assert!(signs_in(&attempts, "203.0.113.9", "bob", 0), "another name");
        assert!(signs_in(&attempts, "203.0.113.9", "ada", 2 * SECOND_US));
    }

    #[test]
    fn what_was_refused_is_not_counted_and_what_was_right_is_given_back() {
        let attempts = Attempts::new(10);
        let refused = (0..1_000).filter(|_| !fails(&attempts, "192.0.2.1", "ada", 0));
        assert_eq!(refused.count(), 990);
        // Of the address, ten are counted, not a thousand.
        let others =
            (0..400).filter(|guess| fails(&attempts, "192.0.2.1", &format!("g{guess}"), 0));
        assert_eq!(others.count(), 290);
        let attempts = Attempts::new(10);
        assert!((0..1_000).all(|_| signs_in(&attempts, "192.0.2.1", "ada", 0)));
    }

    #[test]
    fn a_network_of_ipv6_is_one_address() {
        let attempts = Attempts::new(10);
        let tried = (0..1_000)
            .filter(|host| fails(&attempts, &format!("2001:db8:1:2::{host:x}"), "ada", 0))
            .count();
        assert_eq!(tried, 10);
        assert!(fails(&attempts, "2001:db8:1:3::1", "ada", 0));
    }

    #[test]
    fn a_user_begins_so_many_sessions_a_minute_and_refreshes_are_apart() {
        let attempts = Attempts::new(10);
        let user = Uuid::from_u128(1);
        let begun = |what, user| {
            (0..200)
                .filter(|_| attempts.count_session(what, user, 0).is_ok())
                .count()
        };
        assert_eq!(begun(Begun::Refresh, user), 60);
        assert_eq!(begun(Begun::SignIn, user), 60);
        assert_eq!(begun(Begun::SignIn, Uuid::from_u128(2)), 60);
        let later_us = 60 * SECOND_US;
        assert!(
            attempts
                .count_session(Begun::SignIn, user, later_us)
                .is_ok()
        );
    }

    #[test]
    fn bearers_that_are_none_have_an_end_and_keep_nobody_from_signing_in() {
        let attempts = Attempts::new(10);
        let counted = (0..1_000).filter(|_| attempts.count_bearer("192.0.2.1", 0).is_ok());
        assert_eq!(counted.count(), 300);
        assert!(signs_in(&attempts, "192.0.2.1", "ada", 0));
    }

    #[test]
    fn zero_is_no_limit() {
        let attempts = Attempts::new(0);
        let user = Uuid::from_u128(1);
        assert!((0..1_000).all(|_| attempts.count_session(Begun::SignIn, user, 0).is_ok()));
        assert!((0..1_000).all(|_| fails(&attempts, "192.0.2.1", "ada", 0)));
    }
}
