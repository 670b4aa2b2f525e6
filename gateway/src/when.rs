//! Times as people read them on a page: the time of day, the day if it is another, and how far away it is.
//! It reads no clock. Always true: every time says that it is UTC, since a page without script knows no zone.

use std::time::Duration;

use protocol::time::Timestamp;

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// An instant as markup: `22:59 UTC` on the day of `now`, else `23 Nov, 09:15 UTC`.
pub fn marked(at: Timestamp, now: Timestamp) -> String {
    format!("<time datetime=\"{at}\">{}</time>", clock(at, now))
}

/// An instant that no page is about: `23 Nov 2026, 09:15 UTC`.
pub fn whole(at: Timestamp) -> String {
    let text = at.to_string();
    format!("<time datetime=\"{text}\">{} {}, {}</time>", day(&text), part(&text, 0, 4), time(&text))
}

fn clock(at: Timestamp, now: Timestamp) -> String {
    let (text, today) = (at.to_string(), now.to_string());
    if part(&text, 0, 10) == part(&today, 0, 10) {
        time(&text)
    } else {
        format!("{}, {}", day(&text), time(&text))
    }
}

fn day(text: &str) -> String {
    let month = part(text, 5, 7).parse::<usize>().ok().and_then(|month| MONTHS.get(month.checked_sub(1)?));
    format!("{} {}", part(text, 8, 10).trim_start_matches('0'), month.unwrap_or(&""))
}

fn time(text: &str) -> String {
    format!("{} UTC", part(text, 11, 16))
}

/// Of RFC 3339, which is plain ASCII.
fn part(text: &str, from: usize, to: usize) -> &str {
    text.get(from..to).unwrap_or_default()
}

/// How long a span is: `9 h 12 min`, begun minutes counted whole.
pub fn long(span: Duration) -> String {
    let minutes = span.as_secs().div_ceil(60);
    match (minutes / 1440, minutes / 60 % 24, minutes % 60) {
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, 0) => format!("{hours} h"),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, 0, _) => format!("{days} d"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

/// How long ago something was: `just now`, `5 min ago`.
pub fn ago(at: Timestamp, now: Timestamp) -> String {
    let span = at.until(now);
    if span < Duration::from_secs(60) {
        return "just now".to_owned();
    }
    // Begun minutes are not over.
    let whole = Duration::from_secs(span.as_secs() / 60 * 60);
    format!("{} ago", long(whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Timestamp = Timestamp::MIN;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn times_read_well() {
        // 2026-11-20 21:15:00.123 UTC.
        let evening = at(1_795_209_300_123);
        assert_eq!(clock(evening, evening), "21:15 UTC");
        assert_eq!(clock(evening, evening.plus(Duration::from_secs(86_400))), "20 Nov, 21:15 UTC");
        assert!(whole(evening).contains(">20 Nov 2026, 21:15 UTC<"), "{}", whole(evening));
        assert!(clock(AT, evening).ends_with("UTC"));
    }

    #[test]
    fn spans_read_well() {
        let minutes = |n: u64| long(Duration::from_secs(n * 60));
        assert_eq!(
            [minutes(1), minutes(59), minutes(60), minutes(150), minutes(1440), minutes(1500)],
            ["1 min", "59 min", "1 h", "2 h 30 min", "1 d", "1 d 1 h"]
        );
        assert_eq!([ago(at(0), at(59_999)), ago(at(0), at(119_999))], ["just now", "1 min ago"]);
    }
}
