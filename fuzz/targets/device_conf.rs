//! Fuzzes a device's configuration; what must hold stands in `config::fuzz::device_conf`.
#![no_main]
#![allow(dead_code, reason = "only the reader of this module is used here")]

#[path = "../../device/src/config/mod.rs"]
mod config;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| config::fuzz::device_conf(bytes));
