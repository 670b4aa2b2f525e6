//! An OpenID Connect provider for tests: an HTTPS server on loopback with a key of its own. It gives one
//! person's tokens, whoever asks, and signs whatever a test wants signed. Always true: while it is away, it
//! answers every question with 503.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};

use axum::{
    Json, Router,
    extract::{Request, State},
    http::StatusCode,
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use rustls::pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::admin::now;

/// What we are called there.
pub const CLIENT: &str = "doorward";
/// The member of `events` that makes a token a logout token.
pub const LOGOUT: &str = "http://schemas.openid.net/event/backchannel-logout";

/// The provider. Cheap to clone.
#[derive(Clone)]
pub struct Fake {
    pub issuer: String,
    /// What has to be trusted, as PEM.
    pub ca: String,
    inner: Arc<Inner>,
}

struct Inner {
    key: EcdsaKeyPair,
    away: AtomicBool,
    gives: Mutex<Value>,
}

impl Fake {
    /// Listens for as long as the test's runtime lives.
    pub async fn start() -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
        let ring = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ServerConfig::builder_with_provider(ring)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .expect("a certificate");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let issuer = format!("https://localhost:{}", listener.local_addr().expect("bound").port());
        let inner = Arc::new(Inner { key: key_pair(), away: false.into(), gives: Mutex::default() });
        let fake = Self { issuer, ca: made.cert.pem(), inner };
        tokio::spawn(fake.clone().serve(listener, TlsAcceptor::from(Arc::new(tls))));
        fake
    }

    /// As it stands in doorward.toml, with its CA beside it in `provider.pem`.
    pub fn section(&self) -> String {
        let Self { issuer, .. } = self;
        format!(
            "\n[[provider]]\nname = \"corp\"\nissuer = \"{issuer}\"\nclient_id = \"{CLIENT}\"\n\
domains = [\"corp.example\"]\ngroups = [\"*\"]\nca = \"provider.pem\"\n"
        )
    }

    /// Whether it is out of order from now on.
    pub fn away(&self, is_away: bool) {
        self.inner.away.store(is_away, Ordering::SeqCst);
    }

    /// From now on every code is good for an ID token with these claims beside the usual ones.
    pub fn gives(&self, claims: Value) {
        *self.inner.gives.lock().expect("no panic") = claims;
    }

    /// The header of a logout token.
    pub fn header() -> Value {
        json!({ "alg": "ES256", "kid": "k1", "typ": "logout+jwt" })
    }

    /// The claims of a good logout token about nobody yet.
    pub fn logout(&self, jti: &str) -> Value {
        let now = seconds();
        json!({
            "iss": self.issuer, "aud": CLIENT, "iat": now, "exp": now + 120, "jti": jti,
            "events": { LOGOUT: {} },
        })
    }

    /// A token with this header and these claims.
    pub fn sign(&self, header: &Value, claims: &Value) -> String {
        signed(&self.inner.key, header, claims)
    }

    async fn serve(self, listener: TcpListener, tls: TlsAcceptor) {
        let routes = Router::new()
            .route("/.well-known/openid-configuration", get(discovery))
            .route("/keys", get(keys))
            .route("/token", post(token))
            .layer(middleware::from_fn_with_state(self.clone(), unless_away))
            .with_state(self);
        while let Ok((stream, _)) = listener.accept().await {
            let (tls, routes) = (tls.clone(), TowerToHyperService::new(routes.clone()));
            tokio::spawn(async move {
                // Who does not trust us hangs up.
                let Ok(stream) = tls.accept(stream).await else { return };
                let _ =
                    Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), routes).await;
            });
        }
    }
}

/// One that signs for nobody we know.
pub fn forged(header: &Value, claims: &Value) -> String {
    signed(&key_pair(), header, claims)
}

/// `claims` with some of them changed; null removes.
pub fn with(mut claims: Value, changes: &Value) -> Value {
    for (name, value) in changes.as_object().expect("an object") {
        match value {
            Value::Null => drop(claims.as_object_mut().expect("an object").remove(name)),
            value => claims[name] = value.clone(),
        }
    }
    claims
}

/// The time, as tokens say it.
pub fn seconds() -> i64 {
    now().millis() / 1000
}

pub fn base64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn key_pair() -> EcdsaKeyPair {
    let (algorithm, chance) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
    let made = EcdsaKeyPair::generate_pkcs8(algorithm, &chance).expect("a key");
    EcdsaKeyPair::from_pkcs8(algorithm, made.as_ref(), &chance).expect("a key")
}

fn signed(key: &EcdsaKeyPair, header: &Value, claims: &Value) -> String {
    let text = format!("{}.{}", base64(header.to_string()), base64(claims.to_string()));
    let signature = key.sign(&SystemRandom::new(), text.as_bytes()).expect("signed");
    format!("{text}.{}", base64(signature))
}

async fn unless_away(State(fake): State<Fake>, request: Request, next: Next) -> Response {
    if fake.inner.away.load(Ordering::SeqCst) {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    next.run(request).await
}

async fn discovery(State(fake): State<Fake>) -> Json<Value> {
    let at = |path: &str| format!("{}{path}", fake.issuer);
    Json(json!({
        "issuer": fake.issuer, "authorization_endpoint": at("/authorize"), "token_endpoint": at("/token"),
        "jwks_uri": at("/keys"), "end_session_endpoint": at("/logout"),
        "response_types_supported": ["code"], "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
    }))
}

async fn keys(State(fake): State<Fake>) -> Json<Value> {
    let point = fake.inner.key.public_key().as_ref();
    let (x, y) = point.get(1..).and_then(|xy| xy.split_at_checked(32)).expect("an uncompressed point");
    let (x, y) = (base64(x), base64(y));
    Json(json!({ "keys": [{ "kty": "EC", "use": "sig", "kid": "k1", "crv": "P-256", "x": x, "y": y }] }))
}

async fn token(State(fake): State<Fake>) -> Json<Value> {
    let now = seconds();
    let usual = json!({ "iss": fake.issuer, "aud": CLIENT, "iat": now, "exp": now + 300 });
    let claims = with(usual, &fake.inner.gives.lock().expect("no panic"));
    let id = fake.sign(&json!({ "alg": "ES256", "kid": "k1", "typ": "JWT" }), &claims);
    Json(json!({
        "access_token": "access", "token_type": "Bearer", "expires_in": 300, "refresh_token": "refresh",
        "id_token": id,
    }))
}
