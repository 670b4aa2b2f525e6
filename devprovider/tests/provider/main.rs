//! The provider driven over TLS, as a client and a browser would.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod binary;
mod browser;
mod client;
mod logout;
mod refresh;
mod sign_in;
mod world;
