//! What an agent and the server say to each other outside the WebSocket: enrollment and renewal, as JSON bodies. Unknown
//! fields are ignored on both sides, as in frames.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::facts::Facts;
use crate::ids::HostId;
use crate::session::Session;

/// `POST /api/v1/agent/enroll`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EnrollRequest {
    pub token: String,
    /// The signing request for a key that was made on the host; a host that sends a known key is known again.
    pub csr_pem: String,
    #[serde(default)]
    pub facts: Facts,
    #[serde(default)]
    pub tags: Vec<String>,
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EnrollResponse {
    pub host_id: HostId,
    pub certificate_pem: String,
    /// The authority to trust from now on.
    pub ca_pem: String,
    /// `pending` or `approved`.
    pub approval_status: String,
    pub generation: i64,
}

/// `POST /api/v1/agent/renew`, over mutual TLS with the certificate to renew.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RenewRequest {
    pub csr_pem: String,
    /// The last session of the machine that renews; `None` if it has begun none, or does not count them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<Session>,
    #[serde(default)]
    pub boot_id: String,
    #[serde(default)]
    pub machine_id: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RenewResponse {
    pub certificate_pem: String,
    pub ca_pem: String,
    pub generation: i64,
}
