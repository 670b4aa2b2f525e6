//! Turns datagrams into permitted packets and back: WireGuard peers, packet filter, flow table.
//! It does no I/O, reads no clock and draws no randomness (what boringtun draws inside is named in
//! `noise::boring`), and it decides nothing: it holds a SYN, asks, and obeys the verdict.
//! Always true: no packet passes in either direction without a flow that was admitted, and every
//! queue and table is bounded and counts what it refuses.
#![forbid(unsafe_code)]

mod budget;
mod config;
mod counters;
mod deadlines;
mod devices;
mod event;
mod filter;
mod flow;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod noise;
mod outbox;
mod packet;
pub mod peer;
mod peers;
mod rng;
#[cfg(test)]
mod testing;
mod tunnel;

pub use config::{Config, KnownEndpoint, KnownStamp, Limits, PeerSpec, PrivateKey, Stamp};
pub use counters::{Count, Counters};
pub use event::{Event, FlowId, FlowInfo, FlowKey, FlowPhase, Gone, PeerStatus, Refusal, Transmit, Verdict};
pub use tunnel::Tunnel;
