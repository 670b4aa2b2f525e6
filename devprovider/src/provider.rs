//! The provider's state and its map of endpoints. It does no I/O: requests and the time go in, answers come
//! out, and notices for clients wait to be fetched.
//! Always true: what is not on the map is not there; a request for another host is misdirected.

use http::{Method, Request, StatusCode};
use serde_json::{Value, json};

use crate::{
    answer::{Answer, page, public},
    asked::Asked,
    config::Config,
    courier::Notice,
    grant::Grants,
    login::Logins,
    page::{STYLE, message},
    session::Sessions,
    token::SigningKey,
    user::Users,
};

/// The cookie of a session. The prefix keeps other hosts from setting it.
pub const SESSION: &str = "__Host-dev-session";
/// The cookie that tells browsers apart before anyone has signed in.
pub const BROWSER: &str = "__Host-dev-browser";
/// What clients may ask for. All of it is told whatever they ask for.
pub const SCOPES: [&str; 5] = ["openid", "profile", "email", "groups", "offline_access"];

/// Everything the provider knows.
pub struct Provider {
    pub(crate) config: Config,
    pub(crate) key: SigningKey,
    pub(crate) logins: Logins,
    pub(crate) sessions: Sessions,
    pub(crate) grants: Grants,
    pub(crate) notices: Vec<Notice>,
}

impl Provider {
    /// Nobody is signed in yet; the key is new.
    pub fn new(config: Config) -> Self {
        Self {
            key: SigningKey::generate(),
            logins: Logins::default(),
            sessions: Sessions::new(config.lifetimes.session),
            grants: Grants::default(),
            notices: Vec::new(),
            config,
        }
    }

    /// Answers a request at `now`, in seconds since 1970.
    pub fn answer(&mut self, request: &Request<String>, now: u64) -> Answer {
        let asked = match Asked::read(request, now) {
            Ok(asked) if asked.is_for(self.config.issuer.authority()) => asked,
            Ok(_) => {
                let told = message("Another address", "This provider answers only as its issuer is written.");
                return page(StatusCode::MISDIRECTED_REQUEST, told);
            }
            Err(why) => return page(why.status(), message("Not understood", &why.to_string())),
        };
        let (get, post) = (request.method() == Method::GET, request.method() == Method::POST);
        match request.uri().path() {
            "/.well-known/openid-configuration" if get => {
                public("application/json", self.discovery().to_string())
            }
            "/jwks" if get => public("application/json", self.key.jwks().to_string()),
            "/style.css" if get => public("text/css", STYLE.to_owned()),
            "/authorize" if get => self.authorize(&asked),
            "/login" if get => self.login_page(&asked),
            "/login" if post => self.login(&asked),
            "/token" if post => self.token(&asked),
            "/userinfo" if get || post => self.userinfo(&asked),
            "/logout" if get || post => self.logout(&asked),
            "/operator/sign-out" if post && self.config.operator.is_some() => self.operator_sign_out(&asked),
            _ => page(
                StatusCode::NOT_FOUND,
                message("Nothing here", "There is no such page, or not this way."),
            ),
        }
    }

    /// From now on these people, and nobody else.
    pub fn replace_users(&mut self, users: Users) {
        self.config.users = users;
    }

    /// What clients are to be told since the last time.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    fn discovery(&self) -> Value {
        let issuer = self.config.issuer.as_str();
        let at = |path| format!("{issuer}/{path}");
        json!({
            "issuer": issuer,
            "authorization_endpoint": at("authorize"),
            "token_endpoint": at("token"),
            "userinfo_endpoint": at("userinfo"),
            "jwks_uri": at("jwks"),
            "end_session_endpoint": at("logout"),
            "scopes_supported": SCOPES,
            "response_types_supported": ["code"],
            "response_modes_supported": ["query"],
            "grant_types_supported": ["authorization_code", "refresh_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
            "code_challenge_methods_supported": ["S256"],
            "acr_values_supported": ["pwd", "mfa"],
            "prompt_values_supported": ["none", "login"],
            "claims_supported": [
                "iss", "sub", "aud", "exp", "iat", "nonce", "auth_time", "acr", "amr", "sid",
                "name", "email", "email_verified", "groups",
            ],
            "request_parameter_supported": false,
            "request_uri_parameter_supported": false,
            "authorization_response_iss_parameter_supported": true,
            "backchannel_logout_supported": true,
            "backchannel_logout_session_supported": true,
        })
    }
}
