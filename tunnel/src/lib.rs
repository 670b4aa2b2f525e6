//! Turns datagrams into permitted packets and back: WireGuard peers, packet filter, flow tables.
//! It does no I/O, reads no clock and draws no randomness (what boringtun draws inside is named in
//! `noise::boring`), and it decides nothing: it holds a SYN or a datagram, asks, and obeys the verdict.
//! Always true: no packet passes in either direction without a flow that was admitted, and every
//! queue and table is bounded and counts what it refuses.
#![forbid(unsafe_code)]

mod budget;
mod config;
mod counters;
mod datagram;
mod deadlines;
mod devices;
mod event;
mod filter;
mod flow;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod kernel;
#[cfg(test)]
mod kernel_tests;
mod noise;
mod packet;
pub mod peer;
mod peers;
mod rng;
mod shard;
#[cfg(test)]
mod sim;
mod slab;
#[cfg(test)]
mod testing;
mod trains;
mod tunnel;
mod waiting;

pub use config::{
    Config, CookieSecret, HandshakeLimits, KnownEndpoint, KnownStamp, Limits, PeerSpec, PrivateKey, Stamp,
};
pub use counters::{Count, Counters};
pub use event::{
    Checksum, Event, FlowId, FlowInfo, FlowKey, FlowPhase, Gone, Offload, PeerStatus, Refusal, Transmit,
    Verdict,
};
pub use kernel::{MAX_PARTS, ToKernel};
pub use shard::{Enrolled, Handover, Shard};
pub use tunnel::Tunnel;
