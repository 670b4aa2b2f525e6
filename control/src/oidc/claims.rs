//! What verified claims say of a person, as far as their provider may speak for it.
//! Always true: nothing is made up for what is absent; an address that is unverified or of a foreign domain is
//! dropped; a group is `<provider>/<name>` or mapped by the operator; a list that is not whole is no list.

use std::collections::BTreeSet;

use protocol::{
    config::Secret,
    id::{GroupId, UserId},
    time::Timestamp,
};
use serde_json::{Map, Value};

use super::{
    error::{Incomplete, SignInError, tidy},
    spec::{IdClaim, ProviderSpec},
    token::seconds,
};

/// Claims as they stand in a token.
pub(super) type Claims = Map<String, Value>;

/// Policies and stores hold every one of them.
const MOST_GROUPS: usize = 2000;
/// Named in a note.
const NAMED: usize = 10;

/// A person who has just signed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedIn {
    /// Who.
    pub user: UserId,
    /// What the provider calls them in logout tokens: its `sub`, also where `user` is made of another claim.
    pub subject: String,
    /// What may change while they are signed in.
    pub standing: Standing,
    /// By what means they proved who they are, as the provider calls them.
    pub amr: BTreeSet<String>,
    /// How strongly, as the provider calls it.
    pub acr: Option<String>,
    /// When they proved it.
    pub auth_time: Option<Timestamp>,
    /// The provider's session.
    pub sid: Option<String>,
    /// To ask again whether they still may.
    pub refresh: Option<Secret<String>>,
}

/// What a provider says of a person today.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// Verified by the provider, and of a domain it may speak for.
    pub email: Option<String>,
    /// For people to read; anyone may be called anything.
    pub name: Option<String>,
    /// All of their groups that count here.
    pub groups: BTreeSet<GroupId>,
    /// What was left out and why, for the operator. No address is in it.
    pub notes: Vec<String>,
}

/// An ID token's claims, and userinfo's for what is missing there.
pub(super) struct Sources<'a> {
    pub id: Option<&'a Claims>,
    pub userinfo: Option<&'a Claims>,
}

impl<'a> Sources<'a> {
    fn each(&self) -> impl Iterator<Item = &'a Claims> {
        self.id.into_iter().chain(self.userinfo)
    }

    fn get(&self, name: &str) -> Option<&'a Value> {
        self.each().filter_map(|claims| claims.get(name)).find(|value| !value.is_null())
    }
}

impl ProviderSpec {
    /// Whether userinfo may know what these claims lack.
    pub(super) fn wants_more(&self, claims: &Claims) -> bool {
        let lacks = |name: &str| claims.get(name).is_none_or(Value::is_null);
        (self.groups.wanted() && lacks(&self.groups.claim)) || (!self.domains.is_empty() && lacks("email"))
    }

    /// Who it is, by verified claims.
    pub(super) fn user(&self, claims: &Claims) -> Result<UserId, SignInError> {
        let name = match self.id_claim {
            IdClaim::Sub => "sub",
            IdClaim::Oid => "oid",
        };
        let id = text(claims, name).ok_or_else(|| SignInError::MissingClaim {
            claim: name.to_owned(),
            remedy: "let the provider send it in the ID token, or set `id_claim = \"sub\"`".to_owned(),
        })?;
        format!("{}/{id}", self.id).parse().map_err(SignInError::Subject)
    }

    /// What they may pass for.
    pub(super) fn standing(&self, sources: &Sources<'_>) -> Result<Standing, SignInError> {
        let mut notes = Vec::new();
        let groups = self.groups(sources, &mut notes)?;
        let email = self.email(sources, &mut notes);
        let name = sources.get("name").and_then(Value::as_str).map(printable).filter(|name| !name.is_empty());
        Ok(Standing { email, name, groups, notes })
    }

    fn email(&self, sources: &Sources<'_>, notes: &mut Vec<String>) -> Option<String> {
        if self.domains.is_empty() {
            return None;
        }
        // Address and its verification must come from one place.
        let source = sources.each().find(|claims| text(claims, "email").is_some())?;
        let Some((local, domain)) = address(text(source, "email")?) else {
            notes.push("the e-mail address was dropped: it is not of the form name@domain".to_owned());
            return None;
        };
        let verified = match source.get("email_verified") {
            Some(Value::Bool(verified)) => *verified,
            // Cognito writes it so.
            Some(Value::String(verified)) => verified == "true",
            _ => false,
        };
        if !verified {
            let why = "the provider does not say that it verified it (email_verified)";
            notes.push(format!("the e-mail address was dropped: {why}"));
            return None;
        }
        if !self.domains.iter().any(|own| own.eq_ignore_ascii_case(domain)) {
            let domain = tidy(domain);
            notes.push(format!(
                "the e-mail address was dropped: {domain} is not among the provider's domains"
            ));
            return None;
        }
        Some(format!("{local}@{}", domain.to_ascii_lowercase()))
    }

    fn groups(
        &self,
        sources: &Sources<'_>,
        notes: &mut Vec<String>,
    ) -> Result<BTreeSet<GroupId>, SignInError> {
        if !self.groups.wanted() {
            return Ok(BTreeSet::new());
        }
        let claim = &self.groups.claim;
        let incomplete = |why| SignInError::Groups { claim: claim.clone(), why };
        if sources.each().any(|claims| elsewhere(claims, claim)) {
            return Err(incomplete(Incomplete::Elsewhere));
        }
        let Some(listed) = sources.get(claim) else {
            notes.push(format!(
                "the provider does not say {claim:?}, which is taken for no groups: if nobody has any, let it send them"
            ));
            return Ok(BTreeSet::new());
        };
        let names = names(listed).map_err(incomplete)?;
        let (mut groups, mut foreign, mut unfit) = (BTreeSet::new(), Vec::new(), Vec::new());
        for name in names {
            if let Some(mapped) = self.groups.names.get(name) {
                groups.insert(mapped.clone());
            } else if !self.groups.allow(name) {
                foreign.push(name);
            } else if let Ok(group) = format!("{}/{name}", self.id).parse() {
                groups.insert(group);
            } else {
                unfit.push(name);
            }
        }
        notes.extend(note("it may not speak for them", &foreign));
        notes.extend(note("a group has no spaces, commas or control characters; map them by name", &unfit));
        Ok(groups)
    }
}

/// A claim that is a text.
pub(super) fn text<'a>(claims: &'a Claims, name: &str) -> Option<&'a str> {
    claims.get(name).and_then(Value::as_str).filter(|text| !text.is_empty())
}

/// What is true of this sign-in alone.
pub(super) fn signed_in(
    spec: &ProviderSpec,
    claims: &Claims,
    userinfo: Option<&Claims>,
    refresh: Option<Secret<String>>,
) -> Result<SignedIn, SignInError> {
    let amr = claims.get("amr").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    Ok(SignedIn {
        user: spec.user(claims)?,
        subject: text(claims, "sub").unwrap_or_default().to_owned(),
        standing: spec.standing(&Sources { id: Some(claims), userinfo })?,
        amr: amr.iter().filter_map(Value::as_str).map(printable).collect(),
        acr: text(claims, "acr").map(str::to_owned),
        auth_time: seconds(claims, "auth_time")?,
        sid: text(claims, "sid").map(str::to_owned),
        refresh,
    })
}

/// Whether the groups are said to be listed somewhere else: OpenID Connect Core 1.0, 5.6.2, and Entra's
/// short form of it.
fn elsewhere(claims: &Claims, claim: &str) -> bool {
    let named = claims.get("_claim_names").and_then(Value::as_object);
    let hinted = match claims.get("hasgroups") {
        Some(Value::Bool(hinted)) => *hinted,
        Some(Value::String(hinted)) => hinted == "true",
        _ => false,
    };
    named.is_some_and(|named| named.contains_key(claim)) || (hinted && claim == "groups")
}

fn names(listed: &Value) -> Result<Vec<&str>, Incomplete> {
    let listed = listed.as_array().ok_or(Incomplete::NoList)?;
    if listed.len() > MOST_GROUPS {
        return Err(Incomplete::TooMany);
    }
    listed.iter().map(|name| name.as_str().ok_or(Incomplete::NoList)).collect()
}

fn note(why: &str, names: &[&str]) -> Option<String> {
    let shown: Vec<_> = names.iter().take(NAMED).map(|name| format!("{:?}", tidy(name))).collect();
    let more = names.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    (!names.is_empty()).then(|| format!("groups were dropped ({why}): {}{more}", shown.join(", ")))
}

/// The two halves of an address; quoted forms, a second @ and what cannot be printed are none.
fn address(text: &str) -> Option<(&str, &str)> {
    let fits = |c: char| !c.is_control() && !c.is_whitespace() && !matches!(c, '@' | '"' | '<' | '>' | ',');
    let (local, domain) = text.split_once('@')?;
    let whole = text.len() <= 254 && !local.is_empty() && !domain.is_empty();
    (whole && local.chars().chain(domain.chars()).all(fits)).then_some((local, domain))
}

fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect::<String>().trim().to_owned()
}

#[cfg(test)]
mod tests;
