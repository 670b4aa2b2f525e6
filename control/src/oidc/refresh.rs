//! Asks the provider whether a person still may, with their refresh token.
//! Always true: only `invalid_grant`, or an answer about someone else, ends a session; whatever else happens
//! keeps it and tells the operator whose fault it is.

use protocol::{config::Secret, id::UserId, time::Timestamp};

use super::{
    claims::{Claims, Sources, Standing, text},
    error::{Alarm, ProviderError, SignInError, TokenError, client},
    exchange::{Grant, Rejected, Tokens},
    http::HttpError,
    provider::{Known, Provider},
    spec::IdClaim,
    token::Expected,
};

/// What became of asking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refreshed {
    /// They still may.
    Still(Renewed),
    /// They may not any more: the session ends.
    Gone(Gone),
    /// Nobody knows: the session stays, and it is asked again later.
    Later {
        /// Whose fault it is, and what helps.
        alarm: Alarm,
        /// Replaces the refresh token all the same: the question was answered, what followed was not.
        refresh: Option<Secret<String>>,
        /// Whether the refresh token may be used up without our having got another.
        uncertain: bool,
    },
}

/// What is new of someone who still may.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Renewed {
    /// Replaces the refresh token that was used; that one stays good if there is none.
    pub refresh: Option<Secret<String>>,
    /// What they may pass for now; absent if the provider said nothing of them.
    pub standing: Option<Standing>,
}

/// Why someone may not any more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Gone {
    /// `invalid_grant`.
    #[error("the provider ended it: signed out, disabled, expired or revoked there ({said:?})")]
    Ended {
        /// Its explanation.
        said: String,
    },
    /// Not the person whose session it is.
    #[error("the provider answers for {found} instead of {expected}")]
    Other {
        /// Whose session it is.
        expected: UserId,
        /// About whom the answer is.
        found: String,
    },
}

impl Refreshed {
    fn later(alarm: Alarm, uncertain: bool) -> Self {
        Self::Later { alarm, refresh: None, uncertain }
    }
}

impl Rejected {
    /// Whether the provider may have answered with a new token that never reached us.
    fn may_have_used_up(&self) -> bool {
        match self {
            Self::Grant { .. } | Self::Client { .. } => false,
            Self::Token => true,
            Self::Provider(ProviderError::Http(error)) => match error {
                HttpError::Insecure(_) | HttpError::Unreachable { .. } | HttpError::Untrusted { .. } => false,
                HttpError::Slow(_) | HttpError::TooLarge(_) | HttpError::Broken { .. } => true,
            },
            Self::Provider(ProviderError::Status { status, .. }) => *status >= 500,
            Self::Provider(_) => true,
        }
    }
}

/// Why there is no standing.
enum Halt {
    Gone(Gone),
    Later(SignInError),
}

impl Provider {
    /// Whether `expect` still may, by the refresh token of their session.
    pub async fn refresh(&self, token: &Secret<String>, expect: &UserId, now: Timestamp) -> Refreshed {
        let known = match self.known(now).await {
            Ok(known) => known,
            Err(error) => return Refreshed::later(alarm(&error.into()), false),
        };
        let tokens = match self.redeem(&known, &Grant::Refresh(token)).await {
            Ok(tokens) => tokens,
            Err(Rejected::Grant { said }) => return Refreshed::Gone(Gone::Ended { said }),
            Err(Rejected::Client { code, said }) => {
                let (fault, text) = (super::Fault::Operator, client(&code, &said));
                return Refreshed::later(Alarm { fault, text }, false);
            }
            Err(rejected @ (Rejected::Token | Rejected::Provider(_))) => {
                let uncertain = rejected.may_have_used_up();
                return Refreshed::later(alarm(&rejected.into()), uncertain);
            }
        };
        match self.look(&known, &tokens, expect, now).await {
            Ok(standing) => Refreshed::Still(Renewed { refresh: tokens.refresh, standing }),
            Err(Halt::Gone(gone)) => Refreshed::Gone(gone),
            Err(Halt::Later(error)) => {
                Refreshed::Later { alarm: alarm(&error), refresh: tokens.refresh, uncertain: false }
            }
        }
    }

    async fn look(
        &self,
        known: &Known,
        tokens: &Tokens,
        expect: &UserId,
        now: Timestamp,
    ) -> Result<Option<Standing>, Halt> {
        let claims = match &tokens.id {
            Some(id) => {
                let expected = Expected { nonce: None, access: &tokens.access, now };
                let verified = self.verified(now, |keys| self.id_token(id, keys, &expected)).await;
                Some(verified.map_err(|error| Halt::Later(error.into()))?)
            }
            None => None,
        };
        if let Some(claims) = &claims {
            self.same(claims, expect)?;
        }
        let more = claims.as_ref().is_none_or(|claims| self.spec.wants_more(claims));
        let userinfo = if more {
            let subject = claims.as_ref().and_then(|claims| text(claims, "sub"));
            let userinfo = self.userinfo(known, &tokens.access, subject, now).await;
            userinfo.map_err(|error| Halt::Later(error.into()))?
        } else {
            None
        };
        if claims.is_none() {
            match &userinfo {
                None => return Ok(None),
                // Userinfo of such a provider does not say the id: there is nothing to go by.
                Some(userinfo) if !self.names(userinfo) => return Ok(None),
                Some(userinfo) => self.same(userinfo, expect)?,
            }
        }
        let sources = Sources { id: claims.as_ref(), userinfo: userinfo.as_ref() };
        self.spec.standing(&sources).map(Some).map_err(Halt::Later)
    }

    fn names(&self, userinfo: &Claims) -> bool {
        match self.spec.id_claim {
            IdClaim::Sub => true,
            IdClaim::Oid => text(userinfo, "oid").is_some(),
        }
    }

    fn same(&self, claims: &Claims, expect: &UserId) -> Result<(), Halt> {
        match self.spec.user(claims) {
            Ok(found) if found == *expect => Ok(()),
            Ok(found) => {
                let (expected, found) = (expect.clone(), found.to_string());
                Err(Halt::Gone(Gone::Other { expected, found }))
            }
            Err(error) => Err(Halt::Later(error)),
        }
    }
}

fn alarm(error: &SignInError) -> Alarm {
    let text = match error {
        SignInError::Token(TokenError::Malformed(what)) => {
            format!("the provider refreshed a session with a token that is none ({what}): look at its log")
        }
        error => error.to_string(),
    };
    Alarm { fault: error.fault(), text }
}
