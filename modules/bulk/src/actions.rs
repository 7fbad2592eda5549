//! What an operator can do with bulk operations, beside what is alike for every kind: each decides on what is stored and
//! writes intent, audit row and idempotency record in one batch. Not the HTTP shapes (`http`) and not the delivery (the
//! core's sets).

pub mod control;
pub mod create;
pub mod retry;
