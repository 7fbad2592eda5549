//! Enrollment tokens, and what agents do with them. A token's text is `fwe_<secret>.<fingerprint>`: the fingerprint is
//! of the authority's certificate, so that an agent can check whom it talks to before it says the secret.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fleetwright_protocol::{HostId, Violation};
use rand::RngCore as _;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::Agents;
use super::authority::AuthorityError;
use super::csr::{Csr, CsrError};
use super::store::{self, EnrollmentToken};
use crate::audit::{self, AuditContext};
use crate::auth::bounds::{lock_changer, lock_maker};
use crate::auth::{AskedScope, Asks, AuthError, Principal, Role, decide, delegation, judge};
use crate::db::{DbError, Tx};
use crate::hosts;
use crate::hosts::admission::{self, Admission, AdmissionError, Admitted};
use crate::hosts::host::Reported;
use crate::hosts::labels;

const PREFIX: &str = "fwe_";
/// What a person sees of a token in lists.
const SHOWN_CHARS: usize = PREFIX.len() + 6;
/// A whole fleet may enroll with one token.
pub const USES_MAX: i64 = 100_000;
/// An hour to walk over to the machine.
pub const EXPIRES_IN_DEFAULT: Duration = Duration::from_secs(3_600);
const EXPIRES_IN_MIN_SECONDS: i64 = 60;
/// Longer than any roll-out; a token is a key to the fleet.
const EXPIRES_IN_MAX_SECONDS: i64 = 30 * 24 * 3_600;
/// Expired tokens stay in the list this long, so that people see why an agent was refused.
const KEPT_AFTER_EXPIRY_US: i64 = 7 * 24 * 3_600 * 1_000_000;

/// A token to make.
#[derive(Clone, Debug, Default)]
pub struct NewToken {
    pub name: String,
    pub uses: Option<i64>,
    pub expires_in_seconds: Option<i64>,
    pub auto_approve: bool,
    pub tags: Vec<String>,
}

/// A token that was just made: the only time its text is known.
#[derive(Clone, Debug)]
pub struct CreatedToken {
    pub token: EnrollmentToken,
    pub text: String,
}

#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    #[error("there is no such token")]
    NotFound,
    #[error("the input is not valid")]
    Invalid(Vec<Violation>),
    /// It would reach further than whoever asks.
    #[error(transparent)]
    Auth(#[from] AuthError),
    #[error(transparent)]
    Db(#[from] DbError),
}

/// What an agent sends to enroll.
#[derive(Clone, Debug)]
pub struct EnrollRequest {
    pub token: String,
    pub csr_pem: String,
    pub reported: Reported,
}

#[derive(Clone, Debug)]
pub struct Enrolled {
    pub admitted: Admitted,
    pub certificate_pem: String,
}

#[derive(Debug, thiserror::Error)]
pub enum EnrollError {
    /// Unknown, revoked, expired or used up: which one is not said.
    #[error("the enrollment token is not valid")]
    Token,
    #[error("the certificate signing request {0}")]
    Csr(#[from] CsrError),
    #[error("the host was rejected by an operator")]
    Rejected,
    #[error(transparent)]
    Db(#[from] DbError),
    #[error("the certificate could not be signed")]
    Authority(#[from] AuthorityError),
}

/// Makes a token within the rights of `by`: it ends no later than they do, and approves hosts only if they may. `respond` is
/// called in the transaction, to keep the response.
pub async fn create_token(
    agents: &Agents,
    by: Principal,
    context: AuditContext,
    new: NewToken,
    respond: impl FnOnce(&mut Tx<'_>, &EnrollmentToken) -> Result<(), DbError> + Send + 'static,
) -> Result<CreatedToken, TokenError> {
    let now = agents.now();
    let now_us = now.wall_us;
    let id = agents.new_id();
    if new.auto_approve && !may_approve(&by) {
        let detail = "You may not approve hosts.";
        let found = Violation::new("/auto_approve", decide::BEYOND, detail);
        return Err(AuthError::Beyond(vec![found]).into());
    }
    let asks_for_end = new.expires_in_seconds.is_some();
    let token = checked(new, id, &context.principal, now_us).map_err(TokenError::Invalid)?;
    let secret = random_secret();
    let digest = secret_digest(&secret);
    let text = format!("{PREFIX}{secret}.{}", agents.authority().fingerprint());
    let mut stored = token;
    let token = agents
        .db()
        .write(move |tx| -> Result<EnrollmentToken, TokenError> {
            let bounds = lock_changer(tx, &by, now_us)?;
            let asked_us = asks_for_end.then_some(stored.expires_at_us);
            stored.expires_at_us = decide::end_within(&bounds, asked_us, stored.expires_at_us)
                .map_err(AuthError::Beyond)?;
            store::delete_tokens_expired_before_in(tx, now.earlier_us() - KEPT_AFTER_EXPIRY_US)?;
            store::insert_token_in(tx, &stored, digest)?;
            let detail = json!({
                "uses": stored.uses_max,
                "auto_approve": stored.auto_approve,
                "expires_at_us": stored.expires_at_us,
                "tags": stored.tags,
            });
            let entry = audit::entry("enrollment_token.create", "enrollment_token", id, detail);
            audit::append(tx, now_us, &context, &entry)?;
            respond(tx, &stored)?;
            Ok(stored)
        })
        .await?;
    Ok(CreatedToken { token, text })
}

/// Makes a token useless at once.
pub async fn delete_token(
    agents: &Agents,
    context: AuditContext,
    id: Uuid,
) -> Result<(), TokenError> {
    let now_us = agents.now_us();
    agents
        .db()
        .write(move |tx| {
            if !store::delete_token_in(tx, id)? {
                return Err(TokenError::NotFound);
            }
            let entry = audit::entry("enrollment_token.delete", "enrollment_token", id, json!({}));
            Ok(audit::append(tx, now_us, &context, &entry)?)
        })
        .await
}

/// Lets a host in that shows a valid token and proves that it holds its key.
pub async fn enroll(
    agents: &Agents,
    address: String,
    request_id: String,
    request: EnrollRequest,
) -> Result<Enrolled, EnrollError> {
    let digest = presented_digest(&request.token).ok_or(EnrollError::Token)?;
    let now_us = agents.now_us();
    // The token first: nobody without one learns how requests are judged.
    let token = store::find_token(agents.db(), digest)
        .await?
        .filter(|token| token.expires_at_us > now_us)
        .ok_or(EnrollError::Token)?;
    // Whoever made it must still be allowed to: it dies with them.
    let maker = delegation::of(agents.db(), &token.created_by, now_us).await?;
    let maker = maker.filter(|maker| maker.role == Role::Admin);
    let maker = maker.ok_or(EnrollError::Token)?;
    let csr = Csr::parse(&request.csr_pem)?;
    let new_id = HostId(agents.new_id());
    let key = csr.key_digest();
    // Of a token that is used up, only a host whose answer was lost has something to ask the one writer for.
    if token.uses >= token.uses_max {
        let host = hosts::store::find_by_key(agents.db(), key).await?;
        host.filter(|host| host.enrolled_with == Some(token.id))
            .ok_or(EnrollError::Token)?;
    }
    let (hosts, reported) = (agents.hosts().clone(), request.reported);
    let admitted = agents
        .db()
        .write(move |tx| {
            // Again, because it may have been revoked or used up meanwhile, and its maker may be gone.
            let token = store::find_token_in(tx, digest)?.ok_or(EnrollError::Token)?;
            let approves = approves_in(tx, maker, now_us)?;
            let context = AuditContext {
                request_id,
                principal: format!("enrollment_token:{}", token.id),
                principal_name: token.name,
                tenant: None,
                address,
            };
            let admission = Admission {
                key,
                reported,
                token_id: token.id,
                tags: token.tags,
                auto_approve: token.auto_approve && approves,
                new_id,
            };
            let admitted = admission::admit_in(&hosts, tx, &context, admission)?;
            if admitted.takes_use && !store::take_use_in(tx, token.id)? {
                return Err(EnrollError::Token);
            }
            Ok(admitted)
        })
        .await?;
    tracing::info!(host_id = %admitted.host_id, token_id = %token.id, approval = admitted.approval.as_str(), "a host enrolled");
    let certificate_pem = agents.sign(&csr, admitted.host_id, admitted.generation, now_us)?;
    Ok(Enrolled {
        admitted,
        certificate_pem,
    })
}

/// Whether hosts that a token of this maker lets in are approved. `Token`: the maker is no administrator any more.
fn approves_in(tx: &mut Tx<'_>, maker: Principal, now_us: i64) -> Result<bool, EnrollError> {
    let locked = lock_maker(tx, &maker, now_us).map_err(|error| match error {
        AuthError::Db(error) => EnrollError::Db(error),
        _ => EnrollError::Token,
    })?;
    let role = locked.bounds.role;
    if role != Role::Admin {
        return Err(EnrollError::Token);
    }
    Ok(may_approve(&Principal { role, ..maker }))
}

/// Whether a principal may use the routes that approve hosts.
fn may_approve(principal: &Principal) -> bool {
    let asks = Asks {
        role: Role::Operator,
        is_read: false,
        tenants: false,
        scope: AskedScope::Path,
    };
    judge(principal, asks, "/api/v1/hosts/approve").is_ok()
}

/// The beginning of a token that is safe to show: people match it with what they pasted.
pub fn shown_prefix(text: &str) -> String {
    text.chars().take(SHOWN_CHARS).collect()
}

impl From<AdmissionError> for EnrollError {
    fn from(error: AdmissionError) -> Self {
        match error {
            AdmissionError::Rejected => Self::Rejected,
            AdmissionError::Db(error) => Self::Db(error),
        }
    }
}

fn checked(
    new: NewToken,
    id: Uuid,
    created_by: &str,
    now_us: i64,
) -> Result<EnrollmentToken, Vec<Violation>> {
    let mut found = Vec::new();
    let invalid = |pointer: &str, detail| Violation::new(pointer, "enrollment-token-field", detail);
    if !new.name.is_empty()
        && let Some(reason) = labels::bad_name(&new.name)
    {
        found.push(invalid("/name", reason));
    }
    let uses_max = new.uses.unwrap_or(1);
    if !(1..=USES_MAX).contains(&uses_max) {
        let detail = format!("must be between 1 and {USES_MAX}");
        found.push(invalid("/uses", detail));
    }
    let default = i64::try_from(EXPIRES_IN_DEFAULT.as_secs()).unwrap_or(i64::MAX);
    let expires_in = new.expires_in_seconds.unwrap_or(default);
    if !(EXPIRES_IN_MIN_SECONDS..=EXPIRES_IN_MAX_SECONDS).contains(&expires_in) {
        let detail =
            format!("must be between {EXPIRES_IN_MIN_SECONDS} and {EXPIRES_IN_MAX_SECONDS}");
        found.push(invalid("/expires_in_seconds", detail));
    }
    let tags = labels::tags("/tags", new.tags).unwrap_or_else(|violations| {
        found.extend(violations);
        Vec::new()
    });
    if !found.is_empty() {
        return Err(found);
    }
    Ok(EnrollmentToken {
        id,
        name: new.name,
        created_by: created_by.to_owned(),
        created_at_us: now_us,
        expires_at_us: now_us + expires_in * 1_000_000,
        uses_max,
        uses: 0,
        auto_approve: new.auto_approve,
        tags,
    })
}

fn random_secret() -> String {
    let mut secret = [0_u8; 32];
    rand::rng().fill_bytes(&mut secret);
    URL_SAFE_NO_PAD.encode(secret)
}

/// The digest of a secret as it stands in a token's text.
fn secret_digest(secret: &str) -> [u8; 32] {
    Sha256::digest(secret).into()
}

/// The digest of a presented token's secret, if the text has the form of a token. The fingerprint is the agent's
/// business.
fn presented_digest(text: &str) -> Option<[u8; 32]> {
    let secret = text.trim().strip_prefix(PREFIX)?;
    let secret = secret.split('.').next().unwrap_or_default();
    // 256 bits in base64 without padding.
    (secret.len() == 43).then(|| secret_digest(secret))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tokens_text_leads_back_to_its_digest() {
        let secret = random_secret();
        let text = format!("{PREFIX}{secret}.{}", "0".repeat(64));
        assert_eq!(presented_digest(&text), Some(secret_digest(&secret)));
        assert_eq!(
            presented_digest(&format!("{text}\n")),
            Some(secret_digest(&secret))
        );
        let others = [
            "",
            "fwe_",
            "fwe_short.00",
            &secret,
            &text.replace("fwe_", "fwt_"),
        ];
        for other in others {
            assert_eq!(presented_digest(other), None, "{other}");
        }
    }

    #[test]
    fn what_is_shown_of_a_token_is_not_enough_to_use_it() {
        let text = format!("{PREFIX}{}", random_secret());
        assert_eq!(shown_prefix(&text).len(), 10);
        assert_eq!(presented_digest(&shown_prefix(&text)), None);
    }

    #[test]
    fn a_tokens_limits_are_checked_all_at_once() {
        let new = NewToken {
            name: "a\0b".into(),
            uses: Some(0),
            expires_in_seconds: Some(59),
            auto_approve: false,
            tags: vec![String::new()],
        };
        let found = checked(new, Uuid::nil(), "user:1", 0).unwrap_err();
        let places: Vec<&str> = found.iter().map(|one| one.pointer.as_str()).collect();
        assert_eq!(places, ["/name", "/uses", "/expires_in_seconds", "/tags/0"]);
        let plain = checked(NewToken::default(), Uuid::nil(), "user:1", 0).unwrap();
        assert_eq!((plain.uses_max, plain.expires_at_us), (1, 3_600_000_000));
    }
}
