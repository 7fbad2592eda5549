//! Which certificate generation may connect or renew: pure decisions over what is stored of a host's identity and
//! what the presented certificate says. A cloned machine is recognised by an older generation than the stored one.

use crate::hosts::host::{Approval, Identity, Issued, KeyDigest};

/// An expired certificate may still renew for this long; later the host enrolls again.
const RENEW_AFTER_EXPIRY_US: i64 = 30 * 24 * 3600 * 1_000_000;

/// What a presented certificate says; its signature has been verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Presented {
    pub issued: Issued,
    pub not_after_us: i64,
}

/// Why a certificate of ours is not let in, or not renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
    /// Waits for an operator.
    Pending,
    Rejected,
    /// Locked, or locked by this very attempt.
    Locked,
    Expired,
    /// Not the generation that may connect now.
    Stale,
    /// Of the machine that an operator decided against when two had this identity.
    Disowned,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Connect {
    /// As the current generation: nothing to store.
    Accept,
    /// The renewed certificate is seen for the first time: it is the current one from now on.
    AcceptAndPromote(Identity),
    Deny(Denial),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Renew {
    /// Issue this generation and store the identity.
    Issue {
        identity: Identity,
        generation: i64,
    },
    /// An older generation: two machines use one identity. Store the lock and tell the operator.
    Lock(Identity),
    Deny(Denial),
}

impl Renew {
    /// The same with a generation above those that were given to machines an operator decided against.
    pub fn above(self, floor: i64) -> Self {
        match self {
            Self::Issue {
                mut identity,
                generation,
            } if generation <= floor => {
                let generation = floor + 1;
                identity.next = identity.next.map(|next| Issued { generation, ..next });
                Self::Issue {
                    identity,
                    generation,
                }
            }
            Self::Issue { .. } | Self::Lock(_) | Self::Deny(_) => self,
        }
    }
}

pub fn decide_connect(
    approval: Approval,
    identity: &Identity,
    presented: Presented,
    now_us: i64,
) -> Connect {
    if identity.locked_reason.is_some() {
        return Connect::Deny(Denial::Locked);
    }
    match approval {
        Approval::Pending => return Connect::Deny(Denial::Pending),
        Approval::Rejected => return Connect::Deny(Denial::Rejected),
        Approval::Approved => {}
    }
    if presented.not_after_us < now_us {
        return Connect::Deny(Denial::Expired);
    }
    match succession(identity, presented.issued) {
        Succession::Current => Connect::Accept,
        Succession::Ahead => Connect::AcceptAndPromote(promoted(presented.issued)),
        Succession::Behind => Connect::Deny(Denial::Stale),
    }
}

/// `csr_key` is the key that the new certificate is for.
pub fn decide_renew(
    approval: Approval,
    identity: &Identity,
    presented: Presented,
    csr_key: KeyDigest,
    now_us: i64,
) -> Renew {
    if identity.locked_reason.is_some() {
        return Renew::Deny(Denial::Locked);
    }
    match approval {
        Approval::Rejected => return Renew::Deny(Denial::Rejected),
        // A host may wait for its approval longer than a certificate lives.
        Approval::Pending | Approval::Approved => {}
    }
    if presented.not_after_us.saturating_add(RENEW_AFTER_EXPIRY_US) < now_us {
        return Renew::Deny(Denial::Expired);
    }
    let current = match succession(identity, presented.issued) {
        Succession::Current => identity.current,
        // It was issued and has not connected yet, but using it proves that it arrived.
        Succession::Ahead => presented.issued,
        Succession::Behind => {
            let reason = format!(
                "a renewal came from generation {}, but generation {} is in use: two machines share this identity",
                presented.issued.generation, identity.current.generation
            );
            return Renew::Lock(Identity {
                locked_reason: Some(reason),
                ..identity.clone()
            });
        }
    };
    // Asked again before the new one was seen, this gives the same generation: the answer may have been lost.
    let next = Issued {
        generation: current.generation + 1,
        key: csr_key,
    };
    Renew::Issue {
        generation: next.generation,
        identity: Identity {
            current,
            next: Some(next),
            locked_reason: None,
        },
    }
}

/// Where a presented certificate stands among those issued to its host.
enum Succession {
    Current,
    /// Newer than the stored one: the renewal not yet seen, or one made after the backup this database was restored
    /// from. Our own signature is on it, so it is believed.
    Ahead,
    /// Older, or of a generation that was issued to another key.
    Behind,
}

fn succession(identity: &Identity, presented: Issued) -> Succession {
    if presented == identity.current {
        return Succession::Current;
    }
    match identity.next {
        Some(next) if next == presented => Succession::Ahead,
        Some(next) if presented.generation > next.generation => Succession::Ahead,
        None if presented.generation > identity.current.generation => Succession::Ahead,
        Some(_) | None => Succession::Behind,
    }
}

fn promoted(issued: Issued) -> Identity {
    Identity {
        current: issued,
        next: None,
        locked_reason: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: i64 = 1_000_000_000_000_000;

    fn key(byte: u8) -> KeyDigest {
        KeyDigest([byte; 32])
    }

    fn issued(generation: i64, byte: u8) -> Issued {
        Issued {
            generation,
            key: key(byte),
        }
    }

    fn identity(current: Issued, next: Option<Issued>) -> Identity {
        Identity {
            current,
            next,
            locked_reason: None,
        }
    }

    fn presented(issued: Issued) -> Presented {
        Presented {
            issued,
            not_after_us: NOW + 1,
        }
    }

    fn connect(identity: &Identity, issued: Issued) -> Connect {
        decide_connect(Approval::Approved, identity, presented(issued), NOW)
    }

    fn renew(identity: &Identity, issued: Issued, csr: u8) -> Renew {
        decide_renew(
            Approval::Approved,
            identity,
            presented(issued),
            key(csr),
            NOW,
        )
    }

    #[test]
    fn the_current_generation_connects_and_the_next_one_is_promoted() {
        let stored = identity(issued(3, 1), Some(issued(4, 2)));
        assert_eq!(connect(&stored, issued(3, 1)), Connect::Accept);
        let promoted = identity(issued(4, 2), None);
        assert_eq!(
            connect(&stored, issued(4, 2)),
            Connect::AcceptAndPromote(promoted)
        );
        assert_eq!(connect(&stored, issued(2, 1)), Connect::Deny(Denial::Stale));
        assert_eq!(connect(&stored, issued(4, 9)), Connect::Deny(Denial::Stale));
    }

    #[test]
    fn nobody_unapproved_locked_or_expired_connects() {
        let stored = identity(issued(1, 1), None);
        let good = presented(issued(1, 1));
        let mut locked = stored.clone();
        locked.locked_reason = Some("clone".into());
        let expired = Presented {
            not_after_us: NOW - 1,
            ..good
        };
        let table = [
            (Approval::Pending, &stored, good, Denial::Pending),
            (Approval::Rejected, &stored, good, Denial::Rejected),
            (Approval::Approved, &locked, good, Denial::Locked),
            (Approval::Approved, &stored, expired, Denial::Expired),
        ];
        for (approval, identity, presented, denial) in table {
            let decided = decide_connect(approval, identity, presented, NOW);
            assert_eq!(decided, Connect::Deny(denial));
        }
    }

    #[test]
    fn a_lost_renewal_answer_is_not_a_clone() {
        let stored = identity(issued(1, 1), None);
        let Renew::Issue {
            identity: once,
            generation,
        } = renew(&stored, issued(1, 1), 2)
        else {
            panic!("refused");
        };
        assert_eq!(generation, 2);
        // The answer is lost; the agent asks again from the same certificate, even with another new key.
        for csr in [2, 3] {
            let Renew::Issue {
                identity: again,
                generation,
            } = renew(&once, issued(1, 1), csr)
            else {
                panic!("refused");
            };
            assert_eq!(generation, 2);
            assert_eq!(again, identity(issued(1, 1), Some(issued(2, csr))));
        }
    }

    #[test]
    fn a_clone_is_locked_out_once_the_other_has_moved_on() {
        let moved_on = identity(issued(2, 2), None);
        let Renew::Lock(locked) = renew(&moved_on, issued(1, 1), 3) else {
            panic!("a clone may renew");
        };
        assert!(locked.locked_reason.is_some());
        assert_eq!(locked.current, moved_on.current);
        // Locked is locked for both of them.
        assert_eq!(renew(&locked, issued(2, 2), 3), Renew::Deny(Denial::Locked));
        assert_eq!(
            connect(&locked, issued(2, 2)),
            Connect::Deny(Denial::Locked)
        );
    }

    #[test]
    fn renewing_with_the_unseen_certificate_moves_on_from_it() {
        let stored = identity(issued(1, 1), Some(issued(2, 2)));
        assert_eq!(
            renew(&stored, issued(2, 2), 3),
            Renew::Issue {
                identity: identity(issued(2, 2), Some(issued(3, 3))),
                generation: 3
            }
        );
    }

    #[test]
    fn an_expired_certificate_renews_for_thirty_days() {
        let stored = identity(issued(1, 1), None);
        let day = 24 * 3600 * 1_000_000;
        for (days, allowed) in [(1, true), (29, true), (30, true), (31, false)] {
            let presented = Presented {
                issued: issued(1, 1),
                not_after_us: NOW - days * day,
            };
            let decided = decide_renew(Approval::Approved, &stored, presented, key(2), NOW);
            assert_eq!(matches!(decided, Renew::Issue { .. }), allowed, "{days}");
        }
    }

    #[test]
    fn a_pending_host_may_renew_and_a_rejected_one_may_not() {
        let stored = identity(issued(1, 1), None);
        let good = presented(issued(1, 1));
        let decided = |approval| decide_renew(approval, &stored, good, key(1), NOW);
        assert!(matches!(
            decided(Approval::Pending),
            Renew::Issue { generation: 2, .. }
        ));
        assert_eq!(decided(Approval::Rejected), Renew::Deny(Denial::Rejected));
    }

    #[test]
    fn a_database_restored_from_a_backup_believes_newer_certificates() {
        let restored = identity(issued(1, 1), None);
        assert_eq!(
            connect(&restored, issued(5, 5)),
            Connect::AcceptAndPromote(identity(issued(5, 5), None))
        );
    }

    proptest! {
        /// Two machines with one identity act in any order, answers get lost at will: the stored generation never
        /// falls, and no machine that stays behind ever connects as a current one.
        #[test]
        fn generations_only_rise(steps in prop::collection::vec((0_usize..2, any::<bool>(), any::<bool>()), 1..30)) {
            let mut stored = identity(issued(1, 1), None);
            let mut machines = [issued(1, 1); 2];
            let mut fresh_key = 10_u8;
            for (machine, renews, answer_lost) in steps {
                let before = stored.current.generation;
                if renews {
                    fresh_key += 1;
                    match renew(&stored, machines[machine], fresh_key) {
                        Renew::Issue { identity, generation } => {
                            stored = identity;
                            if !answer_lost {
                                machines[machine] = issued(generation, fresh_key);
                            }
                        }
                        Renew::Lock(identity) => {
                            prop_assert!(machines[0] != machines[1]);
                            stored = identity;
                        }
                        Renew::Deny(denial) => prop_assert_eq!(denial, Denial::Locked),
                    }
                } else {
                    match connect(&stored, machines[machine]) {
                        Connect::Accept => prop_assert_eq!(stored.current, machines[machine]),
                        Connect::AcceptAndPromote(identity) => stored = identity,
                        Connect::Deny(_) => {}
                    }
                }
                prop_assert!(stored.current.generation >= before);
            }
        }
    }
}
