//! The audit log proven on real files: what was awaited is there once, what was changed is found, what was
//! erased names nobody. Always true: no test sleeps, and each has a folder of its own.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod chain;
mod crash;
mod disk;
mod export;
mod people;
mod retention;
mod world;
