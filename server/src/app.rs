//! The wiring: every part of the server, made once and handed to whoever needs it.

use std::sync::Arc;

use crate::agents::Agents;
use crate::clock::SharedClock;
use crate::commands::Commands;
use crate::config::Config;
use crate::db::Db;
use crate::events::{Events, Signals};
use crate::hosts::Hosts;
use crate::http::idempotency::Idempotency;
use crate::http::page::Cursors;

/// Everything handlers and loops reach. Fields are handles that are cheap to clone.
pub struct App {
    pub clock: SharedClock,
    pub config: Arc<Config>,
    pub db: Db,
    pub signals: Signals,
    pub events: Events,
    pub hosts: Hosts,
    pub agents: Agents,
    pub commands: Commands,
    pub idempotency: Idempotency,
    pub cursors: Cursors,
}

/// The state of every router.
pub type AppState = Arc<App>;
