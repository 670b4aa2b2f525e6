//! TCP flows from the held SYN to the last segment: who may send what when. It judges segments and
//! moves flows between states; it sends nothing and knows no peers or policies.
//! Always true: between a device and a target at most one flow is not over, and nothing passes to or
//! from the kernel but segments of a flow that was admitted.

mod queue;
mod state;
mod table;
#[cfg(test)]
mod table_tests;

pub(crate) use queue::FairQueue;
pub(crate) use state::{Flow, FlowSlot};
pub(crate) use table::{Admitted, Due, Flows, OnCut, OnSegment, OnSyn, Outbound};
