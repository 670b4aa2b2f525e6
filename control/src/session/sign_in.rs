//! A person has come back from the provider. Always true: nothing is written for who is not the owner of
//! the device, or is shut out; a session before this one on the device ends by the same commit.

use std::{collections::BTreeSet, sync::Arc};

use protocol::{
    id::{DeviceId, ProviderId, UserId},
    time::Timestamp,
};

use super::{Authority, Claims, Plan, believe, draft, planned};
use crate::{
    directory::View,
    object::{Device, Session, User},
};

/// A sign-in that the provider has confirmed.
#[derive(Debug, Clone)]
pub struct SignIn {
    /// The new session's name: random.
    pub session: Arc<str>,
    /// On which device it was begun and ended.
    pub device: DeviceId,
    /// Who.
    pub user: UserId,
    /// Who says so.
    pub provider: ProviderId,
    /// What it calls them in logout tokens.
    pub subject: Arc<str>,
    /// What it says of them.
    pub claims: Claims,
    /// When the person proved who they are.
    pub auth_time: Option<Timestamp>,
    /// By which means.
    pub amr: BTreeSet<String>,
    /// How strongly.
    pub acr: Option<String>,
    /// The provider's name of its session.
    pub sid: Option<Arc<str>>,
    /// Sealed: what asks the provider again.
    pub refresh: Option<Arc<str>>,
    /// When the session will be over.
    pub expires: Timestamp,
}

/// Why nobody is signed in. What it says is for the person.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotSignedIn {
    /// The device went while they were away.
    #[error("This device is not enrolled any more.")]
    NoDevice,
    /// Or was shut.
    #[error("This device is disabled.")]
    DeviceDisabled,
    /// It is somebody else's.
    #[error("You signed in as {user}, but this device belongs to somebody else.")]
    NotOwner {
        /// Who signed in.
        user: UserId,
    },
    /// Nobody knows them here.
    #[error("The account {user} is not known here.")]
    NoUser {
        /// Who signed in.
        user: UserId,
    },
    /// They are shut out.
    #[error("The account {user} is disabled.")]
    UserDisabled {
        /// Who signed in.
        user: UserId,
    },
}

/// What `sign_in` means now.
pub fn signed_in(
    view: &View,
    sign_in: &SignIn,
    authority: &Authority,
    now: Timestamp,
) -> Result<Plan, NotSignedIn> {
    let mut draft = draft(view, now);
    let (user, name) = (&sign_in.user, sign_in.user.as_str());
    let device = draft.get::<Device>(sign_in.device.as_str()).ok_or(NotSignedIn::NoDevice)?;
    if device.owner != *user {
        return Err(NotSignedIn::NotOwner { user: user.clone() });
    }
    if device.disabled.is_some() || !view.directory().device(&device.id).is_some_and(|device| device.enabled)
    {
        return Err(NotSignedIn::DeviceDisabled);
    }
    let person = draft.get::<User>(name).ok_or(NotSignedIn::NoUser { user: user.clone() })?;
    if person.disabled.is_some() || !view.directory().user(user).is_some_and(|person| person.enabled) {
        return Err(NotSignedIn::UserDisabled { user: user.clone() });
    }
    believe(&mut draft, user, &sign_in.claims, authority);
    // Who shuts the person or the device out meanwhile, or does so next, meets this commit.
    draft.refer::<User>(name);
    draft.refer::<Device>(sign_in.device.as_str());
    if let Some(before) = view.directory().session(&sign_in.device) {
        // Not revoked: what is open goes on as what the new one allows.
        draft.delete::<Session>(&before.id);
    }
    draft.put(&session(sign_in, now));
    Ok(planned(draft))
}

fn session(sign_in: &SignIn, now: Timestamp) -> Session {
    Session {
        id: sign_in.session.clone(),
        user: sign_in.user.clone(),
        device: sign_in.device.clone(),
        provider: sign_in.provider.clone(),
        subject: sign_in.subject.clone(),
        at: now,
        expires: sign_in.expires,
        auth_time: sign_in.auth_time,
        amr: sign_in.amr.clone(),
        acr: sign_in.acr.clone(),
        sid: sign_in.sid.clone(),
        refresh: sign_in.refresh.clone(),
        refreshed: now,
        refreshing: None,
        suspended: None,
        rest: Default::default(),
    }
}
