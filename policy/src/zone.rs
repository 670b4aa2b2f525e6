//! Time zones by the name policies use: the local weekday and minute of an instant.
//! It does not parse zone names of the tz database (chrono-tz does) nor read clocks.
//! Always true: between an instant and its `segment_end`, local time only moves forward, within one day.

use chrono::{DateTime, Offset, TimeZone};
use chrono_tz::Tz;

pub(crate) const MINUTE: i64 = 60_000;
pub(crate) const HOUR: i64 = 60 * MINUTE;
pub(crate) const DAY: i64 = 24 * HOUR;

/// A time zone, under the name by which policies read it: `context.zone.<name>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone {
    /// A letter, then letters, digits and `_`; lower case; never `utc`, which is always there.
    pub name: String,
    /// What it means.
    pub tz: Tz,
}

/// Why a zone's name cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ZoneError {
    /// Not a plain name.
    #[error("a zone's name is 1 to 32 of a-z, 0-9 and '_', beginning with a letter: {0:?} is not")]
    Name(String),
    /// A word of the policy language.
    #[error("{0:?} is a word of the policy language; choose another name for the zone")]
    Reserved(String),
    /// Given twice, or `utc`.
    #[error("the zone {0:?} is named twice (utc is always there)")]
    Twice(String),
}

/// Words that Cedar's grammar keeps for itself, as far as they are lower-case names.
const RESERVED: [&str; 8] = ["true", "false", "if", "then", "else", "in", "is", "like"];

/// `utc`, then the configured zones, each checked.
pub(crate) fn with_utc(zones: &[Zone]) -> Result<Vec<Zone>, Vec<ZoneError>> {
    let mut all = vec![Zone { name: "utc".into(), tz: Tz::UTC }];
    let mut errors = Vec::new();
    for zone in zones {
        let name = zone.name.clone();
        if !is_name(&name) {
            errors.push(ZoneError::Name(name));
        } else if RESERVED.contains(&name.as_str()) || name == "has" {
            errors.push(ZoneError::Reserved(name));
        } else if all.iter().any(|z| z.name == name) {
            errors.push(ZoneError::Twice(name));
        } else {
            all.push(zone.clone());
        }
    }
    if errors.is_empty() { Ok(all) } else { Err(errors) }
}

fn is_name(name: &str) -> bool {
    (1..=32).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

impl Zone {
    /// 1 Monday … 7 Sunday.
    pub(crate) fn weekday(&self, at: i64) -> i64 {
        // 1970-01-01 was a Thursday.
        (self.local(at).div_euclid(DAY) + 3).rem_euclid(7) + 1
    }

    /// Minutes since local midnight, 0..=1439.
    pub(crate) fn minute(&self, at: i64) -> i64 {
        self.local(at).rem_euclid(DAY) / MINUTE
    }

    /// The first instant after `at` that is a local midnight or a change of the zone's offset.
    pub(crate) fn segment_end(&self, at: i64) -> i64 {
        let offset = self.offset(at);
        let midnight = at + DAY - (at + offset).rem_euclid(DAY);
        let mut from = at;
        // No zone changes its offset and back within an hour.
        while from < midnight {
            let to = (from + HOUR).min(midnight);
            if let Some(change) = first_change(from, to, |t| self.offset(t)) {
                return change;
            }
            from = to;
        }
        midnight
    }

    fn local(&self, at: i64) -> i64 {
        at + self.offset(at)
    }

    fn offset(&self, at: i64) -> i64 {
        DateTime::from_timestamp_millis(at).map_or(0, |utc| {
            i64::from(self.tz.offset_from_utc_datetime(&utc.naive_utc()).fix().local_minus_utc()) * 1000
        })
    }
}

/// The smallest `t` in `(from, to]` whose key is not that of `from`. The key must not return to its
/// first value within the range; `None` if the ends agree.
pub(crate) fn first_change<K: PartialEq>(from: i64, to: i64, key: impl Fn(i64) -> K) -> Option<i64> {
    let start = key(from);
    if to <= from || key(to) == start {
        return None;
    }
    let (mut same, mut other) = (from, to);
    while other - same > 1 {
        let middle = same + (other - same) / 2;
        if key(middle) == start { same = middle } else { other = middle }
    }
    Some(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn berlin() -> Zone {
        Zone { name: "berlin".into(), tz: Tz::Europe__Berlin }
    }

    /// Milliseconds of an instant written in RFC 3339.
    fn ms(text: &str) -> i64 {
        DateTime::parse_from_rfc3339(text).unwrap().timestamp_millis()
    }

    #[test]
    fn weekday_and_minute_are_local() {
        let at = ms("2026-11-22T23:30:00Z"); // Sunday in UTC, Monday 00:30 in Berlin
        assert_eq!((berlin().weekday(at), berlin().minute(at)), (1, 30));
        let utc = Zone { name: "utc".into(), tz: Tz::UTC };
        assert_eq!((utc.weekday(at), utc.minute(at)), (7, 23 * 60 + 30));
    }

    #[test]
    fn a_segment_ends_at_midnight_or_when_the_clocks_change() {
        assert_eq!(berlin().segment_end(ms("2026-11-21T10:00:00+01:00")), ms("2026-11-22T00:00:00+01:00"));
        assert_eq!(berlin().segment_end(ms("2026-03-29T00:10:00+01:00")), ms("2026-03-29T01:00:00Z"));
        assert_eq!(berlin().segment_end(ms("2026-10-25T00:10:00+02:00")), ms("2026-10-25T01:00:00Z"));
        assert_eq!(berlin().segment_end(ms("2026-10-25T01:00:00Z")), ms("2026-10-26T00:00:00+01:00"));
    }

    #[test]
    fn first_change_finds_the_step() {
        assert_eq!(first_change(0, 100, |t| t >= 37), Some(37));
        assert_eq!(first_change(0, 100, |t| t > 100), None);
        assert_eq!(first_change(5, 5, |t| t), None);
    }

    #[test]
    fn names_are_checked() {
        let zone = |name: &str| Zone { name: name.into(), tz: Tz::UTC };
        assert_eq!(with_utc(&[zone("berlin")]).unwrap().len(), 2);
        for bad in ["", "Berlin", "1a", "a-b", "a b", "in", "has", "utc", "ü"] {
            assert!(with_utc(&[zone(bad)]).is_err(), "{bad}");
        }
        assert_eq!(with_utc(&[zone("a"), zone("a")]), Err(vec![ZoneError::Twice("a".into())]));
    }
}
