//! `POST /backchannel-logout/{provider}`: a provider's word that somebody signed out there (OpenID Connect
//! Back-Channel Logout 1.0, 2.5 to 2.8). What a token must be is verified elsewhere.
//! Always true: nothing is verified that is too large, too often or one too many; success is answered after
//! the commit; what was not answered with success may be said again; a sender who hangs up stops nothing.

use std::{sync::Arc, time::Duration};

use axum::{
    Extension, Form, Json,
    extract::{FromRequest, Path, Request, State, rejection::PathRejection},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use control::oidc::{LogoutError, LogoutToken, Provider};
use serde_json::json;
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Instant, timeout},
};

use super::{Outside, Remote, refused::Kind};
use crate::{admin::now, carry::NotCarried};

/// The parameter (2.5). Others are passed over.
const PARAMETER: &str = "logout_token";
/// The error of everything that trying again does not mend (2.8).
const INVALID: &str = "invalid_request";
/// How long a token waits for others to be verified.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why nobody was signed out. What it says is for the log; see [`NotObeyed::answer`] for the sender.
#[derive(Debug, thiserror::Error)]
enum NotObeyed {
    /// More than the source's allowance.
    #[error("its sender says too much at once: what is beyond ten tokens a second is not looked at")]
    Rate,
    /// Not with exactly one token.
    #[error("what came is no form with exactly one logout_token")]
    NoForm,
    /// No token is nearly as long.
    #[error("what came is larger than 64 KiB")]
    TooLarge,
    /// Waited too long.
    #[error("too many tokens are being verified: the provider's keys come slowly, or somebody floods")]
    Busy,
    /// The token, or the provider's keys.
    #[error(transparent)]
    Token(#[from] LogoutError),
    /// Each counts once.
    #[error("a logout token was refused: it was used before")]
    Replayed,
    /// The store.
    #[error("whom the provider signed out is cut off here, but that is not durable yet: {0}")]
    NotKept(#[from] NotCarried),
    /// The task that would obey is gone.
    #[error("the gateway is ending")]
    Ending,
}

pub(super) async fn backchannel(
    State(outside): State<Outside>,
    Extension(remote): Extension<Remote>,
    provider: Result<Path<String>, PathRejection>,
    request: Request,
) -> Response {
    let Some(provider) = provider.ok().and_then(|Path(id)| outside.provider(&id)) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    match outside.hear(remote, &provider, request).await {
        Ok(()) => StatusCode::OK.into_response(),
        Err(why) => {
            outside.note(remote, &provider, &why);
            why.answer()
        }
    }
}

impl Outside {
    /// By the configuration in force.
    fn provider(&self, id: &str) -> Option<Arc<Provider>> {
        let snapshot = self.0.sessions.live.snapshot();
        let mut providers = snapshot.config().providers.iter();
        let provider = providers.find(|provider| provider.spec.id.as_str() == id)?;
        self.0.sessions.providers.of(provider)
    }

    async fn hear(&self, remote: Remote, provider: &Provider, request: Request) -> Result<(), NotObeyed> {
        if !self.may_say(remote) {
            return Err(NotObeyed::Rate);
        }
        let token = only_token(request).await?;
        let place = timeout(PATIENCE, self.0.verifying.clone().acquire_owned()).await;
        let Ok(Ok(place)) = place else { return Err(NotObeyed::Busy) };
        let token = provider.verify_logout_token(&token, now()).await?;
        self.obey(provider, token, place).await
    }

    /// In a task of its own: a cut must not stay without its commit because the sender hung up.
    async fn obey(
        &self,
        provider: &Provider,
        token: LogoutToken,
        place: OwnedSemaphorePermit,
    ) -> Result<(), NotObeyed> {
        let (sessions, id) = (self.0.sessions.clone(), provider.id().clone());
        let name = (id.clone(), token.jti.clone());
        let again = self.0.unanswered.begun(name.clone());
        let obeyed = tokio::spawn(async move {
            let _place = place;
            sessions.log_out(&id, &token).await
        });
        let first = obeyed.await.map_err(|_| NotObeyed::Ending)??;
        self.0.unanswered.answered(&name);
        // It may have been kept although its sender was told otherwise, or nothing.
        if first || again { Ok(()) } else { Err(NotObeyed::Replayed) }
    }

    fn note(&self, Remote(remote): Remote, provider: &Provider, why: &NotObeyed) {
        self.0.refused.count(why.kind());
        if let Some(left_out) = self.0.quiet.lets(provider.id(), Instant::now().into_std()) {
            let (provider, source) = (provider.id(), remote.ip());
            tracing::warn!(target: "session", %provider, %source, left_out, "no sign-out by the provider: {why}");
        }
    }
}

/// The one token of a form.
async fn only_token(request: Request) -> Result<String, NotObeyed> {
    let form = Form::<Vec<(String, String)>>::from_request(request, &()).await;
    let Form(pairs) = form.map_err(|error| match error.into_response().status() {
        StatusCode::PAYLOAD_TOO_LARGE => NotObeyed::TooLarge,
        _ => NotObeyed::NoForm,
    })?;
    let mut tokens = pairs.into_iter().filter(|(name, _)| name == PARAMETER);
    match (tokens.next(), tokens.next()) {
        (Some((_, token)), None) => Ok(token),
        (None, _) | (Some(_), Some(_)) => Err(NotObeyed::NoForm),
    }
}

impl NotObeyed {
    fn kind(&self) -> Kind {
        match self {
            Self::Rate => Kind::Rate,
            Self::NoForm | Self::TooLarge => Kind::NoForm,
            Self::Busy => Kind::Busy,
            Self::Token(LogoutError::Provider(_)) | Self::NotKept(_) | Self::Ending => Kind::Unavailable,
            Self::Token(LogoutError::Token(_) | LogoutError::Other(_) | LogoutError::Kind(_)) => Kind::Token,
            Self::Replayed => Kind::Replayed,
        }
    }

    /// What a stranger reads (2.8): whether to mend it or to try again, and nothing of why.
    fn answer(&self) -> Response {
        match self {
            Self::Rate => later(StatusCode::TOO_MANY_REQUESTS),
            Self::Busy | Self::Token(LogoutError::Provider(_)) | Self::NotKept(_) | Self::Ending => {
                later(StatusCode::SERVICE_UNAVAILABLE)
            }
            Self::TooLarge => said(StatusCode::PAYLOAD_TOO_LARGE, INVALID, "the request is too large"),
            Self::NoForm => {
                said(StatusCode::BAD_REQUEST, INVALID, "a form with exactly one logout_token is expected")
            }
            Self::Token(LogoutError::Token(_) | LogoutError::Other(_) | LogoutError::Kind(_)) => {
                said(StatusCode::BAD_REQUEST, INVALID, "the logout_token is not accepted")
            }
            Self::Replayed => said(StatusCode::BAD_REQUEST, INVALID, "the logout_token was used before"),
        }
    }
}

/// Saying the same again may help.
fn later(status: StatusCode) -> Response {
    let mut response = said(status, "temporarily_unavailable", "try again later");
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
    response
}

fn said(status: StatusCode, error: &str, description: &str) -> Response {
    (status, Json(json!({ "error": error, "error_description": description }))).into_response()
}
