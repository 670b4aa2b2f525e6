//! Runs the trials: outside the sandbox it only lists them, inside it runs them.
//! It decides nothing about the product except that a program of ours must not log an ERROR.
//! Always true: a failed test shows what its programs said.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    process::ExitCode,
};

use anyhow::Result;
use libtest_mimic::{Arguments, Failed, Trial};

use crate::{process::take_journal, sandbox};

/// One test: a name and a function.
pub type Test = (&'static str, fn() -> Result<()>);

/// Names the functions after themselves.
#[macro_export]
macro_rules! tests {
    ($($name:ident),* $(,)?) => {
        /// The tests of this module.
        pub const TESTS: &[tests::harness::Test] = &[$((concat!(module_path!(), "::", stringify!($name)), $name)),*];
    };
}

/// The whole of a test executable's `main`.
pub fn main(tests: impl IntoIterator<Item = Test>) -> ExitCode {
    let arguments = Arguments::from_args();
    if !arguments.list
        && let Err(error) = sandbox::enter()
    {
        eprintln!("no sandbox: {error:#}");
        return ExitCode::FAILURE;
    }
    let trials = tests.into_iter().map(|(name, test)| Trial::test(short(name), move || run(test))).collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Without the executable's own name, which every path begins with.
fn short(name: &str) -> &str {
    name.split_once("::").map_or(name, |(_, rest)| rest)
}

fn run(test: fn() -> Result<()>) -> Result<(), Failed> {
    watch(test).map_err(Failed::from)
}

/// Runs `act` on this thread as a test is run: a failure comes with what its programs said, and an
/// ERROR in the log of a program of ours is a failure.
pub fn watch<T>(act: impl FnOnce() -> Result<T>) -> Result<T, String> {
    let result = catch_unwind(AssertUnwindSafe(act));
    let journal = take_journal();
    let complaint = match result {
        Ok(Ok(value)) if journal.errors.is_empty() => return Ok(value),
        Ok(Ok(_)) => format!("errors in our logs:\n{}", journal.errors.join("\n")),
        Ok(Err(error)) => format!("{error:#}"),
        Err(panic) => format!("panicked: {}", words(&*panic)),
    };
    Err(format!("{}\n{complaint}", journal.text))
}

fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("(no words)")
}
