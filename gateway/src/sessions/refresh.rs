//! Asks the providers, session by session, whether they still hold; one gateway does it for all.
//! Always true: a question is committed before it is asked; only a clear no ends a session; a provider
//! that does not answer is asked ever less often and named as degraded.

use std::{
    collections::{BTreeSet, HashMap, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use control::{
    audit::SessionEvent,
    object::{Session, session::Refreshing},
    oidc::{Alarm, Refreshed},
    session::{Answered, asked, refreshed},
};
use protocol::{config::Secret, id::ProviderId, time::Timestamp};
use tokio::{sync::Semaphore, time::sleep};

use super::{Sessions, authority, claims};
use crate::{
    admin::now,
    books::place_of_refresh,
    config,
    health::{Degraded, Health},
};

/// How often it is looked for sessions whose turn it is.
const LOOK: Duration = Duration::from_secs(1);
/// Questions to providers under way at once.
const AT_ONCE: usize = 32;
/// Whose turn it is, at most, in one look.
const MOST: usize = 512;
/// Who asks holds this lease, and renews it while it does.
const LEASE: Duration = Duration::from_secs(15);
const RENEW: Duration = Duration::from_secs(5);
/// A question of another gateway, or of this one before it was killed, is waited for so long.
const PATIENCE: Duration = Duration::from_secs(45);
/// The lease's name.
const NAME: &str = "sessions";
/// After an answer that was none: doubled up to how often it is asked anyway.
const WAIT: Duration = Duration::from_secs(30);
/// What it is called in status.
const STATE: &str = "provider";

/// Asks the providers.
#[derive(Debug, Clone)]
pub struct Refresh {
    pub(super) sessions: Sessions,
    health: Health,
    leads: Arc<AtomicBool>,
    waits: Arc<Mutex<HashMap<Arc<str>, Wait>>>,
    places: Arc<Semaphore>,
}

/// After an answer that was none.
#[derive(Debug, Clone, Copy)]
struct Wait {
    until: Timestamp,
    length: Duration,
}

impl Refresh {
    /// Over `sessions`; trouble is told to `health`.
    pub fn new(sessions: Sessions, health: Health) -> Self {
        Self {
            sessions,
            health,
            leads: Arc::default(),
            waits: Arc::default(),
            places: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }

    /// Whether this is the gateway that asks.
    pub fn leads(&self) -> bool {
        self.leads.load(Ordering::Relaxed)
    }

    /// Asks for ever.
    pub async fn run(self) {
        tokio::spawn(self.clone().lead());
        loop {
            // With many whose turn it is, there is no rest between two looks.
            if !self.leads() || self.look().await < MOST {
                sleep(LOOK).await;
            }
        }
    }

    /// Sees to it that one of the gateways asks.
    async fn lead(self) {
        loop {
            let engine = self.sessions.carrier.store.engine();
            let held = engine.lease(NAME, &self.sessions.gateway, LEASE).await;
            let leads = matches!(held, Ok(Some(_)));
            self.leads.store(leads, Ordering::Relaxed);
            if !leads {
                self.is_settled(|_| false);
            }
            sleep(RENEW).await;
        }
    }

    /// Asks about those whose turn it is, and waits for the answers; how many they were.
    async fn look(&self) -> usize {
        let due = self.due();
        let snapshot = self.sessions.live.snapshot();
        let waits = |provider: &ProviderId| {
            let mut sessions = snapshot.directory().sessions();
            sessions.any(|session| session.refresh.is_some() && session.provider == *provider)
        };
        self.is_settled(waits);
        let count = due.len();
        let mut asking = Vec::with_capacity(count);
        for session in due {
            let this = self.clone();
            asking.push(tokio::spawn(async move {
                let _place = this.places.acquire().await;
                if this.leads() {
                    this.ask(&session).await;
                }
            }));
        }
        for one in asking {
            // One that failed is asked about again.
            let _ = one.await;
        }
        count
    }

    /// Whose turn it is. Of a provider in trouble one session is enough to see whether that is over.
    fn due(&self) -> Vec<Arc<Session>> {
        let snapshot = self.sessions.live.snapshot();
        let (at, every) = (now(), snapshot.config().session.refresh);
        let failing = |provider: &ProviderId| self.sessions.providers.is_failing(provider);
        let mut waits = self.waits.lock().unwrap_or_else(PoisonError::into_inner);
        waits.retain(|_, wait| wait.until > at || wait.until.until(at) < every);
        let is_due = |session: &&Arc<Session>| {
            session.refresh.is_some()
                && session.expires > at
                && session.refreshing.as_ref().is_none_or(|asked| asked.at.plus(PATIENCE) <= at)
                && session.refreshed.plus(jittered(every, &session.id, session.refreshed)) <= at
                && waits.get(&session.id).is_none_or(|wait| wait.until <= at)
        };
        let mut probed = BTreeSet::new();
        let due = snapshot.directory().sessions().filter(is_due);
        let due =
            due.filter(|session| !failing(&session.provider) || probed.insert(session.provider.clone()));
        due.take(MOST).cloned().collect()
    }

    async fn ask(&self, session: &Session) {
        let snapshot = self.sessions.live.snapshot();
        let mut providers = snapshot.config().providers.iter();
        let Some(provider) = providers.find(|provider| provider.spec.id == session.provider) else {
            // Nobody can be asked any more: it holds until its own end.
            return self.wait(session);
        };
        if let Err(error) = self.ask_provider(session, provider).await {
            tracing::debug!(session = %session.id, %error, "a session cannot be asked about now");
            self.wait(session);
        }
    }

    async fn ask_provider(
        &self,
        session: &Session,
        provider: &config::Provider,
    ) -> Result<(), crate::carry::NotCarried> {
        // A question whose answer was lost may have used up what is asked with.
        let lost_before = session.refreshing.is_some();
        let id = &session.id;
        let question = Refreshing { at: now(), by: self.sessions.gateway.clone() };
        let written =
            self.sessions.carry("refresh", |view, _| Some((asked(view, session, &question)?, Vec::new())));
        if written.await?.is_none() {
            return Ok(());
        }
        let Some(client) = self.sessions.providers.of(provider) else { return Ok(()) };
        let answered = match self.token(session) {
            Some(token) => client.refresh(&token, &session.user, now()).await,
            // Sealed with a key that is gone.
            None => {
                let lost = Answered::Lost { holds: self.holds() };
                return self.answered(session, provider, (&question, &lost)).await;
            }
        };
        let answer = match answered {
            Refreshed::Still(renewed) => {
                self.fine(&provider.spec.id);
                let refresh = renewed.refresh.as_ref().map(|token| self.seal(session, token));
                Answered::Still { claims: renewed.standing.as_ref().map(claims), refresh }
            }
            Refreshed::Gone(gone) if lost_before => {
                tracing::warn!(session = %id, %gone, "what to ask with was lost with an answer: it cannot be told whether the session still holds");
                Answered::Lost { holds: self.holds() }
            }
            Refreshed::Gone(gone) => {
                tracing::info!(target: "session", session = %id, %gone, "the provider ended a session");
                self.fine(&provider.spec.id);
                Answered::Gone
            }
            Refreshed::Later { alarm, refresh, uncertain } => {
                self.wait(session);
                self.trouble(&provider.spec.id, alarm);
                match refresh {
                    Some(token) => Answered::Later { refresh: Some(self.seal(session, &token)) },
                    // It may have been used up: that stays written down.
                    None if uncertain || lost_before => return Ok(()),
                    None => Answered::Later { refresh: None },
                }
            }
        };
        self.answered(session, provider, (&question, &answer)).await
    }

    async fn answered(
        &self,
        session: &Session,
        provider: &config::Provider,
        (question, answer): (&Refreshing, &Answered),
    ) -> Result<(), crate::carry::NotCarried> {
        let authority = authority(provider);
        let event = match answer {
            Answered::Gone => Some((SessionEvent::Ended, "the provider does not let the person in any more")),
            Answered::Lost { .. } => Some((
                SessionEvent::Changed,
                "the provider cannot be asked about it any more: it ends sooner",
            )),
            Answered::Still { .. } | Answered::Later { .. } => None,
        };
        let done = self.sessions.carry("refresh", |view, now| {
            let plan = refreshed(view, &session.id, (question, answer), &authority, now)?;
            let entry = event.map(|(event, why)| self.sessions.ended(session, event, why));
            Some((plan, entry.into_iter().collect()))
        });
        done.await.map(drop)
    }

    /// How long a session holds that can never be asked about, from when it was confirmed last.
    fn holds(&self) -> Duration {
        self.sessions.live.snapshot().config().session.unrefreshed
    }

    fn token(&self, session: &Session) -> Option<Secret<String>> {
        let store = self.sessions.live.snapshot().directory().meta().store.clone();
        let sealed = session.refresh.as_deref()?;
        let opened = self.sessions.keyring().open(&place_of_refresh(&store, &session.id), sealed).ok()?;
        Some(Secret::new(String::from_utf8(opened.expose().clone()).ok()?))
    }

    fn seal(&self, session: &Session, token: &Secret<String>) -> Arc<str> {
        let store = self.sessions.live.snapshot().directory().meta().store.clone();
        let place = place_of_refresh(&store, &session.id);
        self.sessions.keyring().seal(&place, token.expose().as_bytes()).into()
    }

    fn wait(&self, session: &Session) {
        let longest = self.sessions.live.snapshot().config().session.refresh;
        let mut waits = self.waits.lock().unwrap_or_else(PoisonError::into_inner);
        let length = waits.get(&session.id).map_or(WAIT, |wait| wait.length * 2).min(longest);
        waits.insert(session.id.clone(), Wait { until: now().plus(length), length });
    }

    fn trouble(&self, provider: &ProviderId, alarm: Alarm) {
        self.sessions.providers.failed(provider, now(), alarm);
        self.tell();
    }

    fn fine(&self, provider: &ProviderId) {
        if self.sessions.providers.answered(provider) {
            self.tell();
        }
    }

    /// Forgets the trouble with providers that nobody waits for here: another gateway asks, or no session does.
    fn is_settled(&self, waits: impl Fn(&ProviderId) -> bool) {
        if self.sessions.providers.forgot(waits) {
            self.tell();
        }
    }

    fn tell(&self) {
        self.sessions.providers.tell_failing(|failing| {
            if failing.is_empty() {
                return self.health.clear(STATE);
            }
            let said: Vec<String> =
                failing.iter().map(|(provider, alarm)| format!("{provider}: {}", alarm.text)).collect();
            let cause =
                format!("sessions cannot be confirmed, and go on until their own end ({})", said.join("; "));
            let remedy = "`doorward admin provider check NAME` tells what is wrong and what helps";
            self.health.set(Degraded::new(STATE, cause, remedy));
        });
    }
}

/// Not all at once: a tenth more or less, the same for a session until it was confirmed again.
pub(super) fn jittered(every: Duration, session: &str, since: Timestamp) -> Duration {
    let mut hasher = DefaultHasher::new();
    (session, since.millis()).hash(&mut hasher);
    let part = u32::try_from(hasher.finish() % 200).unwrap_or(0);
    every * (900 + part) / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_spread_within_a_tenth() {
        let every = Duration::from_secs(600);
        let all: Vec<Duration> =
            (0..1000).map(|n| jittered(every, &format!("s{n}"), Timestamp::MIN)).collect();
        assert!(all.iter().all(|one| (every * 9 / 10..=every * 11 / 10).contains(one)));
        let early = all.iter().filter(|one| **one < every).count();
        assert!((300..700).contains(&early), "{early} of 1000 early");
    }
}
