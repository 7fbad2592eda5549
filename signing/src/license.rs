//! A licence: a compact JWS with the one algorithm EdDSA, so there is nothing to negotiate. Verification here says who
//! signed what; what it means now (times, features in force) is the server's licensing.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use semver::VersionReq;
use serde::{Deserialize, Serialize};

use crate::keys::{self, KeyId, PublicKey, SecretKey};

/// The one issuer.
pub const ISSUER: &str = "fleetwright-vendor";
/// A licence is a few hundred bytes; the largest sensible one names many modules.
pub const TEXT_BYTES_MAX: usize = 64 * 1024;
const TYPE: &str = "fleetwright-license+jwt";

/// What a licence grants. Times are seconds since the Unix epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Claims {
    pub iss: String,
    /// The customer.
    pub sub: String,
    pub features: Vec<String>,
    /// Modules it is limited to, with a requirement on their version; none: any.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub modules: BTreeMap<String, VersionReq>,
    /// The one installation it is for; none: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub installation: Option<String>,
    /// Hosts above which no new Pro work starts; none: any number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_hosts: Option<u64>,
    pub iat: i64,
    pub nbf: i64,
    pub exp: i64,
    /// Days after `exp` in which everything goes on.
    #[serde(default)]
    pub grace_days: u32,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum LicenseError {
    #[error("the licence is not readable")]
    Format,
    #[error("the licence is signed with `{0}`; only EdDSA is accepted")]
    Algorithm(String),
    #[error("the licence is signed with the key {0}, which this server does not trust")]
    UnknownKey(String),
    #[error(
        "the licence is signed with the development key {0}, and allow_development_keys is off"
    )]
    DevelopmentKey(KeyId),
    #[error("the licence's signature is wrong: it was changed")]
    Signature,
    #[error("the licence's content is not readable: {0}")]
    Claims(String),
    #[error("the licence is from `{0}`, not from the vendor")]
    Issuer(String),
}

#[derive(Serialize, Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    typ: String,
    #[serde(default)]
    kid: String,
}

/// The licence as text, signed.
pub fn issue(key: &SecretKey, claims: &Claims) -> Result<String, LicenseError> {
    let header = Header {
        alg: "EdDSA".to_owned(),
        typ: TYPE.to_owned(),
        kid: key.id.to_string(),
    };
    let encode = |json: Result<Vec<u8>, serde_json::Error>| {
        json.map(|json| URL_SAFE_NO_PAD.encode(json))
            .map_err(|error| LicenseError::Claims(error.to_string()))
    };
    let signed = format!(
        "{}.{}",
        encode(serde_json::to_vec(&header))?,
        encode(serde_json::to_vec(claims))?
    );
    let signature = URL_SAFE_NO_PAD.encode(key.sign(signed.as_bytes()));
    Ok(format!("{signed}.{signature}\n"))
}

/// The claims, if a trusted key signed them. Says nothing about whether they hold now.
pub fn verify(
    trusted: &[PublicKey],
    allow_development: bool,
    text: &str,
) -> Result<(Claims, KeyId), LicenseError> {
    let text = text.trim();
    let mut parts = text.split('.');
    let (Some(header), Some(payload), Some(signature), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(LicenseError::Format);
    };
    let decode = |part: &str| {
        URL_SAFE_NO_PAD
            .decode(part)
            .map_err(|_| LicenseError::Format)
    };
    if text.len() > TEXT_BYTES_MAX {
        return Err(LicenseError::Format);
    }
    let parsed: Header =
        serde_json::from_slice(&decode(header)?).map_err(|_| LicenseError::Format)?;
    if parsed.alg != "EdDSA" || parsed.typ != TYPE {
        return Err(LicenseError::Algorithm(printable(&parsed.alg)));
    }
    let key = trusted.iter().find(|key| key.id.to_string() == parsed.kid);
    let id = key
        .ok_or_else(|| LicenseError::UnknownKey(printable(&parsed.kid)))?
        .id;
    if id.is_development() && !allow_development {
        return Err(LicenseError::DevelopmentKey(id));
    }
    let signed = text
        .get(..header.len() + 1 + payload.len())
        .unwrap_or_default();
    let signature = decode(signature)?;
    if !keys::find(trusted, id).is_some_and(|key| key.verify(signed.as_bytes(), &signature)) {
        return Err(LicenseError::Signature);
    }
    let claims: Claims = serde_json::from_slice(&decode(payload)?)
        .map_err(|error| LicenseError::Claims(error.to_string()))?;
    if claims.iss != ISSUER {
        return Err(LicenseError::Issuer(printable(&claims.iss)));
    }
    Ok((claims, id))
}

/// Unverified text, for a message: short and without control characters.
fn printable(text: &str) -> String {
    text.chars()
        .filter(|letter| !letter.is_control())
        .take(40)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims() -> Claims {
        Claims {
            iss: ISSUER.to_owned(),
            sub: "Example Ltd".to_owned(),
            features: vec!["fleet_groups".to_owned()],
            modules: BTreeMap::new(),
            installation: None,
            max_hosts: Some(10),
            iat: 1_000,
            nbf: 1_000,
            exp: 2_000,
            grace_days: 7,
        }
    }

    fn forged(header: &str, claims: &Claims, key: &SecretKey) -> String {
        let signed = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header),
            URL_SAFE_NO_PAD.encode(serde_json::to_vec(claims).unwrap())
        );
        let signature = URL_SAFE_NO_PAD.encode(key.sign(signed.as_bytes()));
        format!("{signed}.{signature}")
    }

    #[test]
    fn an_issued_licence_is_verified_by_any_of_the_trusted_keys() {
        let (old, new) = (
            SecretKey::generate(false).unwrap(),
            SecretKey::generate(false).unwrap(),
        );
        let trusted = [new.public().unwrap(), old.public().unwrap()];
        for key in [&old, &new] {
            let text = issue(key, &claims()).unwrap();
            assert_eq!(verify(&trusted, false, &text), Ok((claims(), key.id)));
        }
    }

    #[test]
    fn forgeries_are_refused_with_the_reason() {
        let key = SecretKey::generate(false).unwrap();
        let stranger = SecretKey::generate(false).unwrap();
        let trusted = [key.public().unwrap()];
        let check = |text: &str| verify(&trusted, false, text).unwrap_err();

        assert_eq!(check("garbage"), LicenseError::Format);
        assert_eq!(check("a.b.c"), LicenseError::Format);
        assert!(matches!(
            check(&issue(&stranger, &claims()).unwrap()),
            LicenseError::UnknownKey(_)
        ));
        for alg in ["none", "HS256", "eddsa"] {
            let header = format!(
                "{{\"alg\":\"{alg}\",\"typ\":\"{TYPE}\",\"kid\":\"{}\"}}",
                key.id
            );
            assert_eq!(
                check(&forged(&header, &claims(), &key)),
                LicenseError::Algorithm(alg.to_owned())
            );
        }
        // The stranger signs under our key's id.
        let header = format!(
            "{{\"alg\":\"EdDSA\",\"typ\":\"{TYPE}\",\"kid\":\"{}\"}}",
            key.id
        );
        assert_eq!(
            check(&forged(&header, &claims(), &stranger)),
            LicenseError::Signature
        );
        // The payload of one licence under the signature of another.
        let (good, mut richer) = (issue(&key, &claims()).unwrap(), claims());
        richer.max_hosts = None;
        let richer = issue(&key, &richer).unwrap();
        let mut mixed: Vec<&str> = good.trim().split('.').collect();
        mixed[1] = richer.split('.').nth(1).unwrap();
        assert_eq!(check(&mixed.join(".")), LicenseError::Signature);
        let mut other_issuer = claims();
        other_issuer.iss = "somebody".to_owned();
        assert!(matches!(
            check(&issue(&key, &other_issuer).unwrap()),
            LicenseError::Issuer(_)
        ));
    }

    #[test]
    fn development_keys_count_only_where_allowed() {
        let key = SecretKey::generate(true).unwrap();
        let trusted = [key.public().unwrap()];
        let text = issue(&key, &claims()).unwrap();
        assert_eq!(
            verify(&trusted, false, &text).unwrap_err(),
            LicenseError::DevelopmentKey(key.id)
        );
        assert!(verify(&trusted, true, &text).is_ok());
    }
}
