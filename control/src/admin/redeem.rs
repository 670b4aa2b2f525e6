//! A connector joins with a token. Always true: the token is used up by the same commit that lets
//! the connector in; who joins is not told why a token is no good.

use protocol::{key::LinkPin, time::Timestamp};
use serde_json::json;

use super::{Plan, draft::Draft, token};
use crate::{
    directory::View,
    object::{Connector, Token},
    revoked::Revoked,
};

/// Why nobody joins with it. What it says is for outsiders; the log is told [`RedeemError::log`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this token is no good: ask for a new one, which `doorward admin connector token SITE` makes")]
pub enum RedeemError {
    /// No such token, or it was revoked.
    Unknown,
    /// The id is one's, the secret is not.
    Wrong,
    /// Too late.
    Expired,
    /// Another key has joined with it, or the one that had was removed since.
    Used,
    /// Its connector's name was given to another meanwhile.
    NameTaken,
    /// The key is another connector's.
    KeyTaken,
}

impl RedeemError {
    /// For the operator.
    pub fn log(self) -> &'static str {
        match self {
            Self::Unknown => "there is no such token: it was revoked, or never made here",
            Self::Wrong => "the secret is not the token's: somebody guesses, or it was copied badly",
            Self::Expired => "the token has expired: make a new one",
            Self::Used => {
                "the token was used with another key, or its connector removed since: see who holds it"
            }
            Self::NameTaken => "its connector's name is another's by now: make a token with another name",
            Self::KeyTaken => "the key is another connector's: let the new one make its own",
        }
    }
}

/// The connector with this key joins. The same again is answered the same, since an answer may be lost.
pub fn redeem(
    view: &View,
    id: &str,
    secret: &str,
    pin: LinkPin,
    now: Timestamp,
) -> Result<Plan, RedeemError> {
    // Hashed in any case, so that time does not tell whether there is such a token.
    let hash = token::hash(secret);
    let mut draft = Draft::new(view, now, "");
    let revoked = view.revoked().any(|one| matches!(one, Revoked::Token { token } if **token == *id));
    let found = draft.get::<Token>(id).filter(|_| !revoked).ok_or(RedeemError::Unknown)?;
    if !same(hash.as_bytes(), found.hash.as_bytes()) {
        return Err(RedeemError::Wrong);
    }
    let mut token = (*found).clone();
    let name = token.connector.as_str();
    let data = json!({ "connector": token.connector, "site": token.site });
    let text = format!("connector {name} joined at {}", token.site);
    let standing = draft.get::<Connector>(name);
    if let Some(used) = token.used {
        let joined = standing.is_some_and(|connector| connector.pin == pin);
        return if used == pin && joined { Ok(draft.done(data, text)) } else { Err(RedeemError::Used) };
    }
    if token::is_over(&token, now) {
        return Err(RedeemError::Expired);
    }
    if standing.is_some() {
        return Err(RedeemError::NameTaken);
    }
    if view.objects().all::<Connector>().any(|other| other.pin == pin) {
        return Err(RedeemError::KeyTaken);
    }
    let (id, site) = (token.connector.clone(), token.site.clone());
    draft.put(&Connector { id, site, pin, since: now, disabled: None, rest: Default::default() });
    token.used = Some(pin);
    draft.put(&token);
    Ok(draft.done(data, text))
}

/// In a time that does not tell where they differ.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}
