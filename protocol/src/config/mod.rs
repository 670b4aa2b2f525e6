//! Reads one TOML text into a typed value: a spanned tree, and a walker that takes keys from it.
//! It opens no file and knows no key: what is in a file is the business of the crate that reads it.
//! Always true: all mistakes are reported at once, each with file, line, column, key and reason;
//! a key that nobody asked for is a mistake; a value is returned only if there was none.

mod mistake;
mod secret;
mod section;
mod source;
mod value;

use std::{path::Path, time::Duration};

use toml::de::{DeTable, DeValue};

pub use self::{
    mistake::{Mistake, Mistakes},
    secret::Secret,
    section::Section,
};
use self::{section::finish, source::Source};
use crate::time::Timestamp;

/// Reads `text`, which came from `file`, with `walk`.
///
/// `walk` takes every key it knows before it returns, even when one of them was wrong: what it did
/// not ask for is reported as unknown. It returns `None` only after a mistake.
///
/// Broken TOML is reported by itself, one mistake a line: what follows a syntax error is guessed, and
/// so would be every mistake found in it.
pub fn read<T>(
    file: &Path,
    text: &str,
    walk: impl FnOnce(&mut Section<'_>) -> Option<T>,
) -> Result<T, Mistakes> {
    let source = Source::new(file, text);
    let (root, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        let place = |error: &toml::de::Error| error.span().map_or(0, |span| span.start);
        let broken = errors.iter().map(|error| source.mistake(place(error), "", error.message()));
        let mut broken: Vec<Mistake> = broken.collect();
        broken.sort();
        broken.dedup_by_key(|mistake| mistake.line);
        return Err(Mistakes::new(broken));
    }
    let mut section = Section::root(&source, root.get_ref());
    let value = walk(&mut section);
    let mistakes = finish(section);
    match value {
        Some(value) if mistakes.is_empty() => Ok(value),
        None if mistakes.is_empty() => Err(Mistakes::new(vec![source.mistake(
            0,
            "",
            "refused without a reason: please report this as a bug",
        )])),
        Some(_) | None => Err(Mistakes::new(mistakes)),
    }
}

/// One text of a file that may be full of mistakes: `peek(text, "gateway", "state")`. For those who
/// must find a running gateway while its configuration is being mended.
pub fn peek(text: &str, section: &str, key: &str) -> Option<String> {
    let (root, _) = DeTable::parse_recoverable(text);
    let section = root.get_ref().get(section)?.get_ref().as_table()?;
    Some(section.get(key)?.get_ref().as_str()?.to_owned())
}

/// A date and time as it stands in a file, for those who are given one elsewhere.
pub fn time(text: &str) -> Result<Timestamp, String> {
    let value = DeValue::parse(text).map_err(|_| "write it as 2026-11-21T09:00:00Z".to_owned())?;
    value::time(value.get_ref())
}

/// The same for a duration, such as `10m`.
pub fn duration(text: &str) -> Result<Duration, String> {
    value::duration(&DeValue::String(text.into()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mistakes(text: &str, walk: impl FnOnce(&mut Section<'_>) -> Option<()>) -> Vec<String> {
        let refused = read(Path::new("a.toml"), text, walk).expect_err("a mistake");
        refused.iter().map(Mistake::to_string).collect()
    }

    #[test]
    fn a_good_file_is_read_whole() {
        let text = "name = \"x\"\nport = 0x50\n[a]\non = true\n[[b]]\nn = 1\n[[b]]\nn = 2\n";
        let value = read(Path::new("a.toml"), text, |s| {
            let name = s.text::<String>("name");
            let port = s.int("port", 1..=65_535_u16);
            let on = s.section("a", |s| Some(s.flag_or("on", false)));
            let all = s.sections("b", |s| s.int("n", 0..=9_i64));
            Some((name?, port?, on?, all))
        });
        assert_eq!(value, Ok(("x".to_owned(), 80, true, vec![1, 2])));
    }

    #[test]
    fn every_mistake_is_told_at_once_and_in_order() {
        let text = "nmae = 1\nport = 99999\nlist = [\"1\", 2, \"x\"]\n[[b]]\n[[b]]\nn = \"2\"\nzzz = 1\n";
        let told = mistakes(text, |s| {
            let name = s.text::<String>("name");
            let port = s.int("port", 1..=65_535_u16);
            let list = s.texts::<u8>("list");
            let all = s.sections("b", |s| s.int("n", 0..=9_i64));
            name.and(port).and(list).map(|_| drop(all))
        });
        assert_eq!(
            told,
            [
                "a.toml:1:1: name: this key is missing",
                "a.toml:1:1: nmae: unknown key; did you mean \"name\"?",
                "a.toml:2:8: port: 99999 is out of range: 1 to 65535",
                "a.toml:3:14: list[1]: expected a text in quotes, found an integer",
                "a.toml:3:17: list[2]: \"x\": invalid digit found in string",
                "a.toml:4:1: b[0].n: this key is missing",
                "a.toml:6:5: b[1].n: expected an integer, found a text",
                "a.toml:7:1: b[1].zzz: unknown key; known here: n",
            ]
        );
    }

    #[test]
    fn broken_toml_is_a_mistake_too() {
        let told = mistakes("a = \nb = 1\nb = 2\n", |_| Some(()));
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[0].starts_with("a.toml:1:5: "), "{told:?}");
        assert_eq!(told[1], "a.toml:3:1: duplicate key");
    }

    #[test]
    fn dates_need_an_offset() {
        let text = "a = 2026-11-21T09:00:00Z\nb = 2026-11-21T10:00:00.5+01:00\nc = 2026-11-21T09:00:00\nd = 1899-01-01T00:00:00Z\ne = 09:00:00\n";
        let told = mistakes(text, |s| {
            let (a, b) = (s.time("a")?, s.optional_time("b")?);
            assert_eq!(a.to_string(), "2026-11-21T09:00:00.000Z");
            assert_eq!(b.to_string(), "2026-11-21T09:00:00.500Z");
            s.time("c");
            s.time("d");
            s.time("e")?;
            Some(())
        });
        assert_eq!(
            told,
            [
                "a.toml:3:5: c: 2026-11-21T09:00:00 has no offset: add Z or an offset, for example 2026-11-21T09:00:00Z",
                "a.toml:4:5: d: 1899-01-01T00:00:00Z is outside the years 1970 to 2200",
                "a.toml:5:5: e: 09:00:00 is not a whole date: write it as 2026-11-21T09:00:00Z",
            ]
        );
    }

    #[test]
    fn semantic_mistakes_point_at_the_value_they_name() {
        let told = mistakes("list = [\"a\",\n \"b\"]\n[s]\nk = 1\n", |s| {
            s.texts::<String>("list");
            s.mistake("list[1]", "not this one");
            s.mistake("absent", "would be needed");
            s.section("s", |s| {
                s.int("k", 0..=9_u8);
                s.mistake("k", "nor this one");
                Some(())
            })
        });
        assert_eq!(
            told,
            [
                "a.toml:1:1: absent: would be needed",
                "a.toml:2:2: list[1]: not this one",
                "a.toml:4:5: s.k: nor this one"
            ]
        );
    }

    #[test]
    fn defaults_hold_only_for_what_is_absent() {
        let value = read(Path::new("/etc/d/a.toml"), "p = \"x/y\"\nz.b = \"2\"\nz.a = \"1\"", |s| {
            assert!(s.flag_or("f", true));
            assert_eq!(s.text_or("t", 7_u8), 7);
            assert_eq!(s.ints_or("i", 1..=9_u8, &[3]), [3]);
            assert!(s.texts_or_empty::<String>("l").is_empty());
            assert_eq!(s.optional_int("o", 1..=9_u8), None);
            assert_eq!(s.optional_section("none", |_| Some(())), None);
            let zones =
                s.section("z", |s| Some(s.keys().iter().map(|k| s.text::<u8>(k)).collect::<Vec<_>>()));
            assert_eq!(zones, Some(vec![Some(2), Some(1)]), "in the order of the file");
            s.path("p")
        });
        assert_eq!(value, Ok("/etc/d/x/y".into()));
    }

    #[test]
    fn a_walker_that_gives_up_without_a_reason_is_refused() {
        let told = mistakes("", |_| None);
        assert_eq!(told, ["a.toml:1:1: refused without a reason: please report this as a bug"]);
    }

    #[test]
    fn times_and_durations_stand_alone_as_well() {
        assert_eq!(time("1970-01-01T00:00:01Z"), Ok(Timestamp::from_millis(1000)));
        assert_eq!(duration("10m"), Ok(Duration::from_secs(600)));
        assert!(time("tomorrow").is_err() && time("7").is_err() && duration("10").is_err());
    }

    #[test]
    fn a_peek_sees_through_mistakes() {
        let text = "[gateway]\nstate = \"var\"\nunknown = 1\nlisten = [\n[policy]\n";
        assert_eq!(peek(text, "gateway", "state").as_deref(), Some("var"));
        assert_eq!(peek(text, "gateway", "absent"), None);
        assert_eq!(peek("", "gateway", "state"), None);
    }

    proptest! {
        #[test]
        fn no_text_stops_the_reader(text in "([a-c\\[\\]{}=.,\"'0-9:#TZü \n-]|a = |\\[\\[b\\]\\]\n){0,40}") {
            let result = read(Path::new("a.toml"), &text, |s| {
                s.optional_text::<u8>("a");
                s.optional_time("a");
                s.ints_or("a", 0..=9_u8, &[]);
                s.mistake("a[1]", "not this one");
                s.sections("b", |s| s.int("c", 0..=9_i64));
                s.optional_section("c", |s| Some(s.keys()))
            });
            prop_assert!(result.is_err());
        }
    }
}
