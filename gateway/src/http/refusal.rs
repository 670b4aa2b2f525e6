//! Why a request does not reach its app, and whose matter that is; the words people read.
//! It renders nothing. Always true: no word here tells of a policy the person is no candidate for,
//! nor what went wrong inside a policy.

use policy::decision::Reason;
use protocol::time::Timestamp;

use super::{head::HeadError, origin::CrossSite, path::PathError};
use crate::{
    access::{Denied, DenyReason, WayIn},
    connectors::OpenError,
};

/// Why a request is not answered by its app.
#[derive(Debug, Clone)]
pub enum Refusal {
    /// The Host is no name of the app at this address.
    Misdirected,
    /// The head is unclear or too large.
    Head(HeadError),
    /// TRACE, CONNECT, or no method at all.
    Method,
    /// Another site's page.
    CrossSite(CrossSite),
    /// The path is unclear.
    Path(PathError),
    /// The policies say no.
    Denied(Denied),
    /// Who signs in, or does so anew, gets in.
    SignIn {
        /// Why not now.
        denied: Denied,
        /// Where they sign in.
        address: String,
        /// Whether a browser asks for a page: then it is led there.
        navigates: bool,
    },
    /// Nothing stands in the way, but the session ends soon: the browser passes by the provider.
    Renew(String),
    /// The app's site cannot reach it.
    Unreachable(OpenError),
    /// The app broke off before it answered.
    BrokeOff,
    /// The app did not answer in time.
    Silent,
    /// The gateway has no room for another connection to an app.
    Full,
    /// The client sent something that is not HTTP.
    NotHttp,
    /// The same is over TLS, there.
    ToHttps(String),
    /// Our fault.
    Internal,
}

/// One thing that stands in the way, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Obstacle {
    /// The policy behind it.
    pub rule: Option<String>,
    /// What is the matter.
    pub text: String,
    /// What does not hold.
    pub conditions: Vec<String>,
    /// What would help.
    pub remedy: Option<String>,
}

impl Obstacle {
    fn plain(text: impl Into<String>) -> Self {
        Self { rule: None, text: text.into(), conditions: Vec::new(), remedy: None }
    }
}

impl Refusal {
    /// The status code.
    pub fn status(&self) -> u16 {
        match self {
            Self::ToHttps(_) => 301,
            Self::SignIn { navigates: true, .. } | Self::Renew(_) => 302,
            Self::SignIn { .. } => 401,
            Self::Misdirected => 421,
            Self::Head(HeadError::TooLarge) => 431,
            Self::Head(_) | Self::Path(_) | Self::NotHttp => 400,
            Self::Method => 405,
            Self::CrossSite(_) | Self::Denied(_) => 403,
            Self::Unreachable(OpenError::Timeout) | Self::Silent => 504,
            Self::Unreachable(OpenError::Overloaded) | Self::Full => 503,
            Self::Unreachable(_) | Self::BrokeOff => 502,
            Self::Internal => 500,
        }
    }

    /// A short, stable word for logs and programs.
    pub fn code(&self) -> &str {
        match self {
            Self::Misdirected => "misdirected",
            Self::Head(_) | Self::NotHttp => "bad_request",
            Self::Method => "method_refused",
            Self::CrossSite(_) => "cross_site",
            Self::Path(_) => "bad_path",
            Self::Denied(denied) | Self::SignIn { denied, .. } => {
                denied.reasons.first().map_or("denied", DenyReason::code)
            }
            Self::Renew(_) => "renew",
            Self::Unreachable(_) => "app_unreachable",
            Self::BrokeOff => "app_broke_off",
            Self::Silent => "app_silent",
            Self::Full => "no_room",
            Self::ToHttps(_) => "to_https",
            Self::Internal => "internal",
        }
    }

    /// The heading.
    pub fn title(&self) -> &'static str {
        match self {
            Self::Misdirected => "This name is not served here",
            Self::Head(_) | Self::Path(_) | Self::NotHttp => "This request cannot be understood safely",
            Self::Method => "This method is not allowed",
            Self::CrossSite(_) => "Another site asked for this",
            Self::Denied(_) => "You cannot open this now",
            Self::SignIn { denied, .. } => match denied.way_in {
                Some(WayIn::StepUp(_)) => "Sign in once more to open this",
                Some(WayIn::SignIn) | None => "Sign in to open this",
            },
            Self::Renew(_) => "Your session is being renewed",
            Self::Unreachable(_) | Self::BrokeOff | Self::Silent => "The app cannot be reached",
            Self::Full => "The gateway is busy",
            Self::ToHttps(_) => "This app is reached over https",
            Self::Internal => "The gateway failed",
        }
    }

    /// What stands in the way, most telling first; never empty.
    pub fn obstacles(&self) -> Vec<Obstacle> {
        match self {
            Self::Misdirected => {
                vec![Obstacle::plain("The address you reached belongs to an app with another name.")]
            }
            Self::Head(error) => vec![Obstacle::plain(sentence(&error.to_string()))],
            Self::Path(error) => vec![Obstacle::plain(sentence(&error.to_string()))],
            Self::NotHttp => vec![Obstacle::plain("The request is not valid HTTP.")],
            Self::Method => {
                vec![Obstacle::plain("TRACE, CONNECT and unknown spellings of methods never reach an app.")]
            }
            Self::CrossSite(error) => vec![cross_site(*error)],
            Self::Denied(denied) | Self::SignIn { denied, .. } => obstacles(denied),
            Self::Renew(there) => vec![Obstacle::plain(format!("Go to {there}"))],
            Self::Unreachable(error) => vec![theirs(&error.to_string())],
            Self::BrokeOff => vec![theirs("it broke off before it answered")],
            Self::Silent => vec![theirs("it did not answer in time")],
            Self::Full => {
                vec![Obstacle::plain("The gateway takes no more requests now. Try again in a moment.")]
            }
            Self::ToHttps(there) => vec![Obstacle::plain(format!("Go to {there}"))],
            Self::Internal => vec![Obstacle::plain(
                "This is a fault of the gateway. Tell your administrators the request id.",
            )],
        }
    }

    /// Where a browser is led to.
    pub fn location(&self) -> Option<&str> {
        match self {
            Self::ToHttps(there) | Self::Renew(there) => Some(there),
            Self::SignIn { address, navigates: true, .. } => Some(address),
            _ => None,
        }
    }

    /// Where to sign in, if that helps.
    pub fn sign_in(&self) -> Option<&str> {
        match self {
            Self::SignIn { address, .. } => Some(address),
            _ => None,
        }
    }

    /// When the answer may change by itself.
    pub fn until(&self) -> Option<Timestamp> {
        match self {
            Self::Denied(denied) | Self::SignIn { denied, .. } => denied.until,
            Self::Misdirected
            | Self::Head(_)
            | Self::Method
            | Self::CrossSite(_)
            | Self::Path(_)
            | Self::Unreachable(_)
            | Self::BrokeOff
            | Self::Silent
            | Self::Full
            | Self::NotHttp
            | Self::ToHttps(_)
            | Self::Renew(_)
            | Self::Internal => None,
        }
    }
}

/// What stands in the way of who is denied, most telling first.
pub fn obstacles(denied: &Denied) -> Vec<Obstacle> {
    denied.reasons.iter().map(obstacle).collect()
}

fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase());
    first.into_iter().chain(letters).chain(['.']).collect()
}

fn cross_site(error: CrossSite) -> Obstacle {
    let remedy =
        "Open the app itself and try again. If that page should be able to do this, ask the app's owners.";
    Obstacle { remedy: Some(remedy.to_owned()), ..Obstacle::plain(sentence(&error.to_string())) }
}

fn theirs(what: &str) -> Obstacle {
    let remedy = "You are allowed to open it, and nothing is wrong with your device: try again later, or tell the app's owners.";
    Obstacle {
        remedy: Some(remedy.to_owned()),
        ..Obstacle::plain(format!("The fault is at the app or its site: {what}."))
    }
}

fn obstacle(reason: &DenyReason) -> Obstacle {
    match reason {
        DenyReason::Policy(reason) => by_policy(reason),
        DenyReason::StoreLost | DenyReason::StoreClosed => {
            Obstacle::plain("The gateway cannot tell at the moment who may open this. Those who run it know.")
        }
        DenyReason::UnknownDevice => Obstacle::plain("This device is not enrolled any more."),
        DenyReason::DeviceDisabled => Obstacle::plain("This device is disabled."),
        DenyReason::UnknownUser | DenyReason::UserDisabled => {
            Obstacle::plain("The account this device belongs to is not active.")
        }
        DenyReason::NotSignedIn => sign_in("You are not signed in on this device."),
        DenyReason::SessionOver => sign_in("Your session on this device is over."),
        DenyReason::SessionSuspended => Obstacle {
            remedy: Some(
                "Sign in again, and tell your administrators: somebody may have copied this device's configuration. It must be used on one device only."
                    .to_owned(),
            ),
            ..Obstacle::plain("Your session is suspended: this device's key is used from two places.")
        },
        DenyReason::NoResource | DenyReason::NoSuchPort | DenyReason::SpeaksTcp => {
            Obstacle::plain("There is no such app.")
        }
        DenyReason::Abandoned | DenyReason::Idle | DenyReason::Draining | DenyReason::Exhausted => {
            Obstacle::plain("The gateway takes no more requests now. Try again in a moment.")
        }
    }
}

fn sign_in(what: &str) -> Obstacle {
    Obstacle { remedy: Some("Open the portal and sign in.".to_owned()), ..Obstacle::plain(what) }
}

fn by_policy(reason: &Reason) -> Obstacle {
    match reason {
        Reason::Forbidden { policy, reason, advice, .. } => Obstacle {
            rule: Some(policy.to_string()),
            text: reason.clone(),
            conditions: Vec::new(),
            remedy: advice.clone(),
        },
        Reason::NotMet { policy, title, conditions, advice, .. } => Obstacle {
            rule: Some(policy.to_string()),
            text: title.clone().unwrap_or_else(|| {
                "A rule would let you in, but not everything it asks for holds.".to_owned()
            }),
            conditions: conditions.clone(),
            remedy: advice.clone(),
        },
        Reason::NoPolicy => Obstacle {
            remedy: Some("Ask the app's owners for access.".to_owned()),
            ..Obstacle::plain("No rule gives you access to this app.")
        },
        Reason::Error { policy, .. } => Obstacle {
            rule: Some(policy.to_string()),
            remedy: Some(
                "This is a fault of the rules, not yours. Tell your administrators the request id."
                    .to_owned(),
            ),
            ..Obstacle::plain("A rule could not be evaluated, so the answer is no.")
        },
    }
}
