//! Request targets: what is refused, what is normalised, and every way a server may read the rest.
//! It does not decide, and it never looks at the query beyond keeping it.
//! Always true: the first reading is the path that is forwarded, and no reading has a dot segment.

use crate::config::PathMode;

/// Why a request target is refused; `Display` is for the person who sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Neither a path nor an absolute URL.
    #[error("the request target is not a path")]
    NotAPath,
    /// `.` or `..` in any spelling.
    #[error("the path has a dot segment")]
    DotSegment,
    /// NUL or another control character, raw or escaped.
    #[error("the path has a control character")]
    Control,
    /// A byte above 0x7f that is not escaped.
    #[error("the request target has characters that must be escaped")]
    NotAscii,
    /// `\`, raw or escaped.
    #[error("the path has a backslash")]
    Backslash,
    /// `#`.
    #[error("the request target has a fragment")]
    Fragment,
    /// `%` without two hexadecimal digits.
    #[error("the path has a broken escape")]
    BrokenEscape,
    /// A character hidden in a longer UTF-8 form than it needs.
    #[error("the path has an overlong UTF-8 sequence")]
    Overlong,
    /// More than one reading, where the app takes one only.
    #[error("the path can be read in more than one way, and this app takes unambiguous paths only")]
    Ambiguous,
}

/// A request target that passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    /// Every reading, the forwarded one first; never empty.
    pub readings: Vec<String>,
    /// What goes to the app: the first reading and the query as it was sent.
    pub forward: String,
}

impl Path {
    /// The path as it is forwarded.
    pub fn as_str(&self) -> &str {
        self.readings.first().map_or("/", String::as_str)
    }
}

/// Reads a request target by the rules of `mode`.
pub fn read(target: &[u8], mode: PathMode) -> Result<Path, PathError> {
    let target = origin_form(target)?;
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target.as_str(), None),
    };
    let normal = normalise(path)?;
    refuse_overlong(&decode(normal.as_bytes()))?;
    refuse_dots(&normal)?;
    let first = match mode {
        PathMode::Verbatim => path.to_owned(),
        PathMode::Standard | PathMode::Strict => normal.clone(),
    };
    let readings = readings(first.clone(), &normal);
    if mode == PathMode::Strict && (readings.len() > 1 || normal.contains("%25")) {
        return Err(PathError::Ambiguous);
    }
    let forward = query.map_or(first.clone(), |query| format!("{first}?{query}"));
    Ok(Path { readings, forward })
}

/// The target without scheme and authority, if all its bytes may be there.
fn origin_form(target: &[u8]) -> Result<String, PathError> {
    if target.contains(&b'#') {
        return Err(PathError::Fragment);
    }
    if target.iter().any(|byte| byte.is_ascii_control() || *byte == b' ') {
        return Err(PathError::Control);
    }
    let text = std::str::from_utf8(target).ok().filter(|text| text.is_ascii()).ok_or(PathError::NotAscii)?;
    if text.starts_with('/') {
        return Ok(text.to_owned());
    }
    let (scheme, rest) = text.split_once("://").ok_or(PathError::NotAPath)?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return Err(PathError::NotAPath);
    }
    match rest.find(['/', '?']).and_then(|at| rest.get(at..)) {
        Some(path) if path.starts_with('/') => Ok(path.to_owned()),
        Some(query) => Ok(format!("/{query}")),
        None => Ok("/".to_owned()),
    }
}

/// Upper-case escapes, and none for characters that never need one (RFC 3986 §6.2.2).
fn normalise(path: &str) -> Result<String, PathError> {
    let mut out = String::with_capacity(path.len());
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'\\' {
            return Err(PathError::Backslash);
        }
        if byte != b'%' {
            out.push(char::from(byte));
            continue;
        }
        let escaped = escaped(rest.next(), rest.next()).ok_or(PathError::BrokenEscape)?;
        match escaped {
            b'\\' => return Err(PathError::Backslash),
            control if control.is_ascii_control() => return Err(PathError::Control),
            plain if is_unreserved(plain) => out.push(char::from(plain)),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    Ok(out)
}

fn escaped(high: Option<u8>, low: Option<u8>) -> Option<u8> {
    let high = char::from(high?).to_digit(16)?;
    let low = char::from(low?).to_digit(16)?;
    u8::try_from(high * 16 + low).ok()
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// One round of unescaping; a `%` that escapes nothing stays.
fn decode(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, tail)) = rest.split_first() {
        let pair = (tail.first().copied(), tail.get(1).copied());
        match escaped(pair.0, pair.1).filter(|_| *first == b'%') {
            Some(byte) => {
                out.push(byte);
                rest = tail.get(2..).unwrap_or_default();
            }
            None => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    out
}

/// `%C0%AE` is a dot and `%C0%AF` a slash to a careless decoder.
fn refuse_overlong(bytes: &[u8]) -> Result<(), PathError> {
    let overlong = bytes
        .windows(2)
        .any(|pair| matches!(pair, [0xc0 | 0xc1, 0x80..=0xbf] | [0xe0, 0x80..=0x9f] | [0xf0, 0x80..=0x8f]));
    if overlong { Err(PathError::Overlong) } else { Ok(()) }
}

/// Looks through two rounds of unescaping, with both kinds of slash, parameters stripped: no
/// server that unescapes once more than it should may find its way up.
fn refuse_dots(normal: &str) -> Result<(), PathError> {
    let once = decode(normal.as_bytes());
    let twice = decode(&once);
    let dotted = [normal.as_bytes(), &once, &twice].into_iter().any(|text| {
        text.split(|byte| matches!(byte, b'/' | b'\\')).any(|segment| {
            let name = segment.split(|byte| *byte == b';').next().unwrap_or_default();
            matches!(name, b"." | b"..")
        })
    });
    if dotted { Err(PathError::DotSegment) } else { Ok(()) }
}

/// `first` as it goes out, then every other way to read `normal`: with escaped slashes as slashes,
/// runs of slashes as one, and parameters left off.
fn readings(first: String, normal: &str) -> Vec<String> {
    let slashed = normal.replace("%2F", "/");
    let mut found = vec![first];
    for text in [normal, &slashed] {
        for text in [text.to_owned(), without_parameters(text)] {
            for text in [merged(&text), text] {
                if !found.contains(&text) {
                    found.push(text);
                }
            }
        }
    }
    found
}

fn merged(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for part in path.chars() {
        if part != '/' || !out.ends_with('/') {
            out.push(part);
        }
    }
    out
}

fn without_parameters(path: &str) -> String {
    let segments = path.split('/').map(|segment| {
        let literal = segment.split(';').next().unwrap_or_default();
        literal.split("%3B").next().unwrap_or_default()
    });
    segments.collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{PathError::*, *};

    const REFUSED: &[(&[u8], PathError)] = &[
        (b"/a/../b", DotSegment),
        (b"/..", DotSegment),
        (b"/./a", DotSegment),
        (b"/a/.", DotSegment),
        (b"/%2e%2e/a", DotSegment),
        (b"/.%2E/a", DotSegment),
        (b"/a/..;x=1/b", DotSegment),
        (b"/a/..%3bx/b", DotSegment),
        (b"/a/..%2fb", DotSegment),
        (b"/a%2f%2e%2e%2fb", DotSegment),
        (b"/%252e%252e/b", DotSegment),
        (b"/a/..%252fb", DotSegment),
        (b"/a/..%255cb", DotSegment),
        (b"/a%00", Control),
        (b"/a%0d%0aX: y", Control),
        (b"/a%0d%0aX:y", Control),
        (b"/a%7f", Control),
        (b"/a\tb", Control),
        (b"/a\\b", Backslash),
        (b"/a%5Cb", Backslash),
        (b"/a%5cb", Backslash),
        (b"/a#b", Fragment),
        (b"/a?b#c", Fragment),
        (b"/%", BrokenEscape),
        (b"/%4", BrokenEscape),
        (b"/%zz", BrokenEscape),
        (b"/%u002e", BrokenEscape),
        (b"/%+4", BrokenEscape),
        ("/ü".as_bytes(), NotAscii),
        (b"/a?\xff", NotAscii),
        (b"/%c0%ae%c0%ae/", Overlong),
        (b"/%e0%80%af", Overlong),
        (b"*", NotAPath),
        (b"", NotAPath),
        (b"a/b", NotAPath),
        (b"ftp://a/b", NotAPath),
        (b"host:80", NotAPath),
    ];

    fn standard(target: &str) -> Result<Path, PathError> {
        read(target.as_bytes(), PathMode::Standard)
    }

    #[test]
    fn refuses_in_every_mode() {
        for (target, expected) in REFUSED {
            for mode in [PathMode::Standard, PathMode::Strict, PathMode::Verbatim] {
                assert_eq!(read(target, mode), Err(*expected), "{}", target.escape_ascii());
            }
        }
    }

    #[test]
    fn normalises_what_means_the_same() {
        for (sent, forwarded) in [
            ("/a%7Eb%2da", "/a~b-a"),
            ("/caf%c3%a9", "/caf%C3%A9"),
            ("http://wiki.corp.example/a?b", "/a?b"),
            ("http://wiki.corp.example", "/"),
            ("http://wiki.corp.example?q", "/?q"),
            ("/a?x=%2e%2E/..", "/a?x=%2e%2E/.."),
            ("/a?", "/a?"),
            ("/.well-known/...", "/.well-known/..."),
        ] {
            assert_eq!(standard(sent).expect(sent).forward, forwarded, "{sent}");
        }
    }

    #[test]
    fn leaves_alone_what_apps_need() {
        for path in [
            "/api/v4/projects/group%2Fproject",
            "/api/queues/%2F/jobs",
            "/bucket/a%252Fb//c",
            "/job/x;y=1/",
            "/Case/Stays/",
        ] {
            let read = standard(path).expect(path);
            assert_eq!((read.forward.as_str(), read.as_str()), (path, path));
        }
    }

    #[test]
    fn lists_every_reading() {
        let readings = |path| standard(path).expect(path).readings;
        assert_eq!(readings("/a/b"), ["/a/b"]);
        assert_eq!(readings("/a%2fb"), ["/a%2Fb", "/a/b"]);
        assert_eq!(readings("/a//b"), ["/a//b", "/a/b"]);
        assert_eq!(readings("/x%2F/b"), ["/x%2F/b", "/x/b", "/x//b"]);
        assert_eq!(readings("/admin;v=1/b"), ["/admin;v=1/b", "/admin/b"]);
    }

    #[test]
    fn verbatim_forwards_the_very_bytes_and_still_reads_them_normalised() {
        let path = read(b"/b/%7e%2f?X-Sig=a%2f", PathMode::Verbatim).expect("a path");
        assert_eq!(path.forward, "/b/%7e%2f?X-Sig=a%2f");
        assert_eq!(path.readings, ["/b/%7e%2f", "/b/~%2F", "/b/~/"]);
    }

    #[test]
    fn strict_takes_one_reading_only() {
        for path in ["/a%2Fb", "/a//b", "/a;b", "/a%3Bb", "/a%252Fb"] {
            assert_eq!(read(path.as_bytes(), PathMode::Strict), Err(PathError::Ambiguous), "{path}");
        }
        assert!(read(b"/a/b%20c?x//y;z", PathMode::Strict).is_ok());
    }

    fn nasty() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            prop::sample::select(vec![
                "/", "//", ".", "..", "%2e", "%2E", "%2f", "%2F", "%5c", "%25", "%252e", "%252f", ";", "%3b",
                "%00", "a", "Z", "~", "%7e", "%c3%a9", "%c0%ae", "?", "#", "\\", "%", "=", "+", "%41",
            ])
            .prop_map(str::to_owned),
            "[ -~]{0,3}",
        ];
        prop::collection::vec(piece, 0..12).prop_map(|pieces| format!("/{}", pieces.concat()))
    }

    /// What sloppy servers make of a path before they look up a resource.
    fn sloppy(path: &str) -> Vec<String> {
        let decoded = String::from_utf8_lossy(&decode(path.as_bytes())).into_owned();
        let bare = without_parameters(&decoded);
        vec![decoded.clone(), merged(&decoded), bare.clone(), merged(&bare)]
    }

    proptest! {
        #[test]
        fn what_is_decided_is_what_is_forwarded(target in nasty()) {
            for mode in [PathMode::Standard, PathMode::Strict, PathMode::Verbatim] {
                let Ok(path) = read(target.as_bytes(), mode) else { continue };
                let sent = path.forward.split('?').next().expect("a path");
                prop_assert_eq!(sent, path.as_str());
                prop_assert!(path.readings.iter().all(|reading| reading.starts_with('/') && !reading.contains('?')));
                prop_assert!(path.forward.bytes().all(|byte| byte.is_ascii_graphic()));
                for view in sloppy(path.as_str()) {
                    prop_assert!(!view.split(['/', '\\']).any(|part| part == "." || part == ".."), "{}", view);
                }
            }
        }

        #[test]
        fn reading_twice_changes_nothing(target in nasty()) {
            if let Ok(path) = standard(&target) {
                prop_assert_eq!(standard(&path.forward), Ok(path.clone()));
                prop_assert_eq!(path.readings.first().map(String::as_str), Some(path.as_str()));
            }
        }

        #[test]
        fn a_server_that_decodes_slashes_or_merges_or_strips_finds_a_decided_reading(target in nasty()) {
            let Ok(path) = standard(&target) else { return Ok(()) };
            let slashed = path.as_str().replace("%2F", "/");
            for view in [merged(path.as_str()), slashed.clone(), merged(&slashed), without_parameters(&slashed)] {
                prop_assert!(path.readings.contains(&view), "{} not in {:?}", view, path.readings);
            }
        }

        #[test]
        fn never_panics(target in prop::collection::vec(any::<u8>(), 0..64)) {
            for mode in [PathMode::Standard, PathMode::Strict, PathMode::Verbatim] {
                let _ = read(&target, mode);
            }
        }
    }
}
