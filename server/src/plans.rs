//! The community planner: one operation and explicit hosts become one plan per host. Nothing is stored, batched or
//! filtered; a plan can be sent as it is to `POST /hosts/{id}/commands` as an `apply_deployment_plan`.

pub mod decide;
pub mod http;
