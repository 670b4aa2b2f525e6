//! Grants: what one sign-in gave one client. The code, and after it every refresh token, is its one live secret.
//! Always true: a secret is used once; a used one that comes again ends the grant, as somebody else has a copy
//! (RFC 6749, 10.5; RFC 9700, 4.14.2).

use std::collections::HashMap;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::digest::{SHA256, digest};

use crate::{
    session::Acr,
    ticket::{same, ticket},
};

/// More than any test has; a full table refuses to sign in.
const MAX: usize = 65_536;

/// What was agreed at the sign-in.
#[derive(Debug, Clone)]
pub struct Terms {
    /// To whom it was given.
    pub client: String,
    /// Where the code was sent.
    pub redirect_uri: String,
    /// The PKCE challenge (S256).
    pub challenge: String,
    /// The client's.
    pub nonce: String,
    /// What was asked for.
    pub scope: String,
    /// Who signed in.
    pub sub: String,
    /// In which session.
    pub sid: String,
    /// When.
    pub auth_time: u64,
    /// How.
    pub acr: Acr,
}

struct Grant {
    terms: Terms,
    code: String,
    /// `None` until the code is used; then the live refresh token, empty for who gets none.
    refresh: Option<String>,
    until: u64,
}

/// Why a code or a refresh token opens nothing; the client's fault, or an attacker's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// No such secret, or no longer.
    #[error("unknown, expired or used up")]
    Unknown,
    /// It was used before.
    #[error("used twice: everything that came of this sign-in has ended")]
    Reused,
    /// It is another client's.
    #[error("given to another client")]
    OtherClient,
    /// The address is not where the code was sent.
    #[error("redirect_uri is not the one of the authorization request")]
    OtherAddress,
    /// The verifier does not match the challenge.
    #[error("code_verifier does not match the code_challenge")]
    Verifier,
}

/// All grants, by a random id that codes and refresh tokens begin with.
#[derive(Default)]
pub struct Grants(HashMap<String, Grant>);

impl Grants {
    /// A new grant, by its code, unless there are too many.
    pub fn begin(&mut self, terms: Terms, until: u64, now: u64) -> Option<String> {
        if self.0.len() >= MAX {
            self.0.retain(|_, grant| now < grant.until);
        }
        if self.0.len() >= MAX {
            return None;
        }
        let (id, code) = (ticket(), ticket());
        let text = format!("{id}.{code}");
        self.0.insert(id, Grant { terms, code, refresh: None, until });
        Some(text)
    }

    /// Uses the code up, right or wrong; gives the grant's id.
    pub fn redeem(
        &mut self,
        code: &str,
        client: &str,
        redirect_uri: &str,
        verifier: &str,
        now: u64,
    ) -> Result<String, Refused> {
        let (id, secret) = code.split_once('.').ok_or(Refused::Unknown)?;
        let grant = self.0.get_mut(id).filter(|grant| now < grant.until).ok_or(Refused::Unknown)?;
        if !same(secret, &grant.code) {
            return Err(Refused::Unknown);
        }
        let terms = &grant.terms;
        let refused = if grant.refresh.is_some() {
            Refused::Reused
        } else if terms.client != client {
            Refused::OtherClient
        } else if terms.redirect_uri != redirect_uri {
            Refused::OtherAddress
        } else if !same(&challenge_of(verifier), &terms.challenge) {
            Refused::Verifier
        } else {
            grant.refresh = Some(String::new());
            return Ok(id.to_owned());
        };
        self.0.remove(id);
        Err(refused)
    }

    /// Judges a refresh token; gives the grant's id, to be rotated or ended.
    pub fn refresh(&mut self, token: &str, client: &str, now: u64) -> Result<String, Refused> {
        let (id, secret) = token.split_once('.').ok_or(Refused::Unknown)?;
        let grant = self.0.get_mut(id).filter(|grant| now < grant.until).ok_or(Refused::Unknown)?;
        let live = grant.refresh.as_mut().filter(|live| !live.is_empty()).ok_or(Refused::Unknown)?;
        if grant.terms.client != client {
            return Err(Refused::OtherClient);
        }
        if !same(secret, live) {
            self.0.remove(id);
            return Err(Refused::Reused);
        }
        Ok(id.to_owned())
    }

    /// The next refresh token of a grant, good until then.
    pub fn rotate(&mut self, id: &str, until: u64) -> Option<String> {
        let grant = self.0.get_mut(id)?;
        let secret = ticket();
        let text = format!("{id}.{secret}");
        (grant.refresh, grant.until) = (Some(secret), until);
        Some(text)
    }

    /// The grant of who gets no refresh token ends with its access token.
    pub fn last(&mut self, id: &str, until: u64) {
        if let Some(grant) = self.0.get_mut(id) {
            grant.until = until;
        }
    }

    /// What was agreed, while the grant lives.
    pub fn terms(&self, id: &str, now: u64) -> Option<&Terms> {
        self.0.get(id).filter(|grant| now < grant.until).map(|grant| &grant.terms)
    }

    /// Ends one grant.
    pub fn end(&mut self, id: &str) {
        self.0.remove(id);
    }

    /// Ends all grants of a session.
    pub fn end_session(&mut self, sid: &str) {
        self.0.retain(|_, grant| grant.terms.sid != sid);
    }
}

/// RFC 7636, 4.6.
fn challenge_of(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    const ADDRESS: &str = "https://app.example/cb";

    fn terms() -> Terms {
        let text = str::to_owned;
        Terms {
            client: text("app"),
            redirect_uri: text(ADDRESS),
            // RFC 7636, appendix B.
            challenge: text("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"),
            nonce: text("n"),
            scope: text("openid"),
            sub: text("1"),
            sid: text("s"),
            auth_time: 1000,
            acr: Acr::Pwd,
        }
    }

    fn begun() -> (Grants, String) {
        let mut all = Grants::default();
        let code = all.begin(terms(), 1060, 1000).unwrap();
        (all, code)
    }

    #[test]
    fn a_code_lives_as_long_as_it_was_said() {
        let (mut all, code) = begun();
        assert_eq!(all.redeem(&code, "app", ADDRESS, VERIFIER, 1060), Err(Refused::Unknown));
        assert!(all.redeem(&code, "app", ADDRESS, VERIFIER, 1059).is_ok());
    }

    #[test]
    fn a_code_is_good_only_where_it_belongs_and_one_try_uses_it_up() {
        for (client, address, verifier, refused) in [
            ("other", ADDRESS, VERIFIER, Refused::OtherClient),
            ("app", "https://app.example/", VERIFIER, Refused::OtherAddress),
            ("app", ADDRESS, "wrong", Refused::Verifier),
        ] {
            let (mut all, code) = begun();
            assert_eq!(all.redeem(&code, client, address, verifier, 1001), Err(refused));
            assert_eq!(all.redeem(&code, "app", ADDRESS, VERIFIER, 1001), Err(Refused::Unknown));
        }
        let (mut all, code) = begun();
        assert_eq!(all.redeem(&code[..60], "app", ADDRESS, VERIFIER, 1001), Err(Refused::Unknown));
        assert!(all.redeem(&code, "app", ADDRESS, VERIFIER, 1001).is_ok(), "guessing uses nothing up");
    }

    #[test]
    fn a_code_that_comes_again_ends_what_came_of_it() {
        let (mut all, code) = begun();
        let id = all.redeem(&code, "app", ADDRESS, VERIFIER, 1001).unwrap();
        let refresh = all.rotate(&id, 5000).unwrap();
        assert_eq!(all.redeem(&code, "app", ADDRESS, VERIFIER, 1002), Err(Refused::Reused));
        assert_eq!(all.refresh(&refresh, "app", 1003), Err(Refused::Unknown));
        assert!(all.terms(&id, 1003).is_none());
    }

    #[test]
    fn a_refresh_token_that_comes_again_ends_the_grant() {
        let (mut all, code) = begun();
        assert_eq!(all.refresh(&code, "app", 1001), Err(Refused::Unknown), "a code is no refresh token");
        let id = all.redeem(&code, "app", ADDRESS, VERIFIER, 1001).unwrap();
        assert_eq!(all.refresh(&format!("{id}."), "app", 1001), Err(Refused::Unknown), "there is none yet");
        let first = all.rotate(&id, 5000).unwrap();
        assert_eq!(all.refresh(&first, "other", 1002), Err(Refused::OtherClient));
        assert_eq!(all.refresh(&first, "app", 1002).as_ref(), Ok(&id));
        let second = all.rotate(&id, 5000).unwrap();
        assert_eq!(all.refresh(&first, "app", 1003), Err(Refused::Reused));
        assert_eq!(all.refresh(&second, "app", 1004), Err(Refused::Unknown));
    }

    #[test]
    fn an_unused_refresh_token_expires_and_a_session_takes_its_grants_along() {
        let (mut all, code) = begun();
        let id = all.redeem(&code, "app", ADDRESS, VERIFIER, 1001).unwrap();
        let token = all.rotate(&id, 5000).unwrap();
        assert_eq!(all.refresh(&token, "app", 5000), Err(Refused::Unknown));
        all.end_session("other");
        assert!(all.terms(&id, 4999).is_some());
        all.end_session("s");
        assert!(all.terms(&id, 4999).is_none());
    }
}
