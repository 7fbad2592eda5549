//! Why a connection is closed, in the few bytes that a WebSocket close frame has for it.

use crate::limits::CLOSE_REASON_BYTES_MAX;

/// Two machines share the host's identity, and this one is one of them: until an operator has decided, neither is sent
/// anything.
pub const IDENTITY_CONFLICT: &str = "identity-conflict";
/// The host has connected anew. An agent that is told so, and has not, is not the only one.
pub const REPLACED: &str = "replaced by a newer connection";

/// The reason as it may be sent: its beginning, cut at the end of a character. Longer ones are a breach of the WebSocket
/// protocol, and the peer would hear nothing of the reason.
pub fn close_reason(reason: &str) -> &str {
    let (kept, _) = reason.split_at(reason.floor_char_boundary(CLOSE_REASON_BYTES_MAX));
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_cut_at_the_end_of_a_character() {
        assert_eq!(close_reason("rejected"), "rejected");
        assert_eq!(close_reason(&"x".repeat(123)).len(), 123);
        assert_eq!(close_reason(&"x".repeat(124)).len(), 123);
        // 41 characters of three bytes fill it; a byte in front leaves room for 40.
        assert_eq!(close_reason(&"€".repeat(50)), "€".repeat(41));
        assert_eq!(close_reason(&format!("x{}", "€".repeat(50))).len(), 121);
    }
}
