//! What is worth saying of one answer after another, and when to ask for the next.
//! It asks nothing, prints nothing and reads no clock.
//! Always true: the end of a thing is warned of once, by the gateway's clock, ten minutes ahead.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use chrono::TimeDelta;

use super::{
    answer::{Answer, Open},
    page,
    text::{Text, folded},
    when::{Clock, Moment, Zone},
};

/// How long before its end a thing is warned of.
const AHEAD: TimeDelta = TimeDelta::minutes(10);

/// For how long the gateway may keep a question until something changes.
const LONGEST_WAIT: u64 = 25;

/// How often a gateway is asked that cannot wait.
const EVERY: Duration = Duration::from_secs(5);

/// How long a gateway is left alone that did not answer: it may be restarting.
pub const AFTER_SILENCE: Duration = Duration::from_secs(2);

/// Between an answer and the next question at least: a gateway in haste does not make us so.
const BREATH: Duration = Duration::from_millis(100);

/// Warnings we remember; of more, those of the earliest ends are forgotten.
const MOST_WARNED: usize = 4096;

/// A question that may wait for its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Poll {
    /// The version we know.
    pub since: u64,
    /// Seconds.
    pub wait: u64,
}

/// A warning that was given. Ordered by its time first.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Ending {
    until: Moment,
    resource: Text,
    to: Text,
}

/// What was heard and said so far.
#[derive(Debug, Default)]
pub struct Watch {
    last: Option<Answer>,
    warned: BTreeSet<Ending>,
}

impl Watch {
    /// Takes an answer, and gives what to print: all of the first, then what changed.
    pub fn heard(&mut self, answer: Answer, zone: Zone) -> String {
        let clock = Clock { now: answer.now, zone };
        let mut out = match &self.last {
            None => page::page(&answer, zone),
            Some(last) => changes(last, &answer, clock),
        };
        for warning in self.warnings(&answer, clock) {
            out += &warning;
            out.push('\n');
        }
        self.last = Some(answer);
        out
    }

    fn warnings(&mut self, answer: &Answer, clock: Clock) -> Vec<String> {
        self.warned.retain(|ending| ending.until > answer.now);
        let mut warnings = Vec::new();
        for open in &answer.open {
            let Some(until) = open.until else { continue };
            let left = until.since(answer.now);
            let due = left > TimeDelta::zero() && left <= AHEAD;
            if due && self.warned.insert(ending(open, until)) {
                let renew = answer.door.as_ref().map(|door| format!(": renew at {door}")).unwrap_or_default();
                warnings.push(format!(
                    "WARNING: {} ends at {}{renew}",
                    page::thing(open),
                    clock.ahead(until)
                ));
            }
        }
        while self.warned.len() > MOST_WARNED {
            self.warned.pop_first();
        }
        warnings
    }

    /// What to ask next: of a gateway that can wait, for no longer than until the next warning.
    pub fn question(&self) -> Poll {
        let Some((answer, since)) = self.last.as_ref().and_then(|last| Some((last, last.version?))) else {
            return Poll { since: 0, wait: 0 };
        };
        let until_warning = |open: &Open| Some(open.until?.since(answer.now) - AHEAD);
        let next =
            answer.open.iter().filter_map(until_warning).filter(|left| *left > TimeDelta::zero()).min();
        let seconds =
            next.and_then(|left| u64::try_from(left.num_milliseconds()).ok()).map(|ms| ms.div_ceil(1000));
        Poll { since, wait: seconds.map_or(LONGEST_WAIT, |seconds| seconds.min(LONGEST_WAIT)) }
    }

    /// How long to leave the gateway alone after its answer to `asked`, which took this long.
    pub fn pause(&self, asked: Poll, took: Duration) -> Duration {
        match self.last.as_ref().and_then(|last| last.version) {
            None => EVERY,
            // Nothing new before its time: then the waiting is ours.
            Some(version) if version == asked.since => {
                Duration::from_secs(asked.wait).saturating_sub(took).clamp(BREATH, EVERY)
            }
            Some(_) => BREATH,
        }
    }
}

fn ending(open: &Open, until: Moment) -> Ending {
    Ending { until, resource: open.resource.clone(), to: open.to.clone() }
}

fn changes(last: &Answer, answer: &Answer, clock: Clock) -> String {
    let mut events = Vec::new();
    if (&last.device, &last.owner) != (&answer.device, &answer.owner) {
        events.push(vec![format!("this device is now {}", page::device(answer))]);
    }
    if (&last.session, last.sign_in_needed) != (&answer.session, answer.sign_in_needed) {
        events.push(page::session(answer, clock));
    }
    events.extend(opened_and_closed(last, answer, clock).map(|line| vec![line]));
    if let Some(refusal) = answer.last_refusal.as_ref().filter(|_| last.last_refusal != answer.last_refusal) {
        let mut event = vec![format!("refused: {}", refusal.to)];
        event.extend(page::reasons(refusal, answer.door.as_ref()));
        events.push(event);
    }
    let time = clock.at(answer.now);
    let line = |(index, line): (usize, &String)| {
        folded(&if index == 0 { format!("{time} {line}") } else { format!("      {line}") })
    };
    events.iter().flat_map(|event| event.iter().enumerate().map(line)).collect()
}

fn opened_and_closed(last: &Answer, answer: &Answer, clock: Clock) -> impl Iterator<Item = String> {
    let (before, after) = (by_name(&last.open), by_name(&answer.open));
    let mut lines = Vec::new();
    for (name, open) in &before {
        if !after.contains_key(name) {
            lines.push(format!("closed: {}", page::thing(open)));
        }
    }
    for (name, open) in &after {
        match before.get(name) {
            None => lines.push(format!("open: {}, {}", page::thing(open), page::until(open, clock))),
            Some(old) if old.until != open.until => {
                lines.push(format!("still open: {}, {}", page::thing(open), page::until(open, clock)));
            }
            Some(_) => {}
        }
    }
    lines.into_iter()
}

/// Of several with one name, the one that ends first speaks for all.
fn by_name(open: &[Open]) -> BTreeMap<(&Text, &Text), &Open> {
    let mut things: BTreeMap<(&Text, &Text), &Open> = BTreeMap::new();
    for open in open {
        let thing = things.entry((&open.resource, &open.to)).or_insert(open);
        if open.until.is_some_and(|until| thing.until.is_none_or(|first| until < first)) {
            *thing = open;
        }
    }
    things
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// An answer at a time of one day, with something in it changed.
    fn at(now: &str, change: Value) -> Answer {
        let mut answer = json!({
            "now": format!("2026-11-22T{now}Z"), "device": "ada-laptop", "owner": "corp/ada",
            "door": "https://door.corp.example/", "session": null, "sign_in_needed": false,
            "open": [db("10:30:00")], "last_refusal": null, "version": 7,
        });
        for (key, value) in change.as_object().unwrap() {
            answer[key] = value.clone();
        }
        Answer::read(&answer.to_string()).unwrap()
    }

    fn db(until: &str) -> Value {
        json!({"resource": "app/db", "to": "db.corp.example:5432", "since": "2026-11-22T09:50:00Z",
               "until": format!("2026-11-22T{until}Z"), "why_until": "the session ends"})
    }

    fn heard(watch: &mut Watch, answer: Answer) -> String {
        watch.heard(answer, |time| time.fixed_offset())
    }

    const WARNING: &str = "WARNING: app/db (db.corp.example:5432) ends at 10:30, in 10 min: renew at \
                           https://door.corp.example/\n";

    #[test]
    fn the_end_of_a_thing_is_warned_of_once_and_again_if_it_moved() {
        let mut watch = Watch::default();
        assert!(!heard(&mut watch, at("10:19:59.999", json!({}))).contains("WARNING"));
        assert_eq!(heard(&mut watch, at("10:20:00", json!({}))), WARNING);
        assert_eq!(heard(&mut watch, at("10:25:00", json!({}))), "");
        assert_eq!(
            heard(&mut watch, at("10:26:00", json!({"open": [db("11:00:00")]}))),
            "10:26 still open: app/db (db.corp.example:5432), until 11:00, in 34 min: the\n  session ends\n"
        );
        let moved = heard(&mut watch, at("10:55:00", json!({"open": [db("11:00:00")]})));
        assert!(moved.starts_with("WARNING") && moved.contains("ends at 11:00, in 5 min"), "{moved}");
        assert_eq!(heard(&mut watch, at("11:00:00", json!({"open": [db("11:00:00")]}))), "");
    }

    #[test]
    fn a_thing_opened_again_is_not_warned_of_again() {
        let mut watch = Watch::default();
        assert!(heard(&mut watch, at("10:20:00", json!({}))).ends_with(WARNING));
        heard(&mut watch, at("10:21:00", json!({"open": []})));
        let again = heard(&mut watch, at("10:22:00", json!({})));
        assert!(again.starts_with("10:22 open: app/db") && !again.contains("WARNING"), "{again}");
    }

    #[test]
    fn two_connections_to_one_thing_are_one_thing_that_ends_first() {
        let mut watch = Watch::default();
        let two = json!({"open": [db("12:00:00"), db("10:30:00"), db("10:30:00")]});
        let text = heard(&mut watch, at("10:20:00", two));
        assert_eq!(text.matches("WARNING").count(), 1, "{text}");
        assert_eq!(heard(&mut watch, at("10:20:01", json!({}))), "");
    }

    #[test]
    fn every_change_is_told() {
        let mut watch = Watch::default();
        heard(&mut watch, at("10:00:00", json!({"sign_in_needed": true, "open": []})));
        let session = json!({"state": "active", "user": "corp/ada", "since": "2026-11-22T10:01:00Z",
                             "expires": "2026-11-22T22:01:00Z", "why": null});
        let text = heard(&mut watch, at("10:01:00", json!({"session": session, "device": "ada-phone"})));
        assert_eq!(
            text,
            "10:01 this device is now ada-phone, of corp/ada\n\
             10:01 signed in as corp/ada since 10:01, until 22:01, in 12 h\n\
             10:01 open: app/db (db.corp.example:5432), until 10:30, in 29 min: the session\n  ends\n"
        );
        let refusal = json!({"at": "2026-11-22T10:02:00Z", "to": "app/wiki", "step_up": true, "reasons": [
            {"rule": "guard-disk", "text": "Disk off", "conditions": ["disk is missing"],
             "remedy": "Turn on LUKS"}]});
        let suspended = json!({"state": "suspended", "user": "corp/ada", "since": "2026-11-22T10:01:00Z",
                               "expires": "2026-11-22T22:01:00Z", "why": "the key is used twice"});
        let change = json!({"session": suspended, "sign_in_needed": true, "open": [], "last_refusal": refusal,
                            "device": "ada-phone"});
        assert_eq!(
            heard(&mut watch, at("10:02:00", change)),
            "10:02 SUSPENDED: signed in as corp/ada since 10:01, until 22:01, in 11 h 59 min\n\
             \x20       Why: the key is used twice\n\
             \x20     Sign in at https://door.corp.example/\n\
             10:02 closed: app/db (db.corp.example:5432)\n\
             10:02 refused: app/wiki\n\
             \x20     - Disk off [guard-disk]\n\
             \x20         disk is missing\n\
             \x20         What helps: Turn on LUKS\n\
             \x20     Signing in anew helps: https://door.corp.example/\n"
        );
    }

    #[test]
    fn a_gateway_that_can_wait_is_asked_to_until_the_next_warning() {
        let mut watch = Watch::default();
        assert_eq!(watch.question(), Poll { since: 0, wait: 0 });
        for (now, wait) in [("10:00:00", 25), ("10:19:35", 25), ("10:19:50.500", 10), ("10:20:00", 25)] {
            heard(&mut watch, at(now, json!({})));
            assert_eq!(watch.question(), Poll { since: 7, wait }, "{now}");
        }
        heard(&mut watch, at("10:21:00", json!({"version": null})));
        assert_eq!(watch.question(), Poll { since: 0, wait: 0 });
    }

    #[test]
    fn no_gateway_makes_us_ask_without_pause() {
        let second = Duration::from_secs(1);
        let mut watch = Watch::default();
        heard(&mut watch, at("10:00:00", json!({})));
        assert_eq!(watch.pause(Poll { since: 6, wait: 25 }, second), BREATH);
        assert_eq!(watch.pause(Poll { since: 7, wait: 25 }, second), EVERY);
        assert_eq!(watch.pause(Poll { since: 7, wait: 25 }, 24 * second), second);
        assert_eq!(watch.pause(Poll { since: 7, wait: 25 }, 26 * second), BREATH);
        heard(&mut watch, at("10:00:00", json!({"version": null})));
        assert_eq!(watch.pause(Poll { since: 0, wait: 0 }, second), EVERY);
    }

    #[test]
    fn what_was_warned_of_is_remembered_within_bounds() {
        let mut watch = Watch::default();
        for round in 0..3 {
            let thing = |number: u32| {
                let mut open = db("10:30:00");
                open["resource"] = format!("app/{round}-{number}").into();
                open
            };
            let open: Vec<Value> = (0..3000).map(thing).collect();
            heard(&mut watch, at("10:25:00", json!({"open": open})));
            assert!(watch.warned.len() <= MOST_WARNED);
        }
        heard(&mut watch, at("10:30:00", json!({})));
        assert!(watch.warned.is_empty());
    }
}
