//! What the gateway tells a device about itself (`GET /device`), as types.
//! Fields it does not know are ignored; what is not there is absent.
//! Always true: every string in it can be printed, every time can be computed with.

use serde::Deserialize;

use super::{
    text::{Text, printable},
    when::Moment,
};

/// How many characters of an error are worth reading.
const MOST_CITED: usize = 200;

/// How the device stands.
#[derive(Debug, Deserialize)]
pub struct Answer {
    /// The gateway's clock.
    pub now: Moment,
    /// The device's id.
    pub device: Text,
    /// Whose it is.
    pub owner: Text,
    /// Where one signs in, with a browser.
    pub door: Option<Text>,
    /// The one of this device, if there is one.
    pub session: Option<Session>,
    /// Whether something asks for a sign-in that is not there.
    pub sign_in_needed: bool,
    /// What can go on now.
    #[serde(default)]
    pub open: Vec<Open>,
    /// The latest, as long as the gateway remembers it.
    pub last_refusal: Option<Refusal>,
    /// Grows with each change; absent if the gateway cannot wait for one.
    pub version: Option<u64>,
}

/// A person signed in on the device.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Session {
    /// Whether it counts.
    pub state: State,
    /// Who.
    pub user: Text,
    /// From when on.
    pub since: Moment,
    /// When it ends.
    pub expires: Moment,
    /// Why it is as it is.
    pub why: Option<Text>,
}

/// Whether a session counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It does.
    Active,
    /// It does not, for now.
    Suspended,
}

/// One thing that is open.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Open {
    /// The app or subnet.
    pub resource: Text,
    /// The target, as a person names it.
    pub to: Text,
    /// From when on.
    pub since: Moment,
    /// When it will be cut, if that is known.
    pub until: Option<Moment>,
    /// What ends then.
    pub why_until: Option<Text>,
}

/// Something the gateway did not let through.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Refusal {
    /// When.
    pub at: Moment,
    /// What was asked for.
    pub to: Text,
    /// Why not.
    #[serde(default)]
    pub reasons: Vec<Reason>,
    /// Whether a fresh sign-in helps.
    #[serde(default)]
    pub step_up: bool,
}

/// One of the reasons for a refusal.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Reason {
    /// The policy, by its name.
    pub rule: Option<Text>,
    /// For the person.
    pub text: Text,
    /// What was not met.
    #[serde(default)]
    pub conditions: Vec<Text>,
    /// What helps.
    pub remedy: Option<Text>,
}

/// Whether the person can work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Signed in, or no sign-in is asked for.
    Good,
    /// A sign-in is needed, or the session is suspended.
    SignIn,
}

impl Answer {
    /// Reads it; the error text, which may cite the answer, is short and can be printed.
    pub fn read(json: &str) -> Result<Self, String> {
        let cited = |error: serde_json::Error| error.to_string().chars().take(MOST_CITED).collect::<String>();
        serde_json::from_str(json).map_err(|error| printable(&cited(error)))
    }

    /// What the exit status is about.
    pub fn standing(&self) -> Standing {
        match self.session.as_ref().map(|session| session.state) {
            Some(State::Suspended) => Standing::SignIn,
            Some(State::Active) | None if self.sign_in_needed => Standing::SignIn,
            Some(State::Active) | None => Standing::Good,
        }
    }
}
