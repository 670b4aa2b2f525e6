//! The provider's discovery document (OpenID Connect Discovery 1.0), of which only what is used is read.
//! Always true: its issuer is the configured one, byte by byte, and every address in it is https.

use ::http::header::DATE;
use chrono::DateTime;
use openidconnect::{
    AuthType, AuthUrl, HttpResponse, IssuerUrl, TokenUrl, core::CoreJsonWebKeySet, http::StatusCode,
};
use protocol::time::Timestamp;
use serde_json::Value;

use super::{
    error::{ProviderError, tidy},
    http::Http,
};

const DOCUMENT: &str = "discovery document";

/// Where things are, and what the provider says it can.
#[derive(Debug, Clone, serde::Deserialize)]
pub(super) struct Discovery {
    pub authorization_endpoint: AuthUrl,
    pub token_endpoint: TokenUrl,
    pub jwks_uri: String,
    pub userinfo_endpoint: Option<String>,
    pub end_session_endpoint: Option<String>,
    #[serde(flatten)]
    pub offers: Offers,
}

/// What the provider says it can; absent is not no.
#[derive(Debug, Clone, serde::Deserialize)]
pub(super) struct Offers {
    pub scopes_supported: Option<Vec<String>>,
    pub response_types_supported: Option<Vec<String>>,
    pub grant_types_supported: Option<Vec<String>>,
    pub id_token_signing_alg_values_supported: Option<Vec<String>>,
    pub token_endpoint_auth_methods_supported: Option<Vec<String>>,
    pub code_challenge_methods_supported: Option<Vec<String>>,
    pub claims_supported: Option<Vec<String>>,
    pub backchannel_logout_supported: Option<bool>,
    pub backchannel_logout_session_supported: Option<bool>,
    pub authorization_response_iss_parameter_supported: Option<bool>,
}

impl Discovery {
    /// How the token endpoint wants to hear our secret; the standard's default is basic.
    pub fn auth_type(&self) -> Option<AuthType> {
        let Some(methods) = &self.offers.token_endpoint_auth_methods_supported else {
            return Some(AuthType::BasicAuth);
        };
        let has = |method: &str| methods.iter().any(|m| m == method);
        match (has("client_secret_basic"), has("client_secret_post")) {
            (true, _) => Some(AuthType::BasicAuth),
            (false, true) => Some(AuthType::RequestBody),
            (false, false) => None,
        }
    }

    fn secure(self) -> Result<Self, ProviderError> {
        let addresses = [
            ("authorization_endpoint", Some(self.authorization_endpoint.as_str())),
            ("token_endpoint", Some(self.token_endpoint.as_str())),
            ("jwks_uri", Some(self.jwks_uri.as_str())),
            ("userinfo_endpoint", self.userinfo_endpoint.as_deref()),
            ("end_session_endpoint", self.end_session_endpoint.as_deref()),
        ];
        let clear = |address: &str| !address.starts_with("https://");
        let insecure = addresses.into_iter().find(|(_, address)| address.is_some_and(clear));
        match insecure.map(|(name, _)| name) {
            Some(name) => Err(ProviderError::Insecure(name)),
            None => Ok(self),
        }
    }
}

/// The document at `issuer`, and what time it was there.
pub(super) async fn fetch(
    http: &Http,
    issuer: &IssuerUrl,
) -> Result<(Discovery, Option<Timestamp>), ProviderError> {
    let url = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
    let response = http.get(&url, None).await?;
    let date = response.headers().get(DATE).and_then(|date| date.to_str().ok());
    let date = date.and_then(|date| DateTime::parse_from_rfc2822(date).ok());
    let date = date.map(|date| Timestamp::from_millis(date.timestamp_millis()));
    let document: Value = json(DOCUMENT, &response)?;
    let found = document.get("issuer").and_then(Value::as_str).unwrap_or_default();
    if found != issuer.as_str() {
        let (expected, found) = (issuer.to_string(), tidy(found));
        return Err(ProviderError::Issuer { expected, found });
    }
    let discovery: Result<Discovery, _> = serde_json::from_value(document);
    let why = |error: serde_json::Error| tidy(&error.to_string());
    let discovery =
        discovery.map_err(|error| ProviderError::Malformed { what: DOCUMENT, why: why(error) })?;
    Ok((discovery.secure()?, date))
}

/// The keys the provider signs with. Those of unknown kinds are left out.
pub(super) async fn keys(http: &Http, discovery: &Discovery) -> Result<CoreJsonWebKeySet, ProviderError> {
    json("key set (jwks_uri)", &http.get(&discovery.jwks_uri, None).await?)
}

/// The JSON of an answer that says yes. Of what it says otherwise nothing is repeated.
pub(super) fn json<T: serde::de::DeserializeOwned>(
    what: &'static str,
    response: &HttpResponse,
) -> Result<T, ProviderError> {
    if response.status() != StatusCode::OK {
        return Err(ProviderError::Status { what, status: response.status().as_u16() });
    }
    let malformed = |error: serde_json::Error| {
        let why = format!("no such JSON at line {}, column {}", error.line(), error.column());
        ProviderError::Malformed { what, why }
    };
    serde_json::from_slice(response.body()).map_err(malformed)
}
