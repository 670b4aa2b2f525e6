//! A denial heard again as if the person had followed a policy's `@step_up`: would that help?
//! It signs nobody in and changes no answer. Always true: a step-up is offered only if the policy, or for the
//! whole matter every policy, no longer stands in the way of a session renewed by it.

use std::slice;

use protocol::time::Timestamp;

use crate::{
    cedar::{self, Expr, View},
    explain,
    facts::{Matter, Request, Session},
    hearing::{Court, Hearing},
    rule::Rule,
    step_up::StepUp,
};

/// A denied request.
pub(crate) struct Appeal<'a> {
    court: &'a Court,
    request: Request<'a>,
    now: Timestamp,
    denied: &'a Hearing<'a>,
}

impl<'a> Appeal<'a> {
    /// `None` for what no sign-in decides.
    pub(crate) fn of(
        court: &'a Court,
        matter: &Matter<'a>,
        now: Timestamp,
        denied: &'a Hearing<'a>,
    ) -> Option<Self> {
        match matter {
            Matter::Access(request) => Some(Self { court, request: *request, now, denied }),
            Matter::Administration(_) => None,
        }
    }

    /// The step-up by which this permit, which failed, would match the reading that was denied.
    pub(crate) fn of_permit(&self, rule: &Rule) -> Option<StepUp> {
        let step_up = rule.words.step_up.as_ref()?;
        let session = self.renewed(step_up, slice::from_ref(&rule));
        let hearing = self.hear(&session)?;
        let place = self.denied.denied_place()?;
        hearing.matches(place, rule).then(|| step_up.clone())
    }

    /// The step-up by which this forbid, which matched, would not.
    pub(crate) fn of_forbid(&self, rule: &Rule) -> Option<StepUp> {
        let step_up = rule.words.step_up.as_ref()?;
        let session = self.renewed(step_up, slice::from_ref(&rule));
        let answer = self.hear(&session)?.answer;
        let stands = answer.forbids.contains(&rule.id) || answer.errors.contains_key(&rule.id);
        (!stands).then(|| step_up.clone())
    }

    /// The step-up by which the whole matter is allowed: what every forbid that matched asks for and, unless a
    /// permit matches then, what the nearest permit does with which that is enough.
    pub(crate) fn of_all(&self) -> Option<StepUp> {
        let answer = &self.denied.answer;
        let forbids: Vec<&Rule> =
            answer.forbids.iter().map(|id| self.court.rule(id)).collect::<Option<_>>()?;
        let asked = forbids
            .iter()
            .try_fold(StepUp::default(), |asked, rule| asked.and(rule.words.step_up.as_ref()?))?;
        if !forbids.is_empty() && self.helps(&asked, &forbids) {
            return Some(asked);
        }
        self.permits().into_iter().find_map(|permit| {
            let both = asked.and(permit.words.step_up.as_ref()?)?;
            let rules: Vec<&Rule> = forbids.iter().copied().chain([permit]).collect();
            self.helps(&both, &rules).then_some(both)
        })
    }

    /// The failed permits that ask for a step-up, nearest first.
    fn permits(&self) -> Vec<&'a Rule> {
        let Some(case) = self.denied.denied() else { return Vec::new() };
        let mut asking = self.court.candidates(case).filter(|rule| rule.words.step_up.is_some()).peekable();
        // Few have one, and words are dear.
        if asking.peek().is_none() {
            return Vec::new();
        }
        let Ok(env) = case.env() else { return Vec::new() };
        let failed = explain::nearest(asking, env, case.question.act.subject());
        failed.into_iter().map(|(rule, _)| rule).collect()
    }

    fn helps(&self, step_up: &StepUp, rules: &[&Rule]) -> bool {
        let session = self.renewed(step_up, rules);
        self.hear(&session).is_some_and(|hearing| hearing.answer.allowed())
    }

    /// What a provider does for a stronger sign-in it tells in `amr`, for which nobody can ask: what these
    /// policies want to see there is taken to come with the strength they ask for.
    fn renewed(&self, step_up: &StepUp, rules: &[&Rule]) -> Session {
        let mut session = step_up.renewed(self.request.session, self.now);
        if step_up.acr.is_some() {
            let bodies = rules.iter().filter_map(|rule| rule.body.as_ref());
            bodies.for_each(|body| add_methods(body.expr(), &mut session));
        }
        session
    }

    fn hear<'s>(&'s self, session: &'s Session) -> Option<Hearing<'s>> {
        let request = Request { session: Some(session), ..self.request };
        self.court.hear(&Matter::Access(request), self.now).ok()
    }
}

/// The texts that `expr` looks for in `context.session.amr`.
fn add_methods(expr: &Expr, session: &mut Session) {
    let children = cedar::children(expr);
    if children.iter().any(|child| is_amr(child)) {
        add_texts(expr, session);
    }
    children.into_iter().for_each(|child| add_methods(child, session));
}

fn add_texts(expr: &Expr, session: &mut Session) {
    if let View::Text(text) = View::of(expr) {
        session.amr.insert(text.to_owned());
    }
    cedar::children(expr).into_iter().for_each(|child| add_texts(child, session));
}

fn is_amr(expr: &Expr) -> bool {
    matches!(View::of(expr), View::Attr(base, "amr") if View::of(base).is_context_attr("session"))
}
