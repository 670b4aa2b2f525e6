//! Policies and expressions seen as plain shapes, so that nothing else matches on Cedar's own tree.
//! It evaluates nothing. Shapes nobody asks about are [`View::Other`], whose children can still be walked.

use cedar_policy_core::ast::{
    ActionConstraint, BinaryOp, EntityReference, EntityType, ExprKind, Literal, Policy,
    PrincipalOrResourceConstraint, UnaryOp, Var,
};

use super::{Expr, Subject, Uid};
use crate::question::{Act, Kind};

/// How two values are compared; `>` and `>=` are negations of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparison {
    Less,
    LessEq,
    Equal,
}

/// An expression's outermost shape.
#[derive(Debug)]
pub(crate) enum View<'a> {
    Principal,
    Resource,
    Context,
    And(&'a Expr, &'a Expr),
    Or(&'a Expr, &'a Expr),
    Not(&'a Expr),
    If(&'a Expr, &'a Expr, &'a Expr),
    Compare(Comparison, &'a Expr, &'a Expr),
    In(&'a Expr, &'a Expr),
    /// Set, element.
    Contains(&'a Expr, &'a Expr),
    /// An extension function or method.
    Call(&'a str, &'a [Expr]),
    Attr(&'a Expr, &'a str),
    Has(&'a Expr, Vec<&'a str>),
    Entity(&'a Uid),
    Other,
}

impl<'a> View<'a> {
    pub(crate) fn of(expr: &'a Expr) -> Self {
        match expr.expr_kind() {
            ExprKind::Var(Var::Principal) => Self::Principal,
            ExprKind::Var(Var::Resource) => Self::Resource,
            ExprKind::Var(Var::Context) => Self::Context,
            ExprKind::Lit(Literal::EntityUID(uid)) => Self::Entity(uid),
            ExprKind::If { test_expr, then_expr, else_expr } => Self::If(test_expr, then_expr, else_expr),
            ExprKind::And { left, right } => Self::And(left, right),
            ExprKind::Or { left, right } => Self::Or(left, right),
            ExprKind::UnaryApp { op: UnaryOp::Not, arg } => Self::Not(arg),
            ExprKind::BinaryApp { op, arg1, arg2 } => Self::binary(*op, arg1, arg2),
            ExprKind::ExtensionFunctionApp { fn_name, args } => {
                Self::Call(fn_name.basename_as_ref().as_ref(), args)
            }
            ExprKind::GetAttr { expr, attr } => Self::Attr(expr, attr),
            ExprKind::HasAttr { expr, attr } => Self::Has(expr, vec![attr]),
            ExprKind::ExtHasAttr { expr, attrs } => {
                Self::Has(expr, attrs.iter().map(|attr| attr.as_str()).collect())
            }
            // Cedar's enum, not ours: what no walk looks into.
            _ => Self::Other,
        }
    }

    fn binary(op: BinaryOp, left: &'a Expr, right: &'a Expr) -> Self {
        match op {
            BinaryOp::Less => Self::Compare(Comparison::Less, left, right),
            BinaryOp::LessEq => Self::Compare(Comparison::LessEq, left, right),
            BinaryOp::Eq => Self::Compare(Comparison::Equal, left, right),
            BinaryOp::In => Self::In(left, right),
            BinaryOp::Contains => Self::Contains(left, right),
            _ => Self::Other,
        }
    }

    /// `context.<attr>`.
    pub(crate) fn is_context_attr(&self, name: &str) -> bool {
        matches!(self, Self::Attr(base, attr) if *attr == name && matches!(View::of(base), View::Context))
    }
}

/// The expressions directly inside `expr`.
pub(crate) fn children(expr: &Expr) -> Vec<&Expr> {
    match expr.expr_kind() {
        ExprKind::If { test_expr, then_expr, else_expr } => vec![test_expr, then_expr, else_expr],
        ExprKind::And { left, right } | ExprKind::Or { left, right } => vec![left, right],
        ExprKind::UnaryApp { arg, .. } => vec![arg],
        ExprKind::BinaryApp { arg1, arg2, .. } => vec![arg1, arg2],
        ExprKind::ExtensionFunctionApp { args, .. } => args.iter().collect(),
        ExprKind::GetAttr { expr, .. }
        | ExprKind::HasAttr { expr, .. }
        | ExprKind::ExtHasAttr { expr, .. }
        | ExprKind::Like { expr, .. }
        | ExprKind::Is { expr, .. } => vec![expr],
        ExprKind::Set(items) => items.iter().collect(),
        ExprKind::Record(fields) => fields.values().collect(),
        ExprKind::Lit(_) | ExprKind::Var(_) | ExprKind::Slot(_) | ExprKind::Unknown(_) => Vec::new(),
    }
}

/// How deeply `expr` nests; itself without recursion, so that no text can exhaust the stack.
pub(crate) fn depth(expr: &Expr) -> usize {
    let mut deepest = 0;
    let mut open = vec![(expr, 1)];
    while let Some((expr, level)) = open.pop() {
        deepest = deepest.max(level);
        open.extend(children(expr).into_iter().map(|child| (child, level + 1)));
    }
    deepest
}

/// Whether `test` holds for `expr` or anything inside it.
pub(crate) fn any(expr: &Expr, test: &impl Fn(&View<'_>) -> bool) -> bool {
    test(&View::of(expr)) || children(expr).into_iter().any(|child| any(child, test))
}

/// The author's text of `expr`, white space folded.
pub(crate) fn snippet(expr: &Expr) -> String {
    let text = expr.source_loc().and_then(|loc| loc.snippet()).map(str::to_owned);
    text.unwrap_or_else(|| expr.to_string()).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The principal or resource part of a policy's scope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Scope {
    Any,
    Is(EntityType),
    Eq(Uid),
    In(Uid),
    IsIn(EntityType, Uid),
}

impl Scope {
    /// Whether `subject` is within it, as Cedar means it.
    pub(crate) fn matches(&self, subject: &Subject) -> bool {
        let within = |uid: &Uid| subject.uid() == uid || subject.is_descendant_of(uid);
        match self {
            Self::Any => true,
            Self::Is(kind) => subject.uid().entity_type() == kind,
            Self::Eq(uid) => subject.uid() == uid,
            Self::In(uid) => within(uid),
            Self::IsIn(kind, uid) => subject.uid().entity_type() == kind && within(uid),
        }
    }

    /// Whether everything within `other` is certainly within it, whatever the groups hold.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        match self {
            Self::Any => true,
            Self::Is(kind) => match other {
                Self::Is(theirs) | Self::IsIn(theirs, _) => kind == theirs,
                Self::Eq(uid) => kind == uid.entity_type(),
                Self::Any | Self::In(_) => false,
            },
            Self::Eq(uid) => matches!(other, Self::Eq(theirs) if uid == theirs),
            Self::In(uid) => match other {
                Self::Eq(theirs) | Self::In(theirs) | Self::IsIn(_, theirs) => uid == theirs,
                Self::Any | Self::Is(_) => false,
            },
            Self::IsIn(kind, uid) => match other {
                Self::IsIn(theirs, within) => kind == theirs && uid == within,
                Self::Eq(theirs) => kind == theirs.entity_type() && uid == theirs,
                Self::Any | Self::Is(_) | Self::In(_) => false,
            },
        }
    }

    /// The entity it names.
    pub(crate) fn entity(&self) -> Option<&Uid> {
        match self {
            Self::Any | Self::Is(_) => None,
            Self::Eq(uid) | Self::In(uid) | Self::IsIn(_, uid) => Some(uid),
        }
    }
}

/// A policy taken apart.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) permit: bool,
    pub(crate) principal: Scope,
    /// The actions it names; `None` is any.
    pub(crate) actions: Option<ActionScope>,
    pub(crate) resource: Scope,
    /// All of `when` and `unless`; `None` is true.
    pub(crate) body: Option<Expr>,
    /// Where the policy begins in its file, in bytes.
    pub(crate) offset: usize,
}

/// The action part of a policy's scope.
#[derive(Debug)]
pub(crate) enum ActionScope {
    Eq(Uid),
    In(Vec<Uid>),
}

impl Parts {
    /// The actions it is about, as bits of [`Act`].
    pub(crate) fn acts(&self, actions: &super::ActionEntities) -> u8 {
        let named = |act: &Act| match &self.actions {
            None => true,
            Some(ActionScope::Eq(uid)) => super::uid(act.entity()) == *uid,
            Some(ActionScope::In(groups)) => groups.iter().any(|group| actions.is_in(*act, group)),
        };
        Act::ALL.iter().filter(|act| named(act)).fold(0, |bits, act| bits | act.bit())
    }

    /// Every tier it names, in scope or body.
    pub(crate) fn tiers(&self) -> Vec<String> {
        let named = |uid: &Uid| super::id_of(uid, Kind::Tier).map(str::to_owned);
        let mut tiers: Vec<String> = self.resource.entity().and_then(named).into_iter().collect();
        let mut open: Vec<&Expr> = self.body.iter().collect();
        while let Some(expr) = open.pop() {
            if let View::Entity(uid) = View::of(expr) {
                tiers.extend(named(uid));
            }
            open.extend(children(expr));
        }
        tiers
    }
}

/// Takes a policy apart; `None` for a link of a template, which has no scope of its own.
pub(crate) fn dissect(policy: &cedar_policy::Policy) -> Option<Parts> {
    let policy: &Policy = policy.as_ref();
    if !policy.is_static() {
        return None;
    }
    let actions = match policy.action_constraint() {
        ActionConstraint::Any => None,
        ActionConstraint::Eq(uid) => Some(ActionScope::Eq(uid.as_ref().clone())),
        ActionConstraint::In(uids) => {
            Some(ActionScope::In(uids.iter().map(|u| u.as_ref().clone()).collect()))
        }
    };
    Some(Parts {
        permit: policy.effect() == cedar_policy_core::ast::Effect::Permit,
        principal: scope(policy.principal_constraint().as_inner())?,
        actions,
        resource: scope(policy.resource_constraint().as_inner())?,
        body: policy.non_scope_constraints().cloned(),
        offset: policy.loc().map_or(0, |loc| loc.start()),
    })
}

fn scope(constraint: &PrincipalOrResourceConstraint) -> Option<Scope> {
    let named = |reference: &EntityReference| match reference {
        EntityReference::EUID(uid) => Some(uid.as_ref().clone()),
        EntityReference::Slot(_) => None,
    };
    Some(match constraint {
        PrincipalOrResourceConstraint::Any => Scope::Any,
        PrincipalOrResourceConstraint::Is(kind) => Scope::Is(kind.as_ref().clone()),
        PrincipalOrResourceConstraint::Eq(uid) => Scope::Eq(named(uid)?),
        PrincipalOrResourceConstraint::In(uid) => Scope::In(named(uid)?),
        PrincipalOrResourceConstraint::IsIn(kind, uid) => Scope::IsIn(kind.as_ref().clone(), named(uid)?),
    })
}

/// The policy in Cedar's own spelling: equal for texts that differ only in layout.
pub(crate) fn canonical(policy: &cedar_policy::Policy) -> String {
    let policy: &Policy = policy.as_ref();
    policy.to_string()
}

/// Where a template begins in its file, in bytes.
pub(crate) fn template_offset(template: &cedar_policy::Template) -> usize {
    let template: &cedar_policy_core::ast::Template = template.as_ref();
    template.loc().map_or(0, |loc| loc.start())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::question::Ref;

    fn uid(kind: Kind, id: &str) -> Uid {
        super::super::uid(Ref { kind, id })
    }

    /// A subnet within another, within a group.
    fn subject() -> Subject {
        let ancestors = HashSet::from([uid(Kind::Subnet, "outer"), uid(Kind::AppGroup, "all")]);
        Subject::new_with_attr_partial_value(uid(Kind::Subnet, "inner"), [], HashSet::new(), ancestors, [])
    }

    #[test]
    fn equal_is_not_in() {
        let (inner, outer) = (uid(Kind::Subnet, "inner"), uid(Kind::Subnet, "outer"));
        let kind = |kind| uid(kind, "").entity_type().clone();
        assert!(Scope::Eq(inner.clone()).matches(&subject()) && Scope::In(inner.clone()).matches(&subject()));
        assert!(
            !Scope::Eq(outer.clone()).matches(&subject()) && Scope::In(outer.clone()).matches(&subject())
        );
        assert!(Scope::IsIn(kind(Kind::Subnet), outer.clone()).matches(&subject()));
        assert!(!Scope::IsIn(kind(Kind::App), outer.clone()).matches(&subject()));
        assert!(
            Scope::Is(kind(Kind::Subnet)).matches(&subject())
                && !Scope::Is(kind(Kind::App)).matches(&subject())
        );
    }

    #[test]
    fn covering_is_certain() {
        let (a, b) = (uid(Kind::App, "a"), uid(Kind::App, "b"));
        let app = a.entity_type().clone();
        for wide in
            [Scope::Any, Scope::Is(app.clone()), Scope::In(a.clone()), Scope::IsIn(app.clone(), a.clone())]
        {
            assert!(wide.covers(&Scope::Eq(a.clone())), "{wide:?}");
            assert!(wide.covers(&Scope::IsIn(app.clone(), a.clone())), "{wide:?}");
            assert_eq!(
                wide.covers(&Scope::Eq(b.clone())),
                matches!(wide, Scope::Any | Scope::Is(_)),
                "{wide:?}"
            );
        }
        assert!(!Scope::Eq(a.clone()).covers(&Scope::In(a.clone())));
        assert!(!Scope::Is(app).covers(&Scope::In(a)));
    }
}
