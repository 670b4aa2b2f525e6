//! Fuzzes doorward.toml; what must hold stands in `gateway::config::fuzz::doorward_toml`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| gateway::config::fuzz::doorward_toml(bytes));
