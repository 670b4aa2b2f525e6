//! What the tests of this crate share: a starting instant and a world of one gateway and its devices.

use std::time::Instant;

/// The only clock reading; from here tests add.
#[expect(clippy::disallowed_methods, reason = "a test must begin somewhere")]
pub(crate) fn start() -> Instant {
    Instant::now()
}
