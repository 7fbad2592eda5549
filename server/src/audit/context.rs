//! Who did what is written down. Whoever knows a caller says how to make one of it.

use fleetwright_plugin_api::wire::CallContext;

/// Who did it, and from where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditContext {
    pub request_id: String,
    pub principal: String,
    pub principal_name: String,
    pub tenant: Option<String>,
    pub address: String,
}

impl AuditContext {
    /// For what the server does by itself or at its console: `part` is `cli`, `agents`, ….
    pub fn system(part: &str) -> Self {
        Self {
            principal: format!("system:{part}"),
            principal_name: part.to_owned(),
            ..Self::default()
        }
    }
}

impl From<&CallContext> for AuditContext {
    fn from(context: &CallContext) -> Self {
        Self {
            request_id: context.request_id.clone(),
            principal: context.principal.clone(),
            principal_name: context.principal_name.clone(),
            tenant: context.tenant.clone(),
            address: context.address.clone(),
        }
    }
}
