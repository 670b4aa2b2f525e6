//! The one module that names `cedar_policy_core`, whose API promises no stability (pinned exactly).
//! It makes Cedar values of facts, evaluates expressions, and shows policies as plain shapes.
//! Always true: an [`Env`] holds the schema's action entities, or `action in …` would be false silently.

mod view;

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, LazyLock},
};

use cedar_policy_core::{
    ast::{
        Context, Eid, Entity, EntityType, EntityUID, EntityUIDEntry, Literal, Name, PartialValue, Request,
        SlotEnv, Value, ValueKind,
    },
    entities::{Entities, NoEntitiesSchema, TCComputation},
    evaluator::Evaluator,
    extensions::Extensions,
};

pub(crate) use cedar_policy_core::ast::Expr;
pub(crate) use view::{
    Comparison, Parts, Pattern, Scope, View, any, canonical, children, depth, dissect, snippet,
    template_offset,
};

use crate::question::{Act, Datum, Fields, Kind, NAMESPACE, Named, Node, Question, Ref};

/// The name of an entity.
pub(crate) type Uid = EntityUID;

static TYPES: LazyLock<Vec<EntityType>> = LazyLock::new(|| {
    let parse =
        |kind: &Kind| format!("{NAMESPACE}::{}", kind.name()).parse().expect("the schema's types are names");
    Kind::ALL.iter().map(parse).collect()
});

/// The extension functions that make and measure values.
struct Functions {
    datetime: Name,
    duration: Name,
    ip: Name,
    offset: Name,
    since: Name,
    millis: Name,
}

static FUNCTIONS: LazyLock<Functions> = LazyLock::new(|| {
    let name = |text: &str| Name::parse_unqualified_name(text).expect("Cedar's functions are names");
    Functions {
        datetime: name("datetime"),
        duration: name("duration"),
        ip: name("ip"),
        offset: name("offset"),
        since: name("durationSince"),
        millis: name("toMilliseconds"),
    }
});

static EPOCH: LazyLock<Value> = LazyLock::new(|| {
    call(&FUNCTIONS.datetime, &[Value::from("1970-01-01")]).expect("Cedar reads its own date format")
});

/// What went wrong in Cedar, in its words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct CedarError(pub(crate) String);

/// The entities of the schema's actions; the base of every [`Env`].
#[derive(Debug, Clone)]
pub(crate) struct ActionEntities(Entities);

impl ActionEntities {
    /// Of this schema.
    pub(crate) fn of(schema: &cedar_policy::Schema) -> Result<Self, CedarError> {
        let entities = schema.action_entities().map_err(|e| CedarError(e.to_string()))?;
        Ok(Self(entities.as_ref().clone()))
    }

    /// None at all: the mistake that switches every guard off, for the test that it is noticed.
    #[cfg(test)]
    pub(crate) fn none() -> Self {
        Self(Entities::new())
    }

    /// Whether `act` is `group` or one of its members.
    pub(crate) fn is_in(&self, act: Act, group: &Uid) -> bool {
        let act = uid(act.entity());
        act == *group || self.0.iter().any(|entity| *entity.uid() == act && entity.is_descendant_of(group))
    }
}

/// One question in Cedar's terms, ready to evaluate expressions in.
#[derive(Debug)]
pub(crate) struct Env {
    request: Request,
    entities: Entities,
}

impl Env {
    pub(crate) fn new(question: &Question<'_>, actions: &ActionEntities) -> Result<Self, CedarError> {
        let principal = Arc::new(entity(&question.principal)?);
        let resource = Arc::new(entity(&question.resource)?);
        let names = (principal.uid().clone(), resource.uid().clone());
        let mut all = vec![principal, resource];
        for node in &question.others {
            all.push(Arc::new(entity(node)?));
        }
        let entities = actions
            .0
            .clone()
            // Callers give every ancestor: facts come closed over nesting.
            .add_entities(
                all,
                None::<&NoEntitiesSchema>,
                TCComputation::AssumeAlreadyComputed,
                Extensions::all_available(),
            )
            .map_err(|e| CedarError(e.to_string()))?;
        let entry = |uid: Uid| EntityUIDEntry::known(uid, None);
        let context = Context::Value(Arc::new(attributes(&question.context)?.collect()));
        let request = Request::new_unchecked(
            entry(names.0),
            entry(uid(question.act.entity())),
            entry(names.1),
            Some(context),
        );
        Ok(Self { request, entities })
    }

    /// The value of `expr`.
    fn value(&self, expr: &Expr) -> Result<Value, CedarError> {
        Evaluator::new(self.request.clone(), &self.entities, Extensions::all_available())
            .interpret(expr, &SlotEnv::new())
            .map_err(|e| CedarError(e.to_string()))
    }

    /// Whether `expr` holds.
    pub(crate) fn holds(&self, expr: &Expr) -> Result<bool, CedarError> {
        match self.value(expr)?.value {
            ValueKind::Lit(Literal::Bool(holds)) => Ok(holds),
            other => Err(CedarError(format!("a condition must be true or false, not {other}"))),
        }
    }

    /// The value of `expr` in plain terms; `None` if it cannot be evaluated.
    pub(crate) fn plain(&self, expr: &Expr) -> Option<Plain> {
        self.value(expr).ok().map(|value| plain(&value))
    }

    /// The number behind `expr`: a Long, or the milliseconds of a date or a duration.
    pub(crate) fn number(&self, expr: &Expr) -> Option<i64> {
        self.plain(expr).and_then(|plain| plain.number())
    }

    /// The numbers in the set that `expr` is.
    pub(crate) fn numbers(&self, expr: &Expr) -> Option<Vec<i64>> {
        match self.value(expr).ok()?.value {
            ValueKind::Set(set) => set.iter().map(|value| plain(value).number()).collect(),
            _ => None,
        }
    }
}

/// A value in terms that can be printed and compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Plain {
    Bool(bool),
    Long(i64),
    Text(String),
    /// Milliseconds since the epoch.
    Instant(i64),
    /// Milliseconds.
    Span(i64),
    Entity {
        /// Without the namespace.
        kind: String,
        id: String,
    },
    /// Anything else, as Cedar writes it.
    Other(String),
}

impl Plain {
    fn number(&self) -> Option<i64> {
        match self {
            Self::Long(n) | Self::Instant(n) | Self::Span(n) => Some(*n),
            Self::Bool(_) | Self::Text(_) | Self::Entity { .. } | Self::Other(_) => None,
        }
    }
}

fn plain(value: &Value) -> Plain {
    match &value.value {
        ValueKind::Lit(Literal::Bool(b)) => Plain::Bool(*b),
        ValueKind::Lit(Literal::Long(n)) => Plain::Long(*n),
        ValueKind::Lit(Literal::String(s)) => Plain::Text(s.to_string()),
        ValueKind::Lit(Literal::EntityUID(uid)) => Plain::Entity {
            kind: uid.entity_type().name().basename_as_ref().to_string(),
            id: AsRef::<str>::as_ref(uid.eid()).to_owned(),
        },
        ValueKind::ExtensionValue(ext) if ext.typename() == FUNCTIONS.datetime => {
            measured(value, true).map_or_else(|| Plain::Other(value.to_string()), Plain::Instant)
        }
        ValueKind::ExtensionValue(ext) if ext.typename() == FUNCTIONS.duration => {
            measured(value, false).map_or_else(|| Plain::Other(value.to_string()), Plain::Span)
        }
        ValueKind::ExtensionValue(_) | ValueKind::Set(_) | ValueKind::Record(_) => {
            Plain::Other(value.to_string())
        }
    }
}

/// The milliseconds in a date (since the epoch) or a duration: the types themselves are private to Cedar.
fn measured(value: &Value, date: bool) -> Option<i64> {
    let span =
        if date { call(&FUNCTIONS.since, &[value.clone(), EPOCH.clone()]).ok()? } else { value.clone() };
    match call(&FUNCTIONS.millis, &[span]).ok()?.value {
        ValueKind::Lit(Literal::Long(n)) => Some(n),
        _ => None,
    }
}

fn call(function: &Name, args: &[Value]) -> Result<Value, CedarError> {
    let function = Extensions::all_available().func(function).map_err(|e| CedarError(e.to_string()))?;
    match function.call(args).map_err(|e| CedarError(e.to_string()))? {
        PartialValue::Value(value) => Ok(value),
        PartialValue::Residual(_) => Err(CedarError("not a value".into())),
    }
}

/// The name of an entity in Cedar's terms.
pub(crate) fn uid(name: Ref<'_>) -> Uid {
    let kind = TYPES[name.kind as usize].clone();
    Uid::from_components(kind, Eid::new(name.id), None)
}

/// `uid` in our terms, if its type is the schema's.
pub(crate) fn named(uid: &Uid) -> Option<Named> {
    let id: &str = uid.eid().as_ref();
    Some(Named { kind: kind_of(uid.entity_type())?, id: id.into() })
}

fn kind_of(of: &EntityType) -> Option<Kind> {
    Kind::ALL.into_iter().find(|kind| TYPES[*kind as usize] == *of)
}

/// What `function` makes of a text, if it is one that makes values and can read it.
pub(crate) fn literal(function: &str, text: &str) -> Option<Plain> {
    let name = [&FUNCTIONS.datetime, &FUNCTIONS.duration, &FUNCTIONS.ip]
        .into_iter()
        .find(|name| name.basename_as_ref().as_ref() == function)?;
    call(name, &[Value::from(text)]).ok().map(|value| plain(&value))
}

fn entity(node: &Node<'_>) -> Result<Entity, CedarError> {
    let ancestors: HashSet<Uid> = node.ancestors.iter().map(|ancestor| uid(*ancestor)).collect();
    let partial = |(key, value)| (key, PartialValue::Value(value));
    Ok(Entity::new_with_attr_partial_value(
        uid(node.entity),
        attributes(&node.attributes)?.map(partial),
        HashSet::new(),
        ancestors,
        attributes(&node.tags)?.map(partial),
    ))
}

/// Generic in the key because its type belongs to a crate we do not depend on.
fn attributes<'a, K: From<&'a str> + Ord>(
    fields: &Fields<'a>,
) -> Result<impl Iterator<Item = (K, Value)> + use<'a, K>, CedarError> {
    let values: Result<BTreeMap<K, Value>, CedarError> =
        fields.iter().map(|(key, datum)| Ok((K::from(key), value(datum)?))).collect();
    Ok(values?.into_iter())
}

fn value(datum: &Datum<'_>) -> Result<Value, CedarError> {
    Ok(match datum {
        Datum::Bool(b) => Value::from(*b),
        Datum::Long(n) => Value::from(*n),
        Datum::Text(text) => Value::from(*text),
        Datum::Texts(texts) => Value::set_of_lits(texts.iter().map(|text| Literal::from(*text)), None),
        Datum::Time(at) => instant(at.millis())?,
        Datum::Net(net) => call(&FUNCTIONS.ip, &[Value::from(net.to_string())])?,
        Datum::Entity(name) => Value::from(uid(*name)),
        Datum::Record(fields) => Value::new(ValueKind::Record(Arc::new(attributes(fields)?.collect())), None),
    })
}

fn instant(millis: i64) -> Result<Value, CedarError> {
    let span = call(&FUNCTIONS.duration, &[Value::from(format!("{millis}ms"))])?;
    call(&FUNCTIONS.offset, &[EPOCH.clone(), span])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_stand_at_their_discriminant() {
        for (place, kind) in Kind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, place);
            assert_eq!(TYPES[place].to_string(), format!("Doorward::{}", kind.name()));
        }
    }

    #[test]
    fn instants_survive_the_way_there_and_back() {
        for millis in [0, 1, 1_795_209_300_123, 7_258_118_400_000] {
            assert_eq!(plain(&instant(millis).unwrap()), Plain::Instant(millis));
        }
        let hours = call(&FUNCTIONS.duration, &[Value::from("8h")]).unwrap();
        assert_eq!(plain(&hours), Plain::Span(8 * 3_600_000));
    }

    #[test]
    fn what_cedar_refuses_is_an_error() {
        assert!(value(&Datum::Net("::ffff:192.0.2.1/128".parse().unwrap())).is_err());
    }

    #[test]
    fn an_address_is_a_network_of_its_own() {
        let value = |text: &str| value(&Datum::Net(text.parse().unwrap())).unwrap();
        let alone = |text: &str| call(&FUNCTIONS.ip, &[Value::from(text)]).unwrap();
        assert_eq!(value("192.0.2.1/32"), alone("192.0.2.1"));
        assert_eq!(value("2001:db8::1/128"), alone("2001:db8::1"));
    }
}
