//! The scheduled operations module: cron expressions that launch bulk operations and rolling deployments.

pub mod cron;
pub mod timetable;
