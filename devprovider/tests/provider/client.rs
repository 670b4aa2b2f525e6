//! The clients `app` and `wiki`: they ask, exchange and verify as a careful client does.

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use serde_json::Value;
use url::Url;

use crate::browser::{Browser, Reply, parameter};

/// RFC 7636, appendix B.
pub const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
pub const APP: &str = "https://app.example/cb";
/// `app: secret%`, encoded as RFC 6749, 2.3.1 has it.
const APP_BASIC: &str = "app:app%3A+secret%25";

pub fn basic(text: &str) -> String {
    format!("Basic {}", STANDARD.encode(text))
}

/// What `app` asks for, with these changes; an empty value takes a parameter away.
pub fn wish<'a>(changes: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut all = vec![
        ("client_id", "app"),
        ("redirect_uri", APP),
        ("response_type", "code"),
        ("scope", "openid profile email groups"),
        ("state", "st&te"),
        ("nonce", "n-1"),
        ("code_challenge", CHALLENGE),
        ("code_challenge_method", "S256"),
    ];
    for (name, value) in changes {
        all.retain(|(known, _)| known != name);
        all.push((name, value));
    }
    all.retain(|(_, value)| !value.is_empty());
    all
}

impl Browser {
    pub async fn authorize(&mut self, changes: &[(&str, &str)]) -> Reply {
        self.get_with("/authorize", &wish(changes)).await
    }

    /// Asks, and arrives at the sign-in page.
    pub async fn login_page(&mut self, changes: &[(&str, &str)]) -> Reply {
        let login = self.authorize(changes).await.location();
        assert_eq!((login.host_str(), login.path()), (Some("idp.example"), "/login"), "{login}");
        self.get(&format!("/login?{}", login.query().unwrap())).await
    }

    /// Fills the sign-in page in.
    pub async fn fill(&mut self, page: &Reply, user: &str, password: &str, otp: &str) -> Reply {
        let (request, csrf) = (page.hidden("request"), page.hidden("csrf"));
        let form =
            [("request", &*request), ("csrf", &csrf), ("user", user), ("password", password), ("otp", otp)];
        let origin = self.issuer.clone();
        self.post("/login", &form, &[("origin", &origin), ("sec-fetch-site", "same-origin")]).await
    }

    /// A whole sign-in of Ada's at the provider; gives the code.
    pub async fn ada(&mut self, changes: &[(&str, &str)]) -> String {
        let page = self.login_page(changes).await;
        code(&self.fill(&page, "ada@corp.example", "countess", "123456").await.location())
    }

    /// The token endpoint, as `app`.
    pub async fn token(&mut self, form: &[(&str, &str)]) -> Reply {
        self.post("/token", form, &[("authorization", &basic(APP_BASIC))]).await
    }

    pub async fn redeem(&mut self, code: &str) -> Reply {
        self.token(&redemption(code, VERIFIER)).await
    }

    pub async fn refresh(&mut self, token: &str) -> Reply {
        self.token(&[("grant_type", "refresh_token"), ("refresh_token", token)]).await
    }

    /// The claims of a token, once its signature is verified by what the provider publishes.
    pub async fn claims(&mut self, token: &str, typ: &str) -> Value {
        let keys = self.get("/jwks").await.json();
        let parts: Vec<_> = token.split('.').collect();
        let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).unwrap();
        let header: Value = serde_json::from_slice(&decode(parts[0])).unwrap();
        assert_eq!((&header["alg"], &header["typ"]), (&"ES256".into(), &typ.into()));
        let key = keys["keys"].as_array().unwrap().iter().find(|key| key["kid"] == header["kid"]).unwrap();
        let mut point = vec![4];
        point.extend(decode(key["x"].as_str().unwrap()));
        point.extend(decode(key["y"].as_str().unwrap()));
        let signed = format!("{}.{}", parts[0], parts[1]);
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
        key.verify(signed.as_bytes(), &decode(parts[2])).expect("the signature is the provider's");
        serde_json::from_slice(&decode(parts[1])).unwrap()
    }
}

pub fn redemption<'a>(code: &'a str, verifier: &'a str) -> [(&'a str, &'a str); 4] {
    [("grant_type", "authorization_code"), ("code", code), ("redirect_uri", APP), ("code_verifier", verifier)]
}

/// The code that the browser brings back.
pub fn code(back: &Url) -> String {
    assert_eq!(parameter(back, "state").as_deref(), Some("st&te"), "{back}");
    parameter(back, "code").unwrap_or_else(|| panic!("no code in {back}"))
}

/// Why tokens were refused.
pub fn refusal(reply: &Reply) -> String {
    assert!(reply.status.is_client_error(), "{}", reply.body);
    reply.json()["error"].as_str().unwrap().to_owned()
}

/// A text of a JSON reply.
pub fn text(reply: &Reply, name: &str) -> String {
    reply.json()[name].as_str().unwrap_or_else(|| panic!("no {name} in {}", reply.body)).to_owned()
}
