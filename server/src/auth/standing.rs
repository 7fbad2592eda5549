//! How long a stream may go on. A request is judged once, when it comes; a stream that lives for days is judged again and
//! again, by what it was opened with, whoever serves it: the core, a module, or either for another module.

use std::time::Duration;

use super::Principal;
use super::identities::Identities;
use crate::clock::SharedClock;

/// Between looks: with the comments of the stream, so that a right that ended is gone within this time.
const LOOK_EVERY: Duration = Duration::from_secs(15);

/// Whom a request stands for, and by what. The gate puts it into each request that it lets in.
#[derive(Clone)]
pub struct Standing {
    identities: Identities,
    clock: SharedClock,
    principal: Principal,
    by: By,
}

#[derive(Clone)]
enum By {
    /// A bearer that was valid at this time of the lease clock.
    Bearer(String, i64),
    /// The principal itself, as a module carries it on.
    Carried,
}

impl Standing {
    /// Of a bearer that stands for this principal now.
    pub fn of_bearer(
        identities: &Identities,
        clock: &SharedClock,
        principal: &Principal,
        bearer: &str,
    ) -> Self {
        let by = By::Bearer(bearer.to_owned(), clock.lease_us());
        Self::new(identities, clock, principal, by)
    }

    /// Of a call in process. A module's own identity does not end.
    pub fn carried(identities: &Identities, clock: &SharedClock, principal: &Principal) -> Self {
        Self::new(identities, clock, principal, By::Carried)
    }

    fn new(identities: &Identities, clock: &SharedClock, principal: &Principal, by: By) -> Self {
        Self {
            identities: identities.clone(),
            clock: clock.clone(),
            principal: principal.clone(),
            by,
        }
    }

    /// Waits until it no longer stands for exactly this principal. Whoever still has rights comes back with them.
    pub async fn ended(self) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            if !self.is_standing().await {
                return;
            }
        }
    }

    async fn is_standing(&self) -> bool {
        let now_us = self.clock.now_us();
        let found = match &self.by {
            By::Bearer(bearer, since_us) => {
                let found = self.identities.find_again(bearer, *since_us, now_us).await;
                found.map(|found| found.is_some_and(|now| now.principal == self.principal))
            }
            By::Carried if self.principal.id.starts_with("module:") => Ok(true),
            By::Carried => {
                let found = self.identities.acting(&self.principal.id, now_us).await;
                found.map(|found| found.is_some_and(|now| self.is_within(&now)))
            }
        };
        // Nothing is known while the database is away.
        found.unwrap_or_else(|error| {
            tracing::debug!(%error, "a stream's right could not be looked up");
            true
        })
    }

    /// What was carried may have been narrower than the principal; it may not be wider than it is now.
    fn is_within(&self, now: &Principal) -> bool {
        let scopes = now.scopes.0.is_empty()
            || (!self.principal.scopes.0.is_empty()
                && self.principal.scopes.outside(&now.scopes).is_empty());
        let tenant = now.tenant.is_none() || now.tenant == self.principal.tenant;
        self.principal.role <= now.role && scopes && tenant
    }
}
