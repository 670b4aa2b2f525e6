//! placeholder

pub mod connectors;
