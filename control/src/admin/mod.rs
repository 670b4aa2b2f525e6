//! Administration: from what is there and what is asked to what is committed. Pure: it commits
//! nothing, asks no policy, draws no randomness of its own. Always true: a plan's commit has a
//! precondition for everything it was decided by, and names in `revoked` what it takes away.

mod answer;
mod connector;
mod device;
mod draft;
mod error;
mod group;
pub mod import;
mod noun;
mod redeem;
mod revoke;
mod scope;
mod session;
mod token;
mod user;

use std::{collections::BTreeSet, fmt, net::Ipv4Addr, ops::RangeInclusive};

use protocol::{
    id::{SiteId, UserId},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

pub(crate) use self::draft::Draft;
pub use self::{
    answer::Answer,
    connector::ConnectorRequest,
    device::{DeviceRequest, PostureChange},
    error::AdminError,
    group::GroupRequest,
    import::ImportRequest,
    redeem::{RedeemError, redeem},
    revoke::revoke_commit,
    scope::{Noun, Scope},
    session::SessionRequest,
    token::{LONGEST, TokenRequest, parse as parse_token},
    user::UserRequest,
};
use crate::{directory::View, revoked::Revoked, store::Commit};

/// What an administrator asks for; this is what the control socket carries.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// About people.
    User(UserRequest),
    /// About sets of people.
    Group(GroupRequest),
    /// About devices.
    Device(DeviceRequest),
    /// About connectors.
    Connector(ConnectorRequest),
    /// About one-time credentials.
    Token(TokenRequest),
    /// About people signed in.
    Session(SessionRequest),
    /// About everything a file lists.
    Import(Box<ImportRequest>),
}

/// How an optional value is to change.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Edit<T> {
    /// Not at all.
    #[default]
    Keep,
    /// It goes.
    Clear,
    /// It becomes this.
    To(T),
}

impl<T: Clone> Edit<T> {
    fn apply(&self, to: &mut Option<T>) {
        match self {
            Self::Keep => {}
            Self::Clear => *to = None,
            Self::To(value) => *to = Some(value.clone()),
        }
    }
}

/// What a plan needs besides the view.
pub struct Context<'a> {
    /// When.
    pub now: Timestamp,
    /// Who asks: an account of the gateway's machine.
    pub actor: &'a str,
    /// The sites of doorward.toml.
    pub sites: &'a BTreeSet<SiteId>,
    /// Which indices of tunnel addresses devices may have.
    pub devices: RangeInclusive<u32>,
    /// The index that a tunnel address has among devices.
    pub index_of: &'a dyn Fn(Ipv4Addr) -> Option<u32>,
    /// Bytes nobody can guess.
    pub random: &'a dyn Fn() -> [u8; 32],
    /// Seals the key of a person.
    pub seal: &'a dyn Fn(&UserId, &[u8; 32]) -> String,
    /// Whether who asks may do this; mostly whether they may read it.
    pub may_see: &'a dyn Fn(&Scope) -> bool,
}

impl fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("now", &self.now).field("actor", &self.actor).finish_non_exhaustive()
    }
}

impl Context<'_> {
    /// Random characters, two for each byte.
    fn hex(&self, bytes: usize) -> String {
        hex((self.random)().get(..bytes).unwrap_or_default())
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What is to be done.
#[derive(Debug)]
pub struct Plan {
    /// What is written; `None` if nothing is to change.
    pub commit: Option<Commit>,
    /// What counts for nothing from now on, whatever becomes of the commit.
    pub revoked: Vec<Revoked>,
    /// What who asked is told once it is done.
    pub answer: Answer,
}

impl Plan {
    fn read(answer: Answer) -> Self {
        Self { commit: None, revoked: Vec::new(), answer }
    }
}

/// What policies are asked before `request` is planned.
pub fn scope(view: &View, request: &Request) -> Scope {
    match request {
        Request::User(request) => user::scope(request),
        Request::Group(request) => group::scope(request),
        Request::Device(request) => device::scope(view, request),
        Request::Connector(request) => connector::scope(view, request),
        Request::Token(request) => token::scope(view, request),
        Request::Session(request) => session::scope(view, request),
        Request::Import(request) => import::scope(request),
    }
}

/// What `request` means now.
pub fn plan(view: &View, request: &Request, context: &Context<'_>) -> Result<Plan, AdminError> {
    let draft = Draft::new(view, context.now, context.actor);
    match request {
        Request::User(request) => user::plan(request, draft, context),
        Request::Group(request) => group::plan(request, draft, context),
        Request::Device(request) => device::plan(request, draft, context),
        Request::Connector(request) => connector::plan(request, draft, context),
        Request::Token(request) => token::plan(request, draft, context),
        Request::Session(request) => session::plan(request, draft, context),
        Request::Import(request) => import::plan(request, draft, context),
    }
}

#[cfg(test)]
mod tests;
