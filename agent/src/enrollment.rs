//! Getting a certificate: the first with a token, the following with the one before.

use std::path::Path;

use fleetwright_protocol::Session;
use fleetwright_protocol::enrollment::{
    EnrollRequest, EnrollResponse, RenewRequest, RenewResponse,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::authority::{self, Answer, Trusted, Untrusted};
use crate::config::Config;
use crate::identity::{self, Identity, IdentityError, Record};
use crate::server_client::{ServerAddress, ServerClient, ServerError};
use crate::tls::{self, TlsError, Trust};
use crate::{facts, private_file};

#[derive(Debug, thiserror::Error)]
pub enum EnrollError {
    #[error("the token is not of the form fwe_…")]
    Token,
    #[error("nothing says which server to trust: give --ca FILE, or a token with a fingerprint")]
    NothingToTrust,
    #[error("cannot read the CA file {path}: {error}")]
    CaFile { path: String, error: std::io::Error },
    #[error("cannot make the data folder: {0}")]
    DataFolder(std::io::Error),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Server(#[from] ServerError),
    /// Nothing of the answer is kept.
    #[error("the server's answer is not believed, and what is trusted stays as it was: {0}")]
    Untrusted(#[from] Untrusted),
    #[error(
        "the server's answer is not believed: it names generation {named}, and this certificate is of generation {own}"
    )]
    Generation { named: i64, own: i64 },
}

/// What an enrollment came to.
#[derive(Debug)]
pub struct Enrolled {
    pub identity: Identity,
    /// `pending` or `approved`.
    pub approval_status: String,
}

/// Enrols this host: has the key signed that `key` finds in the data folder or makes there. What came back is the caller's to
/// keep.
pub async fn enroll(
    config: &Config,
    server_url: &str,
    token: &str,
    ca: Option<&Path>,
    key: fn(&Path) -> Result<String, IdentityError>,
) -> Result<Enrolled, EnrollError> {
    let token = token.trim();
    let pem = ca.map(read_authority).transpose()?;
    let trust = trust(token, pem.as_deref())?;
    let address = ServerAddress::parse(server_url)?;
    private_file::make_own_folder(&config.data_dir).map_err(EnrollError::DataFolder)?;
    let key_pem = key(&config.data_dir)?;
    let trusted = match (&pem, &trust) {
        (Some(pem), _) => Trusted::Authorities(pem),
        (None, Trust::Fingerprint(pin)) => Trusted::Fingerprint(*pin),
        (None, Trust::Authorities(_)) => return Err(EnrollError::NothingToTrust),
    };
    let client = ServerClient::new(address, tls::client_config(trust.clone(), None)?);
    let request = EnrollRequest {
        // The server has no use for the fingerprint.
        token: token.split('.').next().unwrap_or_default().to_owned(),
        csr_pem: identity::signing_request(&key_pem)?,
        facts: facts::facts(&config.facts),
        tags: config.tags.clone(),
        attributes: config.attributes.clone(),
    };
    let answer: EnrollResponse = post(&client, "/api/v1/agent/enroll", &request).await?;
    let believed = Answer {
        host_id: answer.host_id,
        generation: answer.generation,
        certificate_pem: &answer.certificate_pem,
        ca_pem: &answer.ca_pem,
    };
    authority::check(&trusted, &key_pem, &believed)?;
    let identity = Identity {
        record: Record {
            host_id: answer.host_id,
            server_url: server_url.to_owned(),
            generation: answer.generation,
        },
        key_pem,
        certificate_pem: answer.certificate_pem,
        authority_pem: answer.ca_pem,
    };
    Ok(Enrolled {
        identity,
        approval_status: answer.approval_status,
    })
}

/// Renews the certificate, with the same key: an answer that is lost can be asked for once more. A renewal brings a
/// certificate; what this agent trusts it does not replace, but by what that has signed.
pub async fn renew(
    identity: &Identity,
    session: Option<Session>,
    client: &ServerClient,
    config: &Config,
) -> Result<Identity, EnrollError> {
    let request = RenewRequest {
        csr_pem: identity::signing_request(&identity.key_pem)?,
        session,
        boot_id: facts::boot_id(config.system.boot_id_file()),
        machine_id: facts::machine_id(config.system.machine_id_file()),
    };
    let answer: RenewResponse = post(client, "/api/v1/agent/renew", &request).await?;
    let own = identity.record.generation;
    if answer.generation <= own {
        let named = answer.generation;
        return Err(EnrollError::Generation { named, own });
    }
    let trusted = Trusted::Authorities(identity.authority_pem.as_bytes());
    let believed = Answer {
        host_id: identity.record.host_id,
        generation: answer.generation,
        certificate_pem: &answer.certificate_pem,
        ca_pem: &answer.ca_pem,
    };
    authority::check(&trusted, &identity.key_pem, &believed)?;
    let renewed = Identity {
        record: Record {
            generation: answer.generation,
            ..identity.record.clone()
        },
        certificate_pem: answer.certificate_pem,
        authority_pem: answer.ca_pem,
        key_pem: identity.key_pem.clone(),
    };
    // Refuse what could not be used rather than lose what can.
    tls_of(&renewed)?;
    renewed.save(&config.data_dir)?;
    Ok(renewed)
}

/// The settings of connections this identity makes.
pub fn tls_of(identity: &Identity) -> Result<std::sync::Arc<rustls::ClientConfig>, TlsError> {
    let trust = Trust::from_pem(identity.authority_pem.as_bytes())?;
    let own = (
        identity.certificate_pem.as_bytes(),
        identity.key_pem.as_bytes(),
    );
    tls::client_config(trust, Some(own))
}

fn read_authority(path: &Path) -> Result<Vec<u8>, EnrollError> {
    std::fs::read(path).map_err(|error| EnrollError::CaFile {
        path: path.display().to_string(),
        error,
    })
}

fn trust(token: &str, ca_pem: Option<&[u8]>) -> Result<Trust, EnrollError> {
    let secret_and_pin = token.strip_prefix("fwe_").ok_or(EnrollError::Token)?;
    if let Some(pem) = ca_pem {
        return Ok(Trust::from_pem(pem)?);
    }
    let (_, pin) = secret_and_pin
        .split_once('.')
        .ok_or(EnrollError::NothingToTrust)?;
    let pin = hex::decode(pin)
        .ok()
        .and_then(|pin| <[u8; 32]>::try_from(pin).ok());
    Ok(Trust::Fingerprint(pin.ok_or(EnrollError::Token)?))
}

async fn post<T: DeserializeOwned>(
    client: &ServerClient,
    path: &str,
    body: &impl Serialize,
) -> Result<T, ServerError> {
    let nonsense = |error: serde_json::Error| ServerError::Nonsense(error.to_string());
    let body = serde_json::to_value(body).map_err(nonsense)?;
    serde_json::from_value(client.post(path, &body).await?).map_err(nonsense)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trust_comes_from_a_file_or_a_fingerprint_and_never_from_nothing() {
        let pinned = format!("fwe_secret.{}", "ab".repeat(32));
        assert!(matches!(trust(&pinned, None), Ok(Trust::Fingerprint(pin)) if pin == [0xab; 32]));
        assert!(matches!(
            trust("fwe_secret", None),
            Err(EnrollError::NothingToTrust)
        ));
        assert!(matches!(
            trust("fwe_secret.abcd", None),
            Err(EnrollError::Token)
        ));
        assert!(matches!(trust("secret", None), Err(EnrollError::Token)));
        let missing = Path::new("/nonexistent/ca.pem");
        assert!(matches!(
            read_authority(missing),
            Err(EnrollError::CaFile { .. })
        ));
    }
}
