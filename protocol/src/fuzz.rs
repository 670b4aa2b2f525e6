//! What `fuzz/` feeds with bytes, and what must hold for any of them: frames and configuration texts.
//! Part of no product: it is built for the fuzzer and for the tests that replay its corpus.

use std::{collections::BTreeMap, path::Path, time::Duration};

use crate::{
    config::{Section, read},
    id::AppId,
    join::Message,
    key::{LinkPin, WgKey},
    link::{Decoded, Frame, FrameError},
    target::{AllowRule, Target},
};

#[path = "../../fuzz/places.rs"]
mod places;

/// Bytes as they arrive on a link's stream.
///
/// What decodes is encoded into something that decodes to the same; a beginning of a frame asks for no
/// more than the frame has; and reading piece by piece, as asked for, finds the frames that are there.
/// The words of joining, which are the whole of a stream, come back the same as well.
pub fn frames(bytes: &[u8]) {
    let mut rest = bytes;
    let mut whole = Vec::new();
    let end = loop {
        match Frame::decode(rest) {
            Ok(Decoded::Frame(frame, taken)) => {
                beginnings_ask_for_the_rest(&rest[..taken]);
                let again = frame.encode();
                assert_eq!(Frame::decode(&again), Ok(Decoded::Frame(frame.clone(), again.len())));
                whole.push(frame);
                rest = &rest[taken..];
            }
            Ok(Decoded::Missing(_)) => break None,
            Err(error) => break Some(error),
        }
    };
    assert_eq!(piecewise(bytes), (whole, end));
    if let Ok(message) = Message::decode(bytes) {
        assert_eq!(Message::decode(&message.encode()), Ok(message));
    }
}

fn beginnings_ask_for_the_rest(frame: &[u8]) {
    for cut in 0..frame.len() {
        match Frame::decode(&frame[..cut]) {
            Ok(Decoded::Missing(more)) => assert!((1..=frame.len() - cut).contains(&more), "{more} at {cut}"),
            other => panic!("{other:?} of {cut} bytes of {}", frame.len()),
        }
    }
}

/// Reads as both ends do: never more than was said to be missing.
fn piecewise(mut bytes: &[u8]) -> (Vec<Frame>, Option<FrameError>) {
    let (mut frames, mut buffer) = (Vec::new(), Vec::new());
    loop {
        match Frame::decode(&buffer) {
            Ok(Decoded::Frame(frame, taken)) => {
                assert_eq!(taken, buffer.len(), "nothing of the next frame was read");
                frames.push(frame);
                buffer.clear();
            }
            Ok(Decoded::Missing(more)) => {
                let Some((piece, rest)) = bytes.split_at_checked(more) else { return (frames, None) };
                buffer.extend_from_slice(piece);
                bytes = rest;
            }
            Err(error) => return (frames, Some(error)),
        }
    }
}

/// A configuration text, read by a walker that takes every key there is, as each of the types in turn.
///
/// It becomes a value, or a list of mistakes that all stand inside the text.
pub fn config(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Err(mistakes) = read(Path::new("a.toml"), text, |section| Some(explore(section, 0))) {
        places::are_in(text, mistakes.iter().map(|mistake| (mistake.line, mistake.column)));
    }
}

fn explore(section: &mut Section<'_>, depth: usize) -> BTreeMap<String, Option<String>> {
    let mut values = BTreeMap::new();
    for (nth, key) in section.keys().iter().enumerate() {
        let inner = |section: &mut Section<'_>| Some(format!("{:?}", explore(section, depth + 1)));
        let value = match (key.len() + nth + depth) % 14 {
            0 => section.text::<String>(key),
            1 => section.int(key, -5..=70_000_i64).map(|n| n.to_string()),
            2 => section.optional_section(key, inner),
            3 => section.sections(key, inner).pop(),
            4 => section.time(key).map(|time| time.to_string()),
            5 => Some(format!("{:?}", section.duration_or(key, Duration::ZERO))),
            6 => section.text::<Target>(key).map(|target| target.to_string()),
            7 => section.texts::<AllowRule>(key).map(|rules| format!("{rules:?}")),
            8 => section.text::<WgKey>(key).map(|key| key.to_string()),
            9 => section.text::<LinkPin>(key).map(|pin| pin.to_string()),
            10 => section.text::<AppId>(key).map(|id| id.to_string()),
            11 => section.flag(key).map(|flag| flag.to_string()),
            12 => section.ints(key, 0..=9_u8).map(|all| format!("{all:?}")),
            _ => {
                section.mistake(&format!("{key}[1]"), "not this one");
                section.path(key).map(|path| path.display().to_string())
            }
        };
        values.insert(key.clone(), value);
    }
    values
}

#[cfg(test)]
#[path = "../../fuzz/replay.rs"]
mod replay;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_of_frames_holds() {
        replay::corpus("frames", frames);
    }

    #[test]
    fn every_unit_of_config_holds() {
        replay::corpus("config", config);
    }
}
