//! This agent's sessions, numbered on its disk: what tells the server this machine from a copy of it. The number is raised,
//! and on the disk, before a session's `hello` is said, so that no crash makes an agent say one number under two names.
//!
//! The file has two places that are written in turn, over what is there: a write that is cut short leaves the other one,
//! and a full disk takes it like any other.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use fleetwright_protocol::session::SESSIONS_SINCE_MAX;
use fleetwright_protocol::{Session, SessionMark};
use uuid::Uuid;

use crate::checked::{self, Next};
use crate::private_file;

const FILE: &str = "sessions";
/// There while the server says that two machines share this identity.
const CONFLICT: &str = "identity-conflict";
/// One block of any disk; a session with all its history has some 3 KiB.
const PLACE_BYTES: usize = 4096;
const PLACES: usize = 2;
/// Of more sessions than may be named, so many of the oldest are: one of them is where two copies went apart.
const OLDEST: usize = SESSIONS_SINCE_MAX / 2;

/// One machine's sessions, wherever they are kept. Pure.
#[derive(Clone, Debug, Default)]
pub struct Line {
    /// The one begun last; on the disk.
    pub last: Option<Session>,
    /// The server has welcomed it, and what was before it is of no interest any more. Only the process knows.
    pub was_welcomed: bool,
}

/// The sessions of one data folder. Calls block.
#[derive(Debug)]
pub struct Sessions {
    folder: PathBuf,
    line: Line,
    /// Where the last one is kept.
    place: usize,
}

impl Line {
    /// The session that may begin once it is on the disk.
    pub fn next(&self, nonce: Uuid) -> Session {
        let Some(last) = &self.last else {
            let mark = SessionMark { counter: 1, nonce };
            return Session {
                mark,
                since: Vec::new(),
                is_whole: true,
            };
        };
        let mark = SessionMark {
            counter: last.mark.counter.saturating_add(1),
            nonce,
        };
        if self.was_welcomed {
            return Session {
                mark,
                since: vec![last.mark],
                is_whole: true,
            };
        }
        let mut since = last.since.clone();
        since.push(last.mark);
        let is_whole = last.is_whole && since.len() <= SESSIONS_SINCE_MAX;
        if since.len() > SESSIONS_SINCE_MAX {
            since.remove(OLDEST);
        }
        Session {
            mark,
            since,
            is_whole,
        }
    }

    /// The session is on the disk.
    pub fn begun(&mut self, session: Session) {
        self.last = Some(session);
        self.was_welcomed = false;
    }
}

impl Sessions {
    /// A file without a whole record is one without sessions: the server knows better.
    pub fn open(folder: &Path) -> io::Result<Self> {
        let last = match std::fs::read(folder.join(FILE)) {
            Ok(bytes) => latest(&bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let (last, place) = last.unzip();
        Ok(Self {
            folder: folder.to_owned(),
            line: Line {
                last,
                was_welcomed: false,
            },
            place: place.unwrap_or(0),
        })
    }

    /// Begins a session. If the disk does not take it, the last one is said again: that proves nothing, and is no copy.
    ///
    /// # Errors
    /// If there is no last one either.
    pub fn begin(&mut self, nonce: Uuid) -> io::Result<Session> {
        let place = (self.place + 1) % PLACES;
        let next = self.line.next(nonce);
        match self.write(&next, place) {
            Ok(()) => {
                self.place = place;
                self.line.begun(next.clone());
                Ok(next)
            }
            Err(error) => {
                let last = self.last().ok_or(error)?;
                tracing::warn!("the disk takes no new session; the last one is said again");
                Ok(last)
            }
        }
    }

    /// The one begun last.
    pub fn last(&self) -> Option<Session> {
        self.line.last.clone()
    }

    /// The server has let the last one in. The disk learns of it with the next one: forgotten, it costs nothing.
    pub fn welcomed(&mut self) {
        self.line.was_welcomed = true;
        let _ = std::fs::remove_file(self.folder.join(CONFLICT));
    }

    fn write(&self, session: &Session, place: usize) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(PLACE_BYTES);
        checked::write_record(&mut bytes, &serde_json::to_vec(session)?);
        if bytes.len() > PLACE_BYTES {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        bytes.resize(PLACE_BYTES, 0);
        let path = self.folder.join(FILE);
        if self.line.last.is_none() {
            let mut whole = vec![0; PLACES * PLACE_BYTES];
            let (from, to) = (place * PLACE_BYTES, (place + 1) * PLACE_BYTES);
            whole.splice(from..to, bytes);
            return private_file::write(&path, &whole);
        }
        let file = OpenOptions::new().write(true).open(&path)?;
        file.write_all_at(&bytes, (place * PLACE_BYTES) as u64)?;
        file.sync_data()
    }
}

/// Notes that the server takes this machine for one of two with one identity.
pub fn note_conflict(folder: &Path) {
    if let Err(error) = File::create(folder.join(CONFLICT)) {
        tracing::warn!(%error, "cannot note that two machines share this identity");
    }
}

/// Whether the server took this machine for one of two when it last said hello: it enrolls as a machine of its own.
pub fn is_in_conflict(folder: &Path) -> bool {
    folder.join(CONFLICT).exists()
}

/// The names of the files kept here, for whoever forgets the identity.
pub const FILES: [&str; 2] = [FILE, CONFLICT];

/// The record with the highest number, and its place.
fn latest(bytes: &[u8]) -> Option<(Session, usize)> {
    let places = bytes.chunks(PLACE_BYTES).take(PLACES).enumerate();
    let records = places.filter_map(|(place, bytes)| match checked::read_record(bytes) {
        Next::Record { payload, .. } => {
            let session: Session = serde_json::from_slice(payload).ok()?;
            session.violation().is_none().then_some((session, place))
        }
        Next::End | Next::Damaged => None,
    });
    records.max_by_key(|(session, _)| session.mark.counter)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counters(session: &Session) -> (u64, Vec<u64>, bool) {
        let since = session.since.iter().map(|mark| mark.counter).collect();
        (session.mark.counter, since, session.is_whole)
    }

    fn begin(sessions: &mut Sessions) -> Session {
        sessions.begin(Uuid::new_v4()).unwrap()
    }

    #[test]
    fn a_number_is_never_said_under_two_names_whatever_becomes_of_the_process() {
        let folder = tempfile::tempdir().unwrap();
        let mut names = std::collections::BTreeMap::new();
        for life in 0..60_u64 {
            let mut sessions = Sessions::open(folder.path()).unwrap();
            for _ in 0..=life % 3 {
                let session = begin(&mut sessions);
                let known = names.insert(session.mark.counter, session.mark.nonce);
                assert_eq!(known, None, "{session:?}");
                assert_eq!(session.violation(), None);
                for mark in &session.since {
                    assert_eq!(names.get(&mark.counter), Some(&mark.nonce));
                }
            }
            if life % 7 == 0 {
                sessions.welcomed();
            }
        }
    }

    #[test]
    fn a_session_names_the_last_welcomed_one_and_all_since() {
        let folder = tempfile::tempdir().unwrap();
        let mut sessions = Sessions::open(folder.path()).unwrap();
        assert_eq!(counters(&begin(&mut sessions)), (1, vec![], true));
        assert_eq!(counters(&begin(&mut sessions)), (2, vec![1], true));
        sessions.welcomed();
        assert_eq!(counters(&begin(&mut sessions)), (3, vec![2], true));
        // A process that dies forgets that it was welcomed, and names what it would have named before.
        sessions.welcomed();
        let mut sessions = Sessions::open(folder.path()).unwrap();
        assert_eq!(counters(&begin(&mut sessions)), (4, vec![2, 3], true));
    }

    #[test]
    fn what_is_too_much_is_left_out_of_the_middle() {
        let folder = tempfile::tempdir().unwrap();
        let mut sessions = Sessions::open(folder.path()).unwrap();
        for _ in 0..100 {
            let session = begin(&mut sessions);
            assert_eq!(session.violation(), None, "{session:?}");
        }
        let (counter, since, is_whole) = counters(&begin(&mut sessions));
        assert_eq!((counter, is_whole), (101, false));
        assert_eq!(since[..16], (1..=16).collect::<Vec<_>>());
        assert_eq!(since[16..], (85..=100).collect::<Vec<_>>());
        sessions.welcomed();
        assert_eq!(counters(&begin(&mut sessions)), (102, vec![101], true));
        let room = PLACE_BYTES - checked::PREFIX_BYTES;
        let largest = Session {
            mark: session_mark(),
            since: vec![session_mark(); SESSIONS_SINCE_MAX],
            is_whole: false,
        };
        assert!(serde_json::to_vec(&largest).unwrap().len() <= room);
    }

    fn session_mark() -> SessionMark {
        SessionMark {
            counter: fleetwright_protocol::session::SESSION_COUNTER_MAX,
            nonce: Uuid::new_v4(),
        }
    }

    #[test]
    fn a_torn_write_leaves_the_session_before_and_a_new_name_for_the_torn_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        let mut sessions = Sessions::open(folder.path()).unwrap();
        for _ in 0..5 {
            begin(&mut sessions);
        }
        let before = std::fs::read(&path).unwrap();
        begin(&mut sessions);
        let after = std::fs::read(&path).unwrap();
        for cut in (0..PLACES * PLACE_BYTES).step_by(61) {
            // A power cut wrote up to here of the sixth, which was not said then.
            let torn = [&after[..cut], &before[cut..]].concat();
            std::fs::write(&path, torn).unwrap();
            let found = Sessions::open(folder.path()).unwrap().last().unwrap();
            assert!([5, 6].contains(&found.mark.counter), "cut at {cut}");
        }
        // Nothing whole: the agent counts anew, and the server sees it.
        std::fs::write(&path, vec![0xa5; PLACES * PLACE_BYTES]).unwrap();
        assert!(Sessions::open(folder.path()).unwrap().last().is_none());
    }

    #[test]
    fn a_disk_that_takes_nothing_says_the_last_session_again() {
        let folder = tempfile::tempdir().unwrap();
        let mut sessions = Sessions::open(folder.path()).unwrap();
        let said = begin(&mut sessions);
        let path = folder.path().join(FILE);
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert_eq!(begin(&mut sessions), said);
        let mut nothing = Sessions {
            folder: path.join("missing"),
            line: Line::default(),
            place: 0,
        };
        assert!(nothing.begin(Uuid::new_v4()).is_err());
    }
}
