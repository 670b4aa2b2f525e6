//! Sessions: from what a provider said of a person to what is committed. Pure, like administration: it
//! commits nothing and asks no provider. Always true: a session is the device owner's and no other's;
//! what a provider says counts only for the groups it may speak for.

mod end;
mod refresh;
mod sign_in;

use std::{collections::BTreeSet, sync::Arc};

use protocol::{
    id::{GroupId, ProviderId, UserId},
    time::Timestamp,
};

pub use self::{
    end::{Sessions, ended, logged_out, over, suspended},
    refresh::{Answered, asked, refreshed},
    sign_in::{NotSignedIn, SignIn, signed_in},
};
use crate::{
    admin::Draft,
    directory::View,
    object::{Group, Session, User},
    revoked::Revoked,
    store::Commit,
};

/// What is to be done.
#[derive(Debug)]
pub struct Plan {
    /// What is written; `None` if nothing is to change.
    pub commit: Option<Commit>,
    /// What counts for nothing from now on, whatever becomes of the commit.
    pub revoked: Vec<Revoked>,
}

/// What a provider said of a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// Verified, in a domain it may speak for.
    pub email: Option<String>,
    /// What people call them.
    pub name: Option<String>,
    /// Every group it may speak for that they are in.
    pub groups: BTreeSet<GroupId>,
}

/// For what a provider speaks: there its word is all that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    /// The provider.
    pub provider: ProviderId,
    /// For people's e-mail addresses.
    pub email: bool,
    /// For these groups of its own, without its name in front.
    pub groups: Speaks,
    /// For groups that its names are mapped to.
    pub mapped: BTreeSet<GroupId>,
}

/// For which groups of its own a provider speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Speaks {
    /// For all.
    All,
    /// For these.
    Of(BTreeSet<String>),
}

impl Authority {
    fn speaks_for(&self, group: &GroupId) -> bool {
        let own = group.as_str().split_once('/').filter(|(provider, _)| *provider == self.provider.as_str());
        let own = own.is_some_and(|(_, name)| match &self.groups {
            Speaks::All => true,
            Speaks::Of(names) => names.contains(name),
        });
        own || self.mapped.contains(group)
    }
}

/// Who acts in commits that no operator asked for.
const ACTOR: &str = "sign-in";

fn draft(view: &View, now: Timestamp) -> Draft<'_> {
    Draft::new(view, now, ACTOR)
}

fn planned(mut draft: Draft<'_>) -> Plan {
    let revoked = draft.taken_away();
    Plan { commit: draft.commit(), revoked }
}

/// Takes over what the provider says of the person. Groups it does not speak for stay as they are.
fn believe(draft: &mut Draft<'_>, user: &UserId, claims: &Claims, authority: &Authority) -> Option<()> {
    let before = draft.get::<User>(user.as_str())?;
    let mut after = (*before).clone();
    if authority.email {
        after.email.clone_from(&claims.email);
    }
    if claims.name.is_some() {
        after.name.clone_from(&claims.name);
    }
    let said = claims.groups.iter().filter(|group| authority.speaks_for(group));
    let kept = before.groups.iter().filter(|group| !authority.speaks_for(group));
    after.groups = kept.chain(said).cloned().collect();
    for group in after.groups.difference(&before.groups) {
        if draft.refer::<Group>(group.as_str()).is_none() {
            let (id, within) = (group.clone(), BTreeSet::new());
            draft.put(&Group { id, within, rest: Default::default() });
        }
    }
    for group in before.groups.difference(&after.groups) {
        draft.takes_away(Revoked::Membership { user: user.clone(), group: group.clone() });
    }
    if after != *before {
        draft.put(&after);
    }
    Some(())
}

/// That a session ends, first here and then in the store.
pub(crate) fn end(draft: &mut Draft<'_>, session: &Session) {
    draft.takes_away(Revoked::Session { session: session.id.clone(), device: session.device.clone() });
    draft.delete::<Session>(&session.id);
}

/// The session as it is, if it still is.
fn known(draft: &mut Draft<'_>, id: &str) -> Option<Arc<Session>> {
    draft.get::<Session>(id)
}
