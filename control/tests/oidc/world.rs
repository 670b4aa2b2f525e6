//! A provider, what we know of it, and a person in the middle of signing in.

use std::time::Duration;

use control::oidc::{Begin, GroupsAllowed, Pending, Provider, ProviderSpec, Returned, SignInError, SignedIn};
use protocol::{config::Secret, time::Timestamp};
use serde_json::{Value, json};

use crate::{
    provider::{Answer, DISCOVERY, Fake},
    sign::Key,
};

pub const CLIENT: &str = "doorward";
pub const SECRET: &str = "canary-client-secret";
pub const CODE: &str = "canary-code";
pub const ACCESS: &str = "canary-access-token";
pub const REFRESH: &str = "canary-refresh-token";
pub const REDIRECT: &str = "https://door.corp.example/sign-in/corp";

/// When all of it happens, in seconds.
pub const NOW: i64 = 1_800_000_000;

pub fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds * 1000)
}

pub struct World {
    pub fake: Fake,
    pub key: Key,
    pub provider: Provider,
}

impl World {
    pub async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// With another spec than usual.
    pub async fn with(change: impl FnOnce(&mut ProviderSpec)) -> Self {
        let fake = Fake::start().await;
        let key = Key::es256();
        fake.answer("/keys", Answer::json(&json!({ "keys": [key.jwk("k1")] })));
        fake.answer(DISCOVERY, Answer::json(&discovery(&fake.issuer)));
        let mut spec = ProviderSpec::new("corp".parse().unwrap(), fake.issuer.clone(), CLIENT);
        spec.client_secret = Some(Secret::new(SECRET.to_owned()));
        spec.ca = Some(vec![fake.certificate.clone()]);
        spec.scopes = vec!["openid".to_owned(), "offline_access".to_owned()];
        spec.domains = vec!["corp.example".to_owned()];
        spec.groups.allowed = GroupsAllowed::All;
        change(&mut spec);
        Self { fake, key, provider: Provider::new(spec).unwrap() }
    }

    /// The claims of a good ID token.
    pub fn claims(&self, nonce: &str) -> Value {
        json!({
            "iss": self.fake.issuer, "aud": CLIENT, "sub": "alice", "iat": NOW, "exp": NOW + 300, "nonce": nonce,
            "email": "alice@corp.example", "email_verified": true, "name": "Alice", "groups": ["dev"],
        })
    }

    pub fn header(&self) -> Value {
        json!({ "alg": self.key.alg(), "kid": "k1", "typ": "JWT" })
    }

    pub fn signed(&self, claims: &Value) -> String {
        self.key.sign(&self.header(), claims)
    }

    /// What the token endpoint gives from now on.
    pub fn gives(&self, id_token: &str) {
        self.fake.answer("/token", Answer::json(&tokens(id_token)));
    }

    pub async fn begin(&self, begin: Begin) -> Pending {
        let begin = Begin { redirect_uri: REDIRECT.to_owned(), ..begin };
        self.provider.begin(begin, at(NOW)).await.unwrap().pending
    }

    /// Comes back with a code.
    pub async fn complete(&self, pending: &Pending, now: i64) -> Result<SignedIn, SignInError> {
        let returned = Returned { code: Secret::new(CODE.to_owned()), iss: None };
        self.provider.complete(&returned, pending, at(now)).await
    }

    /// A whole sign-in, with an ID token made of good claims.
    pub async fn sign_in(&self, token: impl FnOnce(&Self, Value) -> String) -> Result<SignedIn, SignInError> {
        let pending = self.begin(Begin::default()).await;
        self.gives(&token(self, self.claims(&pending.nonce)));
        self.complete(&pending, NOW).await
    }
}

pub fn discovery(issuer: &str) -> Value {
    let at = |path: &str| format!("{issuer}{path}");
    json!({
        "issuer": issuer, "authorization_endpoint": at("/authorize"), "token_endpoint": at("/token"),
        "jwks_uri": at("/keys"), "userinfo_endpoint": at("/userinfo"), "end_session_endpoint": at("/logout"),
        "response_types_supported": ["code"], "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256", "ES256"],
        "code_challenge_methods_supported": ["S256"], "scopes_supported": ["openid", "offline_access"],
        "claims_supported": ["sub", "email", "email_verified", "groups", "auth_time"],
        "backchannel_logout_supported": true, "backchannel_logout_session_supported": true,
    })
}

pub fn tokens(id_token: &str) -> Value {
    json!({
        "access_token": ACCESS, "token_type": "Bearer", "expires_in": 300, "refresh_token": REFRESH,
        "id_token": id_token,
    })
}

/// `claims` with some of them changed; null removes.
pub fn with(mut claims: Value, changes: &Value) -> Value {
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value.clone();
        }
    }
    claims
}

pub const SKEW: i64 = Duration::from_secs(60).as_secs() as i64;
