//! Times for people: the clock on the wall, and how long that is from now.
//! It reads no clock: "now" is what the gateway says, since this computer's own may be wrong.

use chrono::{DateTime, Datelike, FixedOffset, Local, TimeDelta, Utc};
use serde::Deserialize;

/// The years the gateway itself computes with.
const YEARS: std::ops::RangeInclusive<i32> = 1970..=2200;

/// An instant the gateway names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Moment(DateTime<Utc>);

impl TryFrom<String> for Moment {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let time = DateTime::parse_from_rfc3339(&text).ok().map(|time| time.to_utc());
        time.filter(|time| YEARS.contains(&time.year()))
            .map(Self)
            .ok_or("expected a time like 2026-11-22T10:00:00Z, of the years 1970 to 2200")
    }
}

impl Moment {
    /// How long after `earlier` this is; negative if it is before.
    pub fn since(self, earlier: Self) -> TimeDelta {
        self.0 - earlier.0
    }
}

/// What the clock on the wall shows at an instant.
pub type Zone = fn(DateTime<Utc>) -> DateTime<FixedOffset>;

/// The zone of this computer.
pub fn local(time: DateTime<Utc>) -> DateTime<FixedOffset> {
    time.with_timezone(&Local).fixed_offset()
}

/// Tells times as seen at one instant in one zone.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    /// The gateway's.
    pub now: Moment,
    /// The reader's.
    pub zone: Zone,
}

impl Clock {
    /// `17:00`, or with its date if that is another day than today.
    pub fn at(self, time: Moment) -> String {
        let (time, now) = ((self.zone)(time.0), (self.zone)(self.now.0));
        let today = time.date_naive() == now.date_naive();
        time.format(if today { "%H:%M" } else { "%Y-%m-%d %H:%M" }).to_string()
    }

    /// `17:00, in 2 h 10 min`.
    pub fn ahead(self, time: Moment) -> String {
        let left = time.since(self.now);
        let at = self.at(time);
        if left > TimeDelta::zero() {
            format!("{at}, in {}", span(left))
        } else {
            format!("{at}, which is now")
        }
    }

    /// `09:58, 2 min ago`.
    pub fn ago(self, time: Moment) -> String {
        format!("{}, {} ago", self.at(time), span(self.now.since(time)))
    }
}

/// To the nearest minute; from a day on, to the hour.
fn span(time: TimeDelta) -> String {
    let minutes = (time.num_seconds().max(0) + 30) / 60;
    let (days, hours, rest) = (minutes / 1440, minutes / 60 % 24, minutes % 60);
    match (days, hours, rest) {
        (0, 0, 0) => "less than a minute".to_owned(),
        (0, 0, _) => format!("{rest} min"),
        (0, _, 0) => format!("{hours} h"),
        (0, _, _) => format!("{hours} h {rest} min"),
        (_, 0, _) => format!("{days} d"),
        (_, _, _) => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(text: &str) -> Moment {
        Moment::try_from(text.to_owned()).unwrap()
    }

    fn east(time: DateTime<Utc>) -> DateTime<FixedOffset> {
        time.with_timezone(&FixedOffset::east_opt(3600).unwrap())
    }

    #[test]
    fn spans_read_as_people_say_them() {
        for (seconds, text) in [
            (-5, "less than a minute"),
            (29, "less than a minute"),
            (30, "1 min"),
            (599, "10 min"),
            (3599, "1 h"),
            (7800, "2 h 10 min"),
            (86_400, "1 d"),
            (93_600, "1 d 2 h"),
        ] {
            assert_eq!(span(TimeDelta::seconds(seconds)), text, "{seconds}");
        }
    }

    #[test]
    fn another_day_has_its_date_and_days_change_at_the_readers_midnight() {
        let clock = Clock { now: moment("2026-11-22T22:30:00.000Z"), zone: east };
        assert_eq!(clock.ahead(moment("2026-11-22T22:40:00Z")), "23:40, in 10 min");
        assert_eq!(clock.ahead(moment("2026-11-22T23:40:00Z")), "2026-11-23 00:40, in 1 h 10 min");
        assert_eq!(clock.ahead(moment("2026-11-22T22:00:00Z")), "23:00, which is now");
        assert_eq!(clock.ago(moment("2026-11-22T22:28:00+00:00")), "23:28, 2 min ago");
    }

    #[test]
    fn times_no_calendar_has_are_refused() {
        for bad in [
            "",
            "now",
            "1795209300",
            "+262142-01-01T00:00:00Z",
            "2201-01-01T00:00:00Z",
            "2026-13-01T00:00:00Z",
        ] {
            assert!(Moment::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }
}
