//! What the listener turned away, counted by why.
//! Always true: every bound has its own count, named as status shows it.

use std::sync::atomic::{AtomicU64, Ordering};

/// Why something was turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Too many connections.
    Full,
    /// Too many of one source.
    SourceFull,
    /// The process has no descriptor to spare.
    Descriptors,
    /// It took too long.
    Slow,
    /// A source says too much.
    Rate,
    /// Too much is being verified.
    Busy,
    /// It is no form with one token.
    NoForm,
    /// The token proves nothing.
    Token,
    /// It was shown before.
    Replayed,
    /// The store or the provider cannot be asked.
    Unavailable,
}

const NAMES: [(Kind, &str); 10] = [
    (Kind::Full, "outside_full"),
    (Kind::SourceFull, "outside_source_full"),
    (Kind::Descriptors, "outside_no_descriptors"),
    (Kind::Slow, "outside_slow"),
    (Kind::Rate, "outside_rate"),
    (Kind::Busy, "outside_busy"),
    (Kind::NoForm, "outside_no_form"),
    (Kind::Token, "outside_bad_token"),
    (Kind::Replayed, "outside_replayed"),
    (Kind::Unavailable, "outside_unavailable"),
];

/// The counts, in the order of the variants.
#[derive(Debug, Default)]
pub(super) struct Refused([AtomicU64; NAMES.len()]);

impl Refused {
    pub fn count(&self, kind: Kind) {
        if let Some(count) = self.0.get(kind as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Each with its name.
    pub fn counts(&self) -> [(&'static str, u64); NAMES.len()] {
        NAMES.map(|(kind, name)| {
            let count = self.0.get(kind as usize).map(|count| count.load(Ordering::Relaxed));
            (name, count.unwrap_or_default())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_counted_under_its_own_name() {
        for (kind, name) in NAMES {
            let refused = Refused::default();
            refused.count(kind);
            let counted: Vec<_> = refused.counts().into_iter().filter(|(_, count)| *count > 0).collect();
            assert_eq!(counted, [(name, 1)]);
        }
    }
}
