//! The product proven whole: real programs, real kernel, stock clients.
//! Every test makes its own world and is named by what holds.
//! Always true: no test depends on another, on the machine's network or on the internet.

mod fixture;

use std::process::ExitCode;

fn main() -> ExitCode {
    tests::harness::main([fixture::TESTS].concat())
}
