//! Fuzzes datagrams from devices and strangers; what must hold stands in `tunnel::fuzz::datagram`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tunnel::fuzz::datagram(bytes));
