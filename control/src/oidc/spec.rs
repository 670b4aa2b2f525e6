//! What the operator says of a provider: where it is, who we are to it, and for whom it may speak.
//! It is data; [`super::Provider`] does the rest. Two specs are equal if a reload changes nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::Duration,
};

use protocol::{
    config::Secret,
    id::{GroupId, ProviderId},
};
use rustls::pki_types::CertificateDer;

/// The longest difference of clocks that is forgiven. More would make expired tokens useful.
pub const LONGEST_SKEW: Duration = Duration::from_secs(300);

/// Parameters of the authorization request that are ours to write.
pub const OURS: [&str; 15] = [
    "acr_values",
    "client_id",
    "code_challenge",
    "code_challenge_method",
    "login_hint",
    "max_age",
    "nonce",
    "prompt",
    "redirect_uri",
    "request",
    "request_uri",
    "response_mode",
    "response_type",
    "scope",
    "state",
];

/// A provider as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderSpec {
    /// How we call it; people and groups of its are `<id>/…`.
    pub id: ProviderId,
    /// Its name for itself, https, compared byte by byte.
    pub issuer: String,
    /// Our name at the provider.
    pub client_id: String,
    /// Absent for a public client.
    pub client_secret: Option<Secret<String>>,
    /// Beside `openid`.
    pub scopes: Vec<String>,
    /// What else it wants to be asked with; none of [`OURS`].
    pub authorize: BTreeMap<String, String>,
    /// Domains whose e-mail addresses it may say are someone's; empty means none.
    pub domains: Vec<String>,
    /// Its groups.
    pub groups: Groups,
    /// The claim that is a person's id.
    pub id_claim: IdClaim,
    /// How far its clock may be from ours, [`LONGEST_SKEW`] at most.
    pub skew: Duration,
    /// Whom to trust for its certificate; the system's roots if absent.
    pub ca: Option<Vec<CertificateDer<'static>>>,
    /// Where its names are dialled, lower case; what the system resolves for all others.
    pub dial: BTreeMap<String, SocketAddr>,
}

/// What a provider may say of groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Groups {
    /// The claim that lists them.
    pub claim: String,
    /// Which it may name, by its own names.
    pub allowed: GroupsAllowed,
    /// Its name (or GUID) of a group that has a name of ours.
    pub names: BTreeMap<String, GroupId>,
}

/// Which of its groups a provider may speak for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GroupsAllowed {
    /// Whatever it names.
    All,
    /// These, by its own names; empty means none.
    Named(BTreeSet<String>),
}

/// Which claim is a person's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdClaim {
    /// The standard's, which never changes.
    Sub,
    /// Entra's object id: its `sub` is another for every client.
    Oid,
}

impl ProviderSpec {
    /// With what is usual: no secret, no scopes, no domains, no groups, `sub`, 60 s, the system's roots.
    pub fn new(id: ProviderId, issuer: impl Into<String>, client_id: impl Into<String>) -> Self {
        let allowed = GroupsAllowed::Named(BTreeSet::new());
        Self {
            id,
            issuer: issuer.into(),
            client_id: client_id.into(),
            client_secret: None,
            scopes: Vec::new(),
            authorize: BTreeMap::new(),
            domains: Vec::new(),
            groups: Groups { claim: "groups".to_owned(), allowed, names: BTreeMap::new() },
            id_claim: IdClaim::Sub,
            skew: Duration::from_secs(60),
            ca: None,
            dial: BTreeMap::new(),
        }
    }
}

impl Groups {
    /// Whether any group of its would count.
    pub(super) fn wanted(&self) -> bool {
        let any = match &self.allowed {
            GroupsAllowed::All => true,
            GroupsAllowed::Named(names) => !names.is_empty(),
        };
        any || !self.names.is_empty()
    }

    pub(super) fn allow(&self, name: &str) -> bool {
        match &self.allowed {
            GroupsAllowed::All => true,
            GroupsAllowed::Named(names) => names.contains(name),
        }
    }
}

/// Why there can be no such provider. The operator's to mend.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// The issuer cannot be asked.
    #[error(
        "provider {id}: {issuer:?} is no issuer: write the https address its discovery document gives as \"issuer\", without a query"
    )]
    Issuer {
        /// Whose.
        id: ProviderId,
        /// As it was written.
        issuer: String,
    },
    /// We have no name there.
    #[error("provider {0}: the client id is empty: it is what the provider calls this application")]
    ClientId(ProviderId),
    /// An empty secret is none.
    #[error(
        "provider {0}: the file with the client secret is empty: put the secret the provider made into it"
    )]
    ClientSecret(ProviderId),
    /// Too much is forgiven.
    #[error("provider {0}: skew may be 300 s at most: set the clocks of gateway and provider instead")]
    Skew(ProviderId),
    /// Nobody to trust.
    #[error(
        "provider {id}: no certificate can be verified ({why}): install the system's CA certificates or name the provider's `ca`"
    )]
    Roots {
        /// Whose.
        id: ProviderId,
        /// What was found.
        why: String,
    },
}
