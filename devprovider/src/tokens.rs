//! The token and userinfo endpoints: codes and refresh tokens become tokens, for clients that prove themselves.
//! Always true: every answer reads the person anew, so who was removed or disabled gets `invalid_grant`.

use http::StatusCode;
use serde_json::{Map, Value, json};

use crate::{
    answer::{Answer, challenge, json},
    asked::Asked,
    client::Client,
    grant::{self, Terms},
    provider::Provider,
    ticket::ticket,
    token::Kind,
    user::User,
};

/// Why there are no tokens (RFC 6749, 5.2); the client's fault.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("unknown client or wrong secret")]
    Client,
    #[error("{0}")]
    Request(&'static str),
    #[error(transparent)]
    Grant(#[from] grant::Refused),
    #[error("the person was removed or disabled")]
    User,
    #[error("only authorization_code and refresh_token")]
    GrantType,
    #[error("a refreshed token has the scope it had")]
    Scope,
}

impl Refused {
    fn answer(&self) -> Answer {
        let error = match self {
            Self::Client => "invalid_client",
            Self::Request(_) => "invalid_request",
            Self::Grant(_) | Self::User => "invalid_grant",
            Self::GrantType => "unsupported_grant_type",
            Self::Scope => "invalid_scope",
        };
        let body = json!({ "error": error, "error_description": self.to_string() });
        match self {
            Self::Client => challenge(json(StatusCode::UNAUTHORIZED, &body), "Basic realm=\"token\""),
            Self::Request(_) | Self::Grant(_) | Self::User | Self::GrantType | Self::Scope => {
                json(StatusCode::BAD_REQUEST, &body)
            }
        }
    }
}

impl Provider {
    /// The token endpoint.
    pub fn token(&mut self, asked: &Asked<'_>) -> Answer {
        self.exchange(asked).unwrap_or_else(|refused| {
            tracing::info!(client = asked.form.get("client_id"), "no tokens: {refused}");
            refused.answer()
        })
    }

    fn exchange(&mut self, asked: &Asked<'_>) -> Result<Answer, Refused> {
        let client = self.client_of(asked)?;
        let (client, refresh) = (client.id.clone(), client.refresh);
        let needed = |name, why| asked.form.get(name).ok_or(Refused::Request(why));
        let (id, first) = match needed("grant_type", "grant_type is missing")? {
            "authorization_code" => {
                let code = needed("code", "code is missing")?;
                let uri = needed("redirect_uri", "redirect_uri is missing")?;
                let verifier = needed("code_verifier", "code_verifier is missing")?;
                (self.grants.redeem(code, &client, uri, verifier, asked.now)?, true)
            }
            "refresh_token" => {
                let token = needed("refresh_token", "refresh_token is missing")?;
                (self.grants.refresh(token, &client, asked.now)?, false)
            }
            _ => return Err(Refused::GrantType),
        };
        let terms = self.grants.terms(&id, asked.now).ok_or(grant::Refused::Unknown)?.clone();
        if asked.form.get("scope").is_some_and(|scope| scope != terms.scope) {
            return Err(Refused::Scope);
        }
        let Some(user) = self.config.users.active(&terms.sub) else {
            self.grants.end(&id);
            return Err(Refused::User);
        };
        let mut claims = id_claims(&terms, user);
        if first {
            claims.insert("nonce".to_owned(), terms.nonce.as_str().into());
        }
        Ok(self.tokens(&id, &terms, claims, refresh, asked.now))
    }

    fn tokens(
        &mut self,
        id: &str,
        terms: &Terms,
        mut claims: Map<String, Value>,
        refresh: bool,
        now: u64,
    ) -> Answer {
        let (issuer, lifetimes) = (self.config.issuer.as_str(), self.config.lifetimes);
        for (name, value) in [
            ("iss", json!(issuer)),
            ("iat", json!(now)),
            ("exp", json!(now.saturating_add(lifetimes.id_token))),
        ] {
            claims.insert(name.to_owned(), value);
        }
        let access_until = now.saturating_add(lifetimes.access_token);
        let access = json!({
            "iss": issuer, "aud": issuer, "sub": terms.sub, "client_id": terms.client, "scope": terms.scope,
            "iat": now, "exp": access_until, "jti": ticket(), "grant": id,
        });
        let mut body = json!({
            "token_type": "Bearer",
            "access_token": self.key.sign(Kind::Access, &access),
            "expires_in": lifetimes.access_token,
            "id_token": self.key.sign(Kind::Id, &claims.into()),
            "scope": terms.scope,
        });
        if refresh {
            let until = now.saturating_add(lifetimes.refresh_token);
            body["refresh_token"] = self.grants.rotate(id, until).into();
        } else {
            self.grants.last(id, access_until);
        }
        json(StatusCode::OK, &body)
    }

    /// The client that this request proves to come from, in one way only.
    fn client_of(&self, asked: &Asked<'_>) -> Result<&Client, Refused> {
        let posted = asked.form.get("client_secret");
        let (id, secret) = if asked.has_authorization() {
            let (id, secret) = asked.basic().ok_or(Refused::Client)?;
            if posted.is_some() || asked.form.get("client_id").is_some_and(|other| other != id) {
                return Err(Refused::Request("prove yourself in one way, as one client"));
            }
            (id, secret)
        } else {
            let (id, secret) = asked.form.get("client_id").zip(posted).ok_or(Refused::Client)?;
            (id.to_owned(), secret.to_owned())
        };
        self.config.clients.get(&id).filter(|client| client.proves(&secret)).ok_or(Refused::Client)
    }

    /// The userinfo endpoint.
    pub fn userinfo(&self, asked: &Asked<'_>) -> Answer {
        let Some(user) = asked.bearer().and_then(|token| self.bearer(token, asked.now)) else {
            let refused = json(StatusCode::UNAUTHORIZED, &json!({ "error": "invalid_token" }));
            return challenge(refused, "Bearer error=\"invalid_token\"");
        };
        json(StatusCode::OK, &about(user).into())
    }

    fn bearer(&self, token: &str, now: u64) -> Option<&User> {
        let claims = self.key.verify(Kind::Access, token)?;
        (now < claims.get("exp")?.as_u64()?).then_some(())?;
        let terms = self.grants.terms(claims.get("grant")?.as_str()?, now)?;
        self.config.users.active(&terms.sub)
    }
}

/// What an ID token says, but for the times and the issuer.
fn id_claims(terms: &Terms, user: &User) -> Map<String, Value> {
    let mut claims = about(user);
    let more = [
        ("aud", json!(terms.client)),
        ("auth_time", json!(terms.auth_time)),
        ("acr", json!(terms.acr.as_str())),
        ("amr", json!(terms.acr.amr())),
        ("sid", json!(terms.sid)),
    ];
    claims.extend(more.map(|(name, value)| (name.to_owned(), value)));
    claims
}

fn about(user: &User) -> Map<String, Value> {
    let all = [
        ("sub", json!(user.sub)),
        ("name", json!(user.name)),
        ("email", json!(user.email)),
        ("email_verified", json!(user.email_verified)),
        ("groups", json!(user.groups)),
    ];
    all.map(|(name, value)| (name.to_owned(), value)).into_iter().collect()
}
