//! Fuzzes what the gateway's kernel sends; what must hold stands in `tunnel::fuzz::tun`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tunnel::fuzz::tun(bytes));
