//! Sends a browser to the provider and takes it back: authorization code with PKCE, state and nonce (OpenID
//! Connect Core 1.0, 3.1; RFC 7636; RFC 9700). What waits in between is the caller's to keep, sealed.
//! Always true: whoever is returned was verified in full, for exactly the request that is pending.

use std::{borrow::Cow, fmt, time::Duration};

use openidconnect::{
    AuthenticationContextClass, AuthenticationFlow, CsrfToken, LoginHint, Nonce, PkceCodeChallenge,
    RedirectUrl, Scope,
    core::{CoreAuthPrompt, CoreResponseType},
};
use protocol::{config::Secret, time::Timestamp};

use super::{
    claims::{SignedIn, signed_in},
    error::{SignInError, TokenError, tidy},
    exchange::{Grant, Rejected},
    provider::{Known, Provider, Unverified},
    token::Expected,
};

/// What to ask of the provider.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Begin {
    /// Where it shall send the browser back to, as registered there.
    pub redirect_uri: String,
    /// Whether it may or must ask the person.
    pub prompt: Option<Prompt>,
    /// How long ago the person may have signed in there.
    pub max_age: Option<Duration>,
    /// How strongly they have to.
    pub acr: Option<String>,
    /// Whom it shall offer.
    pub login_hint: Option<String>,
}

/// What the provider does with the person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prompt {
    /// It may not ask anything; it answers `login_required` and the like instead.
    None,
    /// It has to ask for a sign-in, even of someone who is signed in.
    Login,
}

/// A sign-in that has begun.
#[derive(Clone, PartialEq, Eq)]
pub struct Begun {
    /// Where to send the browser.
    pub url: String,
    /// What it comes back with. The caller compares.
    pub state: String,
    /// To keep until then.
    pub pending: Pending,
}

/// What has to fit when the browser comes back.
#[derive(Clone, PartialEq, Eq)]
pub struct Pending {
    /// As it was asked.
    pub redirect_uri: String,
    /// What the ID token must repeat.
    pub nonce: String,
    /// What proves that it was us who asked (PKCE).
    pub verifier: Secret<String>,
    /// As it was asked.
    pub max_age: Option<Duration>,
    /// As it was asked.
    pub acr: Option<String>,
}

/// What the browser came back with; its state was compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Returned {
    /// The parameter `code`.
    pub code: Secret<String>,
    /// The parameter `iss` (RFC 9207), if there is one.
    pub iss: Option<String>,
}

impl fmt::Debug for Begun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Begun").field("pending", &self.pending).finish_non_exhaustive()
    }
}

impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Pending");
        shown.field("redirect_uri", &self.redirect_uri).field("max_age", &self.max_age);
        shown.field("acr", &self.acr).finish_non_exhaustive()
    }
}

impl Provider {
    /// Where to send a browser.
    pub async fn begin(&self, begin: Begin, now: Timestamp) -> Result<Begun, SignInError> {
        let redirect_uri = redirect_uri(&begin.redirect_uri)?;
        let client = self.client(&*self.known(now).await?)?;
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let flow = AuthenticationFlow::<CoreResponseType>::AuthorizationCode;
        let scopes = self.spec.scopes.iter().filter(|scope| *scope != "openid").cloned().map(Scope::new);
        let mut request = client
            .authorize_url(flow, CsrfToken::new_random, Nonce::new_random)
            .set_redirect_uri(Cow::Owned(redirect_uri))
            .set_pkce_challenge(challenge)
            .add_scopes(scopes);
        for (name, value) in &self.spec.authorize {
            request = request.add_extra_param(name.clone(), value.clone());
        }
        if let Some(prompt) = begin.prompt {
            request = request.add_prompt(prompt.into());
        }
        if let Some(max_age) = begin.max_age {
            request = request.set_max_age(max_age);
        }
        if let Some(acr) = &begin.acr {
            request = request.add_auth_context_value(AuthenticationContextClass::new(acr.clone()));
        }
        if let Some(hint) = begin.login_hint {
            request = request.set_login_hint(LoginHint::new(hint));
        }
        let (url, state, nonce) = request.url();
        let pending = Pending {
            redirect_uri: begin.redirect_uri,
            nonce: nonce.secret().clone(),
            verifier: Secret::new(verifier.secret().clone()),
            max_age: begin.max_age,
            acr: begin.acr,
        };
        Ok(Begun { url: url.into(), state: state.secret().clone(), pending })
    }

    /// Who came back.
    pub async fn complete(
        &self,
        returned: &Returned,
        pending: &Pending,
        now: Timestamp,
    ) -> Result<SignedIn, SignInError> {
        let known = self.known(now).await?;
        self.not_mixed(&known, returned.iss.as_deref())?;
        let redirect_uri = &redirect_uri(&pending.redirect_uri)?;
        let grant = Grant::Code { code: &returned.code, verifier: &pending.verifier, redirect_uri };
        let tokens = self.redeem(&known, &grant).await?;
        let id = tokens.id.as_ref().ok_or(TokenError::Absent)?;
        let nonce = Nonce::new(pending.nonce.clone());
        let expected = Expected { nonce: Some(&nonce), access: &tokens.access, now };
        let claims = self.verified(now, |keys| self.id_token(id, keys, &expected)).await?;
        self.as_asked(&claims, pending.max_age, pending.acr.as_deref(), now)?;
        let userinfo = if self.spec.wants_more(&claims) {
            let subject = claims.get("sub").and_then(|sub| sub.as_str()).unwrap_or_default();
            self.userinfo(&known, &tokens.access, Some(subject), now).await?
        } else {
            None
        };
        signed_in(&self.spec, &claims, userinfo.as_ref(), tokens.refresh)
    }

    /// The browser must come back from where it was sent (RFC 9207, 2.4).
    fn not_mixed(&self, known: &Known, iss: Option<&str>) -> Result<(), SignInError> {
        let required = known.discovery.offers.authorization_response_iss_parameter_supported == Some(true);
        match iss {
            None if !required => Ok(()),
            Some(iss) if iss == self.issuer.as_str() => Ok(()),
            None | Some(_) => Err(SignInError::Mixed { found: tidy(iss.unwrap_or_default()) }),
        }
    }
}

fn redirect_uri(uri: &str) -> Result<RedirectUrl, SignInError> {
    RedirectUrl::new(uri.to_owned()).map_err(|_| SignInError::RedirectUri(tidy(uri)))
}

impl From<Prompt> for CoreAuthPrompt {
    fn from(prompt: Prompt) -> Self {
        match prompt {
            Prompt::None => Self::None,
            Prompt::Login => Self::Login,
        }
    }
}

impl From<Rejected> for SignInError {
    fn from(rejected: Rejected) -> Self {
        match rejected {
            Rejected::Grant { said } => Self::Code { said },
            Rejected::Client { code, said } => Self::Client { code, said },
            Rejected::Token => {
                Self::Token(TokenError::Malformed("its three parts, or a claim of the wrong type"))
            }
            Rejected::Provider(error) => Self::Provider(error),
        }
    }
}

impl From<Unverified> for SignInError {
    fn from(unverified: Unverified) -> Self {
        match unverified {
            Unverified::Token(error) => Self::Token(error),
            Unverified::Provider(error) => Self::Provider(error),
        }
    }
}
