//! Fuzzes DNS questions and answers; what must hold stands in `gateway::dns::fuzz::message`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| gateway::dns::fuzz::message(bytes));
