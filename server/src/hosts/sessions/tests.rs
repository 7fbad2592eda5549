//! One machine is never taken for two, and two are, whatever is lost and whoever dies.

use super::*;
use crate::hosts::host::KeyDigest;
use proptest::prelude::*;

fn mark(counter: u64, name: u128) -> SessionMark {
    SessionMark {
        counter,
        nonce: Uuid::from_u128(name),
    }
}

fn issued(generation: i64) -> Issued {
    Issued {
        generation,
        key: KeyDigest([7; 32]),
    }
}

fn side(mark: Option<SessionMark>) -> Side {
    Side {
        address: "10.0.0.1".into(),
        boot_id: "boot".into(),
        machine_id: "machine".into(),
        mark,
        issued: issued(1),
        at_us: 1,
        is_continued: true,
    }
}

fn after(mark: SessionMark) -> Standing {
    Standing {
        last: Some(side(Some(mark))),
        ..Standing::default()
    }
}

fn session(mark: SessionMark, since: &[SessionMark]) -> Session {
    Session {
        mark,
        since: since.to_vec(),
        is_whole: true,
    }
}

/// What is stored once this session has been taken.
fn taken(standing: &Standing, session: &Session) -> Standing {
    Standing {
        last: Some(side(Some(session.mark))),
        ..standing.clone()
    }
}

fn met(standing: &Standing, later: Option<&Session>, kind: ConflictKind) -> Standing {
    let conflict = Conflict {
        kind,
        at_us: 2,
        earlier: standing.last.clone().unwrap(),
        later: side(later.map(|session| session.mark)),
        kept: None,
    };
    Standing {
        conflict: Some(conflict),
        ..standing.clone()
    }
}

#[test]
fn a_session_is_the_next_one_or_a_copys() {
    let (five, six) = (mark(5, 50), mark(6, 60));
    let conflict = |kind| Verdict::Conflict(kind);
    let table = [
        ("next", session(six, &[five]), Verdict::Next),
        (
            "answers were lost",
            session(mark(9, 90), &[mark(3, 30), five, six]),
            Verdict::Next,
        ),
        (
            "welcome was lost",
            session(six, &[mark(4, 40), five]),
            Verdict::Next,
        ),
        ("said again", session(five, &[mark(4, 40)]), Verdict::Again),
        (
            "lower",
            session(mark(4, 40), &[]),
            conflict(ConflictKind::OlderSession),
        ),
        (
            "first of all",
            session(mark(1, 1), &[]),
            conflict(ConflictKind::OlderSession),
        ),
        (
            "other name",
            session(mark(5, 51), &[mark(4, 40)]),
            conflict(ConflictKind::OtherName),
        ),
        (
            "a copy that was away for long",
            session(mark(9, 91), &[mark(4, 40), mark(5, 51), mark(8, 81)]),
            conflict(ConflictKind::UnknownSession),
        ),
        (
            "never welcomed",
            session(mark(9, 91), &[]),
            conflict(ConflictKind::UnknownSession),
        ),
        (
            "a server put back",
            session(mark(9, 90), &[mark(8, 80)]),
            Verdict::Broken,
        ),
        (
            "more was said in vain than is kept",
            Session {
                is_whole: false,
                ..session(mark(99, 90), &[mark(4, 40), mark(98, 98)])
            },
            Verdict::Broken,
        ),
    ];
    for (what, session, expected) in table {
        assert_eq!(judge(&after(five), Some(&session)), expected, "{what}");
    }
    assert_eq!(judge(&after(five), None), conflict(ConflictKind::Uncounted));
    // One that never counted goes on as before, and may begin to count.
    assert_eq!(judge(&Standing::default(), None), Verdict::Next);
    let first = session(mark(1, 1), &[]);
    assert_eq!(judge(&Standing::default(), Some(&first)), Verdict::Next);
}

#[test]
fn the_machine_that_is_kept_comes_back_and_the_other_is_refused_for_good() {
    let five = mark(5, 50);
    // Both go on from session five: one says six, then the other.
    let (own, copys) = (session(mark(6, 60), &[five]), session(mark(6, 61), &[five]));
    let standing = taken(&after(five), &own);
    let standing = met(&standing, Some(&copys), ConflictKind::OtherName);
    // Each says more while nobody listens.
    let own_later = session(mark(8, 80), &[mark(6, 60), mark(7, 70)]);
    let copys_later = session(mark(7, 71), &[five, mark(6, 61)]);
    for (keep, kept, other) in [
        (Keep::Earlier, &own_later, &copys_later),
        (Keep::Later, &copys_later, &own_later),
    ] {
        let (mut standing, _) = decide_keep(&standing, keep).unwrap();
        let expected = match keep {
            Keep::Earlier => Verdict::Next,
            // What was sent to the first one is not in the second one's journal.
            Keep::Later => Verdict::Broken,
        };
        assert_eq!(judge(&standing, Some(kept)), expected, "{keep:?}");
        assert_eq!(judge(&standing, Some(other)), Verdict::Refused, "{keep:?}");
        standing = taken(&standing, kept);
        for counter in 9..200 {
            let mut since = other.since.clone();
            since.push(other.mark);
            let again = session(mark(counter, u128::from(counter) * 1_000), &since);
            assert_eq!(judge(&standing, Some(&again)), Verdict::Refused);
        }
        let next = session(mark(9, 99), &[kept.mark]);
        assert_eq!(judge(&standing, Some(&next)), Verdict::Next);
        // Nobody decides the same twice, and minds may be changed.
        assert!(decide_keep(&standing, keep).is_none());
        let other_way = match keep {
            Keep::Earlier => Keep::Later,
            Keep::Later => Keep::Earlier,
        };
        let (changed, _) = decide_keep(&standing, other_way).unwrap();
        assert_eq!(judge(&changed, Some(&next)), Verdict::Refused, "{keep:?}");
        assert_eq!(judge(&changed, Some(other)), Verdict::Broken, "{keep:?}");
    }
}

#[test]
fn a_machine_put_back_to_yesterday_goes_on_if_it_is_kept() {
    let standing = after(mark(100, 1));
    let put_back = session(mark(51, 2), &[mark(50, 50)]);
    let kind = ConflictKind::OlderSession;
    assert_eq!(judge(&standing, Some(&put_back)), Verdict::Conflict(kind));
    let standing = met(&standing, Some(&put_back), kind);
    let (standing, _) = decide_keep(&standing, Keep::Later).unwrap();
    let next = session(mark(52, 3), &[mark(50, 50), put_back.mark]);
    assert_eq!(judge(&standing, Some(&next)), Verdict::Broken);
    let standing = taken(&standing, &next);
    let then = session(mark(53, 4), &[next.mark]);
    assert_eq!(judge(&standing, Some(&then)), Verdict::Next);
}

#[test]
fn a_live_copy_is_refused_though_it_knows_the_last_session() {
    let five = mark(5, 50);
    let copys = session(mark(6, 61), &[five]);
    let standing = met(&after(five), Some(&copys), ConflictKind::BothConnected);
    let (standing, _) = decide_keep(&standing, Keep::Earlier).unwrap();
    let own = session(mark(6, 60), &[five]);
    let copys = session(mark(7, 71), &[five, mark(6, 61)]);
    assert_eq!(judge(&standing, Some(&own)), Verdict::Next);
    assert_eq!(judge(&standing, Some(&copys)), Verdict::Refused);
}

#[test]
fn an_agent_without_sessions_is_kept_or_refused_like_another() {
    let five = mark(5, 50);
    let standing = met(&after(five), None, ConflictKind::Uncounted);
    let counting = session(mark(6, 60), &[five]);
    let (kept, _) = decide_keep(&standing, Keep::Earlier).unwrap();
    assert_eq!(judge(&kept, None), Verdict::Refused);
    assert_eq!(judge(&kept, Some(&counting)), Verdict::Next);
    let (mut kept, _) = decide_keep(&standing, Keep::Later).unwrap();
    assert_eq!(judge(&kept, None), Verdict::Broken);
    assert_eq!(judge(&kept, Some(&counting)), Verdict::Refused);
    kept.last = Some(side(None));
    assert_eq!(judge(&kept, None), Verdict::Next);
}

#[test]
fn a_certificate_is_revoked_with_its_machine_and_its_generation_is_not_given_again() {
    let mut standing = after(mark(100, 1));
    standing.last.as_mut().unwrap().issued = issued(4);
    let put_back = session(mark(51, 2), &[]);
    let standing = met(&standing, Some(&put_back), ConflictKind::OlderSession);
    let (standing, current) = decide_keep(&standing, Keep::Later).unwrap();
    assert_eq!((current, standing.generation_floor()), (issued(1), 4));
    assert!(standing.is_revoked(issued(4), current));
    assert!(!standing.is_revoked(issued(1), current));
    assert!(!standing.is_revoked(issued(5), current));
}

#[test]
fn a_host_that_enrolls_anew_begins_anew_and_proves_nothing_at_first() {
    let standing = after(mark(100, 1)).begun_anew();
    for counter in [1, 50, 101] {
        let first = session(mark(counter, 9), &[]);
        assert_eq!(judge(&standing, Some(&first)), Verdict::Broken);
    }
    assert_eq!(judge(&standing, None), Verdict::Broken, "an older agent");
    assert_eq!(Standing::default().begun_anew(), Standing::default());
}

#[test]
fn what_is_told_names_both_machines() {
    let standing = met(&after(mark(5, 50)), None, ConflictKind::Uncounted);
    let told = standing.conflict.unwrap().told(HostId(Uuid::nil()));
    assert!(told.contains("two machines share this identity"), "{told}");
    assert_eq!(
        told.matches("10.0.0.1 (boot boot, machine machine").count(),
        2,
        "{told}"
    );
}

/// One agent's disk and process, as `agent/src/sessions.rs` keeps them.
#[derive(Clone)]
struct Machine {
    last: Option<Session>,
    was_welcomed: bool,
}

impl Machine {
    fn begin(&mut self, name: u128) -> Session {
        let next = match &self.last {
            None => session(mark(1, name), &[]),
            Some(last) => {
                let mut since = last.since.clone();
                since.push(last.mark);
                if self.was_welcomed {
                    since = vec![last.mark];
                }
                session(mark(last.mark.counter + 1, name), &since)
            }
        };
        self.last = Some(next.clone());
        self.was_welcomed = false;
        next
    }
}

/// What befalls a session: whether its hello arrives, whether its welcome does, and whether the agent dies after it.
type Fate = (bool, bool, bool);

proptest! {
    /// Hellos and welcomes are lost and processes die at will: one machine alone is never taken for two.
    #[test]
    fn one_machine_never_locks_itself(fates in prop::collection::vec(any::<Fate>(), 1..40)) {
        let mut standing = Standing::default();
        let mut machine = Machine { last: None, was_welcomed: false };
        for (name, (arrives, is_welcomed, dies)) in (1..).zip(fates) {
            let session = machine.begin(name);
            if arrives {
                prop_assert_eq!(judge(&standing, Some(&session)), Verdict::Next);
                standing = taken(&standing, &session);
                machine.was_welcomed = is_welcomed && !dies;
            }
        }
    }

    /// Two machines go on from one disk and say hello in any order, with any losses: once each has been heard after they
    /// went apart, they are known to be two; and whatever is taken for the next one is of the machine that was last.
    #[test]
    fn two_machines_are_noticed_at_the_second_hello_at_most(
        before in prop::collection::vec(any::<Fate>(), 1..8),
        turns in prop::collection::vec((0_usize..2, any::<Fate>()), 1..30),
    ) {
        let mut standing = Standing::default();
        let mut machine = Machine { last: None, was_welcomed: false };
        let mut names = 1..;
        for (_, is_welcomed, dies) in before {
            let session = machine.begin(names.next().unwrap());
            standing = taken(&standing, &session);
            machine.was_welcomed = is_welcomed && !dies;
        }
        let mut machines = [machine.clone(), machine];
        // A copy of a disk has no process; one of a whole machine has.
        machines[1].was_welcomed = false;
        let mut heard = [false; 2];
        for (which, (arrives, is_welcomed, dies)) in turns {
            let session = machines[which].begin(names.next().unwrap());
            if !arrives {
                continue;
            }
            match judge(&standing, Some(&session)) {
                Verdict::Conflict(_) => {
                    prop_assert!(heard[1 - which], "there is nobody to be in conflict with");
                    return Ok(());
                }
                Verdict::Next => prop_assert!(!heard[1 - which], "both were heard, and nobody noticed"),
                other => prop_assert!(false, "{:?}", other),
            }
            heard[which] = true;
            standing = taken(&standing, &session);
            machines[which].was_welcomed = is_welcomed && !dies;
        }
    }
}
