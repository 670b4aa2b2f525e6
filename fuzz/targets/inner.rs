//! Fuzzes packets inside the session of a device; what must hold stands in `tunnel::fuzz::inner`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tunnel::fuzz::inner(bytes));
