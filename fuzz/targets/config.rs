//! Fuzzes the configuration reader; what must hold stands in `protocol::fuzz::config`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| protocol::fuzz::config(bytes));
