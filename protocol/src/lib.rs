//! What Doorward's processes have in common: ids, keys, times, the messages of the
//! connector link, the rules of what may be dialled, and reading configuration.
//! It does no I/O, reads no clock and draws no randomness.
//! Always true: a value of these types is valid; parsing happens once, at the edge.

pub mod config;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod id;
pub mod join;
pub mod key;
pub mod link;
pub mod target;
pub mod time;
