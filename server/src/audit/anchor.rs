//! What rows and anchors of the log are told by: digests, and rows' places. Pure.

/// HMAC-SHA-256 under the log's key, or SHA-256 from before there was one.
pub type Digest = [u8; 32];

/// What the first row follows.
pub const GENESIS: Digest = [0; 32];
/// What a row follows that was written when the newest one was not what the server had left there: it vouches for nothing
/// before it, and whoever checks the log finds the place.
pub(super) const BROKEN: Digest = [0xff; 32];

/// Takes the bytes of a message, piece by piece.
pub(super) type MacInput<'a> = dyn FnMut(&[u8]) + 'a;

/// A sequence number and the digest of its row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Anchor {
    pub sequence: i64,
    pub digest: Digest,
}
