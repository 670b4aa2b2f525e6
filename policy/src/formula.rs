//! A policy's condition, or a term of one, ready to be evaluated: compiled as far as that goes.
//! It is no second opinion: what is not compiled, and whatever goes wrong, is put to Cedar's evaluator.
//! Always true: a compiled form says only what Cedar would say, and never says that something is an error.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::{
    cedar::{self, ActionEntities, CedarError, Comparison, Expr, Pattern, Plain, View},
    hearing::Case,
    question::{Act, Datum, Named, Question, Ref},
    zone::{DAY, HOUR, MINUTE},
};

/// An expression of a policy.
#[derive(Debug, Clone)]
pub(crate) struct Formula {
    expr: Expr,
    tree: Option<Tree>,
}

impl Formula {
    /// A condition.
    pub(crate) fn condition(expr: Expr, actions: &ActionEntities) -> Self {
        let tree = Tree::of(&expr, Some(actions));
        Self { expr, tree }
    }

    /// A part of a comparison.
    pub(crate) fn term(expr: Expr) -> Self {
        let tree = Tree::of(&expr, None);
        Self { expr, tree }
    }

    /// As its author wrote it.
    pub(crate) fn expr(&self) -> &Expr {
        &self.expr
    }

    /// Whether it holds.
    pub(crate) fn holds(&self, case: &Case<'_>) -> Result<bool, CedarError> {
        match self.tree.as_ref().and_then(|tree| tree.value(&case.question)) {
            Some(Val::Bool(holds)) => Ok(holds),
            Some(_) | None => case.env()?.holds(&self.expr),
        }
    }

    /// The number it is: a Long, or the milliseconds of a date or a duration.
    pub(crate) fn number(&self, case: &Case<'_>) -> Option<i64> {
        let number = self.tree.as_ref().and_then(|tree| tree.value(&case.question)?.number());
        number.or_else(|| case.env().ok()?.number(&self.expr))
    }

    /// The numbers in the set it is.
    pub(crate) fn numbers(&self, case: &Case<'_>) -> Option<Vec<i64>> {
        let numbers = match &self.tree {
            Some(Tree::Set(items)) => {
                items.iter().map(|item| item.value(&case.question)?.number()).collect::<Option<Vec<_>>>()
            }
            Some(_) | None => None,
        };
        numbers.or_else(|| case.env().ok()?.numbers(&self.expr))
    }
}

/// What can be evaluated on a question itself.
#[derive(Debug, Clone)]
enum Tree {
    Bool(bool),
    Long(i64),
    Text(String),
    Instant(i64),
    Span(i64),
    Net(IpNet),
    Entity(Named),
    /// Has no value of its own; `in` and `contains` look into it.
    Set(Vec<Tree>),
    Principal,
    Resource,
    Context,
    /// Whether the action is one of these bits of [`Act`].
    Acts(u8),
    Attr(Box<Tree>, String),
    Has(Box<Tree>, Vec<String>),
    And(Box<[Tree; 2]>),
    Or(Box<[Tree; 2]>),
    Not(Box<Tree>),
    If(Box<[Tree; 3]>),
    Compare(Comparison, Box<[Tree; 2]>),
    In(Box<[Tree; 2]>),
    /// Set, element.
    Contains(Box<[Tree; 2]>),
    Like(Box<Tree>, Pattern),
    Call(Function, Vec<Tree>),
}

/// An extension function of values, not of text.
#[derive(Debug, Clone, Copy)]
enum Function {
    InRange,
    Since,
    Offset,
    Date,
    Time,
    /// Whole units of so many milliseconds.
    Whole(i64),
}

impl Function {
    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "isInRange" => Self::InRange,
            "durationSince" => Self::Since,
            "offset" => Self::Offset,
            "toDate" => Self::Date,
            "toTime" => Self::Time,
            "toMilliseconds" => Self::Whole(1),
            "toSeconds" => Self::Whole(1000),
            "toMinutes" => Self::Whole(MINUTE),
            "toHours" => Self::Whole(HOUR),
            "toDays" => Self::Whole(DAY),
            _ => return None,
        })
    }

    /// `None` for what is no value, an overflow for instance.
    fn call<'a>(self, args: &[Val<'a>]) -> Option<Val<'a>> {
        Some(match (self, args) {
            (Self::InRange, [Val::Net(inner), Val::Net(outer)]) => Val::Bool(outer.contains(inner)),
            (Self::Since, [Val::Instant(later), Val::Instant(earlier)]) => {
                Val::Span(later.checked_sub(*earlier)?)
            }
            (Self::Offset, [Val::Instant(at), Val::Span(by)]) => Val::Instant(at.checked_add(*by)?),
            (Self::Date, [Val::Instant(at)]) => Val::Instant(at.checked_sub(at.rem_euclid(DAY))?),
            (Self::Time, [Val::Instant(at)]) => Val::Span(at.rem_euclid(DAY)),
            (Self::Whole(unit), [Val::Span(span)]) => Val::Long(span / unit),
            _ => return None,
        })
    }
}

impl Tree {
    /// `None` if any part cannot be compiled.
    fn of(expr: &Expr, actions: Option<&ActionEntities>) -> Option<Self> {
        let of = |expr: &Expr| Self::of(expr, actions);
        let two = |left, right| Some(Box::new([of(left)?, of(right)?]));
        Some(match View::of(expr) {
            View::Bool(b) => Self::Bool(b),
            View::Long(n) => Self::Long(n),
            View::Text(text) => Self::Text(text.to_owned()),
            View::Entity(uid) => Self::Entity(cedar::named(uid)?),
            View::Set(items) => Self::Set(items.iter().map(of).collect::<Option<_>>()?),
            View::Principal => Self::Principal,
            View::Resource => Self::Resource,
            View::Context => Self::Context,
            View::Attr(base, name) => Self::Attr(Box::new(of(base)?), name.to_owned()),
            View::Has(base, names) => {
                Self::Has(Box::new(of(base)?), names.into_iter().map(str::to_owned).collect())
            }
            View::And(left, right) => Self::And(two(left, right)?),
            View::Or(left, right) => Self::Or(two(left, right)?),
            View::Not(inner) => Self::Not(Box::new(of(inner)?)),
            View::If(test, yes, no) => Self::If(Box::new([of(test)?, of(yes)?, of(no)?])),
            View::In(left, right) if is_action(left) => {
                acts(right, |act, uid| Some(actions?.is_in(act, uid)))?
            }
            View::Compare(Comparison::Equal, left, right) if is_action(left) => {
                acts(right, |act, uid| Some(cedar::uid(act.entity()) == *uid))?
            }
            View::Compare(comparison, left, right) => Self::Compare(comparison, two(left, right)?),
            View::In(left, right) => Self::In(two(left, right)?),
            View::Contains(set, element) => Self::Contains(two(set, element)?),
            View::Like(text, pattern) => Self::Like(Box::new(of(text)?), pattern.clone()),
            View::Call(name, args) => Self::call(name, args, actions)?,
            View::Action | View::Other => return None,
        })
    }

    fn call(name: &str, args: &[Expr], actions: Option<&ActionEntities>) -> Option<Self> {
        if let [only] = args
            && let View::Text(text) = View::of(only)
        {
            return literal(name, text);
        }
        let args = args.iter().map(|arg| Self::of(arg, actions)).collect::<Option<_>>()?;
        Some(Self::Call(Function::of(name)?, args))
    }

    /// `None` for whatever is left to Cedar.
    fn value<'a>(&'a self, question: &'a Question<'_>) -> Option<Val<'a>> {
        let value = |tree: &'a Self| tree.value(question);
        let holds = |tree: &'a Self| tree.value(question)?.bool();
        Some(match self {
            Self::Bool(b) => Val::Bool(*b),
            Self::Long(n) => Val::Long(*n),
            Self::Text(text) => Val::Text(text),
            Self::Instant(at) => Val::Instant(*at),
            Self::Span(span) => Val::Span(*span),
            Self::Net(net) => Val::Net(*net),
            Self::Entity(named) => Val::Entity(named.as_ref()),
            Self::Set(_) => return None,
            Self::Principal => Val::Entity(question.principal.entity),
            Self::Resource => Val::Entity(question.resource.entity),
            Self::Context => Val::Record(&question.context),
            Self::Acts(acts) => Val::Bool(acts & question.act.bit() != 0),
            Self::Attr(base, name) => Val::of(find(value(base)?.fields(question)?, name)?),
            Self::Has(base, names) => Val::Bool(has(value(base)?, names, question)?),
            Self::And(both) => Val::Bool(holds(&both[0])? && holds(&both[1])?),
            Self::Or(either) => Val::Bool(holds(&either[0])? || holds(&either[1])?),
            Self::Not(inner) => Val::Bool(!holds(inner)?),
            Self::If(parts) => value(if holds(&parts[0])? { &parts[1] } else { &parts[2] })?,
            Self::Compare(comparison, both) => {
                Val::Bool(compare(*comparison, value(&both[0])?, value(&both[1])?)?)
            }
            Self::In(both) => Val::Bool(both[1].is_above(value(&both[0])?.entity()?, question)?),
            Self::Contains(both) => Val::Bool(both[0].holds_one(value(&both[1])?, question)?),
            Self::Like(text, pattern) => Val::Bool(pattern.wildcard_match(value(text)?.text()?)),
            Self::Call(function, args) => {
                function.call(&args.iter().map(value).collect::<Option<Vec<_>>>()?)?
            }
        })
    }

    /// Whether `entity` is this or in this, or in any of these.
    fn is_above(&self, entity: Ref<'_>, question: &Question<'_>) -> Option<bool> {
        match self {
            Self::Set(items) => items
                .iter()
                .map(|item| Some(question.is_in(entity, item.value(question)?.entity()?)))
                .try_fold(false, |any, one| Some(any | one?)),
            single => Some(question.is_in(entity, single.value(question)?.entity()?)),
        }
    }

    /// Whether `element` is one of these.
    fn holds_one(&self, element: Val<'_>, question: &Question<'_>) -> Option<bool> {
        let Self::Set(items) = self else {
            let Val::Texts(texts) = self.value(question)? else { return None };
            return Some(texts.contains(&element.text()?));
        };
        items
            .iter()
            .map(|item| compare(Comparison::Equal, item.value(question)?, element))
            .try_fold(false, |any, one| Some(any | one?))
    }
}

fn is_action(expr: &Expr) -> bool {
    matches!(View::of(expr), View::Action)
}

/// The actions that are as `test` says to an entity, or to one of a set of them.
fn acts(named: &Expr, test: impl Fn(Act, &cedar::Uid) -> Option<bool>) -> Option<Tree> {
    let one = |expr: &Expr| match View::of(expr) {
        View::Entity(uid) => {
            Act::ALL.iter().try_fold(0, |bits, act| Some(bits | if test(*act, uid)? { act.bit() } else { 0 }))
        }
        _ => None,
    };
    let bits = match View::of(named) {
        View::Set(items) => items.iter().try_fold(0, |bits, item| Some(bits | one(item)?)),
        _ => one(named),
    };
    bits.map(Tree::Acts)
}

/// A date, a duration or an address, read once and by Cedar itself.
fn literal(name: &str, text: &str) -> Option<Tree> {
    match cedar::literal(name, text)? {
        Plain::Instant(at) => Some(Tree::Instant(at)),
        Plain::Span(span) => Some(Tree::Span(span)),
        Plain::Other(_) if name == "ip" => {
            let single = || text.parse::<IpAddr>().map(IpNet::from);
            text.parse().ok().or_else(|| single().ok()).map(Tree::Net)
        }
        Plain::Bool(_) | Plain::Long(_) | Plain::Text(_) | Plain::Entity { .. } | Plain::Other(_) => None,
    }
}

fn find<'a>(fields: &'a [(&'a str, Datum<'a>)], name: &str) -> Option<&'a Datum<'a>> {
    fields.iter().find(|(known, _)| *known == name).map(|(_, datum)| datum)
}

/// Whether `base` has the first of `names`, that one the next, and so on.
fn has(base: Val<'_>, names: &[String], question: &Question<'_>) -> Option<bool> {
    let Some((name, rest)) = names.split_first() else { return Some(true) };
    let fields = match base {
        // An entity of which nothing is known has nothing.
        Val::Entity(entity) if question.node(entity).is_none() => return Some(false),
        other => other.fields(question)?,
    };
    match find(fields, name) {
        None => Some(false),
        Some(_) if rest.is_empty() => Some(true),
        Some(datum) => has(Val::of(datum), rest, question),
    }
}

/// `None` for values of two kinds, or of one that is left to Cedar.
fn compare(comparison: Comparison, left: Val<'_>, right: Val<'_>) -> Option<bool> {
    let order = match (left, right) {
        (Val::Long(l), Val::Long(r)) | (Val::Instant(l), Val::Instant(r)) | (Val::Span(l), Val::Span(r)) => {
            l.cmp(&r)
        }
        (Val::Bool(l), Val::Bool(r)) if comparison == Comparison::Equal => l.cmp(&r),
        (Val::Text(l), Val::Text(r)) if comparison == Comparison::Equal => l.cmp(r),
        (Val::Entity(l), Val::Entity(r)) if comparison == Comparison::Equal => return Some(l == r),
        _ => return None,
    };
    Some(match comparison {
        Comparison::Less => order.is_lt(),
        Comparison::LessEq => order.is_le(),
        Comparison::Equal => order.is_eq(),
    })
}

/// A value.
#[derive(Debug, Clone, Copy)]
enum Val<'a> {
    Bool(bool),
    Long(i64),
    Text(&'a str),
    Texts(&'a [&'a str]),
    Instant(i64),
    Span(i64),
    Net(IpNet),
    Entity(Ref<'a>),
    Record(&'a [(&'a str, Datum<'a>)]),
}

impl<'a> Val<'a> {
    fn of(datum: &'a Datum<'a>) -> Self {
        match datum {
            Datum::Bool(b) => Self::Bool(*b),
            Datum::Long(n) => Self::Long(*n),
            Datum::Text(text) => Self::Text(text),
            Datum::Texts(texts) => Self::Texts(texts),
            Datum::Time(at) => Self::Instant(at.millis()),
            Datum::Net(net) => Self::Net(*net),
            Datum::Entity(entity) => Self::Entity(*entity),
            Datum::Record(fields) => Self::Record(fields),
        }
    }

    fn fields(self, question: &'a Question<'_>) -> Option<&'a [(&'a str, Datum<'a>)]> {
        match self {
            Self::Record(fields) => Some(fields),
            Self::Entity(entity) => question.node(entity).map(|node| node.attributes.as_slice()),
            _ => None,
        }
    }

    fn bool(self) -> Option<bool> {
        if let Self::Bool(b) = self { Some(b) } else { None }
    }

    fn text(self) -> Option<&'a str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    fn entity(self) -> Option<Ref<'a>> {
        if let Self::Entity(entity) = self { Some(entity) } else { None }
    }

    fn number(self) -> Option<i64> {
        match self {
            Self::Long(n) | Self::Instant(n) | Self::Span(n) => Some(n),
            Self::Bool(_)
            | Self::Text(_)
            | Self::Texts(_)
            | Self::Net(_)
            | Self::Entity(_)
            | Self::Record(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_compiled(text: &str) -> bool {
        Formula::term(text.parse().unwrap()).tree.is_some()
    }

    #[test]
    fn what_policies_say_is_compiled_and_the_rest_is_left_to_cedar() {
        for text in [
            "context has device && context.device has firewall && !context.device.firewall.value",
            "context.now.durationSince(context.device.disk_encrypted.at) < duration(\"24h\")",
            "context.zone.berlin.weekday <= 5 || [6, 7].contains(context.zone.berlin.weekday)",
            "principal has contract_end && context.now < datetime(\"2026-11-27T12:00:00Z\")",
            "context.source.isInRange(ip(\"100.64.0.0/10\")) || context.source.isInRange(ip(\"::1\"))",
            "context.device in [Doorward::Tier::\"high\"] && principal in resource.owners",
            "if context.path like \"/a*\" then true else context.device.owner == principal",
        ] {
            assert!(is_compiled(text), "{text}");
        }
        for text in [
            "resource.sensitivity + 1 > 2",
            "resource.hasTag(\"env\")",
            "datetime(context.path) < context.now",
        ] {
            assert!(!is_compiled(text), "{text}");
        }
    }

    #[test]
    fn what_goes_wrong_has_no_compiled_value() {
        let far = Val::Instant(i64::MAX);
        assert!(Function::Offset.call(&[far, Val::Span(1)]).is_none());
        assert!(Function::Since.call(&[far, Val::Instant(-1)]).is_none());
        assert!(Function::Since.call(&[far, Val::Long(1)]).is_none());
        assert!(compare(Comparison::Equal, Val::Long(1), Val::Instant(1)).is_none());
        assert!(compare(Comparison::Less, Val::Text("a"), Val::Text("b")).is_none());
    }
}
