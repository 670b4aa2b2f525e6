//! Opens signed tokens that are no ID tokens: logout tokens, and what a userinfo endpoint signed.
//! It verifies form and signature (RFC 7515); what the claims must say is the caller's. Always true: only the
//! provider's public keys verify, by the algorithms that ID tokens may have.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use openidconnect::{
    JsonWebKey, JsonWebKeyId,
    core::{CoreJsonWebKey, CoreJsonWebKeySet, CoreJwsSigningAlgorithm},
};
use serde_json::Value;

use super::{
    claims::Claims,
    error::{TokenError, tidy},
    token::ALGORITHMS,
};

/// No token of a provider is nearly as long. Anyone may send one.
const LONGEST: usize = 64 << 10;

/// A token of which nothing is verified yet.
pub(super) struct Jws<'a> {
    header: Header,
    algorithm: CoreJwsSigningAlgorithm,
    signed: &'a str,
    claims: Claims,
    signature: Vec<u8>,
}

#[derive(serde::Deserialize)]
struct Header {
    alg: String,
    typ: Option<String>,
    cty: Option<String>,
    kid: Option<String>,
    crit: Option<Value>,
}

impl<'a> Jws<'a> {
    /// Reads the compact form.
    pub fn read(token: &'a str) -> Result<Self, TokenError> {
        let form = || TokenError::Malformed("three parts of base64url");
        if token.len() > LONGEST {
            return Err(TokenError::Malformed("it is longer than 64 KiB"));
        }
        let (signed, signature) = token.rsplit_once('.').ok_or_else(form)?;
        let (header, claims) = signed.split_once('.').ok_or_else(form)?;
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| form());
        let header: Header =
            serde_json::from_slice(&decode(header)?).map_err(|_| TokenError::Malformed("its header"))?;
        let claims =
            serde_json::from_slice(&decode(claims)?).map_err(|_| TokenError::Malformed("its claims"))?;
        if header.crit.is_some() || header.cty.is_some() {
            return Err(TokenError::Kind("it has extensions (crit, cty) that are unknown here".to_owned()));
        }
        let algorithm = algorithm(&header.alg).ok_or_else(|| TokenError::Algorithm(tidy(&header.alg)))?;
        Ok(Self { header, algorithm, signed, claims, signature: decode(signature)? })
    }

    /// Whether its header says it is of the media type `application/<kind>`.
    pub fn is(&self, kind: &str) -> bool {
        let typ = self.header.typ.as_deref().unwrap_or_default().to_ascii_lowercase();
        typ.strip_prefix("application/").unwrap_or(&typ) == kind
    }

    /// What its header calls it.
    pub fn typ(&self) -> &str {
        self.header.typ.as_deref().unwrap_or("none")
    }

    /// Its claims, if one of `keys` signed them.
    pub fn verified(&self, keys: &CoreJsonWebKeySet) -> Result<&Claims, TokenError> {
        let kid = self.header.kid.clone().map(JsonWebKeyId::new);
        let named = |key: &&CoreJsonWebKey| kid.is_none() || key.key_id() == kid.as_ref();
        let mut keys = keys.keys().iter().filter(named).peekable();
        if keys.peek().is_none() {
            return Err(TokenError::UnknownKey);
        }
        let signed = self.signed.as_bytes();
        // The crate refuses a key of another kind, use or algorithm.
        let fits = keys.any(|key| key.verify_signature(&self.algorithm, signed, &self.signature).is_ok());
        if fits { Ok(&self.claims) } else { Err(TokenError::Signature) }
    }
}

fn algorithm(name: &str) -> Option<CoreJwsSigningAlgorithm> {
    let algorithm = serde_json::from_value(Value::String(name.to_owned())).ok();
    algorithm.filter(|algorithm| ALGORITHMS.contains(algorithm))
}
