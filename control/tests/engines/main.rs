//! The engines of the store, held to one model of what a store is and to faults of all kinds.
//! The tests of PostgreSQL start a real one.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod chance;
mod contract;
mod fixture;
mod killed;
mod lost;
mod migrations;
mod model;
mod room;
