//! Who is calling and what they may do: users, sessions, API tokens, roles and scopes.

pub mod actions;
pub mod attempts;
pub mod bearer;
pub mod bounds;
pub mod caller;
pub mod carried;
pub mod decide;
pub mod delegation;
pub mod first_password;
pub mod first_start;
pub mod http;
pub mod identities;
pub mod judge;
pub mod passwords;
pub mod rate;
pub mod role;
pub mod scope;
pub mod session_token;
pub mod standing;
pub mod store;

use std::path::Path;
use std::sync::Arc;

use fleetwright_protocol::Violation;

use crate::audit::attempts::Attempts as RefusedAttempts;
use crate::clock::SharedClock;
use crate::config::Limits;
use crate::db::{Db, DbError};

pub use caller::{Caller, Principal};
pub use judge::{AskedScope, Asks, judge};
pub use role::Role;
pub use scope::{Scope, Scopes};
pub use standing::Standing;

use attempts::Attempts;
use first_password::FirstPassword;
use identities::Identities;
use passwords::{PasswordError, Passwords};
use session_token::SessionTokens;

/// Rows deleted in one transaction.
const SWEEP_BATCH: u32 = 500;
/// Revoked and expired API tokens stay this long, for people who wonder where theirs went: 30 days.
const KEPT_AFTER_END_US: i64 = 30 * 24 * 3_600 * 1_000_000;

/// The authentication part's state.
pub struct Auth {
    pub db: Db,
    pub clock: SharedClock,
    pub identities: Identities,
    pub passwords: Passwords,
    pub session_tokens: Arc<SessionTokens>,
    pub first_password: FirstPassword,
    pub attempts: Attempts,
    /// Refused ones, until they are in the audit log.
    pub refused: RefusedAttempts,
}

/// Why something of this part could not be done.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// Credentials that are wrong, without saying which.
    #[error("the credentials are not valid")]
    Refused,
    #[error("too many attempts; again in {retry_after_seconds} s")]
    Throttled { retry_after_seconds: u64 },
    #[error("there is no such {0}")]
    NotFound(&'static str),
    #[error("the name `{0}` is taken")]
    NameTaken(String),
    #[error("the last administrator must stay")]
    LastAdmin,
    #[error("it has changed meanwhile")]
    Stale,
    #[error("the request is not valid")]
    Invalid(Vec<Violation>),
    /// It would reach further than whoever asks.
    #[error("the request exceeds the caller's own rights")]
    Beyond(Vec<Violation>),
    #[error("the password could not be processed: {0}")]
    Password(#[source] PasswordError),
    #[error("the file for the first password: {0}")]
    FirstPassword(#[source] std::io::Error),
    #[error("a session token could not be signed")]
    Signing,
    #[error(transparent)]
    Db(#[from] DbError),
}

#[derive(Debug, thiserror::Error)]
pub enum AuthStartError {
    #[error("the session key: {0}")]
    Key(#[from] std::io::Error),
    #[error(transparent)]
    Password(#[from] PasswordError),
}

impl Auth {
    /// Reads the session key from `data_dir`, making it on the first start.
    pub fn start(
        db: Db,
        clock: SharedClock,
        data_dir: &Path,
        limits: &Limits,
    ) -> Result<Self, AuthStartError> {
        let session_tokens = SessionTokens::from_file(&data_dir.join("session.key"))?;
        let session_tokens = Arc::new(session_tokens);
        Ok(Self {
            identities: Identities::new(db.clone(), Arc::clone(&session_tokens)),
            passwords: Passwords::new()?,
            first_password: FirstPassword::of_folder(data_dir),
            attempts: Attempts::new(limits.failed_logins_per_minute),
            refused: RefusedAttempts::default(),
            db,
            clock,
            session_tokens,
        })
    }
}

impl Auth {
    /// Says in the log that there are tokens which no user takes along.
    pub async fn tell_of_unowned_tokens(&self) -> Result<(), DbError> {
        if store::tokens::has_unowned(&self.db, self.clock.now_us()).await? {
            tracing::warn!(
                "there are API tokens without a known owner, from before owners were kept: nothing that becomes of whoever \
                 made them ends them; make them anew and revoke them (`fleetwright tokens list`)"
            );
        }
        Ok(())
    }

    /// Stores when API tokens were last used.
    pub async fn store_last_used(&self) -> Result<(), DbError> {
        let used = self.identities.take_used();
        if used.is_empty() {
            return Ok(());
        }
        self.db
            .write(move |tx| {
                used.into_iter()
                    .try_for_each(|(id, at_us)| store::tokens::set_last_used(tx, id, at_us))
            })
            .await
    }
}

/// Deletes one batch of sessions and API tokens that are long over. Returns whether there may be more.
pub async fn sweep(db: &Db, now_us: i64) -> Result<bool, DbError> {
    let before_us = now_us.saturating_sub(KEPT_AFTER_END_US);
    db.write(move |tx| {
        let sessions = store::sessions::delete_expired(tx, now_us, SWEEP_BATCH)?;
        let tokens = store::tokens::delete_dead(tx, before_us, SWEEP_BATCH)?;
        Ok(sessions.max(tokens) >= u64::from(SWEEP_BATCH))
    })
    .await
}

impl From<PasswordError> for AuthError {
    fn from(error: PasswordError) -> Self {
        match error {
            PasswordError::Busy => Self::Throttled {
                retry_after_seconds: 1,
            },
            PasswordError::Failed(_) => Self::Password(error),
        }
    }
}
