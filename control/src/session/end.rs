//! How sessions end before their time: by the person, the provider, or because two use one key.
//! Always true: what is not there any more has ended; a logout token ends something once.

use std::sync::Arc;

use protocol::{
    id::{DeviceId, ProviderId, UserId},
    time::Timestamp,
};

use super::{Plan, draft, end, known, planned};
use crate::{
    directory::View,
    object::{Body, Logout, Session, session::Suspended},
    revoked::Revoked,
};

/// Which sessions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sessions {
    /// The one of a device.
    On(DeviceId),
    /// All of a person.
    Of(UserId),
    /// By the provider's own name of its session.
    Sid(ProviderId, Arc<str>),
    /// By the provider's own name of the person.
    Subject(ProviderId, Arc<str>),
}

impl Sessions {
    fn includes(&self, session: &Session) -> bool {
        match self {
            Self::On(device) => session.device == *device,
            Self::Of(user) => session.user == *user,
            Self::Sid(provider, sid) => session.provider == *provider && session.sid.as_ref() == Some(sid),
            Self::Subject(provider, subject) => session.provider == *provider && session.subject == *subject,
        }
    }

    /// Those there are. A person's are found by their devices.
    pub fn found(&self, view: &View) -> Vec<Arc<Session>> {
        let directory = view.directory();
        let on = |device: &DeviceId| directory.session(device).filter(|it| self.includes(it)).cloned();
        match self {
            Self::On(device) => on(device).into_iter().collect(),
            Self::Of(user) => directory.owned(user).filter_map(on).collect(),
            Self::Sid(..) | Self::Subject(..) => {
                directory.sessions().filter(|it| self.includes(it)).cloned().collect()
            }
        }
    }
}

/// Ends them.
pub fn ended(view: &View, which: &Sessions, now: Timestamp) -> Plan {
    let mut draft = draft(view, now);
    which.found(view).iter().for_each(|session| end(&mut draft, session));
    planned(draft)
}

/// A provider says that they are over. `token` is what nobody may say twice; `None` if it was said before.
pub fn logged_out(view: &View, which: &Sessions, token: &Logout, now: Timestamp) -> Option<Plan> {
    let mut draft = draft(view, now);
    if draft.get::<Logout>(&token.name()).is_some() {
        return None;
    }
    draft.put(token);
    which.found(view).iter().for_each(|session| end(&mut draft, session));
    Some(planned(draft))
}

/// Makes one count for nothing until its person signs in again; `None` if that is so already.
pub fn suspended(view: &View, device: &DeviceId, why: &str, now: Timestamp) -> Option<Plan> {
    let mut draft = draft(view, now);
    let id = view.directory().session(device)?.id.clone();
    let mut session = (*known(&mut draft, &id)?).clone();
    if session.suspended.is_some() {
        return None;
    }
    session.suspended = Some(Suspended { at: now, why: why.to_owned() });
    draft.put(&session);
    // Whatever becomes of the commit.
    draft.takes_away(Revoked::Session { session: id, device: device.clone() });
    Some(planned(draft))
}

/// Forgets what has ended by the clock before `before`: sessions, and logout tokens that nobody takes any
/// more. At most `most` at once.
pub fn over(view: &View, before: Timestamp, most: usize) -> Option<Plan> {
    let objects = view.objects();
    let sessions = objects.all::<Session>().filter(|session| session.expires < before).take(most);
    let tokens = objects.all::<Logout>().filter(|token| token.at < before).take(most);
    let mut draft = draft(view, before);
    sessions.for_each(|session| draft.delete::<Session>(&session.id));
    tokens.for_each(|token| draft.delete::<Logout>(&token.id));
    draft.commit().map(|commit| Plan { commit: Some(commit), revoked: Vec::new() })
}
