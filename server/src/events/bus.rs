//! What happened, for people who watch. The newest events are kept in memory so that a client that lost its
//! connection for a moment can go on where it was; an older one is told to read everything again.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use tokio::sync::broadcast;
use uuid::Uuid;

use crate::auth::{Principal, Role};

/// Events kept for clients that come back: minutes of ordinary traffic, under a megabyte.
const KEPT_MAX: usize = 1_024;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// `host.updated`, `command.finished`, …
    pub kind: &'static str,
    /// The noun and id it is about: `("host", "0197…")`.
    pub subject_kind: &'static str,
    pub subject_id: String,
    pub data: Value,
    pub visibility: Visibility,
}

/// Who may see an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Visibility {
    pub role: Role,
    /// Only this tenant's principals, and those of no tenant.
    pub tenant: Option<String>,
}

impl Visibility {
    pub fn role(role: Role) -> Self {
        Self { role, tenant: None }
    }

    /// `area` is the event's own noun in plural, as scopes name it.
    fn allows(&self, principal: &Principal, area: &str) -> bool {
        let tenant = match (&principal.tenant, &self.tenant) {
            (None, _) => true,
            (Some(own), Some(of)) => own == of,
            (Some(_), None) => false,
        };
        tenant && principal.role >= self.role && principal.scopes.allow(area, true)
    }
}

/// An event's place. Ids of another run of the server are not comparable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventId {
    run: Uuid,
    number: u64,
}

impl std::fmt::Display for EventId {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}-{}", self.run.simple(), self.number)
    }
}

impl EventId {
    /// Reads a `Last-Event-ID`; `None` if no server ever gave it out.
    pub fn parse(text: &str) -> Option<Self> {
        let (run, number) = text.split_once('-')?;
        Some(Self {
            run: Uuid::try_parse(run).ok()?,
            number: number.parse().ok()?,
        })
    }
}

#[derive(Clone, Debug)]
pub struct NumberedEvent {
    pub id: EventId,
    pub event: Event,
}

/// The bus. Cheap to clone.
#[derive(Clone)]
pub struct Events {
    shared: Arc<Shared>,
}

/// What a client hears: first `missed`, then whatever `live` brings.
pub struct Subscription {
    pub missed: Vec<Arc<NumberedEvent>>,
    /// The client must read everything again: what it missed is no longer known.
    pub resync: bool,
    /// Where the subscription starts, for a client that has no id yet.
    pub at: EventId,
    pub live: broadcast::Receiver<Arc<NumberedEvent>>,
}

struct Shared {
    run: Uuid,
    live: broadcast::Sender<Arc<NumberedEvent>>,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    last: u64,
    events: VecDeque<Arc<NumberedEvent>>,
}

impl Events {
    /// `run` identifies this run of the server.
    pub fn new(run: Uuid) -> Self {
        let (live, _) = broadcast::channel(KEPT_MAX);
        Self {
            shared: Arc::new(Shared {
                run,
                live,
                kept: Mutex::default(),
            }),
        }
    }

    pub fn publish(&self, event: Event) {
        let mut kept = self.lock();
        kept.last += 1;
        let numbered = Arc::new(NumberedEvent {
            id: EventId {
                run: self.shared.run,
                number: kept.last,
            },
            event,
        });
        if kept.events.len() == KEPT_MAX {
            kept.events.pop_front();
        }
        kept.events.push_back(Arc::clone(&numbered));
        // Sent under the lock, so that every subscriber hears events in order. Nobody listening is fine.
        let _ = self.shared.live.send(numbered);
    }

    /// Listens from now, or from after `last_seen`.
    pub fn subscribe(&self, last_seen: Option<EventId>) -> Subscription {
        let kept = self.lock();
        let live = self.shared.live.subscribe();
        let oldest = kept.last - kept.events.len() as u64;
        let (missed, resync) = match last_seen {
            None => (Vec::new(), false),
            Some(seen)
                if seen.run == self.shared.run && (oldest..=kept.last).contains(&seen.number) =>
            {
                let after = |event: &&Arc<NumberedEvent>| event.id.number > seen.number;
                (kept.events.iter().filter(after).cloned().collect(), false)
            }
            Some(_) => (Vec::new(), true),
        };
        let at = EventId {
            run: self.shared.run,
            number: kept.last,
        };
        Subscription {
            missed,
            resync,
            at,
            live,
        }
    }

    /// Nothing panics while it holds the lock, so a poisoned state is still consistent.
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.shared
            .kept
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl NumberedEvent {
    pub fn visible_to(&self, principal: &Principal) -> bool {
        let area = format!("{}s", self.event.subject_kind);
        self.event.visibility.allows(principal, &area)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Scopes;

    fn event(subject_id: &str) -> Event {
        Event {
            kind: "host.updated",
            subject_kind: "host",
            subject_id: subject_id.to_owned(),
            data: Value::Null,
            visibility: Visibility::role(Role::Viewer),
        }
    }

    fn principal(role: Role, tenant: Option<&str>, scopes: &[&str]) -> Principal {
        let scopes = scopes.iter().map(|text| text.parse().expect("a scope"));
        Principal {
            id: "token:1".to_owned(),
            name: "t".to_owned(),
            role,
            tenant: tenant.map(str::to_owned),
            scopes: Scopes(scopes.collect()),
        }
    }

    #[test]
    fn a_client_that_comes_back_hears_what_it_missed_and_nothing_twice() {
        let events = Events::new(Uuid::nil());
        for id in ["a", "b", "c"] {
            events.publish(event(id));
        }
        let seen = EventId::parse(&format!("{}-1", Uuid::nil().simple()));
        let subscription = events.subscribe(seen);
        let missed: Vec<_> = subscription
            .missed
            .iter()
            .map(|one| one.event.subject_id.as_str())
            .collect();
        assert_eq!(missed, ["b", "c"]);
        assert!(!subscription.resync);
    }

    #[test]
    fn a_client_from_another_run_or_too_long_ago_must_read_again() {
        let events = Events::new(Uuid::nil());
        for _ in 0..=KEPT_MAX {
            events.publish(event("a"));
        }
        let from = |run: Uuid, number: u64| {
            let seen = EventId::parse(&format!("{}-{number}", run.simple()));
            events.subscribe(seen).resync
        };
        assert!(from(Uuid::nil(), 0), "event 1 is no longer kept");
        assert!(!from(Uuid::nil(), 1));
        assert!(from(Uuid::max(), 1));
        assert!(from(Uuid::nil(), u64::MAX));
    }

    #[test]
    fn an_event_is_shown_only_to_its_role_scope_and_tenant() {
        let cases = [
            (Role::Viewer, None, principal(Role::Viewer, None, &[]), true),
            (
                Role::Admin,
                None,
                principal(Role::Operator, None, &[]),
                false,
            ),
            (
                Role::Viewer,
                None,
                principal(Role::Admin, None, &["users"]),
                false,
            ),
            (
                Role::Viewer,
                None,
                principal(Role::Admin, None, &["hosts:read"]),
                true,
            ),
            (
                Role::Viewer,
                None,
                principal(Role::Admin, Some("a"), &[]),
                false,
            ),
            (
                Role::Viewer,
                Some("a"),
                principal(Role::Admin, Some("a"), &[]),
                true,
            ),
            (
                Role::Viewer,
                Some("a"),
                principal(Role::Admin, Some("b"), &[]),
                false,
            ),
            (
                Role::Viewer,
                Some("a"),
                principal(Role::Admin, None, &[]),
                true,
            ),
        ];
        for (role, tenant, who, expected) in cases {
            let visibility = Visibility {
                role,
                tenant: tenant.map(str::to_owned),
            };
            assert_eq!(visibility.allows(&who, "hosts"), expected, "{who:?}");
        }
    }
}
