//! The parts of `gateway` that read what others wrote, without the parts that need pingora.

#[path = "../../gateway/src/config/mod.rs"]
pub mod config;
#[path = "../../gateway/src/dns/mod.rs"]
pub mod dns;
