//! What can go wrong with a provider, in two texts: `Display` for the operator, `told()` for the person who
//! waits at the browser. Always true: neither holds a token, a code or a secret, and what strangers wrote is
//! shortened and shown without control characters.

use std::fmt;

use protocol::id::IdError;

use super::http::HttpError;

/// Who can do something about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// The person who signs in.
    Person,
    /// Whoever configured us, or us at the provider.
    Operator,
    /// The provider, or the way there.
    Provider,
}

/// Something that only an operator can mend, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alarm {
    /// Whose turn it is.
    pub fault: Fault,
    /// What is wrong and what to do.
    pub text: String,
}

impl fmt::Display for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Why a provider cannot be used at the moment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProviderError {
    /// It was not heard.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// It said something else than yes.
    #[error("the provider's {what} answers with status {status}: {}", remedy(*.status))]
    Status {
        /// What was asked.
        what: &'static str,
        /// The answer.
        status: u16,
    },
    /// What it said cannot be read.
    #[error(
        "the provider's {what} cannot be read ({why}): look whether this address is an OpenID Connect provider's"
    )]
    Malformed {
        /// What was asked.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// It is another.
    #[error(
        "the provider calls itself {found:?}, but {expected:?} is configured: write the issuer exactly as the provider does"
    )]
    Issuer {
        /// As configured.
        expected: String,
        /// As it says.
        found: String,
    },
    /// It names an address in the clear.
    #[error(
        "the provider's {0} is not https: nothing of a sign-in travels in the clear, so the provider must offer https"
    )]
    Insecure(&'static str),
    /// It wants to know us by other means than a secret.
    #[error(
        "the provider takes the client secret neither as basic authentication nor in the form: allow client_secret_basic or client_secret_post for this client"
    )]
    NoMethod,
}

fn remedy(status: u16) -> &'static str {
    match status {
        300..=399 => "redirects are not followed, write the address it really has",
        404 => "write the issuer exactly as the provider's documentation does, for its realm or tenant",
        401 | 403 => "look at the provider whether this client may use it",
        429 => "it is asked too often, look at the provider's limits",
        500.. => "it has a fault of its own, look at the provider's state",
        _ => "look at the provider's log for the reason",
    }
}

impl ProviderError {
    /// Who can mend it.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Http(HttpError::Insecure(_) | HttpError::Untrusted { .. }) => Fault::Operator,
            Self::Http(_) => Fault::Provider,
            Self::Status { status, .. } if *status == 429 || *status >= 500 => Fault::Provider,
            Self::Malformed { .. } => Fault::Provider,
            Self::Status { .. } | Self::Issuer { .. } | Self::Insecure(_) | Self::NoMethod => Fault::Operator,
        }
    }
}

/// Why a token is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// There is none.
    #[error("the provider sent no ID token: allow the scope openid for this client")]
    Absent,
    /// It is no token, or lacks what every token has.
    #[error("the token is no JWT of the required form ({0})")]
    Malformed(&'static str),
    /// Made for something else.
    #[error("the token is of another kind ({0}), made for another use")]
    Kind(String),
    /// Not signed, or by something that proves nothing.
    #[error(
        "the token is not signed by a public-key algorithm that is accepted here ({0}): let the provider sign by RS256 or ES256"
    )]
    Algorithm(String),
    /// Signed by nobody known.
    #[error(
        "the token names a key that is not among the provider's: it is forged, or the provider has just changed its keys"
    )]
    UnknownKey,
    /// Signed by nobody.
    #[error("the token's signature is not the provider's: it is forged or was changed")]
    Signature,
    /// Another provider's.
    #[error("the token is another issuer's")]
    Issuer,
    /// For another client.
    #[error("the token is made for another client: its audience lacks our client id")]
    Audience,
    /// For several clients, or for one by another.
    #[error("the token has several audiences or names another client as the one it was given to (azp)")]
    AuthorizedParty,
    /// Too late.
    #[error("the token has expired: if it happens often, set the clocks of gateway and provider")]
    Expired,
    /// Too early.
    #[error("the token is from the future ({0}): set the clocks of gateway and provider")]
    Early(&'static str),
    /// Another sign-in's.
    #[error("the token belongs to another sign-in: its nonce is missing or is not the one that was sent")]
    Nonce,
    /// With another access token.
    #[error("the token belongs to another access token: its at_hash does not fit")]
    AccessHash,
    /// The provider was asked to say when, and did not.
    #[error(
        "the provider was asked for a fresh sign-in (max_age), but does not say when the person signed in: let it send auth_time"
    )]
    NoAuthTime,
    /// The person signed in too long ago.
    #[error("the provider was asked for a fresh sign-in (max_age), but the person signed in too long ago")]
    Stale,
    /// Not as strongly as asked.
    #[error(
        "the provider was asked for a sign-in of class {asked:?} (acr), but says {found:?}: look whether it knows that class"
    )]
    Class {
        /// What was asked for.
        asked: String,
        /// What it says, if anything.
        found: String,
    },
}

/// Why a list of groups may not be all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Incomplete {
    /// Entra, for a person in more than 200 groups.
    #[error("the provider says they are too many for the token")]
    Elsewhere,
    /// More than we take.
    #[error("they are more than 2,000")]
    TooMany,
    /// Text, a link, or numbers.
    #[error("the claim is no list of texts")]
    NoList,
}

/// What the provider sent the browser back with, instead of a code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The person, or a rule of the provider, said no (`access_denied`).
    Cancelled,
    /// Nobody is signed in there (`login_required`).
    LoginRequired,
    /// It has to ask the person something (`interaction_required`).
    InteractionRequired,
    /// It has to ask for consent (`consent_required`).
    ConsentRequired,
    /// It has to ask which account (`account_selection_required`).
    AccountSelectionRequired,
    /// It cannot at the moment.
    Unavailable,
    /// It does not like what we asked.
    Other {
        /// Its code.
        code: String,
        /// Its explanation.
        said: String,
    },
}

impl Refusal {
    /// Reads the parameters `error` and `error_description` of the redirect. Both may be anyone's.
    pub fn read(error: &str, description: Option<&str>) -> Self {
        match error {
            "access_denied" => Self::Cancelled,
            "login_required" => Self::LoginRequired,
            "interaction_required" => Self::InteractionRequired,
            "consent_required" => Self::ConsentRequired,
            "account_selection_required" => Self::AccountSelectionRequired,
            "server_error" | "temporarily_unavailable" => Self::Unavailable,
            code => Self::Other { code: tidy(code), said: tidy(description.unwrap_or_default()) },
        }
    }

    /// Whether the same with the person's help (without `prompt=none`) may succeed.
    pub fn needs_person(&self) -> bool {
        match self {
            Self::LoginRequired
            | Self::InteractionRequired
            | Self::ConsentRequired
            | Self::AccountSelectionRequired => true,
            Self::Cancelled | Self::Unavailable | Self::Other { .. } => false,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cancelled => {
                f.write_str("access_denied: the person cancelled, or may not use this client at the provider")
            }
            Self::LoginRequired => f.write_str("login_required: the person is not signed in at the provider"),
            Self::InteractionRequired => {
                f.write_str("interaction_required: the provider has to ask the person something")
            }
            Self::ConsentRequired => {
                f.write_str("consent_required: the person or an administrator has to consent at the provider")
            }
            Self::AccountSelectionRequired => {
                f.write_str("account_selection_required: the person has to choose an account")
            }
            Self::Unavailable => {
                f.write_str("the provider cannot sign anyone in at the moment: look at its state")
            }
            Self::Other { code, said } => write!(
                f,
                "the provider refuses what this client asks: {code} {said:?}: look at the client's settings there, its redirect URIs and scopes first"
            ),
        }
    }
}

/// Why nobody was signed in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignInError {
    /// The provider sent the browser back without a code.
    #[error("{0}")]
    Refused(Refusal),
    /// It cannot be used.
    #[error(transparent)]
    Provider(#[from] ProviderError),
    /// The code was not taken.
    #[error(
        "the provider does not take the code ({said:?}): it was used before, waited too long, or belongs to another sign-in"
    )]
    Code {
        /// Its explanation.
        said: String,
    },
    /// We were not taken.
    #[error("{}", client(.code, .said))]
    Client {
        /// Its code.
        code: String,
        /// Its explanation.
        said: String,
    },
    /// The token is not believed.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// Another provider sent the browser (RFC 9207).
    #[error("the browser came back from another provider than it was sent to (iss {found:?})")]
    Mixed {
        /// Who it says it is.
        found: String,
    },
    /// A claim that is needed.
    #[error("the provider does not say {claim:?} of the person: {remedy}")]
    MissingClaim {
        /// Which.
        claim: String,
        /// What to do.
        remedy: String,
    },
    /// Groups decide who may what, so some of them are none.
    #[error(
        "the person's groups ({claim:?}) are not listed in full: {why}. Let the provider list only groups assigned to this application, or app roles instead"
    )]
    Groups {
        /// Which claim.
        claim: String,
        /// Why not.
        why: Incomplete,
    },
    /// The person has a name we cannot use.
    #[error(
        "the provider's id of the person is not usable here ({0}): choose another `id_claim` for this provider"
    )]
    Subject(IdError),
    /// Where the provider shall send the browser.
    #[error("{0:?} is no address a browser could be sent back to")]
    RedirectUri(String),
}

/// What a provider's refusal of this client means.
pub(super) fn client(code: &str, said: &str) -> String {
    let remedy = match code {
        "invalid_client" => {
            "the client secret has expired or is wrong: make a new one at the provider and put it into the file that is configured for it"
        }
        "unauthorized_client" => {
            "allow the authorization code and refresh token grants for this client at the provider"
        }
        "invalid_scope" => {
            "the provider does not know one of the configured scopes: remove it, or allow it for this client"
        }
        _ => "compare the client's settings at the provider with ours",
    };
    format!("the provider refuses this client ({code} {said:?}): {remedy}")
}

impl SignInError {
    /// Who can do something about it.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Refused(Refusal::Unavailable) => Fault::Provider,
            Self::Refused(Refusal::Other { .. }) => Fault::Operator,
            Self::Refused(_) | Self::Code { .. } => Fault::Person,
            Self::Provider(error) => error.fault(),
            Self::Token(TokenError::Nonce | TokenError::Stale) | Self::Mixed { .. } => Fault::Person,
            Self::Token(TokenError::NoAuthTime | TokenError::Class { .. } | TokenError::Absent) => {
                Fault::Operator
            }
            Self::Token(_) => Fault::Provider,
            Self::Client { .. } | Self::MissingClaim { .. } | Self::Groups { .. } => Fault::Operator,
            Self::Subject(_) | Self::RedirectUri(_) => Fault::Operator,
        }
    }

    /// What the person reads. It tells nothing of the provider's inside.
    pub fn told(&self) -> &'static str {
        match self {
            Self::Refused(Refusal::Cancelled) => {
                "You did not sign in, or you may not use this here. Nothing was changed."
            }
            Self::Refused(Refusal::LoginRequired) => "You are not signed in any more. Please sign in again.",
            Self::Refused(
                Refusal::InteractionRequired | Refusal::ConsentRequired | Refusal::AccountSelectionRequired,
            ) => "The sign-in service has to ask you something first. Please sign in again.",
            Self::Refused(Refusal::Unavailable) | Self::Provider(_) => {
                "The sign-in service cannot be used at the moment. Please try again in a few minutes; your administrator can see the reason."
            }
            Self::Code { .. } => "This sign-in took too long or was used already. Please begin again.",
            Self::Token(TokenError::Nonce) | Self::Mixed { .. } => {
                "This answer belongs to another sign-in. Please begin again, in one window only."
            }
            Self::Token(TokenError::Stale) => {
                "A fresh sign-in was needed, with your password or key. Please begin again."
            }
            Self::Token(TokenError::Class { .. }) => {
                "You signed in, but not as strongly as needed here. Please begin again with your second factor."
            }
            Self::Token(_) => {
                "The answer of the sign-in service could not be verified. Please begin again; if it stays so, tell your administrator."
            }
            Self::Groups { .. } => {
                "The sign-in service did not list all of your groups, so nobody knows what you may use. Please tell your administrator."
            }
            Self::Refused(Refusal::Other { .. })
            | Self::Client { .. }
            | Self::MissingClaim { .. }
            | Self::Subject(_)
            | Self::RedirectUri(_) => "Sign-in is not set up correctly here. Please tell your administrator.",
        }
    }
}

/// What a stranger wrote, for a log: one short line of letters, digits and plain punctuation.
pub(super) fn tidy(text: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || c.is_ascii_graphic() || c == ' ';
    text.chars().take(200).map(|c| if plain(c) { c } else { '?' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_codes_of_prompt_none_are_told_apart() {
        let codes =
            ["login_required", "interaction_required", "consent_required", "account_selection_required"];
        let read: Vec<_> = codes.iter().map(|code| Refusal::read(code, None)).collect();
        for (i, refusal) in read.iter().enumerate() {
            assert!(refusal.needs_person(), "{refusal}");
            assert_eq!(read.iter().position(|other| other == refusal), Some(i));
            assert!(refusal.to_string().starts_with(codes[i]));
        }
        assert!(!Refusal::read("access_denied", None).needs_person());
    }

    #[test]
    fn what_strangers_wrote_is_one_plain_line() {
        let refusal = Refusal::read("invalid\nscope", Some(&"\u{202e}<b>\u{1b}[31m".repeat(90)));
        let said = SignInError::Refused(refusal).to_string();
        assert!(
            said.chars().count() < 500 && !said.chars().any(|c| c.is_control() || c == '\u{202e}'),
            "{said}"
        );
    }

    #[test]
    fn a_fault_of_a_person_sends_them_to_begin_again() {
        let errors = [
            SignInError::Refused(Refusal::LoginRequired),
            SignInError::Code { said: String::new() },
            SignInError::Token(TokenError::Nonce),
            SignInError::Token(TokenError::Stale),
        ];
        for error in errors {
            assert_eq!(error.fault(), Fault::Person);
            assert!(error.told().contains("again"), "{}", error.told());
        }
    }
}
