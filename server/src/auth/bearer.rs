//! Bearer secrets that the server hands out and only remembers as digests. Pure but for the randomness.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::RngCore as _;
use sha2::{Digest as _, Sha256};

/// What an API token starts with; secret scanners look for it.
pub const API_TOKEN_PREFIX: &str = "fwt_";
/// All of its characters: the prefix, and the secret in base64 without padding.
pub const API_TOKEN_CHARS: usize = API_TOKEN_PREFIX.len() + (SECRET_BYTES * 4).div_ceil(3);
/// What a refresh token starts with.
pub const REFRESH_TOKEN_PREFIX: &str = "fwr_";
/// Characters of a token shown to people: the prefix and 36 bits, too few to guess the rest from.
const SHOWN_CHARS: usize = 10;
/// 256 bits.
const SECRET_BYTES: usize = 32;
/// Longest bearer text looked at; a JWT of ours is a fraction of it.
pub const BEARER_CHARS_MAX: usize = 4_096;

pub type TokenDigest = [u8; 32];

/// A fresh secret.
pub struct NewSecret {
    /// Shown once.
    pub text: String,
    pub digest: TokenDigest,
    pub shown_prefix: String,
}

pub fn new_secret(prefix: &str) -> NewSecret {
    let mut random = [0_u8; SECRET_BYTES];
    rand::rng().fill_bytes(&mut random);
    let text = format!("{prefix}{}", URL_SAFE_NO_PAD.encode(random));
    NewSecret {
        digest: digest(&text),
        shown_prefix: text.chars().take(SHOWN_CHARS).collect(),
        text,
    }
}

/// What is stored and looked up. The secret has 256 random bits, so a plain digest needs no salt, and a look-up
/// by digest gives a timing attacker nothing to climb.
pub fn digest(text: &str) -> TokenDigest {
    Sha256::digest(text.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_differ_and_show_little() {
        let one = new_secret(API_TOKEN_PREFIX);
        let other = new_secret(API_TOKEN_PREFIX);
        assert_ne!(one.text, other.text);
        assert_eq!(one.digest, digest(&one.text));
        assert_eq!(one.text.len(), API_TOKEN_CHARS);
        assert_eq!(one.shown_prefix.len(), SHOWN_CHARS);
        assert!(one.text.starts_with(&one.shown_prefix));
    }
}
