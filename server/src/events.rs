//! News inside the process. [`Signals`] wake loops (level-triggered, coalesced); [`Events`] tell people what
//! happened (`GET /events`). Both are hints: the database is the truth.

mod bus;
pub mod http;
mod signals;

pub use bus::{Event, EventId, Events, NumberedEvent, Subscription, Visibility};
pub use signals::Signals;
