//! Speaks to the token endpoint: a code or a refresh token against tokens. What comes back is not verified here.
//! Always true: what the provider explains is repeated only if nothing secret is in it.

use std::{
    borrow::Cow,
    pin::Pin,
    sync::atomic::{AtomicU16, Ordering},
};

use openidconnect::{
    AsyncHttpClient, AuthorizationCode, ClientId, ClientSecret, EndpointNotSet, EndpointSet, HttpRequest,
    HttpResponse, OAuth2TokenResponse, PkceCodeVerifier, RedirectUrl, RefreshToken, RequestTokenError,
    TokenResponse,
    core::{CoreClient, CoreErrorResponseType, CoreIdToken, CoreTokenResponse},
};
use protocol::config::Secret;
use serde_json::Value;

use super::{
    error::{ProviderError, tidy},
    http::{Http, HttpError},
    provider::{Known, Provider},
};

const ENDPOINT: &str = "token endpoint";

/// Our side, at a provider whose addresses are known.
pub(super) type Client =
    CoreClient<EndpointSet, EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointSet, EndpointNotSet>;

/// What is given for tokens.
pub(super) enum Grant<'a> {
    Code { code: &'a Secret<String>, verifier: &'a Secret<String>, redirect_uri: &'a RedirectUrl },
    Refresh(&'a Secret<String>),
}

/// What was got. No `Debug`: it is all secret.
pub(super) struct Tokens {
    pub id: Option<CoreIdToken>,
    pub access: Secret<String>,
    pub refresh: Option<Secret<String>>,
}

/// Why nothing was got.
pub(super) enum Rejected {
    /// `invalid_grant`: the code or refresh token is not good any more.
    Grant { said: String },
    /// Another code of RFC 6749, 5.2: it is about us.
    Client { code: String, said: String },
    /// There is an ID token, but it is none.
    Token,
    /// The provider, or the way there.
    Provider(ProviderError),
}

/// Keeps the status of the answer, which the crate drops: what an answer means depends on it.
struct Heard<'a> {
    http: &'a Http,
    status: AtomicU16,
}

impl<'c> AsyncHttpClient<'c> for Heard<'_> {
    type Error = HttpError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(async {
            let response = self.http.send(request).await?;
            self.status.store(response.status().as_u16(), Ordering::Relaxed);
            Ok(response)
        })
    }
}

type Failed = RequestTokenError<HttpError, openidconnect::StandardErrorResponse<CoreErrorResponseType>>;

impl Provider {
    pub(super) fn client(&self, known: &Known) -> Result<Client, ProviderError> {
        let id = ClientId::new(self.spec.client_id.clone());
        let client = CoreClient::new(id, self.issuer.clone(), known.keys.clone())
            .set_auth_uri(known.discovery.authorization_endpoint.clone())
            .set_token_uri(known.discovery.token_endpoint.clone());
        let Some(secret) = &self.spec.client_secret else { return Ok(client) };
        let auth_type = known.discovery.auth_type().ok_or(ProviderError::NoMethod)?;
        Ok(client.set_client_secret(ClientSecret::new(secret.expose().clone())).set_auth_type(auth_type))
    }

    /// Exchanges `grant`.
    pub(super) async fn redeem(&self, known: &Known, grant: &Grant<'_>) -> Result<Tokens, Rejected> {
        let client = self.client(known).map_err(Rejected::Provider)?;
        let http = Heard { http: &self.http, status: AtomicU16::new(0) };
        let answer = match grant {
            Grant::Code { code, verifier, redirect_uri } => {
                client
                    .exchange_code(AuthorizationCode::new(code.expose().clone()))
                    .set_pkce_verifier(PkceCodeVerifier::new(verifier.expose().clone()))
                    .set_redirect_uri(Cow::Borrowed(*redirect_uri))
                    .request_async(&http)
                    .await
            }
            Grant::Refresh(token) => {
                let token = RefreshToken::new(token.expose().clone());
                client.exchange_refresh_token(&token).request_async(&http).await
            }
        };
        let status = http.status.load(Ordering::Relaxed);
        answer.map(Tokens::from).map_err(|error| self.rejected(error, status, grant))
    }

    fn rejected(&self, error: Failed, status: u16, grant: &Grant<'_>) -> Rejected {
        let malformed =
            |why: &str| Rejected::Provider(ProviderError::Malformed { what: ENDPOINT, why: why.to_owned() });
        match error {
            RequestTokenError::Request(error) => Rejected::Provider(error.into()),
            // Whatever its body says: it is the provider that has trouble.
            _ if status == 429 || status >= 500 || (300..400).contains(&status) => {
                Rejected::Provider(ProviderError::Status { what: ENDPOINT, status })
            }
            RequestTokenError::ServerResponse(answer) => {
                let said = answer.error_description().map(String::as_str).unwrap_or_default();
                let said = self.without_secrets(said, grant);
                match answer.error() {
                    CoreErrorResponseType::InvalidGrant => Rejected::Grant { said },
                    code => Rejected::Client { code: self.without_secrets(code.as_ref(), grant), said },
                }
            }
            RequestTokenError::Parse(_, _) if status != 200 => {
                Rejected::Provider(ProviderError::Status { what: ENDPOINT, status })
            }
            RequestTokenError::Parse(_, body) if only_token_unfit(&body) => Rejected::Token,
            RequestTokenError::Parse(_, _) => malformed("no token answer of RFC 6749"),
            RequestTokenError::Other(_) => malformed("no JSON, or nothing at all"),
        }
    }

    /// A provider's explanation, unless it repeats what nobody shall read.
    fn without_secrets(&self, said: &str, grant: &Grant<'_>) -> String {
        let of_grant = match grant {
            Grant::Code { code, verifier, redirect_uri: _ } => [Some(*code), Some(*verifier)],
            Grant::Refresh(token) => [Some(*token), None],
        };
        let secrets = of_grant.into_iter().flatten().chain(&self.spec.client_secret);
        if secrets.into_iter().any(|secret| said.contains(secret.expose().as_str())) {
            return "an explanation that repeats a secret".to_owned();
        }
        tidy(said)
    }
}

/// Whether an answer would be one, but for its ID token: the crate reads both in one go.
fn only_token_unfit(body: &[u8]) -> bool {
    let Ok(mut answer) = serde_json::from_slice::<Value>(body) else { return false };
    let token = answer.as_object_mut().and_then(|answer| answer.remove("id_token"));
    token.is_some() && serde_json::from_value::<CoreTokenResponse>(answer).is_ok()
}

impl From<CoreTokenResponse> for Tokens {
    fn from(answer: CoreTokenResponse) -> Self {
        Self {
            id: answer.id_token().cloned(),
            access: Secret::new(answer.access_token().secret().clone()),
            refresh: answer.refresh_token().map(|token| Secret::new(token.secret().clone())),
        }
    }
}
