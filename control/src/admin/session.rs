//! What can be done about people signed in: looked at, and ended. It begins none and asks no provider.
//! Always true: nothing that is sealed is shown; of several sessions those end that may each be ended by
//! who asks; what has ended already is ended again without a mistake.

use std::sync::Arc;

use protocol::{
    id::{DeviceId, UserId},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    AdminError, Answer, Context, Noun, Plan, Scope, device,
    draft::Draft,
    noun::{Shown, show, unknown},
};
use crate::{
    directory::View,
    object::{Device, Session, User},
    session::end,
};

/// What is asked about people signed in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum SessionRequest {
    /// Which there are.
    List {
        /// Only this person's.
        user: Option<UserId>,
        /// Only the one of this device.
        device: Option<DeviceId>,
    },
    /// One of them.
    Show {
        /// Its id.
        session: String,
    },
    /// End one.
    End {
        /// Its id.
        session: String,
    },
    /// End the one of a device.
    EndOn {
        /// Which.
        device: DeviceId,
    },
    /// End all of a person.
    EndOf {
        /// Whose.
        user: UserId,
    },
    /// End all there are.
    EndAll,
}

impl Shown for Session {
    const NOUN: Noun = Noun::Session;
    const COLUMNS: &'static [&'static str] =
        &["id", "user", "device", "provider", "since", "until", "refreshed", "state"];

    fn within(&self, scope: Scope) -> Scope {
        scope.of(&self.id).owner(Some(&self.user))
    }

    /// But for its state, which is [`told`].
    fn shown(&self, _: &View) -> Value {
        json!({
            "id": self.id, "user": self.user, "device": self.device, "provider": self.provider,
            "since": self.at.to_string(), "until": self.expires.to_string(),
            "refreshed": self.refreshed.to_string(), "refreshable": self.refresh.is_some(),
            "proven": self.auth_time.map(|at| at.to_string()), "amr": self.amr, "acr": self.acr,
        })
    }
}

/// What is seen of it at `now`.
fn told(session: &Session, view: &View, now: Timestamp) -> Value {
    let mut data = session.shown(view);
    data["state"] = state(session, view, now).into();
    data
}

/// Whether it counts, and if not, why.
fn state(session: &Session, view: &View, now: Timestamp) -> String {
    let in_force = view.directory().session(&session.device).is_some_and(|found| found.id == session.id);
    match &session.suspended {
        _ if !in_force => "ended here, but the store does not say so yet".to_owned(),
        _ if session.expires <= now => "over".to_owned(),
        Some(suspended) => format!("suspended: {}", suspended.why),
        None => "active".to_owned(),
    }
}

pub(super) fn scope(view: &View, request: &SessionRequest) -> Scope {
    let read = |verb| Scope::read(Noun::Session, verb);
    let write = |verb| Scope::write(Noun::Session, verb);
    let one = |scope: Scope, id: &str| match view.objects().get::<Session>(id) {
        Some(session) => session.within(scope),
        None => scope.of(id),
    };
    let on = |scope: Scope, called: &DeviceId| match device::find(view, called) {
        Some(device) => scope.of(&device.id).owner(Some(&device.owner)),
        None => scope.of(called),
    };
    match request {
        SessionRequest::List { user: Some(user), .. } => read("list").of(user).owner(Some(user)),
        SessionRequest::List { user: None, device: Some(device) } => on(read("list"), device),
        SessionRequest::List { user: None, device: None } => read("list"),
        SessionRequest::Show { session } => one(read("show"), session),
        SessionRequest::End { session } => one(write("end"), session),
        SessionRequest::EndOn { device } => on(write("end"), device),
        SessionRequest::EndOf { user } => write("end-of").of(user).owner(Some(user)),
        SessionRequest::EndAll => write("end-all"),
    }
}

pub(super) fn plan(
    request: &SessionRequest,
    draft: Draft<'_>,
    context: &Context<'_>,
) -> Result<Plan, AdminError> {
    match request {
        SessionRequest::List { user, device } => list(draft.view, context, user.as_ref(), device.as_ref()),
        SessionRequest::Show { session } => {
            let found = draft.view.objects().get::<Session>(session).map(|found| &**found);
            let mut plan = show(draft.view, context, found, session)?;
            plan.answer.data = found.map(|found| told(found, draft.view, context.now)).into();
            Ok(plan)
        }
        SessionRequest::End { session: id } => {
            let found = draft.view.objects().get::<Session>(id).cloned();
            let session = found.ok_or_else(|| unknown(Noun::Session, id))?;
            let said = format!("session {id} of {} on {} ended", session.user, session.device);
            let data = told(&session, draft.view, context.now);
            Ok(ended(draft, &[session], data, said))
        }
        SessionRequest::EndOn { device: called } => {
            let device = known(draft.view, called)?;
            let of = |session: &Session| session.device == device.id;
            Ok(end_those(draft, context, of, &format!(" of device {called}")))
        }
        SessionRequest::EndOf { user } => {
            let found = draft.view.objects().get::<User>(user.as_str());
            let user = &found.ok_or_else(|| unknown(Noun::User, user))?.id;
            Ok(end_those(draft, context, |session| session.user == *user, &format!(" of user {user}")))
        }
        SessionRequest::EndAll => Ok(end_those(draft, context, |_| true, "")),
    }
}

fn known<'v>(view: &'v View, called: &DeviceId) -> Result<&'v Arc<Device>, AdminError> {
    device::find(view, called).ok_or_else(|| unknown(Noun::Device, called))
}

/// Those of the store that who asks may do `verb` to, by person and device. What counts for nothing ahead of
/// the store is among them: only ending it there makes that durable.
fn allowed<'v>(
    view: &'v View,
    context: &Context<'_>,
    asked: &Scope,
    which: impl Fn(&Session) -> bool,
) -> Vec<&'v Arc<Session>> {
    let may = |session: &&Arc<Session>| (context.may_see)(&session.within(asked.clone()));
    let all = view.objects().all::<Session>().filter(|session| which(session));
    let mut found: Vec<_> = all.filter(may).collect();
    found.sort_by(|a, b| (&a.user, &a.device).cmp(&(&b.user, &b.device)));
    found
}

fn list(
    view: &View,
    context: &Context<'_>,
    user: Option<&UserId>,
    device: Option<&DeviceId>,
) -> Result<Plan, AdminError> {
    let device = device.map(|called| known(view, called)).transpose()?;
    let of = |session: &Session| {
        user.is_none_or(|user| session.user == *user)
            && device.is_none_or(|device| session.device == device.id)
    };
    let seen = allowed(view, context, &Scope::read(Noun::Session, "list"), of);
    let rows = seen.into_iter().map(|session| told(session, view, context.now));
    Ok(Plan::read(Answer::new(rows.collect()).columns(Session::COLUMNS)))
}

/// Ends those that who asks may end; also none.
fn end_those(
    mut draft: Draft<'_>,
    context: &Context<'_>,
    which: impl Fn(&Session) -> bool,
    whose: &str,
) -> Plan {
    let all = draft.view.objects().all::<Session>().filter(|session| which(session)).count();
    let found = allowed(draft.view, context, &Scope::write(Noun::Session, "end"), which);
    let found: Vec<Arc<Session>> = found.into_iter().cloned().collect();
    if found.len() < all {
        draft.note(format!("others stay: the policies do not let {} end them", draft.actor));
    }
    let data = found.iter().map(|session| told(session, draft.view, context.now)).collect();
    let said = match found.len() {
        0 => format!("no session{whose} to end"),
        1 => format!("1 session{whose} ended"),
        n => format!("{n} sessions{whose} ended"),
    };
    ended(draft, &found, data, said)
}

fn ended(mut draft: Draft<'_>, sessions: &[Arc<Session>], data: Value, said: String) -> Plan {
    for session in sessions {
        draft.get::<Session>(&session.id);
        end(&mut draft, session);
    }
    if !sessions.is_empty() {
        draft.note("whoever may sign in can do so again: `doorward admin user disable` shuts a person out");
    }
    draft.done(data, said)
}
