//! A provider as we know it at the moment: its discovery document and keys, fetched when needed and kept an
//! hour; keys again when a token names one that is new. Always true: forged tokens make us ask at most once
//! in ten seconds, one asks while others wait for the answer, and a provider that fails is asked ever less.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwapOption;
use openidconnect::{IssuerUrl, core::CoreJsonWebKeySet};
use protocol::{id::ProviderId, time::Timestamp};
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::timeout,
};

use super::{
    discovery::{self, Discovery},
    error::{Alarm, ProviderError, TokenError},
    http::{DEADLINE, Http, HttpError},
    spec::{LONGEST_SKEW, ProviderSpec, SpecError},
};

/// How long what is known is fresh.
const FRESH: Duration = Duration::from_secs(3600);
/// How long it serves while the provider does not answer.
const KEPT: Duration = Duration::from_secs(6 * 3600);
/// Between two looks for a key that is new. Anyone can name such a key.
const KEYS_EVERY: Duration = Duration::from_secs(10);
/// After a failure, doubled up to the longest.
const WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// One OpenID Connect provider.
pub struct Provider {
    pub(super) spec: ProviderSpec,
    pub(super) issuer: IssuerUrl,
    pub(super) http: Http,
    known: ArcSwapOption<Known>,
    /// One place: who holds it asks the provider.
    turn: Semaphore,
    asked: Mutex<Asked>,
}

/// What the provider said last.
pub(super) struct Known {
    pub discovery: Discovery,
    pub keys: CoreJsonWebKeySet,
    at: Timestamp,
}

/// What became of asking.
#[derive(Default)]
struct Asked {
    keys: Option<Timestamp>,
    failures: u32,
    failed: Option<(Timestamp, ProviderError)>,
}

/// Why a token was not verified.
#[derive(Debug)]
pub(super) enum Unverified {
    Token(TokenError),
    Provider(ProviderError),
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Provider").field("spec", &self.spec).finish_non_exhaustive()
    }
}

impl Provider {
    /// From what the operator says. Asks nobody yet.
    pub fn new(spec: ProviderSpec) -> Result<Self, SpecError> {
        let issuer = IssuerUrl::new(spec.issuer.clone()).ok().filter(|issuer| {
            let url = issuer.url();
            url.scheme() == "https" && url.query().is_none() && url.fragment().is_none()
        });
        let (id, written) = (spec.id.clone(), spec.issuer.clone());
        let issuer = issuer.ok_or(SpecError::Issuer { id, issuer: written })?;
        if spec.client_id.is_empty() {
            return Err(SpecError::ClientId(spec.id));
        }
        if spec.client_secret.as_ref().is_some_and(|secret| secret.expose().is_empty()) {
            return Err(SpecError::ClientSecret(spec.id));
        }
        if spec.skew > LONGEST_SKEW {
            return Err(SpecError::Skew(spec.id));
        }
        let http = Http::new(&spec)?;
        let (known, turn) = (ArcSwapOption::empty(), Semaphore::new(1));
        Ok(Self { spec, issuer, http, known, turn, asked: Mutex::default() })
    }

    /// How the operator calls it.
    pub fn id(&self) -> &ProviderId {
        &self.spec.id
    }

    /// What it was made from.
    pub fn spec(&self) -> &ProviderSpec {
        &self.spec
    }

    /// Whether it answers now: for who sends somebody there that did not ask for it.
    pub async fn answers(&self) -> bool {
        discovery::fetch(&self.http, &self.issuer).await.is_ok()
    }

    /// What is wrong with it since when, if the last look failed.
    pub fn health(&self) -> Option<(Timestamp, Alarm)> {
        self.asked(|asked| asked.failed.clone())
            .map(|(at, error)| (at, Alarm { fault: error.fault(), text: error.to_string() }))
    }

    /// What is known of the provider, asked for if that is too old.
    pub(super) async fn known(&self, now: Timestamp) -> Result<Arc<Known>, ProviderError> {
        if let Some(known) = self.kept(now, FRESH) {
            return Ok(known);
        }
        let _turn = self.turn().await;
        if let Some(known) = self.kept(now, FRESH) {
            return Ok(known);
        }
        let error = match self.waits(now) {
            Some(error) => error,
            None => match self.fetch(now).await {
                Ok(known) => return Ok(self.learn(known)),
                Err(error) => self.failed(error, now),
            },
        };
        self.kept(now, KEPT).ok_or(error)
    }

    /// Keys newer than those of `known`; none if someone has looked just now.
    async fn newer(&self, known: &Arc<Known>, now: Timestamp) -> Result<Option<Arc<Known>>, ProviderError> {
        let _turn = self.turn().await;
        if let Some(newer) = self.known.load_full().filter(|newer| !Arc::ptr_eq(newer, known)) {
            return Ok(Some(newer));
        }
        let soon = |asked: &mut Asked| {
            let soon = asked.keys.is_some_and(|at| age(at, now) < KEYS_EVERY);
            asked.keys = if soon { asked.keys } else { Some(now) };
            soon
        };
        if self.asked(soon) {
            return Ok(None);
        }
        let keys = in_time(discovery::keys(&self.http, &known.discovery)).await;
        let keys = keys.map_err(|error| self.failed(error, now))?;
        Ok(Some(self.learn(Known { discovery: known.discovery.clone(), keys, at: known.at })))
    }

    /// Verifies by the keys that are known and, if the key is not among them, once more by new ones.
    pub(super) async fn verified<T>(
        &self,
        now: Timestamp,
        verify: impl Fn(&CoreJsonWebKeySet) -> Result<T, TokenError>,
    ) -> Result<T, Unverified> {
        let known = self.known(now).await.map_err(Unverified::Provider)?;
        match verify(&known.keys) {
            Err(TokenError::UnknownKey) => {}
            verified => return verified.map_err(Unverified::Token),
        }
        match self.newer(&known, now).await.map_err(Unverified::Provider)? {
            Some(newer) => verify(&newer.keys).map_err(Unverified::Token),
            None => Err(Unverified::Token(TokenError::UnknownKey)),
        }
    }

    async fn fetch(&self, now: Timestamp) -> Result<Known, ProviderError> {
        self.asked(|asked| asked.keys = Some(now));
        in_time(async {
            let (discovery, _) = discovery::fetch(&self.http, &self.issuer).await?;
            let keys = discovery::keys(&self.http, &discovery).await?;
            Ok(Known { discovery, keys, at: now })
        })
        .await
    }

    fn kept(&self, now: Timestamp, limit: Duration) -> Option<Arc<Known>> {
        self.known.load_full().filter(|known| age(known.at, now) < limit)
    }

    fn learn(&self, known: Known) -> Arc<Known> {
        let known = Arc::new(known);
        self.known.store(Some(known.clone()));
        self.asked(|asked| (asked.failures, asked.failed) = (0, None));
        known
    }

    fn failed(&self, error: ProviderError, now: Timestamp) -> ProviderError {
        self.asked(|asked| {
            asked.failures = asked.failures.saturating_add(1);
            asked.failed = Some((now, error.clone()));
        });
        error
    }

    /// Why it is not asked again yet.
    fn waits(&self, now: Timestamp) -> Option<ProviderError> {
        self.asked(|asked| {
            let doubled = 2_u32.saturating_pow(asked.failures.saturating_sub(1));
            let wait = WAIT.saturating_mul(doubled).min(LONGEST_WAIT);
            let failed = asked.failed.clone().filter(|(at, _)| age(*at, now) < wait);
            failed.map(|(_, error)| error)
        })
    }

    fn asked<T>(&self, look: impl FnOnce(&mut Asked) -> T) -> T {
        look(&mut self.asked.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// It holds up only those who need the same answer, for as long as that may take.
    async fn turn(&self) -> SemaphorePermit<'_> {
        self.turn.acquire().await.expect("it is never closed")
    }
}

/// How long ago, by a clock that may have been set back: what is from the future is as old as can be.
fn age(at: Timestamp, now: Timestamp) -> Duration {
    if now < at { Duration::MAX } else { at.until(now) }
}

/// All of a look, and whoever waits for it, within the time of one request.
async fn in_time<T>(look: impl Future<Output = Result<T, ProviderError>>) -> Result<T, ProviderError> {
    let slow = || Err(HttpError::Slow("the provider".to_owned()).into());
    timeout(DEADLINE, look).await.unwrap_or_else(|_| slow())
}
