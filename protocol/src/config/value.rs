//! From one TOML value to one typed value, or a reason in words. Knows neither keys nor places.

use std::{fmt::Display, ops::RangeInclusive, str::FromStr, time::Duration};

use toml::{
    de::DeValue,
    value::{Date, Datetime, Offset, Time},
};

use crate::time::Timestamp;

/// Longer texts are cut in a reason: a pasted certificate should not fill the screen.
const QUOTED: usize = 60;

pub(super) fn text<T: FromStr>(value: &DeValue<'_>) -> Result<T, String>
where
    T::Err: Display,
{
    let DeValue::String(text) = value else { return Err(expected("a text in quotes", value)) };
    text.parse().map_err(|error| format!("{}: {error}", quoted(text)))
}

pub(super) fn choice<T: Copy>(value: &DeValue<'_>, choices: &[(&str, T)]) -> Result<T, String> {
    let DeValue::String(text) = value else { return Err(expected("a text in quotes", value)) };
    let words = || choices.iter().map(|(word, _)| format!("{word:?}")).collect::<Vec<_>>().join(", ");
    let chosen = choices.iter().find(|(word, _)| word == text).map(|(_, meaning)| *meaning);
    chosen.ok_or_else(|| format!("{} is not one of {}", quoted(text), words()))
}

pub(super) fn int<T>(value: &DeValue<'_>, range: &RangeInclusive<T>) -> Result<T, String>
where
    T: TryFrom<i64> + PartialOrd + Display,
{
    let DeValue::Integer(written) = value else { return Err(expected("an integer", value)) };
    i64::from_str_radix(written.as_str(), written.radix())
        .ok()
        .and_then(|n| T::try_from(n).ok())
        .filter(|n| range.contains(n))
        .ok_or_else(|| format!("{written} is out of range: {} to {}", range.start(), range.end()))
}

pub(super) fn flag(value: &DeValue<'_>) -> Result<bool, String> {
    match value {
        DeValue::Boolean(flag) => Ok(*flag),
        other => Err(expected("true or false", other)),
    }
}

pub(super) fn time(value: &DeValue<'_>) -> Result<Timestamp, String> {
    let DeValue::Datetime(written) = value else { return Err(expected("a date and time", value)) };
    let Datetime { date: Some(date), time: Some(time), offset } = written else {
        return Err(format!("{written} is not a whole date: write it as 2026-11-21T09:00:00Z"));
    };
    let offset_minutes = match offset {
        Some(Offset::Z) => 0,
        Some(Offset::Custom { minutes }) => i64::from(*minutes),
        None => {
            return Err(format!("{written} has no offset: add Z or an offset, for example {written}Z"));
        }
    };
    let millis = (days(*date) * 1440 - offset_minutes) * 60_000 + millis_of_day(*time);
    let stamp = Timestamp::from_millis(millis);
    if stamp.millis() == millis {
        Ok(stamp)
    } else {
        Err(format!("{written} is outside the years 1970 to 2200"))
    }
}

pub(super) fn duration(value: &DeValue<'_>) -> Result<Duration, String> {
    let DeValue::String(text) = value else { return Err(expected("a duration such as \"10m\"", value)) };
    let unit_at = text.len().saturating_sub(1);
    let seconds = match text.get(unit_at..) {
        Some("s") => Some(1),
        Some("m") => Some(60),
        Some("h") => Some(3600),
        Some("d") => Some(86_400),
        Some(_) | None => None,
    };
    let count = text.get(..unit_at).and_then(|digits| digits.parse::<u32>().ok());
    match (count, seconds) {
        (Some(count), Some(seconds)) => Ok(Duration::from_secs(u64::from(count) * seconds)),
        _ => Err(format!("{}: a duration is a number and s, m, h or d, for example \"10m\"", quoted(text))),
    }
}

/// Says what was expected and what stands there instead.
pub(super) fn expected(what: &str, found: &DeValue<'_>) -> String {
    let found = match found {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a section",
    };
    format!("expected {what}, found {found}")
}

fn quoted(text: &str) -> String {
    match text.char_indices().nth(QUOTED) {
        Some((cut, _)) => format!("{:?}…", &text[..cut]),
        None => format!("{text:?}"),
    }
}

/// Days since 1970-01-01 (Howard Hinnant, "chrono-compatible low-level date algorithms").
fn days(date: Date) -> i64 {
    let (month, day) = (i64::from(date.month), i64::from(date.day));
    let year = i64::from(date.year) - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let yoe = year.rem_euclid(400);
    let doy = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    era * 146_097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719_468
}

fn millis_of_day(time: Time) -> i64 {
    let seconds =
        i64::from(time.hour) * 3600 + i64::from(time.minute) * 60 + i64::from(time.second.unwrap_or(0));
    seconds * 1000 + i64::from(time.nanosecond.unwrap_or(0) / 1_000_000)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(toml: &str) -> DeValue<'_> {
        DeValue::parse(toml).expect("a TOML value").into_inner()
    }

    #[test]
    fn durations() {
        assert_eq!(duration(&of("\"90s\"")), Ok(Duration::from_secs(90)));
        assert_eq!(duration(&of("\"2d\"")), Ok(Duration::from_secs(172_800)));
        for bad in ["\"\"", "\"m\"", "\"10\"", "\"-1m\"", "\"1.5h\"", "\"10µ\"", "10"] {
            assert!(duration(&of(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn choices() {
        let sizes = [("small", 1), ("big", 2)];
        assert_eq!(choice(&of("\"big\""), &sizes), Ok(2));
        let refused = choice(&of("\"Big\""), &sizes);
        assert_eq!(refused, Err("\"Big\" is not one of \"small\", \"big\"".to_owned()));
    }

    #[test]
    fn long_texts_are_cut() {
        let long = format!("\"{}\"", "ü".repeat(100));
        assert!(text::<u8>(&of(&long)).expect_err("no number").len() < 200);
    }

    #[test]
    fn integers_of_every_spelling() {
        assert_eq!(int(&of("1_000"), &(0..=2000_u16)), Ok(1000));
        assert_eq!(int(&of("0x10"), &(0..=2000_u16)), Ok(16));
        assert_eq!(int(&of("-1"), &(-5..=5_i64)), Ok(-1));
        assert!(int(&of("99999999999999999999"), &(0..=5_i64)).is_err());
        assert!(int(&of("1.5"), &(0..=5_i64)).is_err());
    }

    proptest! {
        #[test]
        fn times_are_read_as_they_are_printed(millis in 0..=Timestamp::MAX.millis()) {
            let stamp = Timestamp::from_millis(millis);
            prop_assert_eq!(time(&of(&stamp.to_string())), Ok(stamp));
        }
    }
}
