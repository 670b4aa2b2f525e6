//! How the answer looks to a person: a topic each for device, session, what is open, the last
//! refusal. It asks nothing and prints nothing.
//! Always true: lines fit 80 columns, unless a single word does not.

use super::{
    answer::{Answer, Open, Reason, Refusal, Session, State},
    text::{Text, folded},
    when::{Clock, Zone},
};

/// The whole answer.
pub fn page(answer: &Answer, zone: Zone) -> String {
    let clock = Clock { now: answer.now, zone };
    let topics = [
        ("Device", vec![device(answer)]),
        ("Session", session(answer, clock)),
        ("Open", open(answer, clock)),
        ("Last refusal", last_refusal(answer, clock)),
    ];
    let topics = topics.map(|(heading, lines)| {
        let lines: String = lines.iter().map(|line| folded(&format!("  {line}"))).collect();
        format!("{heading}\n{lines}")
    });
    topics.join("\n")
}

/// Who this is.
pub fn device(answer: &Answer) -> String {
    format!("{}, of {}", answer.device, answer.owner)
}

/// Whether somebody is signed in, until when, and what to do if not.
pub fn session(answer: &Answer, clock: Clock) -> Vec<String> {
    let mut lines = match &answer.session {
        None if answer.sign_in_needed => vec!["not signed in".to_owned()],
        None => vec!["no sign-in is needed".to_owned()],
        Some(session) => signed_in(session, clock),
    };
    if answer.sign_in_needed {
        lines.push(match &answer.door {
            Some(door) => format!("Sign in at {door}"),
            None => "Sign in; your administrator knows where".to_owned(),
        });
    }
    lines
}

fn signed_in(session: &Session, clock: Clock) -> Vec<String> {
    let state = match session.state {
        State::Active => "signed in as",
        State::Suspended => "SUSPENDED: signed in as",
    };
    let Session { user, since, expires, .. } = session;
    let mut lines =
        vec![format!("{state} {user} since {}, until {}", clock.at(*since), clock.ahead(*expires))];
    lines.extend(session.why.as_ref().map(|why| format!("  Why: {why}")));
    lines
}

fn open(answer: &Answer, clock: Clock) -> Vec<String> {
    if answer.open.is_empty() {
        return vec!["nothing".to_owned()];
    }
    let lines =
        |open: &Open| [thing(open), format!("  since {}, {}", clock.at(open.since), until(open, clock))];
    answer.open.iter().flat_map(lines).collect()
}

/// `app/db (db.corp.example:5432)`.
pub fn thing(open: &Open) -> String {
    format!("{} ({})", open.resource, open.to)
}

/// `until 17:00, in 2 h 10 min: the session ends`.
pub fn until(open: &Open, clock: Clock) -> String {
    let why = open.why_until.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
    match open.until {
        Some(until) => format!("until {}{why}", clock.ahead(until)),
        None => format!("with no end set{why}"),
    }
}

fn last_refusal(answer: &Answer, clock: Clock) -> Vec<String> {
    let Some(refusal) = &answer.last_refusal else { return vec!["none".to_owned()] };
    let mut lines = vec![format!("{}, {}", refusal.to, clock.ago(refusal.at))];
    lines.extend(reasons(refusal, answer.door.as_ref()));
    lines
}

/// Why something was refused, and what helps.
pub fn reasons(refusal: &Refusal, door: Option<&Text>) -> Vec<String> {
    let mut lines: Vec<String> = refusal.reasons.iter().flat_map(reason).collect();
    if refusal.step_up {
        let place = door.map(|door| format!(": {door}")).unwrap_or_default();
        lines.push(format!("Signing in anew helps{place}"));
    }
    lines
}

fn reason(reason: &Reason) -> Vec<String> {
    let rule = reason.rule.as_ref().map(|rule| format!(" [{rule}]")).unwrap_or_default();
    let mut lines = vec![format!("- {}{rule}", reason.text)];
    lines.extend(reason.conditions.iter().map(|condition| format!("    {condition}")));
    lines.extend(reason.remedy.as_ref().map(|remedy| format!("    What helps: {remedy}")));
    lines
}
