//! Policies and expressions seen as plain shapes, so that nothing else matches on Cedar's own tree.
//! It evaluates nothing. Shapes nobody asks about are [`View::Other`], whose children can still be walked.

use cedar_policy_core::ast::{
    ActionConstraint, BinaryOp, EntityReference, ExprKind, Literal, Policy, PrincipalOrResourceConstraint,
    UnaryOp, Var,
};

use super::{Expr, Uid};
use crate::question::{Act, Kind, Named, Node};

pub(crate) use cedar_policy_core::ast::Pattern;

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
    Action,
    Resource,
    Context,
    Bool(bool),
    Long(i64),
    Text(&'a str),
    Set(&'a [Expr]),
    Like(&'a Expr, &'a Pattern),
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
            ExprKind::Var(Var::Action) => Self::Action,
            ExprKind::Var(Var::Resource) => Self::Resource,
            ExprKind::Var(Var::Context) => Self::Context,
            ExprKind::Lit(Literal::EntityUID(uid)) => Self::Entity(uid),
            ExprKind::Lit(Literal::Bool(b)) => Self::Bool(*b),
            ExprKind::Lit(Literal::Long(n)) => Self::Long(*n),
            ExprKind::Lit(Literal::String(text)) => Self::Text(text),
            ExprKind::Set(items) => Self::Set(items),
            ExprKind::Like { expr, pattern } => Self::Like(expr, pattern),
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

    /// `context has <attr>`, or anything within it.
    pub(crate) fn has_context_attr(&self, name: &str) -> bool {
        matches!(self, Self::Has(base, attrs)
            if attrs.first() == Some(&name) && matches!(View::of(base), View::Context))
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
    Is(Kind),
    Eq(Named),
    In(Named),
    IsIn(Kind, Named),
}

impl Scope {
    /// Whether `subject` is within it, as Cedar means it.
    pub(crate) fn matches(&self, subject: &Node<'_>) -> bool {
        match self {
            Self::Any => true,
            Self::Is(kind) => subject.entity.kind == *kind,
            Self::Eq(named) => subject.entity == named.as_ref(),
            Self::In(named) => subject.is_in(named.as_ref()),
            Self::IsIn(kind, named) => subject.entity.kind == *kind && subject.is_in(named.as_ref()),
        }
    }

    /// Whether everything within `other` is certainly within it, whatever the groups hold.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        match self {
            Self::Any => true,
            Self::Is(kind) => match other {
                Self::Is(theirs) | Self::IsIn(theirs, _) => kind == theirs,
                Self::Eq(named) => *kind == named.kind,
                Self::Any | Self::In(_) => false,
            },
            Self::Eq(named) => matches!(other, Self::Eq(theirs) if named == theirs),
            Self::In(named) => match other {
                Self::Eq(theirs) | Self::In(theirs) | Self::IsIn(_, theirs) => named == theirs,
                Self::Any | Self::Is(_) => false,
            },
            Self::IsIn(kind, named) => match other {
                Self::IsIn(theirs, within) => kind == theirs && named == within,
                Self::Eq(theirs) => *kind == theirs.kind && named == theirs,
                Self::Any | Self::Is(_) | Self::In(_) => false,
            },
        }
    }

    /// The entity it names.
    pub(crate) fn entity(&self) -> Option<&Named> {
        match self {
            Self::Any | Self::Is(_) => None,
            Self::Eq(named) | Self::In(named) | Self::IsIn(_, named) => Some(named),
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
    /// The actions it is about, as bits of [`Act`]. A permit that names none was written with access in
    /// mind, and says nothing of administration.
    pub(crate) fn acts(&self, actions: &super::ActionEntities) -> u8 {
        let named = |act: &Act| match &self.actions {
            None => !self.permit || Act::ADMIN & act.bit() == 0,
            Some(ActionScope::Eq(uid)) => super::uid(act.entity()) == *uid,
            Some(ActionScope::In(groups)) => groups.iter().any(|group| actions.is_in(*act, group)),
        };
        Act::ALL.iter().filter(|act| named(act)).fold(0, |bits, act| bits | act.bit())
    }

    /// Every tier it names, in scope or body.
    pub(crate) fn tiers(&self) -> Vec<String> {
        let tier = |named: &Named| (named.kind == Kind::Tier).then(|| named.id.as_ref().to_owned());
        let mut tiers: Vec<String> = self.resource.entity().and_then(tier).into_iter().collect();
        let mut open: Vec<&Expr> = self.body.iter().collect();
        while let Some(expr) = open.pop() {
            if let View::Entity(uid) = View::of(expr) {
                tiers.extend(super::named(uid).as_ref().and_then(tier));
            }
            open.extend(children(expr));
        }
        tiers
    }
}

/// Takes a policy apart; `None` for a link of a template, which has no scope of its own, and for a
/// scope that names an entity of no type of the schema, which is not valid.
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
        EntityReference::EUID(uid) => super::named(uid),
        EntityReference::Slot(_) => None,
    };
    Some(match constraint {
        PrincipalOrResourceConstraint::Any => Scope::Any,
        PrincipalOrResourceConstraint::Is(kind) => Scope::Is(super::kind_of(kind)?),
        PrincipalOrResourceConstraint::Eq(uid) => Scope::Eq(named(uid)?),
        PrincipalOrResourceConstraint::In(uid) => Scope::In(named(uid)?),
        PrincipalOrResourceConstraint::IsIn(kind, uid) => Scope::IsIn(super::kind_of(kind)?, named(uid)?),
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
    use super::*;
    use crate::question::Ref;

    fn named(kind: Kind, id: &str) -> Named {
        Named { kind, id: id.into() }
    }

    #[test]
    fn equal_is_not_in() {
        let (inner, outer) = (named(Kind::Subnet, "inner"), named(Kind::Subnet, "outer"));
        // A subnet within another, within a group.
        let mut subject = Node::bare(inner.as_ref());
        subject.ancestors = vec![outer.as_ref(), Ref { kind: Kind::AppGroup, id: "all" }];
        let matches = |scope: Scope| scope.matches(&subject);
        assert!(matches(Scope::Eq(inner.clone())) && matches(Scope::In(inner.clone())));
        assert!(!matches(Scope::Eq(outer.clone())) && matches(Scope::In(outer.clone())));
        assert!(matches(Scope::IsIn(Kind::Subnet, outer.clone())));
        assert!(!matches(Scope::IsIn(Kind::App, outer.clone())));
        assert!(!matches(Scope::In(named(Kind::App, "inner"))));
        assert!(matches(Scope::Is(Kind::Subnet)) && !matches(Scope::Is(Kind::App)));
    }

    #[test]
    fn covering_is_certain() {
        let (a, b) = (named(Kind::App, "a"), named(Kind::App, "b"));
        for wide in
            [Scope::Any, Scope::Is(Kind::App), Scope::In(a.clone()), Scope::IsIn(Kind::App, a.clone())]
        {
            assert!(wide.covers(&Scope::Eq(a.clone())), "{wide:?}");
            assert!(wide.covers(&Scope::IsIn(Kind::App, a.clone())), "{wide:?}");
            assert_eq!(
                wide.covers(&Scope::Eq(b.clone())),
                matches!(wide, Scope::Any | Scope::Is(_)),
                "{wide:?}"
            );
        }
        assert!(!Scope::Eq(a.clone()).covers(&Scope::In(a.clone())));
        assert!(!Scope::Is(Kind::App).covers(&Scope::In(a)));
    }
}
