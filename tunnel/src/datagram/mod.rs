//! Flows of datagrams (UDP and ICMP echo): who may send what when, and until when. It judges and moves
//! flows between states; it sends nothing and knows no peers or policies.
//! Always true: a key has at most one flow, nothing passes either way but on a flow that was admitted,
//! and nothing is evicted: who finds a table full is refused.

mod state;
mod table;
#[cfg(test)]
mod table_tests;

pub(crate) use state::{DatagramKey, Flow};
pub(crate) use table::{Datagrams, OnDatagram};
