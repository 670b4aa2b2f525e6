//! Signs and verifies our own tokens: JWTs with ES256, by a key that lives as long as the process.
//! It knows no claims but `exp`; what is in a token is the business of who asks for it.
//! Always true: a token of one type is never taken for another.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::{
    digest::{SHA256, digest},
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, UnparsedPublicKey,
    },
};
use serde_json::{Value, json};

/// What a token is for; stands in its `typ`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Tells a client who signed in (OpenID Connect Core, 2).
    Id,
    /// Opens our userinfo endpoint (RFC 9068).
    Access,
    /// Tells a client that a session has ended (OpenID Connect Back-Channel Logout, 2.4).
    Logout,
}

impl Kind {
    fn typ(self) -> &'static str {
        match self {
            Self::Id => "JWT",
            Self::Access => "at+jwt",
            Self::Logout => "logout+jwt",
        }
    }
}

/// Our private key.
pub struct SigningKey {
    pair: EcdsaKeyPair,
    kid: String,
}

impl SigningKey {
    /// A new key.
    pub fn generate() -> Self {
        let (algorithm, chance) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &chance).expect("the system gives randomness");
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &chance).expect("ring reads its own");
        let (x, y) = coordinates(&pair);
        // RFC 7638: exactly these members in this order.
        let thumbprint = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
        let kid = URL_SAFE_NO_PAD.encode(digest(&SHA256, thumbprint.as_bytes()));
        Self { pair, kid }
    }

    /// What the world verifies our tokens with.
    pub fn jwks(&self) -> Value {
        let (x, y) = coordinates(&self.pair);
        let key = json!({
            "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": self.kid, "x": x, "y": y,
        });
        json!({ "keys": [key] })
    }

    /// A token that says `claims`.
    pub fn sign(&self, kind: Kind, claims: &Value) -> String {
        let header = json!({ "alg": "ES256", "typ": kind.typ(), "kid": self.kid });
        let encode = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let signed = format!("{}.{}", encode(&header), encode(claims));
        let signature =
            self.pair.sign(&SystemRandom::new(), signed.as_bytes()).expect("the system gives randomness");
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// The claims of a token that we signed, whether or not it has expired.
    pub fn verify(&self, kind: Kind, token: &str) -> Option<Value> {
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).ok();
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, self.pair.public_key());
        key.verify(signed.as_bytes(), &decode(signature)?).ok()?;
        let header: Value = serde_json::from_slice(&decode(header)?).ok()?;
        (header.get("typ")?.as_str()? == kind.typ()).then_some(())?;
        serde_json::from_slice(&decode(claims)?).ok()
    }
}

/// The key as an elliptic curve point: ring gives 4, then x, then y (SEC 1, 2.3.3).
fn coordinates(pair: &EcdsaKeyPair) -> (String, String) {
    let point = pair.public_key().as_ref();
    let (x, y) = point.split_at(1).1.split_at(32);
    (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_for_its_kind_and_as_it_was_signed() {
        let key = SigningKey::generate();
        let claims = json!({ "sub": "1" });
        let token = key.sign(Kind::Id, &claims);
        assert_eq!(key.verify(Kind::Id, &token), Some(claims));
        assert_eq!(key.verify(Kind::Access, &token), None);
        assert_eq!(SigningKey::generate().verify(Kind::Id, &token), None);
        let mut parts: Vec<_> = token.split('.').collect();
        let other = URL_SAFE_NO_PAD.encode(json!({ "sub": "2" }).to_string());
        parts[1] = &other;
        assert_eq!(key.verify(Kind::Id, &parts.join(".")), None);
        assert_eq!(key.verify(Kind::Id, "a.b"), None);
    }
}
