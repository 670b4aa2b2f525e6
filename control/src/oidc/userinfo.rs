//! Asks the userinfo endpoint for what an ID token did not say (OpenID Connect Core 1.0, 5.3).
//! Always true: an answer about another person, or signed for another client, is refused.

use openidconnect::http::header::CONTENT_TYPE;
use protocol::{config::Secret, time::Timestamp};

use super::{
    claims::{Claims, text},
    discovery::json,
    error::{ProviderError, TokenError},
    jws::Jws,
    provider::{Known, Provider, Unverified},
};

const ENDPOINT: &str = "userinfo endpoint";

impl Provider {
    /// What the endpoint says of `subject`, if there is such an endpoint.
    pub(super) async fn userinfo(
        &self,
        known: &Known,
        access: &Secret<String>,
        subject: Option<&str>,
        now: Timestamp,
    ) -> Result<Option<Claims>, Unverified> {
        let Some(url) = &known.discovery.userinfo_endpoint else { return Ok(None) };
        let response = self.http.get(url, Some(access)).await;
        let response = response.map_err(|error| Unverified::Provider(error.into()))?;
        let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let signed = kind.is_some_and(|kind| kind.to_ascii_lowercase().starts_with("application/jwt"));
        let claims: Claims = if signed && response.status().is_success() {
            let token = Secret::new(String::from_utf8_lossy(response.body()).trim().to_owned());
            self.verified(now, |keys| {
                let token = Jws::read(token.expose())?;
                let claims = token.verified(keys)?;
                self.for_us(claims).map(|()| claims.clone())
            })
            .await?
        } else {
            json(ENDPOINT, &response).map_err(Unverified::Provider)?
        };
        match (text(&claims, "sub"), subject) {
            (Some(_), None) => Ok(Some(claims)),
            (Some(said), Some(subject)) if said == subject => Ok(Some(claims)),
            (Some(_) | None, _) => Err(Unverified::Provider(ProviderError::Malformed {
                what: ENDPOINT,
                why: "it speaks of another person than the ID token".to_owned(),
            })),
        }
    }

    /// What is signed must say by whom and for whom.
    fn for_us(&self, claims: &Claims) -> Result<(), TokenError> {
        if text(claims, "iss") != Some(self.issuer.as_str()) {
            return Err(TokenError::Issuer);
        }
        if self.is_audience(claims) { Ok(()) } else { Err(TokenError::Audience) }
    }
}
