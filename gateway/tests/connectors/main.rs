//! The connector link proven whole: the gateway's registry and real connectors over QUIC on loopback.
//! Covers the security cases D3, D12 (the site's side), C1, C2 and C3.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod admission;
mod datagrams;
mod failover;
mod flows;
mod join;
mod life;
mod rig;
mod targets;
mod thief;
