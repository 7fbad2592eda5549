//! What every kind of operation over many hosts does, once: reading a request, selecting and freezing its hosts, its row
//! and the counters that go with it, lists, hosts, output and events over HTTP, the calls of other modules, controls that
//! lose a race, and dropping what was swept away. A kind (bulk operations, rolling deployments) says what is its own.
//!
//! # What a new kind has to write
//!
//! 1. A migration with a table of its own: the columns every kind has (listed in [`store`]), and the kind's.
//! 2. A type for itself and for its own columns ([`columns::Columns`]), in a file that needs none of those below.
//! 3. An implementation of [`Kind`] for it: its [`Names`], how it is run ([`Kind::Options`]), what its counters mean as a
//!    status, its views, and what a create ([`create::accept`]) and a control of it come to. Nobody names the file it is in.
//! 4. The body it reads: its own fields, within [`request::NewOperation`].
//! 5. A controller, if something is to happen that nobody asked for: [`store::open_after`] and [`read::with_sets`] to look,
//!    [`signals::wake`] to wait.
//! 6. Its router: [`http::routes`] and then its own, which are at least the one that creates ([`create::from_body`]) and those
//!    of its controls ([`http::controlled`]); and its document: [`http::document`] of its own one.
//! 7. In its `Module`: [`invoke::invoke`], and [`prune::spawn`] for its rows.
//!
//! `tests/kind` is the smallest one that does all this.

pub mod calls;
pub mod columns;
pub mod control;
pub mod create;
pub mod created;
pub mod decide;
pub mod error;
pub mod filters;
pub mod http;
pub mod invoke;
pub mod kind;
pub mod names;
pub mod prune;
pub mod read;
pub mod request;
pub mod rows;
pub mod selection;
pub mod signals;
pub mod status;
pub mod store;
pub mod view;

pub use error::OperationError;
pub use kind::{Asked, Header, Kind, Loaded};
pub use names::Names;
