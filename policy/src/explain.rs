//! Why no permit matched, in words a person can act on.
//! It decides nothing and names only policies whose scope the person and the resource are within.
//! Always true: a condition is named only if it is false when evaluated alone.

use protocol::time::Timestamp;

use crate::{
    cedar::{self, Comparison, Env, Expr, Plain, View},
    decision::{Reason, StepUp},
    rule::{Rule, conjuncts},
    zone::{DAY, HOUR, MINUTE},
};

/// More permits than these help nobody.
const MAX_PERMITS: usize = 3;

/// Why no permit among `candidates` matched, fewest failing conditions first. `who` is what the
/// principal is called; `step_up` knows what would help with a permit.
pub(crate) fn not_met<'a>(
    candidates: impl Iterator<Item = &'a Rule>,
    env: &Env,
    who: &'static str,
    step_up: impl Fn(&Rule) -> Option<StepUp>,
) -> Vec<Reason> {
    let reason = |(rule, conditions): (&Rule, Vec<String>)| Reason::NotMet {
        policy: rule.id.clone(),
        title: rule.words.title.clone(),
        conditions,
        advice: rule.words.advice.clone(),
        step_up: step_up(rule),
    };
    nearest(candidates, env, who).into_iter().map(reason).collect()
}

/// The permits among `candidates` that failed and what of each does, fewest first.
pub(crate) fn nearest<'a>(
    candidates: impl Iterator<Item = &'a Rule>,
    env: &Env,
    who: &'static str,
) -> Vec<(&'a Rule, Vec<String>)> {
    let mut failed: Vec<(&'a Rule, Vec<String>)> = candidates
        .filter(|rule| rule.permit)
        .filter_map(|rule| Some((rule, Words { env, who }.failing(rule.body.as_ref()?.expr()))))
        .filter(|(_, conditions)| !conditions.is_empty())
        .collect();
    // What is built in says the least.
    failed.sort_by_key(|(rule, conditions)| (rule.is_built_in(), conditions.len(), &rule.id));
    failed.truncate(MAX_PERMITS);
    failed
}

struct Words<'a> {
    env: &'a Env,
    who: &'static str,
}

impl Words<'_> {
    /// The conjuncts that are false. One that is an error has a guard before it, which failed.
    fn failing(&self, body: &Expr) -> Vec<String> {
        conjuncts(body)
            .into_iter()
            .filter(|conjunct| self.env.holds(conjunct) == Ok(false))
            .map(|conjunct| self.why(conjunct, true))
            .collect()
    }

    /// Why `expr`, which is not as `wanted`, is not.
    fn why(&self, expr: &Expr, wanted: bool) -> String {
        match (View::of(expr), wanted) {
            (View::Not(inner), _) => self.why(inner, !wanted),
            (View::And(..), true) => self.failing(expr).join(" and "),
            (View::Or(..), true) => self.neither(expr),
            (View::Or(left, right), false) => {
                let culprit = if self.env.holds(left) == Ok(true) { left } else { right };
                self.why(culprit, false)
            }
            (View::Compare(comparison, left, right), _) => {
                self.compared(comparison, left, right, wanted).unwrap_or_else(|| text(expr, wanted))
            }
            (View::Has(base, attrs), _) => match self.path(base) {
                Some(base) => self.presence(&base, &attrs.join("."), wanted),
                None => text(expr, wanted),
            },
            (View::Attr(..), _) => match self.path(expr) {
                Some(path) if wanted => format!("{path} is false"),
                Some(path) => format!("{path} is true"),
                None => text(expr, wanted),
            },
            (View::In(left, right), true) => format!("{} is not in {}", self.name(left), self.name(right)),
            (View::In(left, right), false) => format!("{} is in {}", self.name(left), self.name(right)),
            (View::Contains(set, element), true) if is_fact(set) && !is_fact(element) => {
                format!("{} does not contain {}", self.name(set), cedar::snippet(element))
            }
            (View::Contains(set, element), true) => match self.env.plain(element) {
                Some(value) => {
                    let name = self.name(element);
                    format!("{name} is {} and must be one of {}", shown(&value, &name), cedar::snippet(set))
                }
                None => text(expr, wanted),
            },
            _ => text(expr, wanted),
        }
    }

    fn presence(&self, base: &str, attr: &str, wanted: bool) -> String {
        let whole = join(base, attr);
        if wanted { format!("{whole} is missing") } else { format!("{whole} is there and must not be") }
    }

    fn neither(&self, expr: &Expr) -> String {
        let ways = disjuncts(expr);
        let words: Vec<String> = ways.into_iter().map(|way| self.why_or_text(way)).collect();
        format!("neither {}", words.join(" nor "))
    }

    /// A way may be an error rather than false.
    fn why_or_text(&self, way: &Expr) -> String {
        if self.env.holds(way) == Ok(false) { self.why(way, true) } else { text(way, true) }
    }

    fn compared(&self, comparison: Comparison, left: &Expr, right: &Expr, wanted: bool) -> Option<String> {
        // The side to speak of is the one that is a fact; `5 < x` is read from the right.
        let mirrored = !is_fact(left) && is_fact(right);
        let (subject, limit) = if mirrored { (right, left) } else { (left, right) };
        let name = self.name(subject);
        let (value, bound) = (self.env.plain(subject)?, self.env.plain(limit)?);
        let is = shown(&value, &name);
        let bound_words = match &bound {
            Plain::Entity { .. } if is_fact(limit) => {
                self.path(limit).unwrap_or_else(|| shown(&bound, &name))
            }
            Plain::Instant(_) => match self.path(limit) {
                Some(path) => format!("{path}, {}", shown(&bound, &path)),
                None => shown(&bound, &name),
            },
            _ => shown(&bound, &name),
        };
        Some(match (comparison, wanted) {
            (Comparison::Equal, true) => format!("{name} is {is} and must be {bound_words}"),
            (Comparison::Equal, false) => format!("{name} is {is} and must not be"),
            (Comparison::Less | Comparison::LessEq, _) => {
                let must = relation(comparison == Comparison::LessEq, mirrored, wanted);
                format!("{name} is {is} and must be {} {bound_words}", must.words(&bound))
            }
        })
    }

    /// What `expr` is called in words.
    fn name(&self, expr: &Expr) -> String {
        if let Some(path) = self.path(expr) {
            return path;
        }
        match View::of(expr) {
            View::Entity(uid) => {
                let kind = uid.entity_type().name().basename_as_ref().to_string();
                format!("{kind} {}", AsRef::<str>::as_ref(uid.eid()))
            }
            View::Call("durationSince", [later, earlier]) => match (is_now(later), is_now(earlier)) {
                (true, _) => format!("the time since {}", self.name(earlier)),
                (false, true) => format!("the time until {}", self.name(later)),
                (false, false) => format!("`{}`", cedar::snippet(expr)),
            },
            _ => format!("`{}`", cedar::snippet(expr)),
        }
    }

    /// The dotted path of a fact: `user.email`, `device.disk_encrypted`, `zone.berlin.minute`.
    fn path(&self, expr: &Expr) -> Option<String> {
        match View::of(expr) {
            View::Principal => Some(self.who.into()),
            View::Resource => Some("resource".into()),
            View::Context => Some(String::new()),
            // A posture fact is its value; its source and age are named as such.
            View::Attr(base, "value") => self.path(base),
            View::Attr(base, attr) => Some(join(&self.path(base)?, attr)),
            _ => None,
        }
    }
}

/// What a comparison demands of its subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Must {
    Less,
    AtMost,
    More,
    AtLeast,
}

fn relation(or_equal: bool, mirrored: bool, wanted: bool) -> Must {
    match (or_equal, mirrored, wanted) {
        (false, false, true) | (true, true, false) => Must::Less,
        (true, false, true) | (false, true, false) => Must::AtMost,
        (true, false, false) | (false, true, true) => Must::More,
        (false, false, false) | (true, true, true) => Must::AtLeast,
    }
}

impl Must {
    fn words(self, bound: &Plain) -> &'static str {
        let date = matches!(bound, Plain::Instant(_));
        match self {
            Self::Less if date => "before",
            Self::AtMost if date => "no later than",
            Self::More if date => "after",
            Self::AtLeast if date => "no earlier than",
            Self::Less => "less than",
            Self::AtMost => "at most",
            Self::More => "more than",
            Self::AtLeast => "at least",
        }
    }
}

fn disjuncts(expr: &Expr) -> Vec<&Expr> {
    match View::of(expr) {
        View::Or(left, right) => disjuncts(left).into_iter().chain(disjuncts(right)).collect(),
        _ => vec![expr],
    }
}

/// The author's own text, where we have no better words.
fn text(expr: &Expr, wanted: bool) -> String {
    let verb = if wanted { "does not hold" } else { "holds and must not" };
    format!("`{}` {verb}", cedar::snippet(expr))
}

/// Whether `expr` speaks of the request rather than being a constant.
fn is_fact(expr: &Expr) -> bool {
    cedar::any(expr, &|view| matches!(view, View::Principal | View::Resource | View::Context))
}

fn is_now(expr: &Expr) -> bool {
    View::of(expr).is_context_attr("now")
}

fn join(base: &str, attr: &str) -> String {
    if base.is_empty() { attr.to_owned() } else { format!("{base}.{attr}") }
}

fn shown(value: &Plain, name: &str) -> String {
    match value {
        Plain::Bool(b) => b.to_string(),
        Plain::Long(n) if name.ends_with("os_version") => {
            format!("{}.{}.{}", n / 1_000_000, n / 1000 % 1000, n % 1000)
        }
        Plain::Long(n) => n.to_string(),
        Plain::Text(text) => format!("{text:?}"),
        Plain::Instant(millis) => Timestamp::from_millis(*millis).to_string(),
        Plain::Span(millis) => span(*millis),
        Plain::Entity { id, .. } => id.clone(),
        Plain::Other(text) => text.clone(),
    }
}

/// A duration by its two greatest units.
fn span(millis: i64) -> String {
    let sign = if millis < 0 { "-" } else { "" };
    let mut rest = millis.unsigned_abs();
    let mut parts = Vec::new();
    for (unit, length) in [("d", DAY), ("h", HOUR), ("m", MINUTE), ("s", 1000), ("ms", 1)] {
        let length = length.unsigned_abs();
        if rest >= length {
            parts.push(format!("{}{unit}", rest / length));
            rest %= length;
        }
    }
    parts.truncate(2);
    if parts.is_empty() { "0s".into() } else { format!("{sign}{}", parts.concat()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_short() {
        assert_eq!(span(0), "0s");
        assert_eq!(span(26 * HOUR), "1d2h");
        assert_eq!(span(8 * HOUR + 1), "8h1ms");
        assert_eq!(span(-90_000), "-1m30s");
    }

    #[test]
    fn a_denied_comparison_demands_the_opposite() {
        assert_eq!(relation(false, false, true), Must::Less);
        assert_eq!(relation(false, false, false), Must::AtLeast);
        assert_eq!(relation(true, true, true), Must::AtLeast);
        assert_eq!(relation(true, true, false), Must::Less);
    }
}
