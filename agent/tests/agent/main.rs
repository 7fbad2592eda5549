//! Tests of the agent with real processes and real files in temporary folders, without a server: frames are put in and
//! taken out by hand.

mod connection;
mod delivery;
mod fake_server;
mod harness;
mod journal_lost;
mod newer;
mod output;
mod packages;
mod plans;
mod power;
mod restarts;
mod scripts;
mod services;
mod trees;
mod unprivileged;
