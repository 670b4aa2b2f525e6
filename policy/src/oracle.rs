//! The truth: Cedar's own `Authorizer` over the whole set, through the public API, with the schema.
//! It is slow, explains nothing and knows nothing of horizons.
//! Always true: the request and the entities are checked against the schema; what does not fit is an error.

use std::collections::BTreeMap;

use cedar_policy::{
    ActionConstraint, AuthorizationError, Authorizer, Context, Effect, Entities, Entity, EntityId,
    EntityTypeName, EntityUid, Policy, PolicySet, Request, RestrictedExpression, Schema,
};
use protocol::time::Timestamp;

use crate::{
    answer::Answer,
    cedar::CedarError,
    decision::PolicyId,
    facts::Matter,
    question::{Act, Datum, Fields, NAMESPACE, Node, Question, Ref},
    zone::Zone,
};

/// Everything an answer needs.
#[derive(Debug)]
pub(crate) struct Oracle {
    pub(crate) schema: Schema,
    pub(crate) policies: PolicySet,
    pub(crate) zones: Vec<Zone>,
    /// The tiers that any policy names.
    pub(crate) tiers: Vec<String>,
}

impl Oracle {
    /// Every reading of the path is asked about; all must be allowed.
    pub(crate) fn answer(&self, matter: &Matter<'_>, now: Timestamp) -> Result<Answer, CedarError> {
        let (tiers, errors) = self.tiers(matter, now)?;
        let mut answer: Option<Answer> = None;
        for reading in 0..matter.readings() {
            let question = Question::of(matter, reading, &tiers, &self.zones, now);
            let next = self.ask(&question)?;
            answer = Some(match answer {
                Some(answer) => answer.and(next),
                None => next,
            });
        }
        Ok(answer.unwrap_or_default().with_errors(errors))
    }

    fn tiers<'a>(
        &'a self,
        matter: &Matter<'_>,
        now: Timestamp,
    ) -> Result<(Vec<&'a str>, BTreeMap<PolicyId, String>), CedarError> {
        let (mut tiers, mut errors) = (Vec::new(), BTreeMap::new());
        let Some(device) = matter.device() else { return Ok((tiers, errors)) };
        for tier in &self.tiers {
            let answer = self.ask(&Question::trust(device, tier, now))?;
            if answer.allowed() {
                tiers.push(tier.as_str());
            }
            errors.extend(answer.errors);
        }
        Ok((tiers, errors))
    }

    fn ask(&self, question: &Question<'_>) -> Result<Answer, CedarError> {
        let (request, entities) = (self.request(question)?, self.entities(question)?);
        let response = Authorizer::new().is_authorized(&request, &self.policies, &entities);
        let speaks = |id: &cedar_policy::PolicyId| self.speaks(id, question.act);
        let (permits, forbids) = response
            .diagnostics()
            .reason()
            .filter(|id| speaks(id))
            .map(|id| {
                (PolicyId::from(id.to_string()), self.policies.policy(id).map(|policy| policy.effect()))
            })
            .partition::<Vec<_>, _>(|(_, effect)| *effect == Some(Effect::Permit));
        let names =
            |policies: Vec<(PolicyId, Option<Effect>)>| policies.into_iter().map(|(id, _)| id).collect();
        let errors = response.diagnostics().errors().filter_map(|error| match error {
            AuthorizationError::PolicyEvaluationError(error) => speaks(error.policy_id())
                .then(|| (PolicyId::from(error.policy_id().to_string()), error.inner().to_string())),
        });
        Ok(Answer::of(names(permits), names(forbids), errors.collect()))
    }

    /// Whether a policy is heard at all: a permit that names no action was written with access in mind,
    /// and says nothing of administration.
    fn speaks(&self, id: &cedar_policy::PolicyId, act: Act) -> bool {
        let wide = |policy: &Policy| {
            policy.effect() == Effect::Permit && policy.action_constraint() == ActionConstraint::Any
        };
        Act::ADMIN & act.bit() == 0 || !self.policies.policy(id).is_some_and(wide)
    }

    fn request(&self, question: &Question<'_>) -> Result<Request, CedarError> {
        let context = Context::from_pairs(pairs(&question.context)?).map_err(in_words)?;
        Request::new(
            uid(question.principal.entity)?,
            uid(question.act.entity())?,
            uid(question.resource.entity)?,
            context,
            Some(&self.schema),
        )
        .map_err(in_words)
    }

    fn entities(&self, question: &Question<'_>) -> Result<Entities, CedarError> {
        let nodes = [&question.principal, &question.resource].into_iter().chain(&question.others);
        let entities: Result<Vec<Entity>, CedarError> = nodes.map(entity).collect();
        // With the schema, or the actions' own hierarchy is missing and every guard is silently off.
        Entities::from_entities(entities?, Some(&self.schema)).map_err(in_words)
    }
}

fn in_words(error: impl std::fmt::Display) -> CedarError {
    CedarError(error.to_string())
}

fn uid(name: Ref<'_>) -> Result<EntityUid, CedarError> {
    let kind: EntityTypeName = format!("{NAMESPACE}::{}", name.kind.name()).parse().map_err(in_words)?;
    Ok(EntityUid::from_type_name_and_id(kind, EntityId::new(name.id)))
}

fn entity(node: &Node<'_>) -> Result<Entity, CedarError> {
    let ancestors: Result<Vec<EntityUid>, CedarError> =
        node.ancestors.iter().map(|name| uid(*name)).collect();
    Entity::new_with_tags(uid(node.entity)?, pairs(&node.attributes)?, ancestors?, pairs(&node.tags)?)
        .map_err(in_words)
}

fn pairs(fields: &Fields<'_>) -> Result<Vec<(String, RestrictedExpression)>, CedarError> {
    fields.iter().map(|(key, datum)| Ok(((*key).to_owned(), expression(datum)?))).collect()
}

fn expression(datum: &Datum<'_>) -> Result<RestrictedExpression, CedarError> {
    Ok(match datum {
        Datum::Bool(b) => RestrictedExpression::new_bool(*b),
        Datum::Long(n) => RestrictedExpression::new_long(*n),
        Datum::Text(text) => RestrictedExpression::new_string((*text).to_owned()),
        Datum::Texts(texts) => RestrictedExpression::new_set(
            texts.iter().map(|text| RestrictedExpression::new_string((*text).to_owned())),
        ),
        Datum::Time(at) => RestrictedExpression::new_datetime(at.to_string()),
        Datum::Net(net) => RestrictedExpression::new_ip(net.to_string()),
        Datum::Entity(name) => RestrictedExpression::new_entity_uid(uid(*name)?),
        Datum::Record(fields) => RestrictedExpression::new_record(pairs(fields)?).map_err(in_words)?,
    })
}
