//! Signing out, both ways: where to send a browser so that the provider signs the person out (RP-Initiated
//! Logout 1.0), and hearing from the provider that it did (Back-Channel Logout 1.0). Always true: nothing of the
//! provider's tokens reaches a browser, and an ID token never passes for a logout token. That a logout token
//! counts once is the caller's to see to, by its `jti`.

use std::time::Duration;

use openidconnect::url::Url;
use protocol::time::Timestamp;
use serde_json::Value;

use super::{
    claims::{Claims, text},
    error::{ProviderError, TokenError, tidy},
    jws::Jws,
    provider::{Provider, Unverified},
    token::seconds,
};

/// The member of `events` that makes a token a logout token (2.4).
const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";
/// How long ago it may have been issued, so that few `jti` have to be remembered.
const RECENT: Duration = Duration::from_secs(120);
/// No id is nearly as long.
const LONGEST_ID: usize = 255;

/// Whose sessions end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogoutToken {
    /// The person, as the provider calls them ([`super::SignedIn::subject`]): all their sessions, unless `sid`.
    pub sub: Option<String>,
    /// The provider's session.
    pub sid: Option<String>,
    /// Counts once, for four minutes and twice the skew.
    pub jti: String,
    /// When it was issued.
    pub iat: Timestamp,
}

/// Why nobody was signed out. The caller answers 400 to all but [`LogoutError::Provider`], and 503 to that, so
/// that the provider may try again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogoutError {
    /// It is not the provider's word.
    #[error("a logout token was refused: {0}")]
    Token(#[from] TokenError),
    /// It is the provider's, but no logout token.
    #[error("a token was refused as logout token: {0}")]
    Other(&'static str),
    /// Its header says so.
    #[error(
        "a logout token was refused: its type is {0:?}, not logout+jwt, as OpenID Connect Back-Channel Logout 1.0 recommends: look for a setting of the provider that types its logout tokens"
    )]
    Kind(String),
    /// Its keys are not to be had.
    #[error("a logout token could not be verified: {0}")]
    Provider(#[from] ProviderError),
}

impl Provider {
    /// Where to send a browser so that the person is signed out at the provider too, if it offers that.
    pub async fn end_session_url(
        &self,
        post_logout_redirect_uri: &str,
        state: &str,
        now: Timestamp,
    ) -> Option<String> {
        let known = self.known(now).await.ok()?;
        let mut url = Url::parse(known.discovery.end_session_endpoint.as_deref()?).ok()?;
        url.query_pairs_mut()
            .append_pair("client_id", &self.spec.client_id)
            .append_pair("post_logout_redirect_uri", post_logout_redirect_uri)
            .append_pair("state", state);
        Some(url.into())
    }

    /// What the provider says by `token`, which anyone may have sent.
    pub async fn verify_logout_token(&self, token: &str, now: Timestamp) -> Result<LogoutToken, LogoutError> {
        let token = Jws::read(token)?;
        if !token.is("logout+jwt") {
            return Err(LogoutError::Kind(tidy(token.typ())));
        }
        let claims = self.verified(now, |keys| token.verified(keys).cloned()).await?;
        if text(&claims, "iss") != Some(self.issuer.as_str()) {
            return Err(TokenError::Issuer.into());
        }
        if !self.is_audience(&claims) {
            return Err(TokenError::Audience.into());
        }
        let iat = self.recent(&claims, now)?;
        read(&claims, iat)
    }

    /// Whether the claims are meant for us.
    pub(super) fn is_audience(&self, claims: &Claims) -> bool {
        let ours = |aud: &Value| aud.as_str() == Some(self.spec.client_id.as_str());
        match claims.get("aud") {
            Some(Value::Array(several)) => several.iter().any(ours),
            Some(one) => ours(one),
            None => false,
        }
    }

    fn recent(&self, claims: &Claims, now: Timestamp) -> Result<Timestamp, TokenError> {
        let skew = self.spec.skew;
        let iat = seconds(claims, "iat")?.ok_or(TokenError::Malformed("iat"))?;
        if iat > now.plus(RECENT).plus(skew) {
            return Err(TokenError::Early("iat"));
        }
        let expired = seconds(claims, "exp")?.is_some_and(|exp| exp.plus(skew) <= now);
        if expired || iat.plus(RECENT).plus(skew) < now {
            return Err(TokenError::Expired);
        }
        Ok(iat)
    }
}

/// What makes it a logout token and nothing else (2.4, 2.6).
fn read(claims: &Claims, iat: Timestamp) -> Result<LogoutToken, LogoutError> {
    let events = claims.get("events").and_then(Value::as_object);
    if !events.and_then(|events| events.get(EVENT)).is_some_and(Value::is_object) {
        return Err(LogoutError::Other("it says of no logout (events)"));
    }
    if claims.contains_key("nonce") {
        return Err(LogoutError::Other("it has a nonce, as an ID token has"));
    }
    let id = |name: &str| match claims.get(name) {
        None => Ok(None),
        Some(Value::String(id)) if (1..=LONGEST_ID).contains(&id.len()) => Ok(Some(id.clone())),
        Some(_) => Err(LogoutError::Other("its sub, sid or jti is no text of 1 to 255 bytes")),
    };
    let (sub, sid) = (id("sub")?, id("sid")?);
    if sub.is_none() && sid.is_none() {
        return Err(LogoutError::Other("it names neither a person (sub) nor a session (sid)"));
    }
    let jti = id("jti")?
        .ok_or(LogoutError::Other("it has no jti, so nobody could tell whether it is used twice"))?;
    Ok(LogoutToken { sub, sid, jti, iat })
}

impl From<Unverified> for LogoutError {
    fn from(unverified: Unverified) -> Self {
        match unverified {
            Unverified::Token(error) => Self::Token(error),
            Unverified::Provider(error) => Self::Provider(error),
        }
    }
}
