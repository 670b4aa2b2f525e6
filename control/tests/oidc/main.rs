//! Signing in, refreshing and signing out at a provider that misbehaves in every way we know of.
//! It is a real HTTPS server on loopback with keys of its own; what time it is, each test says.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod check;
mod keys;
mod logout;
mod people;
mod provider;
mod refresh;
mod secrets;
mod sign;
mod tokens;
mod transport;
mod world;
