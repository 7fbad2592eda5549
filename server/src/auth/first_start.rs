//! The first administrator: made when there is no user at all. There is no route that does this.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::RngCore as _;
use serde_json::json;

use super::actions::users;
use super::first_password::ADMIN_NAME;
use super::store::{self, User};
use super::{Auth, AuthError, Role, passwords};
use crate::audit::{self, AuditContext};

/// Random bytes of a generated password: 144 bits, 24 characters.
const PASSWORD_BYTES: usize = 18;

/// A user that was made at the console.
pub struct ConsoleUser {
    pub name: String,
    pub password: String,
    /// The password was not given but made, and must be shown.
    pub generated: bool,
}

/// Makes the first administrator unless there is a user already. A password that is not given is made, and kept in a file
/// until it was used.
pub async fn ensure_admin(
    auth: &Auth,
    password: Option<&str>,
) -> Result<Option<ConsoleUser>, AuthError> {
    let any = auth
        .db
        .write(|tx| -> Result<bool, AuthError> { Ok(store::exists_any(tx)?) });
    if any.await? {
        return Ok(None);
    }
    if password.is_some() {
        return create(auth, ADMIN_NAME, Role::Admin, password, true).await;
    }
    let password = generated_password();
    // Before there is the user: an administrator whose password nobody knows could not be helped.
    auth.first_password
        .keep(&password)
        .map_err(AuthError::FirstPassword)?;
    let made = create(auth, ADMIN_NAME, Role::Admin, Some(&password), true).await;
    match made {
        Ok(Some(user)) => Ok(Some(ConsoleUser {
            generated: true,
            ..user
        })),
        Ok(None) | Err(_) => {
            auth.first_password.forget();
            made
        }
    }
}

/// Makes a user at the console. With `only_first`, not if there is one by then.
pub async fn create(
    auth: &Auth,
    name: &str,
    role: Role,
    password: Option<&str>,
    only_first: bool,
) -> Result<Option<ConsoleUser>, AuthError> {
    let generated = password.is_none();
    let password = password.map_or_else(generated_password, str::to_owned);
    let found: Vec<_> = [
        super::actions::check_name("/name", name),
        passwords::check("/password", &password),
    ]
    .into_iter()
    .flatten()
    .collect();
    if !found.is_empty() {
        return Err(AuthError::Invalid(found));
    }
    let hash = auth.passwords.hash(password.clone()).await?;
    let now_us = auth.clock.now_us();
    let user = User {
        id: auth.clock.new_id(),
        name: name.to_owned(),
        role,
        disabled: false,
        revision: 1,
        created_at_us: now_us,
        updated_at_us: now_us,
    };
    let written = auth
        .db
        .write(move |tx| -> Result<bool, AuthError> {
            if only_first && store::exists_any(tx)? {
                return Ok(false);
            }
            users::insert(tx, &user, &hash)?;
            let detail = json!({"name": user.name, "role": user.role});
            let entry = audit::entry("user.create", "user", user.id, detail);
            audit::append(tx, now_us, &AuditContext::system("console"), &entry)?;
            Ok(true)
        })
        .await?;
    Ok(written.then(|| ConsoleUser {
        name: name.to_owned(),
        password,
        generated,
    }))
}

fn generated_password() -> String {
    let mut random = [0_u8; PASSWORD_BYTES];
    rand::rng().fill_bytes(&mut random);
    URL_SAFE_NO_PAD.encode(random)
}
