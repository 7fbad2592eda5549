//! The identity behind a request, as handlers and modules get it.

use fleetwright_plugin_api::wire::CallContext;

use super::{Role, Scopes};
use crate::audit::AuditContext;
use crate::http::idempotency::IdempotencyClaim;

/// A user or an API token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// `user:<uuid>` or `token:<uuid>`.
    pub id: String,
    pub name: String,
    pub role: Role,
    pub tenant: Option<String>,
    pub scopes: Scopes,
}

/// An authenticated request's identity; an extractor.
#[derive(Clone, Debug)]
pub struct Caller {
    pub principal: Principal,
    pub request_id: String,
    pub address: String,
    /// Present when the request carries an `Idempotency-Key` that is not yet used.
    pub idempotency: Option<IdempotencyClaim>,
}

impl Caller {
    /// What a module is told of the caller.
    pub fn to_context(&self) -> CallContext {
        CallContext {
            request_id: self.request_id.clone(),
            principal: self.principal.id.clone(),
            principal_name: self.principal.name.clone(),
            role: self.principal.role.as_str().to_owned(),
            tenant: self.principal.tenant.clone(),
            scopes: self
                .principal
                .scopes
                .0
                .iter()
                .map(ToString::to_string)
                .collect(),
            address: self.address.clone(),
            idempotency: self
                .idempotency
                .as_ref()
                .map_or(0, IdempotencyClaim::handle),
        }
    }
}

impl From<&Caller> for AuditContext {
    fn from(caller: &Caller) -> Self {
        Self {
            request_id: caller.request_id.clone(),
            principal: caller.principal.id.clone(),
            principal_name: caller.principal.name.clone(),
            tenant: caller.principal.tenant.clone(),
            address: caller.address.clone(),
        }
    }
}
