//! Fuzzes connector.toml; what must hold stands in `connector::config::fuzz::connector_toml`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| connector::config::fuzz::connector_toml(bytes));
