//! Fuzzes what a TUN gives us; what must hold stands in `netio::fuzz::vnet`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| netio::fuzz::vnet(bytes));
