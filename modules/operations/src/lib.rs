//! What bulk operations and rolling deployments have in common: reading a request, selecting its hosts, what counters
//! mean, how lists are read, and how hosts and their results are shown. Each module keeps its own rows and its own decisions.

pub mod decide;
pub mod fields;
pub mod filters;
pub mod http;
pub mod invoke;
pub mod request;
pub mod rows;
pub mod selection;
pub mod status;
pub mod store;
pub mod view;
