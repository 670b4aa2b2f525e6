//! A value that must not appear in a log: its `Debug` hides it, and it has no `Display`.

use std::fmt;

/// Wraps a secret; [`Secret::expose`] is the only way to it, so that uses can be found.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret<T>(T);

impl<T> Secret<T> {
    /// Wraps `value`.
    pub fn new(value: T) -> Self {
        Self(value)
    }

    /// The secret itself.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl<T> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_hides_it() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret:?}"), "(hidden)");
        assert_eq!(*secret.expose(), "hunter2");
    }
}
