//! Asking the provider whether a session still holds. Always true: that it is being asked is written down
//! first, since asking may use up what it is asked with; an answer that was lost signs nobody out at once.

use std::{sync::Arc, time::Duration};

use protocol::{id::UserId, time::Timestamp};

use super::{Authority, Claims, Plan, believe, draft, end, known, planned};
use crate::{
    directory::View,
    object::{Session, session::Refreshing},
};

/// What the provider answered.
#[derive(Debug, Clone)]
pub enum Answered {
    /// It holds.
    Still {
        /// What it says of the person now; `None`: nothing new.
        claims: Option<Claims>,
        /// Sealed: what to ask with the next time, if that is another.
        refresh: Option<Arc<str>>,
    },
    /// It does not.
    Gone,
    /// Nothing to go by: the session stays as it is.
    Later {
        /// Sealed: what to ask with the next time, if that is another all the same.
        refresh: Option<Arc<str>>,
    },
    /// What it was asked with is used up, and what to ask with next was lost with an answer: it holds for
    /// as long as one that can never be asked about.
    Lost {
        /// How long that is, from when it was confirmed last.
        holds: Duration,
    },
}

/// Writes down the question that is about to be asked with what is known of the session by `seen`; `None` if
/// the session is gone, cannot be asked about, or somebody else has begun to ask since: what it would be asked
/// with may be used up.
pub fn asked(view: &View, seen: &Session, question: &Refreshing) -> Option<Plan> {
    let mut draft = draft(view, question.at);
    let mut session = (*known(&mut draft, &seen.id)?).clone();
    session.refresh.as_ref()?;
    if session.refreshing != seen.refreshing || session.refresh != seen.refresh {
        return None;
    }
    session.refreshing = Some(question.clone());
    draft.put(&session);
    Some(planned(draft))
}

/// What the answer to `question` means; `None` if the session is gone, or somebody else has asked since, who
/// knows better.
pub fn refreshed(
    view: &View,
    session: &str,
    (question, answered): (&Refreshing, &Answered),
    authority: &Authority,
    now: Timestamp,
) -> Option<Plan> {
    let mut draft = draft(view, now);
    let before = known(&mut draft, session)?;
    if before.refreshing.as_ref() != Some(question) {
        return None;
    }
    let mut session = (*before).clone();
    session.refreshing = None;
    match answered {
        Answered::Still { claims, refresh } => {
            let user: UserId = session.user.clone();
            if let Some(claims) = claims {
                believe(&mut draft, &user, claims, authority)?;
            }
            session.refreshed = now;
            if let Some(refresh) = refresh {
                session.refresh = Some(refresh.clone());
            }
            draft.put(&session);
        }
        Answered::Gone => end(&mut draft, &before),
        Answered::Later { refresh } => {
            if let Some(refresh) = refresh {
                session.refresh = Some(refresh.clone());
            }
            draft.put(&session);
        }
        Answered::Lost { holds } => {
            session.refresh = None;
            session.expires = session.expires.min(session.refreshed.plus(*holds).max(now));
            draft.put(&session);
        }
    }
    Some(planned(draft))
}
