//! What can be done about one-time credentials, and how one is written: `dwt_<id>_<secret>`.
//! It redeems none. Always true: the secret is told once and kept nowhere; only its hash is.

use std::{sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use protocol::{
    id::{ConnectorId, SiteId},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    AdminError, Context, Noun, Plan, Scope, connector,
    draft::Draft,
    hex,
    noun::{Shown, exists, list, unknown},
};
use crate::{
    directory::View,
    object::{Connector, Token},
    revoked::Revoked,
};

/// The longest a token is good for.
pub const LONGEST: Duration = Duration::from_secs(7 * 86_400);

/// For how long one that opens nothing any more is still listed.
const LISTED: Duration = Duration::from_secs(30 * 86_400);

/// What is asked about one-time credentials.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum TokenRequest {
    /// Which there are.
    List,
    /// Void one that was not used yet.
    Revoke {
        /// Its id: the part after `dwt_`.
        token: String,
    },
}

impl Shown for Token {
    const NOUN: Noun = Noun::Token;
    const COLUMNS: &'static [&'static str] = &["id", "site", "connector", "by", "expires", "used"];

    fn within(&self, scope: Scope) -> Scope {
        scope.of(&self.id).site(Some(&self.site))
    }

    fn shown(&self, _: &View) -> Value {
        json!({
            "id": self.id, "site": self.site, "connector": self.connector, "by": self.by,
            "at": self.at.to_string(), "expires": self.expires.to_string(),
            "used": self.used.map(|pin| pin.to_string()),
        })
    }
}

pub(super) fn scope(view: &View, request: &TokenRequest) -> Scope {
    match request {
        TokenRequest::List => Scope::read(Noun::Token, "list"),
        TokenRequest::Revoke { token } => {
            let scope = Scope::write(Noun::Token, "revoke");
            match view.objects().get::<Token>(token) {
                Some(token) => token.within(scope),
                None => scope.of(token),
            }
        }
    }
}

pub(super) fn plan(
    request: &TokenRequest,
    mut draft: Draft<'_>,
    context: &Context<'_>,
) -> Result<Plan, AdminError> {
    match request {
        TokenRequest::List => Ok(list::<Token>(draft.view, context)),
        TokenRequest::Revoke { token: id } => {
            let token = draft.get::<Token>(id).ok_or_else(|| unknown(Noun::Token, id))?;
            draft.delete::<Token>(id);
            draft.takes_away(Revoked::Token { token: token.id.clone() });
            if token.used.is_some() {
                draft
                    .note(format!("connector {} has joined with it: this does not shut it", token.connector));
            }
            let data = token.shown(draft.view);
            Ok(draft.done(data, format!("token {id} revoked")))
        }
    }
}

pub(super) fn make(
    mut draft: Draft<'_>,
    context: &Context<'_>,
    site: &SiteId,
    name: Option<&ConnectorId>,
    lifetime: Duration,
) -> Result<Plan, AdminError> {
    connector::stands(context, site)?;
    if lifetime < Duration::from_secs(1) || lifetime > LONGEST {
        return Err(AdminError::Lifetime);
    }
    let connector = name.cloned().unwrap_or_else(|| named_after(site, context));
    if draft.get::<Connector>(connector.as_str()).is_some() {
        return Err(exists(Noun::Connector, connector));
    }
    forget_old(&mut draft);
    let secret = URL_SAFE_NO_PAD.encode((context.random)());
    let token = Token {
        id: context.hex(6).into(),
        hash: hash(&secret).into(),
        site: site.clone(),
        connector,
        by: draft.actor.into(),
        at: draft.now,
        expires: draft.now.plus(lifetime),
        used: None,
        rest: Default::default(),
    };
    if draft.get::<Token>(&token.id).is_some() {
        return Err(exists(Noun::Token, &token.id));
    }
    draft.put(&token);
    let text = format!("dwt_{}_{secret}", token.id);
    draft.note(format!("good once, until {}; it cannot be shown again", token.expires));
    let mut data = token.shown(draft.view);
    data["token"] = json!(text);
    Ok(draft.done(data, text))
}

/// The site's name and a few random characters, within the length of a name.
fn named_after(site: &SiteId, context: &Context<'_>) -> ConnectorId {
    let site: String = site.as_str().chars().take(54).collect();
    format!("{site}-{}", context.hex(4)).parse().expect("a site's name and hex make a name")
}

/// What opens nothing any more since long ago goes, so that the list stays short.
fn forget_old(draft: &mut Draft<'_>) {
    const MOST: usize = 100;
    let now = draft.now;
    let old = |token: &&Arc<Token>| token.expires.plus(LISTED) < now;
    let old: Vec<_> = draft.view.objects().all::<Token>().filter(old).take(MOST).cloned().collect();
    old.iter().for_each(|token| draft.delete::<Token>(&token.id));
}

/// A token's id, which may stand in a log, and its secret, if it is written like one.
pub fn parse(text: &str) -> Option<(&str, &str)> {
    let (id, secret) = text.trim().strip_prefix("dwt_")?.split_once('_')?;
    let is_id = id.len() == 12 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    (is_id && secret.len() == 43).then_some((id, secret))
}

/// What is kept of a secret.
pub(super) fn hash(secret: &str) -> String {
    hex(ring::digest::digest(&ring::digest::SHA256, secret.as_bytes()).as_ref())
}

/// Whether it opens nothing any more.
pub(super) fn is_over(token: &Token, now: Timestamp) -> bool {
    token.expires <= now
}
