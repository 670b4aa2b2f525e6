//! What a policy's `@step_up` asks of a person: to prove anew who they are.
//! It does not know whether that would help; `appeal` does.
//! Always true: a step-up that was read asks for something, and only for what a provider can be asked for.

use std::time::Duration;

use protocol::time::Timestamp;
use serde::{Serialize, Serializer};

use crate::{
    cedar::{self, Plain},
    facts::Session,
};

/// How to write one.
pub(crate) const HELP: &str =
    r#"write @step_up("max_age=15m"), @step_up("acr=mfa") or @step_up("max_age=15m acr=mfa")"#;
/// It goes into an address.
const MAX_ACR: usize = 128;

/// What a person can do about a denial: sign in again. It asks for what OpenID Connect can ask a provider for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize)]
pub struct StepUp {
    /// How long ago they may have proven who they are; whole seconds, at least one.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "seconds")]
    pub max_age: Option<Duration>,
    /// How strong that must have been, in the provider's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acr: Option<String>,
}

impl StepUp {
    /// What of a session is certain once this was followed at `now`: it is new, and bears what was asked for.
    /// What was not asked for stays as it was in `session`. It lasts as long as any, which its caller knows better.
    pub fn renewed(&self, session: Option<&Session>, now: Timestamp) -> Session {
        Session {
            at: now,
            expires: Timestamp::MAX,
            auth_time: self.max_age.map(|_| now).or(session.and_then(|session| session.auth_time)),
            amr: session.map(|session| session.amr.clone()).unwrap_or_default(),
            acr: self.acr.clone().or_else(|| session.and_then(|session| session.acr.clone())),
        }
    }

    /// One that is both; none if they ask for different strengths, of which nobody knows the greater.
    pub(crate) fn and(&self, other: &Self) -> Option<Self> {
        let ages = [self.max_age, other.max_age];
        let acr = match (&self.acr, &other.acr) {
            (Some(ours), Some(theirs)) if ours != theirs => return None,
            (ours, theirs) => ours.as_ref().or(theirs.as_ref()).cloned(),
        };
        Some(Self { max_age: ages.into_iter().flatten().min(), acr })
    }
}

/// Reads what stands in an annotation.
pub(crate) fn read(text: &str) -> Result<StepUp, String> {
    let mut step_up = StepUp::default();
    for word in text.split_whitespace() {
        match word.split_once('=') {
            Some(("max_age", _)) if step_up.max_age.is_some() => return Err("max_age is there twice".into()),
            Some(("acr", _)) if step_up.acr.is_some() => return Err("acr is there twice".into()),
            Some(("max_age", span)) => step_up.max_age = Some(max_age(span)?),
            Some(("acr", name)) => step_up.acr = Some(acr(name)?),
            Some(_) | None => return Err(format!("{word:?} is neither max_age=… nor acr=…")),
        }
    }
    if step_up == StepUp::default() {
        return Err("it asks for nothing".into());
    }
    Ok(step_up)
}

/// As in `duration("…")`; providers count in seconds.
fn max_age(text: &str) -> Result<Duration, String> {
    let Some(Plain::Span(millis)) = cedar::literal("duration", text) else {
        return Err(format!("{text:?} is no duration, such as 15m, 8h or 1h30m"));
    };
    match u64::try_from(millis) {
        Ok(millis) if millis >= 1000 && millis % 1000 == 0 => Ok(Duration::from_millis(millis)),
        Ok(_) | Err(_) => Err(format!("{text:?} is not a whole number of seconds, of at least one")),
    }
}

fn acr(name: &str) -> Result<String, String> {
    if name.is_empty() || name.len() > MAX_ACR || !name.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(format!("an acr has 1 to {MAX_ACR} letters, digits and signs of ASCII"));
    }
    Ok(name.to_owned())
}

fn seconds<S: Serializer>(span: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
    span.map(|span| span.as_secs()).serialize(to)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step_up(seconds: u64, acr: &str) -> StepUp {
        StepUp {
            max_age: (seconds > 0).then(|| Duration::from_secs(seconds)),
            acr: (!acr.is_empty()).then(|| acr.to_owned()),
        }
    }

    #[test]
    fn age_and_strength_are_read_in_any_order() {
        assert_eq!(read("max_age=15m"), Ok(step_up(900, "")));
        assert_eq!(read("acr=urn:mace:silver"), Ok(step_up(0, "urn:mace:silver")));
        assert_eq!(read(" acr=mfa  max_age=1h30m "), Ok(step_up(5400, "mfa")));
    }

    #[test]
    fn what_cannot_be_asked_for_is_refused() {
        for (text, why) in [
            ("", "nothing"),
            ("  ", "nothing"),
            ("fresh", "\"fresh\" is neither"),
            ("age=15m", "\"age=15m\" is neither"),
            ("max_age", "neither"),
            ("max_age=", "no duration"),
            ("max_age=15", "no duration"),
            ("max_age=0s", "whole number of seconds"),
            ("max_age=-15m", "whole number of seconds"),
            ("max_age=1500ms", "whole number of seconds"),
            ("max_age=1m max_age=2m", "max_age is there twice"),
            ("acr=a acr=a", "acr is there twice"),
            ("acr=", "an acr has"),
            ("acr=stärker", "an acr has"),
        ] {
            let refused = read(text).unwrap_err();
            assert!(refused.contains(why), "{text}: {refused}");
        }
        assert!(read(&format!("acr={}", "a".repeat(MAX_ACR))).is_ok());
        assert!(read(&format!("acr={}", "a".repeat(MAX_ACR + 1))).is_err());
    }

    #[test]
    fn both_are_the_younger_age_and_the_one_strength() {
        assert_eq!(step_up(900, "").and(&step_up(60, "mfa")), Some(step_up(60, "mfa")));
        assert_eq!(step_up(0, "mfa").and(&step_up(60, "mfa")), Some(step_up(60, "mfa")));
        assert_eq!(step_up(0, "mfa").and(&step_up(60, "pin")), None);
    }

    #[test]
    fn what_is_not_asked_for_stays() {
        let then = Session {
            at: Timestamp::from_millis(1),
            expires: Timestamp::from_millis(2),
            auth_time: Some(Timestamp::MIN),
            amr: ["pwd".to_owned()].into(),
            acr: Some("low".to_owned()),
        };
        let now = Timestamp::from_millis(5000);
        let fresh = step_up(60, "").renewed(Some(&then), now);
        assert_eq!((fresh.at, fresh.auth_time, fresh.acr.as_deref()), (now, Some(now), Some("low")));
        assert!(fresh.expires > now && fresh.amr == then.amr);
        let strong = step_up(0, "mfa").renewed(Some(&then), now);
        assert_eq!((strong.auth_time, strong.acr.as_deref()), (then.auth_time, Some("mfa")));
        assert_eq!(step_up(0, "mfa").renewed(None, now).auth_time, None);
    }
}
