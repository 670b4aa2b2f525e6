//! Fuzzes the frames of the connector link; what must hold stands in `protocol::fuzz::frames`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| protocol::fuzz::frames(bytes));
