//! One machine, one identity: what a session says of who begins it. Pure decisions over what is stored of a host's last
//! session and what the new one says. What follows from them is in `conflicts`.
//!
//! An agent counts its sessions on its disk. Of two machines that go on from one disk, the second to say hello says what the
//! first has said under another name, or less, or does not know of the first one's session.

use fleetwright_protocol::{HostId, Session, SessionMark};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::host::Issued;

/// Machines that an operator decided against are remembered by their last session and certificate: so many of one host.
/// More copies of one machine than this are one golden image, whose hosts enroll anew together.
const REFUSED_MAX: usize = 16;

/// A machine as it showed itself with a `hello`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Side {
    pub address: String,
    pub boot_id: String,
    pub machine_id: String,
    /// `None` if its agent does not count sessions.
    pub mark: Option<SessionMark>,
    pub issued: Issued,
    pub at_us: i64,
    /// Whether the next session proves that commands which its agent does not know of have not started: not if this one
    /// is of a machine that was put back to an older state.
    pub is_continued: bool,
}

/// How two machines with one identity were told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ConflictKind {
    /// A lower number than the last: a copy, or a machine put back to an older state.
    OlderSession,
    /// The last one's number under another name.
    OtherName,
    /// A higher number, from a machine that does not know of the last session, and should.
    UnknownSession,
    /// No number from a host that counted before.
    Uncounted,
    /// Another machine answers on the connection that this one does not know of.
    BothConnected,
}

/// Which of the two an operator decided for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Keep {
    /// The one that was known before.
    Earlier,
    /// The one whose `hello` brought it to light.
    Later,
}

/// Two machines that were met with one identity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conflict {
    pub kind: ConflictKind,
    pub at_us: i64,
    pub earlier: Side,
    pub later: Side,
    pub kept: Option<Keep>,
}

/// A machine that an operator decided against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    pub mark: Option<SessionMark>,
    pub issued: Issued,
}

/// What is stored of a host's sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// `None` for a host that never counted.
    pub last: Option<Side>,
    pub conflict: Option<Conflict>,
    pub refused: Vec<Refused>,
}

/// What a session is taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The next one of the machine that began the last: what its journal does not know has not happened.
    Next,
    /// The last one once more: it proves nothing.
    Again,
    /// Of the same machine for all that is known, but something between is missing: what its journal does not know may
    /// have happened.
    Broken,
    /// Of one that an operator decided against.
    Refused,
    Conflict(ConflictKind),
}

/// The last session of a host that enrolls anew after it had one: any number follows it, and proves nothing.
const BEFORE_ALL: SessionMark = SessionMark {
    counter: 0,
    nonce: Uuid::nil(),
};

pub fn judge(standing: &Standing, session: Option<&Session>) -> Verdict {
    let stored = standing.last.as_ref().and_then(|last| last.mark);
    if is_refused(standing, stored, session) {
        return Verdict::Refused;
    }
    match (&standing.last, stored, session) {
        // It never counted, or is seen to count for the first time.
        (None, _, _) => Verdict::Next,
        // The one that an operator kept did not count.
        (Some(last), None, None) if last.is_continued => Verdict::Next,
        (Some(_), None, _) => Verdict::Broken,
        // It has enrolled anew since it counted, and its agent may be one that does not.
        (Some(_), Some(stored), None) if stored == BEFORE_ALL => Verdict::Broken,
        (Some(_), Some(_), None) => Verdict::Conflict(ConflictKind::Uncounted),
        (Some(last), Some(stored), Some(session)) => compare(last, stored, session),
    }
}

fn compare(last: &Side, stored: SessionMark, session: &Session) -> Verdict {
    let mark = session.mark;
    if mark == stored {
        return Verdict::Again;
    }
    if stored == BEFORE_ALL {
        return Verdict::Broken;
    }
    if mark.counter < stored.counter {
        return Verdict::Conflict(ConflictKind::OlderSession);
    }
    if mark.counter == stored.counter {
        return Verdict::Conflict(ConflictKind::OtherName);
    }
    if session.since.contains(&stored) {
        return if last.is_continued {
            Verdict::Next
        } else {
            Verdict::Broken
        };
    }
    let welcomed = session.since.first().map_or(0, |first| first.counter);
    if welcomed > stored.counter || !session.is_whole {
        // This database was put back to an older state; or more was said in vain than an agent keeps.
        Verdict::Broken
    } else {
        Verdict::Conflict(ConflictKind::UnknownSession)
    }
}

/// Whether the session is of a machine that an operator decided against: it has that one's session behind it, and not,
/// after that, the one that is stored.
fn is_refused(standing: &Standing, stored: Option<SessionMark>, session: Option<&Session>) -> bool {
    let refused = |mark| standing.refused.iter().any(|refused| refused.mark == mark);
    let Some(session) = session else {
        return refused(None);
    };
    let line = session.since.iter().chain([&session.mark]).copied();
    let mut is_refused = false;
    for mark in line {
        if Some(mark) == stored {
            is_refused = false;
        } else if refused(Some(mark)) {
            is_refused = true;
        }
    }
    is_refused
}

/// What is stored once an operator has decided, if there is something to decide.
pub fn decide_keep(standing: &Standing, keep: Keep) -> Option<(Standing, Issued)> {
    let conflict = standing.conflict.clone()?;
    if conflict.kept == Some(keep) {
        return None;
    }
    let (kept, other) = match keep {
        Keep::Earlier => (&conflict.earlier, &conflict.later),
        Keep::Later => (&conflict.later, &conflict.earlier),
    };
    let mut refused = standing.refused.clone();
    // Somebody who changes their mind decides against what the other one has begun since, too.
    let others = [Some(other), standing.last.as_ref()];
    for other in others.into_iter().flatten() {
        refused.retain(|refused| refused.mark != other.mark);
        refused.push(Refused {
            mark: other.mark,
            issued: other.issued,
        });
    }
    refused.retain(|refused| refused.mark != kept.mark);
    let surplus = refused.len().saturating_sub(REFUSED_MAX);
    refused.drain(..surplus);
    let last = Side {
        // What the other one was sent, this one's journal does not know.
        is_continued: kept.is_continued && keep == Keep::Earlier && conflict.kept.is_none(),
        ..kept.clone()
    };
    let issued = kept.issued;
    let decided = Standing {
        last: Some(last),
        conflict: Some(Conflict {
            kept: Some(keep),
            ..conflict
        }),
        refused,
    };
    Some((decided, issued))
}

impl Standing {
    /// Whether a certificate was that of a machine that an operator decided against, and of no other.
    pub fn is_revoked(&self, presented: Issued, current: Issued) -> bool {
        presented != current && self.refused.iter().any(|other| other.issued == presented)
    }

    /// The generation that the next certificate must be above of, beside the host's own.
    pub fn generation_floor(&self) -> i64 {
        let refused = self.refused.iter().map(|refused| refused.issued.generation);
        refused.max().unwrap_or(0)
    }

    /// After the host has enrolled anew, by whatever machine: the token and the approval say that it is the one.
    pub fn begun_anew(self) -> Self {
        let last = self.last.map(|last| Side {
            mark: Some(BEFORE_ALL),
            ..last
        });
        Self {
            last,
            ..Self::default()
        }
    }
}

impl Side {
    /// As people are told.
    pub fn told(&self) -> String {
        let named = |name: &str| {
            if name.is_empty() {
                "unknown".to_owned()
            } else {
                name.to_owned()
            }
        };
        let session = self
            .mark
            .map_or("none".to_owned(), |mark| mark.counter.to_string());
        format!(
            "{} (boot {}, machine {}, session {session})",
            named(&self.address),
            named(&self.boot_id),
            named(&self.machine_id),
        )
    }
}

impl Conflict {
    /// As people are told.
    pub fn told(&self, host_id: HostId) -> String {
        let how = match self.kind {
            ConflictKind::OlderSession => "said an older session than the last",
            ConflictKind::OtherName => "said the last session's number under another name",
            ConflictKind::UnknownSession => "does not know of the last session",
            ConflictKind::Uncounted => "counts no sessions any more",
            ConflictKind::BothConnected => "connected while the other one answered",
        };
        let (earlier, later) = (self.earlier.told(), self.later.told());
        format!(
            "two machines share this identity: {later} {how}; known before: {earlier}. Decide with `hosts unlock {host_id}`"
        )
    }
}

#[cfg(test)]
mod tests;
