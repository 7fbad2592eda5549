//! How a server tells one machine from a copy of it: each session of an agent has a number one above the last and a random
//! name, kept on the agent's disk before the session's `hello` is said. Two machines that go on from one disk say the
//! same number under two names, or fall behind what the other has said.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Sessions that a `hello` may name beside its own: what is beyond is left out of the middle, and `is_whole` says so.
pub const SESSIONS_SINCE_MAX: usize = 32;
/// More sessions than an agent can begin; below what a database's integers hold.
pub const SESSION_COUNTER_MAX: u64 = 1 << 53;

/// One session of an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SessionMark {
    /// The first session has number 1.
    pub counter: u64,
    /// Drawn for this session alone.
    pub nonce: Uuid,
}

/// The session that a `hello` begins, and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    #[serde(flatten)]
    pub mark: SessionMark,
    /// Earlier sessions whose `hello` was said, oldest first: the last one that was welcomed, and all since. Without any
    /// welcome, all there were. The server's last one is among them, unless somebody else began that one.
    #[serde(default)]
    pub since: Vec<SessionMark>,
    /// Whether `since` leaves none out.
    #[serde(default)]
    pub is_whole: bool,
}

impl Session {
    /// What is wrong with it, as told to the agent.
    pub fn violation(&self) -> Option<&'static str> {
        let mut earlier = self.since.iter().map(|mark| mark.counter);
        let mut last = 0;
        let rises = earlier.all(|counter| std::mem::replace(&mut last, counter) < counter);
        if self.since.len() > SESSIONS_SINCE_MAX {
            Some("a session names too many earlier ones")
        } else if self.mark.counter == 0 || self.mark.counter > SESSION_COUNTER_MAX {
            Some("a session's number is out of range")
        } else if !rises || last >= self.mark.counter {
            Some("a session's numbers do not rise")
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(counter: u64) -> SessionMark {
        SessionMark {
            counter,
            nonce: Uuid::from_u128(counter.into()),
        }
    }

    #[test]
    fn numbers_rise_and_are_few() {
        let session = |counter, since: &[u64]| Session {
            mark: mark(counter),
            since: since.iter().copied().map(mark).collect(),
            is_whole: true,
        };
        let many: Vec<u64> = (1..=33).collect();
        for (session, is_right) in [
            (session(1, &[]), true),
            (session(9, &[3, 8]), true),
            (session(SESSION_COUNTER_MAX, &many[..32]), true),
            (session(0, &[]), false),
            (session(SESSION_COUNTER_MAX + 1, &[]), false),
            (session(9, &[0]), false),
            (session(9, &[9]), false),
            (session(9, &[4, 4]), false),
            (session(9, &[5, 4]), false),
            (session(40, &many), false),
        ] {
            assert_eq!(session.violation().is_none(), is_right, "{session:?}");
        }
    }

    #[test]
    fn a_session_is_flat_and_its_history_may_be_missing() {
        let text = r#"{"counter":3,"nonce":"00000000-0000-0000-0000-000000000003"}"#;
        let session: Session = serde_json::from_str(text).unwrap();
        assert_eq!(
            (session.mark, session.since.len(), session.is_whole),
            (mark(3), 0, false)
        );
        let again = serde_json::to_string(&session).unwrap();
        assert_eq!(
            serde_json::from_str::<Session>(&again).unwrap(),
            session,
            "{again}"
        );
    }
}
