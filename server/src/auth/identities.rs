//! From a bearer text to a principal, remembered so that a request costs no database read. What is remembered is
//! forgotten in the commit that makes it untrue.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use moka::sync::Cache;
use uuid::Uuid;

use super::bearer::{self, TokenDigest};
use super::session_token::SessionTokens;
use super::store::{sessions, tokens};
use super::{Principal, Scopes, delegation};
use crate::clock::Now;
use crate::db::{Db, DbError};

/// Principals remembered: a few per pipeline and person; about 1 KiB each.
const REMEMBERED_MAX: u64 = 20_000;

/// Looks principals up. Cheap to clone.
#[derive(Clone)]
pub struct Identities {
    db: Db,
    session_tokens: Arc<SessionTokens>,
    tokens: Cache<TokenDigest, Arc<Known>>,
    sessions: Cache<Uuid, Arc<Known>>,
    /// Who is acted for without a bearer, by principal: calls in process.
    acting: Cache<String, Arc<(Principal, Option<i64>)>>,
    /// Rises with each invalidation: a look-up that began before one is not remembered.
    epoch: Arc<AtomicU64>,
}

/// Who a bearer text stands for.
#[derive(Clone, Debug)]
pub struct Identity {
    pub principal: Principal,
    pub kind: IdentityKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdentityKind {
    Session { session_id: Uuid, user_id: Uuid },
    ApiToken { token_id: Uuid },
}

struct Known {
    identity: Identity,
    expires_at_us: Option<i64>,
    last_used_us: AtomicI64,
    stored_used_us: AtomicI64,
}

impl Identities {
    pub fn new(db: Db, session_tokens: Arc<SessionTokens>) -> Self {
        Self {
            db,
            session_tokens,
            tokens: Cache::new(REMEMBERED_MAX),
            sessions: Cache::new(REMEMBERED_MAX),
            acting: Cache::new(REMEMBERED_MAX),
            epoch: Arc::default(),
        }
    }

    /// `None` for whatever is not a valid bearer now.
    pub async fn find(&self, bearer: &str, now: Now) -> Result<Option<Identity>, DbError> {
        self.find_again(bearer, now.lease_us, now.wall_us).await
    }

    /// The same for a bearer that was valid at `since_us` (by the lease clock) and is not presented again, such as a stream's: a session's
    /// token may have run out since then, the session may not.
    pub async fn find_again(
        &self,
        bearer: &str,
        since_us: i64,
        now_us: i64,
    ) -> Result<Option<Identity>, DbError> {
        if bearer.len() > bearer::BEARER_CHARS_MAX {
            return Ok(None);
        }
        let known = if bearer.starts_with(bearer::API_TOKEN_PREFIX) {
            if bearer.len() != bearer::API_TOKEN_CHARS {
                // It cannot be one, so nothing is read for it.
                return Ok(None);
            }
            self.api_token(bearer::digest(bearer), now_us).await?
        } else {
            match self.session_tokens.verify(since_us, bearer) {
                Some(claim) => {
                    self.session(claim.session_id, claim.user_id, now_us)
                        .await?
                }
                None => None,
            }
        };
        let Some(known) = known else {
            return Ok(None);
        };
        if known.expires_at_us.is_some_and(|at_us| at_us <= now_us) {
            return Ok(None);
        }
        known.last_used_us.store(now_us, Ordering::Relaxed);
        Ok(Some(known.identity.clone()))
    }

    /// What the principal of that id may do now, without a bearer of its own; none if it is gone.
    pub async fn acting(&self, principal: &str, now_us: i64) -> Result<Option<Principal>, DbError> {
        let known = match self.acting.get(principal) {
            Some(known) => known,
            None => {
                let epoch = self.epoch.load(Ordering::SeqCst);
                let Some(found) = delegation::with_end(&self.db, principal, now_us).await? else {
                    return Ok(None);
                };
                let known = Arc::new(found);
                self.acting.insert(principal.to_owned(), Arc::clone(&known));
                if self.epoch.load(Ordering::SeqCst) != epoch {
                    self.acting.invalidate(principal);
                }
                known
            }
        };
        let (principal, end_us) = known.as_ref();
        let is_over = end_us.is_some_and(|at_us| at_us <= now_us);
        Ok((!is_over).then(|| principal.clone()))
    }

    /// Call it in the commit (`Tx::after_commit`) of whatever ends or changes a principal.
    pub fn forget_all(&self) {
        self.epoch.fetch_add(1, Ordering::SeqCst);
        self.tokens.invalidate_all();
        self.sessions.invalidate_all();
        self.acting.invalidate_all();
    }

    /// API tokens used since their last use was stored: `(id, last use)`.
    pub fn take_used(&self) -> Vec<(Uuid, i64)> {
        self.tokens
            .iter()
            .filter_map(|(_, known)| {
                let used_us = known.last_used_us.load(Ordering::Relaxed);
                let stored_us = known.stored_used_us.swap(used_us, Ordering::Relaxed);
                match known.identity.kind {
                    IdentityKind::ApiToken { token_id } if used_us != stored_us => {
                        Some((token_id, used_us))
                    }
                    IdentityKind::ApiToken { .. } | IdentityKind::Session { .. } => None,
                }
            })
            .collect()
    }

    async fn api_token(
        &self,
        digest: TokenDigest,
        now_us: i64,
    ) -> Result<Option<Arc<Known>>, DbError> {
        if let Some(known) = self.tokens.get(&digest) {
            return Ok(Some(known));
        }
        let epoch = self.epoch.load(Ordering::SeqCst);
        let Some(token) = tokens::by_digest(&self.db, &digest).await? else {
            return Ok(None);
        };
        let (token_id, expires_at_us) = (token.id, token.expires_at_us);
        let Some(principal) = delegation::of_token(token, now_us) else {
            return Ok(None);
        };
        let kind = IdentityKind::ApiToken { token_id };
        let known = remembered(principal, kind, expires_at_us);
        self.tokens.insert(digest, Arc::clone(&known));
        if self.epoch.load(Ordering::SeqCst) != epoch {
            self.tokens.invalidate(&digest);
        }
        Ok(Some(known))
    }

    async fn session(
        &self,
        session_id: Uuid,
        user_id: Uuid,
        now_us: i64,
    ) -> Result<Option<Arc<Known>>, DbError> {
        if let Some(known) = self.sessions.get(&session_id) {
            // What is remembered was looked up for one user, and answers for no other.
            let kind = IdentityKind::Session {
                session_id,
                user_id,
            };
            return Ok((known.identity.kind == kind).then_some(known));
        }
        let epoch = self.epoch.load(Ordering::SeqCst);
        let found = sessions::live(&self.db, session_id, now_us).await?;
        let Some(session) = found.filter(|session| session.user_id == user_id) else {
            return Ok(None);
        };
        let principal = Principal {
            id: format!("user:{}", session.user_id),
            name: session.name,
            role: session.role,
            tenant: None,
            scopes: Scopes::default(),
        };
        let kind = IdentityKind::Session {
            session_id,
            user_id,
        };
        let known = remembered(principal, kind, Some(session.expires_at_us));
        self.sessions.insert(session_id, Arc::clone(&known));
        if self.epoch.load(Ordering::SeqCst) != epoch {
            self.sessions.invalidate(&session_id);
        }
        Ok(Some(known))
    }
}

fn remembered(principal: Principal, kind: IdentityKind, expires_at_us: Option<i64>) -> Arc<Known> {
    Arc::new(Known {
        identity: Identity { principal, kind },
        expires_at_us,
        last_used_us: AtomicI64::new(0),
        stored_used_us: AtomicI64::new(0),
    })
}
