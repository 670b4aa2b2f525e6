//! People signed in: what begins, confirms and ends sessions while the gateway runs.
//! It shows no page and decides no access. Always true: a session is in force on return, or not at all;
//! one that ends is cut first and written down then.

mod idle;
mod providers;
mod refresh;
mod report;
mod turns;

use std::{net::IpAddr, sync::Arc};

use arc_swap::ArcSwap;
use control::{
    audit::{Entry, Identity, Session as Event, SessionEvent},
    directory::View,
    object::{Logout, Session},
    oidc::{LogoutToken, SignInError, SignedIn, Standing},
    revoked::Revoked,
    session::{self, Authority, Claims, NotSignedIn, Plan, SignIn, Speaks},
};
use protocol::{
    id::{DeviceId, ProviderId, UserId},
    time::Timestamp,
};

pub use self::{
    idle::Idle,
    providers::Providers,
    refresh::Refresh,
    report::{Provider as ProviderReport, Report, Trouble},
    turns::Turns,
};
use crate::{
    admin::now,
    books::{Keys, place_of_refresh, random_id},
    carry::{Carried, Carrier, NotCarried},
    config,
    live::Live,
};
pub use control::session::Sessions as Which;

/// Others may be faster, each of them once: so often is it looked at again.
const TRIES: usize = 16;

/// What begins and ends sessions. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Sessions {
    /// Writes and puts in force.
    pub carrier: Carrier,
    /// What is in force.
    pub live: Live,
    /// What seals the store's secrets.
    pub keys: Keys,
    /// Who signs people in.
    pub providers: Providers,
    /// Of this gateway.
    pub gateway: Arc<str>,
    /// For those who sign in at the same time and join the same groups.
    pub turns: Turns,
}

/// Why nobody is signed in.
#[derive(Debug, Clone, thiserror::Error)]
pub enum NoSession {
    /// They may not. What it says is for the person.
    #[error(transparent)]
    Refused(#[from] NotSignedIn),
    /// It cannot be kept.
    #[error("the sign-in cannot be kept: {0}")]
    NotKept(#[from] NotCarried),
}

/// A person who came back from a provider, on the device they left from.
#[derive(Debug)]
pub struct Arrival<'a> {
    /// The device.
    pub device: &'a DeviceId,
    /// Its tunnel address.
    pub source: IpAddr,
    /// The provider.
    pub provider: &'a config::Provider,
    /// What it says.
    pub told: SignedIn,
    /// Whether it was asked not to bother the person: then nothing new was proven.
    pub silent: bool,
}

impl Sessions {
    /// Signs the person in; in force on return.
    pub async fn sign_in(&self, arrival: Arrival<'_>) -> Result<(), NoSession> {
        let authority = authority(arrival.provider);
        let session = random_id();
        for note in &arrival.told.standing.notes {
            tracing::warn!(provider = %authority.provider, user = %arrival.told.user, "{note}");
        }
        let mut turn = self.turns.if_taken().await;
        for _ in 0..TRIES {
            match self.try_to_sign_in(&arrival, &session, &authority).await {
                Err(NoSession::NotKept(NotCarried::Again)) if turn.is_none() => {
                    turn = self.turns.next().await
                }
                Err(NoSession::NotKept(NotCarried::Again)) => {}
                done => return done,
            }
        }
        Err(NotCarried::Again.into())
    }

    async fn try_to_sign_in(
        &self,
        arrival: &Arrival<'_>,
        session: &Arc<str>,
        authority: &Authority,
    ) -> Result<(), NoSession> {
        let (view, keys) = (self.carrier.reloader.view(), self.keys.load_full());
        let mut sign_in = self.sign_in_of(arrival, session, &view);
        if arrival.silent
            && let Some(before) = view.directory().session(arrival.device)
        {
            keep_what_was_proven(&mut sign_in, before);
        }
        let plan = session::signed_in(&view, &sign_in, authority, now())
            .inspect_err(|refused| self.note_refused(arrival, refused))?;
        if !Arc::ptr_eq(&keys, &self.keys.load()) {
            return Err(NotCarried::Again.into());
        }
        let why = format!("on {} {}", arrival.device, words(&sign_in));
        let mut entries = vec![self.event(SessionEvent::SignedIn, arrival, session, &why)];
        entries.extend(self.memberships(&plan, &view));
        self.carrier.carry_out(plan, entries, "sign-in").await?;
        Ok(())
    }

    fn sign_in_of(&self, arrival: &Arrival<'_>, session: &Arc<str>, view: &View) -> SignIn {
        let told = &arrival.told;
        let store = &view.directory().meta().store;
        let seal = |token: &protocol::config::Secret<String>| {
            let place = place_of_refresh(store, session);
            self.keys.load().seal(&place, token.expose().as_bytes()).into()
        };
        let lives = self.live.snapshot().config().session;
        let lasts = match &told.refresh {
            Some(_) => lives.lifetime,
            None => lives.lifetime.min(lives.unrefreshed),
        };
        SignIn {
            session: session.clone(),
            device: arrival.device.clone(),
            user: told.user.clone(),
            provider: arrival.provider.spec.id.clone(),
            subject: told.subject.as_str().into(),
            claims: claims(&told.standing),
            auth_time: told.auth_time,
            amr: told.amr.clone(),
            acr: told.acr.clone(),
            sid: told.sid.as_deref().map(Into::into),
            refresh: told.refresh.as_ref().map(seal),
            expires: now().plus(lasts),
        }
    }

    /// Ends sessions for `why`; how many there were.
    pub async fn end(&self, which: &Which, why: &str) -> Result<usize, NotCarried> {
        let mut ended = 0;
        self.carry(why, |view, now| {
            let found = which.found(view);
            ended = found.len();
            let entries = found.iter().map(|session| self.ended(session, SessionEvent::Ended, why)).collect();
            Some((session::ended(view, which, now), entries))
        })
        .await?;
        Ok(ended)
    }

    /// Ends what a logout token of `provider` means; `false` if it was shown before. Durable on return.
    pub async fn log_out(&self, provider: &ProviderId, token: &LogoutToken) -> Result<bool, NotCarried> {
        let which = match (&token.sid, &token.sub) {
            (Some(sid), _) => Which::Sid(provider.clone(), sid.as_str().into()),
            (None, Some(sub)) => Which::Subject(provider.clone(), sub.as_str().into()),
            (None, None) => return Ok(false),
        };
        let hash = ring::digest::digest(&ring::digest::SHA256, token.jti.as_bytes());
        let hash: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        let kept = Logout { id: format!("{provider}/{hash}").into(), at: now(), rest: Default::default() };
        const WHY: &str = "the provider says that the person signed out there";
        let done = self.carry(WHY, |view, now| {
            let plan = session::logged_out(view, &which, &kept, now)?;
            let found = which.found(view);
            let entries = found.iter().map(|session| self.ended(session, SessionEvent::Ended, WHY)).collect();
            Some((plan, entries))
        });
        Ok(done.await?.is_some())
    }

    /// Lets the session of a device count for nothing until its person signs in again; whether it did before.
    pub async fn suspend(&self, device: &DeviceId, why: &str) -> Result<bool, NotCarried> {
        let done = self.carry(why, |view, now| {
            let plan = session::suspended(view, device, why, now)?;
            let session = view.directory().session(device)?;
            Some((plan, vec![self.ended(session, SessionEvent::Suspended, why)]))
        });
        Ok(done.await?.is_some())
    }

    /// Plans and carries out until nobody is faster; `None` if there was nothing to do.
    async fn carry(
        &self,
        by: &str,
        mut plan: impl FnMut(&View, Timestamp) -> Option<(Plan, Vec<Entry>)>,
    ) -> Result<Option<Carried>, NotCarried> {
        for _ in 0..TRIES {
            let view = self.carrier.reloader.view();
            let Some((plan, mut entries)) = plan(&view, now()) else { return Ok(None) };
            entries.extend(self.memberships(&plan, &view));
            match self.carrier.carry_out(plan, entries, by).await {
                Err(NotCarried::Again) => {}
                carried => return carried.map(Some),
            }
        }
        Err(NotCarried::Again)
    }

    /// What a provider takes from people stands in the audit log as what an administrator takes does: a
    /// restore goes by it.
    fn memberships(&self, plan: &Plan, view: &View) -> Vec<Entry> {
        let audit_id = |user: &UserId| view.directory().user(user).map(|person| person.audit.clone());
        let taken = plan.revoked.iter().filter(|one| matches!(one, Revoked::Membership { .. }));
        let entry = |one: &Revoked| Entry::Revocation {
            id: random_id(),
            what: one.audited(audit_id),
            by: "the provider".to_owned(),
            durable: true,
        };
        taken.map(entry).collect()
    }

    /// Notes that a provider did not sign somebody in.
    pub fn note_failed(&self, device: &DeviceId, source: IpAddr, provider: &ProviderId, error: &SignInError) {
        // What the provider said may name the person.
        let why = format!("the fault is {:?}'s: {}", error.fault(), error.told());
        let (provider, session) = (provider.to_string(), Arc::default());
        let entry = self.entry(SessionEvent::Refused, (device, source.to_string()), provider, &session, &why);
        self.carrier.books.log().note(entry);
    }

    fn note_refused(&self, arrival: &Arrival<'_>, refused: &NotSignedIn) {
        let (provider, user) = (&arrival.provider.spec.id, &arrival.told.user);
        tracing::warn!(target: "session", device = %arrival.device, %provider, %user, "not signed in: {refused}");
        let why = match refused {
            NotSignedIn::NotOwner { .. } => "somebody else than the device's owner",
            NotSignedIn::NoDevice => "the device is not enrolled",
            NotSignedIn::DeviceDisabled => "the device is disabled",
            NotSignedIn::NoUser { .. } => "nobody knows the person here",
            NotSignedIn::UserDisabled { .. } => "the person is disabled",
        };
        let entry = self.event(SessionEvent::Refused, arrival, &Arc::default(), why);
        self.carrier.books.log().note(entry);
    }

    fn event(&self, event: SessionEvent, arrival: &Arrival<'_>, session: &Arc<str>, why: &str) -> Entry {
        let (provider, source) = (arrival.provider.spec.id.to_string(), arrival.source.to_string());
        self.entry(event, (arrival.device, source), provider, session, why)
    }

    fn ended(&self, session: &Session, event: SessionEvent, why: &str) -> Entry {
        let (provider, source) = (session.provider.to_string(), String::new());
        self.entry(event, (&session.device, source), provider, &session.id, why)
    }

    /// The person is the device's owner: whoever else came back is nobody here.
    fn entry(
        &self,
        event: SessionEvent,
        (device, address): (&DeviceId, String),
        provider: String,
        session: &Arc<str>,
        why: &str,
    ) -> Entry {
        let snapshot = self.live.snapshot();
        let owner = snapshot.device(device).map(|device| device.facts.owner.clone());
        let person = owner.and_then(|owner| Some((snapshot.user(&owner)?.clone(), owner)));
        let sealed = person.as_ref().and_then(|(person, owner)| {
            let known = self.carrier.books.person(&snapshot.directory().meta().store, owner, person)?;
            Some(known.seal(&Identity {
                user: owner.to_string(),
                email: person.facts.email.clone().unwrap_or_default(),
                name: person.name.clone().unwrap_or_default(),
                device: device.to_string(),
                address,
            }))
        });
        Entry::Session(Box::new(Event {
            id: random_id(),
            event,
            session: session.clone(),
            provider,
            user: person.map(|(person, _)| person.audit.clone()),
            sealed: sealed.unwrap_or_default(),
            revision: None,
            why: why.to_owned(),
        }))
    }

    /// The key that opens what is sealed now.
    fn keyring(&self) -> Arc<control::seal::Keyring> {
        ArcSwap::load_full(&self.keys)
    }
}

/// A renewal in passing takes nothing away: unless the person has proven anew who they are, what they have
/// proven before still holds.
fn keep_what_was_proven(sign_in: &mut SignIn, before: &Session) {
    let same = sign_in.user == before.user && sign_in.provider == before.provider;
    if same && sign_in.auth_time <= before.auth_time {
        sign_in.auth_time = before.auth_time;
        sign_in.acr.clone_from(&before.acr);
        sign_in.amr.clone_from(&before.amr);
    }
}

/// How strongly and how long ago, for the audit log.
fn words(sign_in: &SignIn) -> String {
    let acr = sign_in.acr.as_deref().map(|acr| format!("acr {acr}"));
    let amr = (!sign_in.amr.is_empty())
        .then(|| format!("amr {}", sign_in.amr.iter().map(String::as_str).collect::<Vec<_>>().join(" ")));
    let at = sign_in.auth_time.map(|at| format!("proven at {at}"));
    let until = format!("until {}", sign_in.expires);
    [acr, amr, at, Some(until)].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn claims(standing: &Standing) -> Claims {
    Claims { email: standing.email.clone(), name: standing.name.clone(), groups: standing.groups.clone() }
}

/// For what a provider speaks, by the configuration.
fn authority(provider: &config::Provider) -> Authority {
    let spec = &provider.spec;
    let groups = match &spec.groups.allowed {
        control::oidc::GroupsAllowed::All => Speaks::All,
        control::oidc::GroupsAllowed::Named(names) => Speaks::Of(names.clone()),
    };
    Authority {
        provider: spec.id.clone(),
        email: !spec.domains.is_empty(),
        groups,
        mapped: spec.groups.names.values().cloned().collect(),
    }
}
