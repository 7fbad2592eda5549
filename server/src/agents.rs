//! Agents: how they enrol, prove who they are, renew and connect. The conversation over a live connection is in
//! `connection`; what agents report about their hosts goes to `hosts`, about commands to `commands`.

pub mod authority;
pub mod connections;
pub mod csr;
pub mod generations;
pub mod identity;
