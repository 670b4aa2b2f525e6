//! Signs tokens in every way a provider or a forger might. The keys are made for tests alone.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::{
    digest, hmac,
    rand::SystemRandom,
    rsa::PublicKeyComponents,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
        KeyPair, RSA_PKCS1_SHA256, RSA_PSS_SHA256, RSA_PSS_SHA384, RsaKeyPair,
    },
};
use serde_json::{Value, json};

/// A key and how to sign by it.
pub enum Key {
    Es256(EcdsaKeyPair),
    Es384(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
    Rs256(RsaKeyPair),
    Ps256(RsaKeyPair),
    /// A good one that is not among those we take.
    Ps384(RsaKeyPair),
    /// With something that is no secret, or ours.
    Hmac(Vec<u8>),
    None,
}

pub fn base64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn rsa() -> RsaKeyPair {
    RsaKeyPair::from_der(include_bytes!("rsa-for-tests.der")).unwrap()
}

impl Key {
    pub fn es256() -> Self {
        let (alg, chance) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
        let made = EcdsaKeyPair::generate_pkcs8(alg, &chance).unwrap();
        Self::Es256(EcdsaKeyPair::from_pkcs8(alg, made.as_ref(), &chance).unwrap())
    }

    pub fn es384() -> Self {
        let (alg, chance) = (&ECDSA_P384_SHA384_FIXED_SIGNING, SystemRandom::new());
        let made = EcdsaKeyPair::generate_pkcs8(alg, &chance).unwrap();
        Self::Es384(EcdsaKeyPair::from_pkcs8(alg, made.as_ref(), &chance).unwrap())
    }

    pub fn ed() -> Self {
        let made = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Self::Ed(Ed25519KeyPair::from_pkcs8(made.as_ref()).unwrap())
    }

    pub fn rs256() -> Self {
        Self::Rs256(rsa())
    }

    pub fn ps256() -> Self {
        Self::Ps256(rsa())
    }

    pub fn ps384() -> Self {
        Self::Ps384(rsa())
    }

    pub fn alg(&self) -> &'static str {
        match self {
            Self::Es256(_) => "ES256",
            Self::Es384(_) => "ES384",
            Self::Ed(_) => "EdDSA",
            Self::Rs256(_) => "RS256",
            Self::Ps256(_) => "PS256",
            Self::Ps384(_) => "PS384",
            Self::Hmac(_) => "HS256",
            Self::None => "none",
        }
    }

    /// The public half as the provider lists it.
    pub fn jwk(&self, kid: &str) -> Value {
        let ec = |key: &EcdsaKeyPair, crv: &str| {
            let point = key.public_key().as_ref();
            let (x, y) = point[1..].split_at((point.len() - 1) / 2);
            json!({ "kty": "EC", "use": "sig", "kid": kid, "crv": crv, "x": base64(x), "y": base64(y) })
        };
        match self {
            Self::Es256(key) => ec(key, "P-256"),
            Self::Es384(key) => ec(key, "P-384"),
            Self::Ed(key) => {
                json!({ "kty": "OKP", "use": "sig", "kid": kid, "crv": "Ed25519", "x": base64(key.public_key()) })
            }
            Self::Rs256(key) | Self::Ps256(key) | Self::Ps384(key) => {
                let public = PublicKeyComponents::<Vec<u8>>::from(key.public());
                let (n, e) = (base64(public.n), base64(public.e));
                json!({ "kty": "RSA", "use": "sig", "kid": kid, "n": n, "e": e })
            }
            Self::Hmac(_) | Self::None => json!({ "kty": "unknown" }),
        }
    }

    /// A token with this header and these claims.
    pub fn sign(&self, header: &Value, claims: &Value) -> String {
        let signed = format!("{}.{}", base64(header.to_string()), base64(claims.to_string()));
        let chance = SystemRandom::new();
        let by_rsa = |key: &RsaKeyPair, padding: &'static dyn ring::signature::RsaEncoding| {
            let mut signature = vec![0; key.public().modulus_len()];
            key.sign(padding, &chance, signed.as_bytes(), &mut signature).unwrap();
            signature
        };
        let signature = match self {
            Self::Es256(key) | Self::Es384(key) => {
                key.sign(&chance, signed.as_bytes()).unwrap().as_ref().to_vec()
            }
            Self::Ed(key) => key.sign(signed.as_bytes()).as_ref().to_vec(),
            Self::Rs256(key) => by_rsa(key, &RSA_PKCS1_SHA256),
            Self::Ps256(key) => by_rsa(key, &RSA_PSS_SHA256),
            Self::Ps384(key) => by_rsa(key, &RSA_PSS_SHA384),
            Self::Hmac(secret) => {
                let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
                hmac::sign(&key, signed.as_bytes()).as_ref().to_vec()
            }
            Self::None => Vec::new(),
        };
        format!("{signed}.{}", base64(signature))
    }
}

/// `at_hash` of ES256, RS256 and PS256.
pub fn access_hash(token: &str) -> String {
    base64(&digest::digest(&digest::SHA256, token.as_bytes()).as_ref()[..16])
}
