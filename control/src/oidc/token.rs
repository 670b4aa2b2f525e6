//! Whether an ID token is the provider's word about this sign-in (OpenID Connect Core 1.0, 3.1.3.7).
//! The crate verifies type, issuer, audience, signature, expiry and nonce; the rest is verified here: it knows
//! no `azp`, `nbf` or `at_hash`. Always true: what is returned comes from a token that passed all of it.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use openidconnect::{
    AccessToken, AccessTokenHash, ClaimsVerificationError, ClientId, IdTokenVerifier, Nonce,
    SignatureVerificationError,
    core::{CoreIdToken, CoreIdTokenVerifier, CoreJsonWebKeySet, CoreJwsSigningAlgorithm},
};
use protocol::{config::Secret, time::Timestamp};
use serde_json::Value;

use super::{
    claims::{Claims, text},
    error::{TokenError, tidy},
    provider::Provider,
};

/// What we believe: public keys only, so that nobody who can verify can sign.
pub(super) const ALGORITHMS: [CoreJwsSigningAlgorithm; 7] = [
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha384,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha512,
    CoreJwsSigningAlgorithm::RsaSsaPssSha256,
    CoreJwsSigningAlgorithm::EcdsaP256Sha256,
    CoreJwsSigningAlgorithm::EcdsaP384Sha384,
    CoreJwsSigningAlgorithm::EdDsa,
];

/// What a token has to fit.
pub(super) struct Expected<'a> {
    /// Absent after a refresh: such tokens need not have one.
    pub nonce: Option<&'a Nonce>,
    pub access: &'a Secret<String>,
    pub now: Timestamp,
}

impl Provider {
    /// The claims of `id`, verified by `keys`.
    pub(super) fn id_token(
        &self,
        id: &CoreIdToken,
        keys: &CoreJsonWebKeySet,
        expected: &Expected<'_>,
    ) -> Result<Claims, TokenError> {
        let client = ClientId::new(self.spec.client_id.clone());
        let earlier = before(expected.now, self.spec.skew);
        // For a public client, so that a secret is never a key.
        let verifier = IdTokenVerifier::new_public_client(client, self.issuer.clone(), keys.clone())
            .set_allowed_algs(ALGORITHMS)
            .set_other_audience_verifier_fn(|_| true)
            .set_time_fn(move || earlier);
        match expected.nonce {
            Some(nonce) => id.claims(&verifier, nonce),
            None => id.claims(&verifier, |_: Option<&Nonce>| Ok(())),
        }
        .map_err(refused)?;
        access_hash(id, &verifier, expected.access)?;
        let claims = payload(id)?;
        self.authorized_party(&claims)?;
        times(&claims, expected.now, self.spec.skew)?;
        Ok(claims)
    }

    /// With several audiences it must be said that we were given the token; and never that another was.
    fn authorized_party(&self, claims: &Claims) -> Result<(), TokenError> {
        let several = claims.get("aud").and_then(Value::as_array).is_some_and(|aud| aud.len() > 1);
        match claims.get("azp") {
            None if !several => Ok(()),
            Some(Value::String(azp)) if *azp == self.spec.client_id => Ok(()),
            None | Some(_) => Err(TokenError::AuthorizedParty),
        }
    }

    /// Whether the person signed in as freshly and as strongly as was asked.
    pub(super) fn as_asked(
        &self,
        claims: &Claims,
        max_age: Option<Duration>,
        acr: Option<&str>,
        now: Timestamp,
    ) -> Result<(), TokenError> {
        if let Some(max_age) = max_age {
            let at = seconds(claims, "auth_time")?.ok_or(TokenError::NoAuthTime)?;
            if at.plus(max_age).plus(self.spec.skew) < now {
                return Err(TokenError::Stale);
            }
        }
        let found = text(claims, "acr").unwrap_or_default();
        match acr {
            Some(asked) if asked != found => {
                Err(TokenError::Class { asked: asked.to_owned(), found: tidy(found) })
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// Nothing may be from the future, as far as clocks agree.
pub(super) fn times(claims: &Claims, now: Timestamp, skew: Duration) -> Result<(), TokenError> {
    for name in ["iat", "nbf", "auth_time"] {
        if seconds(claims, name)?.is_some_and(|at| at > now.plus(skew)) {
            return Err(TokenError::Early(name));
        }
    }
    Ok(())
}

/// A claim that is a time. Absent is absent, never now.
pub(super) fn seconds(claims: &Claims, name: &'static str) -> Result<Option<Timestamp>, TokenError> {
    let value = match claims.get(name) {
        None | Some(Value::Null) => return Ok(None),
        Some(value) => value,
    };
    // Some providers write fractions. The cast saturates.
    let whole = value.as_i64().or_else(|| value.as_f64().map(|seconds| seconds.floor() as i64));
    let whole = whole.ok_or(TokenError::Malformed(name))?;
    Ok(Some(Timestamp::from_millis(whole.saturating_mul(1000))))
}

fn before(now: Timestamp, skew: Duration) -> DateTime<Utc> {
    let skew = i64::try_from(skew.as_millis()).expect("a skew is five minutes at most");
    DateTime::from_timestamp_millis(now.millis() - skew).expect("a timestamp is of this age of the world")
}

fn access_hash(
    id: &CoreIdToken,
    verifier: &CoreIdTokenVerifier<'_>,
    access: &Secret<String>,
) -> Result<(), TokenError> {
    let claims = payload(id)?;
    let Some(expected) = claims.get("at_hash").filter(|hash| !hash.is_null()) else { return Ok(()) };
    let alg = id.signing_alg().map_err(signature)?;
    let key = id.signing_key(verifier).map_err(signature)?;
    let access = AccessToken::new(access.expose().clone());
    let hash = AccessTokenHash::from_token(&access, alg, key).map_err(|_| TokenError::AccessHash)?;
    if expected.as_str() == Some(hash.as_str()) { Ok(()) } else { Err(TokenError::AccessHash) }
}

/// All claims of a token, as they stand there: the crate's types know only the standard's.
fn payload(id: &CoreIdToken) -> Result<Claims, TokenError> {
    let token = Secret::new(id.to_string());
    let part = token.expose().split('.').nth(1).unwrap_or_default();
    let bytes = URL_SAFE_NO_PAD.decode(part.trim_end_matches('='));
    let bytes = bytes.map_err(|_| TokenError::Malformed("its payload"))?;
    serde_json::from_slice(&bytes).map_err(|_| TokenError::Malformed("its payload"))
}

fn refused(error: ClaimsVerificationError) -> TokenError {
    match error {
        ClaimsVerificationError::Expired(_) => TokenError::Expired,
        ClaimsVerificationError::InvalidAudience(_) => TokenError::Audience,
        ClaimsVerificationError::InvalidIssuer(_) => TokenError::Issuer,
        ClaimsVerificationError::InvalidNonce(_) => TokenError::Nonce,
        ClaimsVerificationError::SignatureVerification(error) => signature(error),
        ClaimsVerificationError::Unsupported(what) => TokenError::Kind(tidy(&what)),
        // The crate may learn more reasons; none of them is a yes.
        _ => TokenError::Malformed("its claims"),
    }
}

fn signature(error: SignatureVerificationError) -> TokenError {
    match error {
        SignatureVerificationError::NoSignature => TokenError::Algorithm("none".to_owned()),
        SignatureVerificationError::DisallowedAlg(what)
        | SignatureVerificationError::UnsupportedAlg(what) => TokenError::Algorithm(tidy(&what)),
        SignatureVerificationError::NoMatchingKey => TokenError::UnknownKey,
        SignatureVerificationError::AmbiguousKeyId(_) => {
            TokenError::Malformed("it names no key, and the provider has several")
        }
        _ => TokenError::Signature,
    }
}
