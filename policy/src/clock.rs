//! When may a condition change by the passing of time alone? Finds the comparisons with the clock in
//! a policy's body and computes, to the millisecond, when each turns.
//! It does not decide. Always true: a comparison keeps its outcome from `now` until `next_turn`.

use std::collections::BTreeSet;

use protocol::time::Timestamp;

use crate::{
    cedar::{self, Comparison, Expr, View},
    formula::Formula,
    hearing::Case,
    zone::{DAY, HOUR, MINUTE, Zone, first_change},
};

/// How many pieces of time one comparison is followed through; a weekday needs eight.
const MAX_PIECES: usize = 16;

/// A value that overflowed: comparing it is an error, at either end of the number line.
const OVER: i128 = i128::MAX;
const UNDER: i128 = i128::MIN;

/// A comparison of something that moves with the clock and something that does not.
#[derive(Debug, Clone)]
pub(crate) struct Atom {
    hand: Hand,
    test: Test,
}

/// Something that moves with the clock: where it starts and what is done to it.
#[derive(Debug, Clone)]
struct Hand {
    base: Base,
    steps: Vec<Step<Formula>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Base {
    Now,
    /// The place of the zone.
    Minute(usize),
    Weekday(usize),
}

/// `E` is a term of a policy, a number once a request is known.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step<E> {
    /// `x.offset(e)`
    Plus(E),
    /// `x.durationSince(e)`
    Since(E),
    /// `e.durationSince(x)`
    Until(E),
    /// `x.toSeconds()` and the like: whole units, rounded towards zero.
    Whole(i64),
    /// `x.toDate()`
    Date,
    /// `x.toTime()`
    Time,
}

#[derive(Debug, Clone)]
enum Test {
    Compare {
        comparison: Comparison,
        with: Formula,
        /// The moving side is on the right.
        mirrored: bool,
    },
    /// `with.contains(x)`
    Member { with: Formula },
}

/// The comparisons with the clock in `body`, and whether it uses the clock in any other way.
pub(crate) fn atoms(body: &Expr, zones: &[Zone]) -> (Vec<Atom>, bool) {
    let (mut found, mut blind) = (Vec::new(), false);
    collect(body, zones, &mut found, &mut blind);
    (found, blind)
}

fn collect(expr: &Expr, zones: &[Zone], found: &mut Vec<Atom>, blind: &mut bool) {
    if !moves(expr) {
        return;
    }
    let mut add = |hand: Option<Hand>, test: Test| match hand {
        Some(hand) => found.push(Atom { hand, test }),
        None => *blind = true,
    };
    match View::of(expr) {
        View::And(left, right) | View::Or(left, right) => {
            collect(left, zones, found, blind);
            collect(right, zones, found, blind);
        }
        View::Not(inner) => collect(inner, zones, found, blind),
        View::If(test, yes, no) => {
            for part in [test, yes, no] {
                collect(part, zones, found, blind);
            }
        }
        View::Compare(comparison, left, right) if !moves(right) => {
            add(
                hand(left, zones),
                Test::Compare { comparison, with: Formula::term(right.clone()), mirrored: false },
            );
        }
        View::Compare(comparison, left, right) if !moves(left) => {
            add(
                hand(right, zones),
                Test::Compare { comparison, with: Formula::term(left.clone()), mirrored: true },
            );
        }
        View::Contains(set, element) if !moves(set) => {
            add(hand(element, zones), Test::Member { with: Formula::term(set.clone()) });
        }
        _ => *blind = true,
    }
}

/// Whether `expr` may have another value at another time.
pub(crate) fn moves(expr: &Expr) -> bool {
    let view = View::of(expr);
    match &view {
        // The whole context holds the clock.
        View::Context => true,
        View::Attr(base, attr) if matches!(View::of(base), View::Context) => matches!(*attr, "now" | "zone"),
        // Whether an attribute is there does not depend on the time.
        View::Has(base, _) if is_context_or_zone(base) => false,
        _ => cedar::children(expr).into_iter().any(moves),
    }
}

fn is_context_or_zone(expr: &Expr) -> bool {
    match View::of(expr) {
        View::Context => true,
        View::Attr(base, _) if matches!(View::of(base), View::Attr(..)) => {
            View::of(base).is_context_attr("zone")
        }
        view => view.is_context_attr("zone"),
    }
}

fn hand(expr: &Expr, zones: &[Zone]) -> Option<Hand> {
    match View::of(expr) {
        View::Call(function, args) => moved(function, args, zones),
        View::Attr(base, part) => {
            if View::of(expr).is_context_attr("now") {
                return Some(Hand { base: Base::Now, steps: Vec::new() });
            }
            let View::Attr(outer, name) = View::of(base) else { return None };
            let zone = zones.iter().position(|zone| zone.name == name)?;
            let base = match part {
                "minute" => Base::Minute(zone),
                "weekday" => Base::Weekday(zone),
                _ => return None,
            };
            View::of(outer).is_context_attr("zone").then_some(Hand { base, steps: Vec::new() })
        }
        _ => None,
    }
}

fn moved(function: &str, args: &[Expr], zones: &[Zone]) -> Option<Hand> {
    let (inner, step) = match (function, args) {
        ("offset", [inner, by]) if !moves(by) => (inner, Step::Plus(Formula::term(by.clone()))),
        ("durationSince", [inner, since]) if !moves(since) => {
            (inner, Step::Since(Formula::term(since.clone())))
        }
        ("durationSince", [from, inner]) if !moves(from) => (inner, Step::Until(Formula::term(from.clone()))),
        ("toDate", [inner]) => (inner, Step::Date),
        ("toTime", [inner]) => (inner, Step::Time),
        ("toMilliseconds", [inner]) => (inner, Step::Whole(1)),
        ("toSeconds", [inner]) => (inner, Step::Whole(1000)),
        ("toMinutes", [inner]) => (inner, Step::Whole(MINUTE)),
        ("toHours", [inner]) => (inner, Step::Whole(HOUR)),
        ("toDays", [inner]) => (inner, Step::Whole(DAY)),
        _ => return None,
    };
    let mut hand = hand(inner, zones)?;
    hand.steps.push(step);
    Some(hand)
}

impl Atom {
    /// When its outcome may next differ; `None` if never. What it is compared with comes from `case`:
    /// if that cannot be evaluated, no passing of time will change it.
    pub(crate) fn next_turn(&self, case: &Case<'_>, zones: &[Zone], now: Timestamp) -> Option<Timestamp> {
        let steps: Option<Vec<Step<i64>>> = self.hand.steps.iter().map(|step| step.known(case)).collect();
        let against = match &self.test {
            Test::Compare { comparison, with, mirrored } => {
                Against::Number { comparison: *comparison, number: with.number(case)?, mirrored: *mirrored }
            }
            Test::Member { with } => Against::Set(with.numbers(case)?.into_iter().collect()),
        };
        let watch = Watch { base: self.hand.base, steps: steps?, against, zones };
        watch.next_turn(now.millis()).map(Timestamp::from_millis)
    }
}

impl Step<Formula> {
    fn known(&self, case: &Case<'_>) -> Option<Step<i64>> {
        Some(match self {
            Self::Plus(by) => Step::Plus(by.number(case)?),
            Self::Since(since) => Step::Since(since.number(case)?),
            Self::Until(from) => Step::Until(from.number(case)?),
            Self::Whole(unit) => Step::Whole(*unit),
            Self::Date => Step::Date,
            Self::Time => Step::Time,
        })
    }
}

impl Step<i64> {
    /// The value after this step; an overflow sticks, and turns round where the direction does.
    fn apply(&self, value: i128) -> i128 {
        match (self, value) {
            (Self::Until(_), OVER) => UNDER,
            (Self::Until(_), UNDER) => OVER,
            (_, OVER | UNDER) => value,
            (Self::Plus(by), _) => fit(value + i128::from(*by)),
            (Self::Since(since), _) => fit(value - i128::from(*since)),
            (Self::Until(from), _) => fit(i128::from(*from) - value),
            (Self::Whole(unit), _) => value / i128::from(*unit),
            (Self::Date, _) => fit(value - value.rem_euclid(i128::from(DAY))),
            (Self::Time, _) => value.rem_euclid(i128::from(DAY)),
        }
    }
}

/// Cedar's numbers have 64 bits; beyond them is an error.
fn fit(value: i128) -> i128 {
    match i64::try_from(value) {
        Ok(_) => value,
        Err(_) if value > 0 => OVER,
        Err(_) => UNDER,
    }
}

/// A comparison in which only the time is open.
struct Watch<'a> {
    base: Base,
    steps: Vec<Step<i64>>,
    against: Against,
    zones: &'a [Zone],
}

enum Against {
    Number { comparison: Comparison, number: i64, mirrored: bool },
    Set(BTreeSet<i64>),
}

impl Watch<'_> {
    /// Follows time piece by piece; within a piece the value only rises or only falls.
    fn next_turn(&self, now: i64) -> Option<i64> {
        let outcome = self.outcome(now);
        let mut at = now;
        for _ in 0..MAX_PIECES {
            let end = self.piece_end(at);
            let last = end.map_or(Timestamp::MAX.millis(), |end| end - 1);
            at = first_change(at, last, |t| self.class(t)).or(end)?;
            if self.outcome(at) != outcome {
                return Some(at);
            }
        }
        // It may still turn later; nothing has changed until here.
        Some(at)
    }

    fn value(&self, at: i64) -> i128 {
        let zone = |place: usize| self.zones.get(place);
        let start = match self.base {
            Base::Now => at,
            Base::Minute(place) => zone(place).map_or(0, |zone| zone.minute(at)),
            Base::Weekday(place) => zone(place).map_or(0, |zone| zone.weekday(at)),
        };
        self.steps.iter().fold(i128::from(start), |value, step| step.apply(value))
    }

    /// Where `value` stands, as far as it matters to the outcome.
    fn class(&self, at: i64) -> i128 {
        let value = self.value(at);
        match &self.against {
            Against::Set(_) => value,
            Against::Number { .. } if matches!(value, OVER | UNDER) => value,
            Against::Number { number, .. } => (value - i128::from(*number)).signum(),
        }
    }

    /// True, false, or (by overflow) an error.
    fn outcome(&self, at: i64) -> Option<bool> {
        let value = i64::try_from(self.value(at)).ok()?;
        Some(match &self.against {
            Against::Set(set) => set.contains(&value),
            Against::Number { comparison, number, mirrored } => {
                let (left, right) = if *mirrored { (*number, value) } else { (value, *number) };
                match comparison {
                    Comparison::Less => left < right,
                    Comparison::LessEq => left <= right,
                    Comparison::Equal => left == right,
                }
            }
        })
    }

    /// The first instant of the next piece of time.
    fn piece_end(&self, at: i64) -> Option<i64> {
        match self.base {
            Base::Minute(place) | Base::Weekday(place) => {
                self.zones.get(place).map(|zone| zone.segment_end(at))
            }
            Base::Now => {
                let time = self.steps.iter().position(|step| *step == Step::Time)?;
                let before = self.steps.get(..time)?;
                // The value that `toTime` is asked of rises with the clock; a new piece begins with its new day.
                let day = |t: i64| {
                    let value = before.iter().fold(i128::from(t), |value, step| step.apply(value));
                    if matches!(value, OVER | UNDER) { value } else { value.div_euclid(i128::from(DAY)) }
                };
                first_change(at, Timestamp::MAX.millis(), day)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono_tz::Tz;

    use super::*;

    const NOON: i64 = 1_795_262_400_000; // Saturday 2026-11-21T12:00:00Z

    fn watch(
        base: Base,
        steps: Vec<Step<i64>>,
        comparison: Comparison,
        number: i64,
        zones: &[Zone],
    ) -> Watch<'_> {
        Watch { base, steps, against: Against::Number { comparison, number, mirrored: false }, zones }
    }

    fn berlin() -> Vec<Zone> {
        vec![Zone { name: "berlin".into(), tz: Tz::Europe__Berlin }]
    }

    #[test]
    fn less_turns_at_the_instant_and_less_or_equal_a_millisecond_later() {
        let at = |comparison| watch(Base::Now, vec![], comparison, NOON + 10, &[]).next_turn(NOON);
        assert_eq!(at(Comparison::Less), Some(NOON + 10));
        assert_eq!(at(Comparison::LessEq), Some(NOON + 11));
        assert_eq!(at(Comparison::Equal), Some(NOON + 10));
        assert_eq!(watch(Base::Now, vec![], Comparison::Less, NOON - 1, &[]).next_turn(NOON), None);
    }

    #[test]
    fn ages_turn_both_ways() {
        let age = watch(Base::Now, vec![Step::Since(NOON - HOUR)], Comparison::Less, 8 * HOUR, &[]);
        assert_eq!(age.next_turn(NOON), Some(NOON + 7 * HOUR));
        let left = watch(Base::Now, vec![Step::Until(NOON + HOUR)], Comparison::Less, 60_000, &[]);
        assert_eq!(left.next_turn(NOON), Some(NOON + HOUR - 60_000 + 1));
        let whole =
            watch(Base::Now, vec![Step::Until(NOON + HOUR), Step::Whole(HOUR)], Comparison::Less, 0, &[]);
        assert_eq!(whole.next_turn(NOON), Some(NOON + 2 * HOUR));
    }

    #[test]
    fn times_of_day_return() {
        let morning = watch(Base::Now, vec![Step::Time], Comparison::Less, 8 * HOUR, &[]);
        assert_eq!(morning.next_turn(NOON), Some(NOON + 12 * HOUR));
        assert_eq!(morning.next_turn(NOON + 12 * HOUR), Some(NOON + 20 * HOUR));
    }

    #[test]
    fn weekdays_and_minutes_follow_the_zone() {
        let zones = berlin();
        let weekday = watch(Base::Weekday(0), vec![], Comparison::LessEq, 5, &zones);
        assert_eq!(weekday.next_turn(NOON), Some(NOON + 35 * HOUR)); // Monday 00:00 in Berlin
        let minute = watch(Base::Minute(0), vec![], Comparison::Less, 1140, &zones);
        assert_eq!(minute.next_turn(NOON), Some(NOON + 6 * HOUR)); // 19:00 in Berlin
    }

    #[test]
    fn the_hour_that_is_skipped_is_skipped() {
        let zones = berlin();
        let before = 1_774_742_400_000; // 2026-03-29T00:00:00Z, 01:00 in Berlin; 02:00 becomes 03:00
        let minute = watch(Base::Minute(0), vec![], Comparison::Less, 150, &zones);
        assert_eq!(minute.next_turn(before), Some(before + HOUR));
    }

    #[test]
    fn an_overflow_is_a_turn_of_its_own() {
        let by = i64::MAX - (NOON + 5);
        let beyond = watch(Base::Now, vec![Step::Plus(by)], Comparison::Less, 0, &[]);
        assert_eq!(beyond.next_turn(NOON), Some(NOON + 6));
    }

    #[test]
    fn what_never_turns_is_given_up_safely() {
        let zones = berlin();
        let always = watch(Base::Minute(0), vec![], Comparison::Less, 5000, &zones);
        assert!(always.next_turn(NOON).is_some_and(|at| at > NOON + 10 * DAY));
    }
}
