//! Placement in a real server: what agents say of their machines, and what killed servers leave.

mod heartbeats;
mod kills;
