//! Sign-ins and refreshes that were refused are rows of the audit log: here the actions are called by those whom nobody
//! knows yet.

use super::sessions::{self, SessionView};
use crate::audit::attempts::{Attempt, Refused};
use crate::auth::{Auth, AuthError, store};

/// [`sessions::log_in`], with a row of the audit log for what is refused.
pub async fn log_in(
    auth: &Auth,
    request_id: &str,
    address: &str,
    name: String,
    password: String,
) -> Result<SessionView, AuthError> {
    let outcome = sessions::log_in(auth, request_id, address, name.clone(), password).await;
    let Some(throttled) = refusal(&outcome) else {
        return outcome;
    };
    let user = match throttled || super::check_name("", &name).is_some() {
        true => None,
        false => store::by_name(&auth.db, &name).await?,
    };
    let refused = Refused {
        attempt: Attempt::SignIn,
        user: user.map(|(user, _)| (user.id.to_string(), user.name)),
        address: address.to_owned(),
        throttled,
    };
    note(auth, request_id, &refused);
    outcome
}

/// [`sessions::refresh`], likewise.
pub async fn refresh(
    auth: &Auth,
    request_id: &str,
    address: &str,
    token: &str,
) -> Result<SessionView, AuthError> {
    let outcome = sessions::refresh(auth, request_id, address, token).await;
    if let Some(throttled) = refusal(&outcome) {
        let refused = Refused {
            attempt: Attempt::Refresh,
            user: None,
            address: address.to_owned(),
            throttled,
        };
        note(auth, request_id, &refused);
    }
    outcome
}

/// Counts an attempt that was refused.
pub fn note(auth: &Auth, request_id: &str, refused: &Refused) {
    let now_us = auth.clock.now_us();
    auth.refused.note(&auth.db, now_us, request_id, refused);
}

/// `Some` if the caller was refused; whether for having tried too often.
fn refusal<T>(outcome: &Result<T, AuthError>) -> Option<bool> {
    match outcome {
        Err(AuthError::Refused) => Some(false),
        Err(AuthError::Throttled { .. }) => Some(true),
        Ok(_) | Err(_) => None,
    }
}
