//! The short-lived token of a session: a JWT signed by this server's own Ed25519 key. The algorithm is pinned,
//! `exp nbf iss aud` are required, and times are the lease clock's: what lives for a quarter of an hour
//! lives so long, and no longer, whatever becomes of the wall clock.

use std::io;
use std::path::Path;
use std::time::Duration;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::secret_file;

/// How long a token lives; security.md allows at most 15 minutes.
pub const LIFETIME: Duration = Duration::from_secs(15 * 60);
const ISSUER: &str = "fleetwright";
const AUDIENCE: &str = "fleetwright-api";

/// Signs and checks session tokens.
pub struct SessionTokens {
    encoding: EncodingKey,
    decoding: DecodingKey,
    key_id: String,
    validation: Validation,
}

/// What a valid token says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionClaim {
    pub session_id: Uuid,
    pub user_id: Uuid,
}

#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    sub: String,
    sid: Uuid,
    iat: i64,
    nbf: i64,
    exp: i64,
}

impl SessionTokens {
    /// Reads the signing key from `path`, making it on the first start.
    pub fn from_file(path: &Path) -> io::Result<Self> {
        let pkcs8 = secret_file::read_or_create(path, new_key)?;
        Self::from_pkcs8(&pkcs8)
    }

    pub fn from_pkcs8(pkcs8: &[u8]) -> io::Result<Self> {
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8)
            .map_err(|_| io::Error::other("the session signing key is damaged"))?;
        let public = pair.public_key().as_ref();
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[AUDIENCE]);
        validation.set_required_spec_claims(&["exp", "nbf", "iss", "aud", "sub"]);
        // Checked below against the server's clock; the library would read the machine's.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        Ok(Self {
            encoding: EncodingKey::from_ed_der(pkcs8),
            decoding: DecodingKey::from_ed_der(public),
            key_id: hex::encode(Sha256::digest(public).get(..8).unwrap_or_default()),
            validation,
        })
    }

    /// `None` only if the key cannot sign, which reading it has ruled out.
    pub fn sign(&self, lease_us: i64, claim: SessionClaim) -> Option<String> {
        let now = lease_us.div_euclid(1_000_000);
        let claims = Claims {
            iss: ISSUER.to_owned(),
            aud: AUDIENCE.to_owned(),
            sub: claim.user_id.to_string(),
            sid: claim.session_id,
            iat: now,
            nbf: now,
            exp: now.saturating_add(LIFETIME.as_secs().cast_signed()),
        };
        let mut header = Header::new(Algorithm::EdDSA);
        header.kid = Some(self.key_id.clone());
        jsonwebtoken::encode(&header, &claims, &self.encoding).ok()
    }

    /// `None` for whatever is not a token of ours that is valid now.
    pub fn verify(&self, lease_us: i64, token: &str) -> Option<SessionClaim> {
        let decoded =
            jsonwebtoken::decode::<Claims>(token, &self.decoding, &self.validation).ok()?;
        if decoded.header.kid.as_deref() != Some(self.key_id.as_str()) {
            return None;
        }
        let claims = decoded.claims;
        let now = lease_us.div_euclid(1_000_000);
        if now < claims.nbf || now < claims.iat || now >= claims.exp {
            return None;
        }
        // However it was signed, no token lives longer than ours do.
        let lifetime = LIFETIME.as_secs().cast_signed();
        if claims.exp.saturating_sub(claims.iat) > lifetime
            || claims.exp.saturating_sub(now) > lifetime
        {
            return None;
        }
        Some(SessionClaim {
            session_id: claims.sid,
            user_id: Uuid::try_parse(&claims.sub).ok()?,
        })
    }
}

/// Without it the library would guess from its features, and panic if it could not.
pub fn install_crypto() {
    // An error means that it has been chosen already.
    let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
}

/// A fresh PKCS#8 key.
pub fn new_key() -> io::Result<Vec<u8>> {
    let failed = |_| io::Error::other("cannot make a signing key");
    let pair = Ed25519KeyPair::generate().map_err(failed)?;
    Ok(pair.to_pkcs8().map_err(failed)?.as_ref().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde_json::{Value, json};

    const NOW_US: i64 = 1_769_860_800_000_000;
    const CLAIM: SessionClaim = SessionClaim {
        session_id: Uuid::from_u128(1),
        user_id: Uuid::from_u128(2),
    };

    struct Fixture {
        tokens: SessionTokens,
        pkcs8: Vec<u8>,
    }

    fn fixture() -> Fixture {
        let pkcs8 = new_key().expect("a key");
        let tokens = SessionTokens::from_pkcs8(&pkcs8).expect("readable");
        Fixture { tokens, pkcs8 }
    }

    impl Fixture {
        fn claims(&self) -> Value {
            let now = NOW_US / 1_000_000;
            json!({"iss": ISSUER, "aud": AUDIENCE, "sub": CLAIM.user_id, "sid": CLAIM.session_id,
                   "iat": now, "nbf": now, "exp": now + 60})
        }

        fn signed(&self, header: Header, claims: &Value) -> String {
            let key = EncodingKey::from_ed_der(&self.pkcs8);
            jsonwebtoken::encode(&header, claims, &key).expect("signed")
        }

        fn header(&self) -> Header {
            let mut header = Header::new(Algorithm::EdDSA);
            header.kid = Some(self.tokens.key_id.clone());
            header
        }

        fn accepts(&self, token: &str) -> bool {
            self.tokens.verify(NOW_US, token).is_some()
        }

        fn accepts_claims(&self, change: impl FnOnce(&mut Value)) -> bool {
            let mut claims = self.claims();
            change(&mut claims);
            self.accepts(&self.signed(self.header(), &claims))
        }
    }

    #[test]
    fn a_signed_token_is_accepted_until_it_expires() {
        let fixture = fixture();
        let token = fixture.tokens.sign(NOW_US, CLAIM).expect("signed");
        let verify = |now_us| fixture.tokens.verify(now_us, &token);
        let lifetime_us = LIFETIME.as_micros() as i64;
        assert_eq!(verify(NOW_US), Some(CLAIM));
        assert_eq!(verify(NOW_US + lifetime_us - 1), Some(CLAIM));
        assert_eq!(verify(NOW_US + lifetime_us), None);
        assert_eq!(verify(NOW_US - 1_000_000), None, "not yet valid");
    }

    #[test]
    fn every_registered_claim_is_required_and_typed() {
        let fixture = fixture();
        assert!(
            fixture.accepts_claims(|_| {}),
            "the unchanged token is good"
        );
        for name in ["exp", "nbf", "iss", "aud", "sub", "sid"] {
            assert!(
                !fixture.accepts_claims(|claims| {
                    claims.as_object_mut().expect("object").remove(name);
                }),
                "without {name}"
            );
        }
        assert!(!fixture.accepts_claims(|claims| claims["exp"] = json!("1800000000")));
        assert!(!fixture.accepts_claims(|claims| claims["aud"] = json!("other")));
        assert!(!fixture.accepts_claims(|claims| claims["iss"] = json!("other")));
        assert!(!fixture.accepts_claims(|claims| claims["sub"] = json!("nobody")));
    }

    #[test]
    fn no_token_lives_longer_than_ours_however_it_was_signed() {
        let fixture = fixture();
        let (now, lifetime) = (NOW_US / 1_000_000, LIFETIME.as_secs() as i64);
        // `(iat, nbf, exp)`, from now.
        let cases = [
            ((0, 0, lifetime), true),
            ((0, 0, lifetime + 1), false),
            ((-1, -1, lifetime), false),
            ((-lifetime, -lifetime, 1), false),
            ((1 - lifetime, 1 - lifetime, 1), true),
            ((1, 0, lifetime), false),
            ((i64::MIN, 0, 60), false),
            ((0, 0, i64::MAX - now), false),
            ((i64::MAX - now, 0, i64::MAX - now), false),
        ];
        for ((iat, nbf, exp), accepted) in cases {
            let is = fixture.accepts_claims(|claims| {
                claims["iat"] = json!(now.saturating_add(iat));
                claims["nbf"] = json!(now + nbf);
                claims["exp"] = json!(now + exp);
            });
            assert_eq!(is, accepted, "iat {iat}, nbf {nbf}, exp {exp}");
        }
        assert!(!fixture.accepts_claims(|claims| {
            claims.as_object_mut().expect("object").remove("iat");
        }));
    }

    #[test]
    fn only_our_key_and_algorithm_are_accepted() {
        let fixture = fixture();
        let other = self::fixture();
        assert!(!fixture.accepts(&other.tokens.sign(NOW_US, CLAIM).expect("signed")));
        for key_id in [None, Some("../key"), Some("other")] {
            let mut header = fixture.header();
            header.kid = key_id.map(str::to_owned);
            assert!(
                !fixture.accepts(&fixture.signed(header, &fixture.claims())),
                "{key_id:?}"
            );
        }
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let unsigned = format!(
            "{}.{}.",
            encode(&json!({"alg": "none", "kid": fixture.tokens.key_id})),
            encode(&fixture.claims())
        );
        assert!(!fixture.accepts(&unsigned));
        let pair = Ed25519KeyPair::from_pkcs8(&fixture.pkcs8).expect("key");
        let symmetric = jsonwebtoken::encode(
            &Header {
                alg: Algorithm::HS256,
                ..fixture.header()
            },
            &fixture.claims(),
            &EncodingKey::from_secret(pair.public_key().as_ref()),
        )
        .expect("signed");
        assert!(
            !fixture.accepts(&symmetric),
            "the public key is not a secret"
        );
    }

    #[test]
    fn garbage_is_refused() {
        let fixture = fixture();
        let token = fixture.tokens.sign(NOW_US, CLAIM).expect("signed");
        let (head, _) = token.rsplit_once('.').expect("three parts");
        for garbage in [
            "",
            ".",
            "..",
            "a.b.c",
            head,
            &format!("{head}."),
            &format!("{token}A"),
        ] {
            assert!(!fixture.accepts(garbage), "{garbage}");
        }
    }
}
