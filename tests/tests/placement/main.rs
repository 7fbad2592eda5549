//! What agents say of their machines, as placement goes by it.

mod heartbeats;
