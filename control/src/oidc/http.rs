//! The one way out to a provider: https only, no redirect followed, 1 MiB and 10 s at most for an answer.
//! Said once, when it is made: whom it trusts, the system's roots or exactly the CA that was given; and which
//! names are dialled where, past the resolver.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use ::http::{
    Request, Uri,
    header::{ACCEPT, AUTHORIZATION, HeaderValue},
};
use bytes::Bytes;
use openidconnect::{HttpRequest, HttpResponse};
use protocol::config::Secret;
use rustls::{ClientConfig, RootCertStore};
use tokio::time::timeout;

use super::spec::{ProviderSpec, SpecError};
use crate::outbound::{self, OutboundError};

/// For one request, from the name to the last byte.
pub(super) const DEADLINE: Duration = Duration::from_secs(10);
/// A set of keys or a list of 2,000 groups is far smaller.
const ANSWER: usize = 1 << 20;

/// Why a provider did not answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    /// It would have been in the clear.
    #[error("{0} is not https: nothing of a sign-in travels in the clear, so the provider must offer https")]
    Insecure(String),
    /// Out of time.
    #[error("{0} did not answer within 10 s: look whether the provider is up and reachable from here")]
    Slow(String),
    /// No connection.
    #[error("{place} cannot be reached ({why}): check DNS, routes and firewalls from here to the provider")]
    Unreachable {
        /// Where.
        place: String,
        /// What the system says.
        why: String,
    },
    /// No TLS with someone we trust.
    #[error(
        "{place} shows no certificate that is trusted here ({why}): name the CA that signed it in the provider's `ca`, or mend the certificate"
    )]
    Untrusted {
        /// Where.
        place: String,
        /// What TLS says.
        why: String,
    },
    /// Endless, or nearly.
    #[error("{0} answered with more than 1 MiB: this is no provider's answer, look who answers there")]
    TooLarge(String),
    /// Not HTTP.
    #[error("{place} broke off or does not speak HTTP/1.1 ({why}): look who answers there")]
    Broken {
        /// Where.
        place: String,
        /// What was wrong.
        why: String,
    },
}

/// The client for one provider.
pub(super) struct Http {
    tls: Arc<ClientConfig>,
    dial: BTreeMap<String, SocketAddr>,
}

impl Http {
    /// As the operator says.
    pub fn new(spec: &ProviderSpec) -> Result<Self, SpecError> {
        let failed = |why: String| SpecError::Roots { id: spec.id.clone(), why };
        let certificates = match &spec.ca {
            Some(ca) => ca.clone(),
            None => rustls_native_certs::load_native_certs().map_err(|error| failed(error.to_string()))?,
        };
        let mut roots = RootCertStore::empty();
        let (_, unfit) = roots.add_parsable_certificates(certificates);
        if roots.is_empty() {
            return Err(failed(format!("no CA certificate found, {unfit} unreadable")));
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.map_err(|error| failed(error.to_string()))?;
        let tls = Arc::new(config.with_root_certificates(roots).with_no_client_auth());
        Ok(Self { tls, dial: spec.dial.clone() })
    }

    /// Sends one request.
    pub async fn send(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let place = place(request.uri());
        if request.uri().scheme_str() != Some("https") {
            return Err(HttpError::Insecure(place));
        }
        let at = request.uri().host().and_then(|host| self.dial.get(&host.to_ascii_lowercase())).copied();
        let exchange = outbound::exchange(&self.tls, at, request.map(Bytes::from), ANSWER);
        match timeout(DEADLINE, exchange).await {
            Ok(Ok(response)) => Ok(response.map(Vec::from)),
            Ok(Err(error)) => Err(told(place, &error)),
            Err(_) => Err(HttpError::Slow(place)),
        }
    }

    /// Asks for a document, as its bearer if a token is given.
    pub async fn get(&self, url: &str, bearer: Option<&Secret<String>>) -> Result<HttpResponse, HttpError> {
        let broken = |why: &str| HttpError::Broken { place: "the provider".to_owned(), why: why.to_owned() };
        let request = Request::get(url).header(ACCEPT, "application/json, application/jwt");
        let mut request = request.body(Vec::new()).map_err(|_| broken("an address that is none"))?;
        if let Some(token) = bearer {
            let value = HeaderValue::from_str(&format!("Bearer {}", token.expose()));
            let mut value = value.map_err(|_| broken("an access token that fits no header"))?;
            value.set_sensitive(true);
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        self.send(request).await
    }
}

/// Where a request goes, without its query, which may be anything.
fn place(uri: &Uri) -> String {
    format!("{}://{}{}", uri.scheme_str().unwrap_or_default(), uri.host().unwrap_or_default(), uri.path())
}

fn told(place: String, error: &OutboundError) -> HttpError {
    match error {
        OutboundError::Address => HttpError::Unreachable { place, why: error.to_string() },
        OutboundError::Connect(why) => HttpError::Unreachable { place, why: why.to_string() },
        OutboundError::Tls(why) if why.get_ref().is_some_and(|why| why.is::<rustls::Error>()) => {
            HttpError::Untrusted { place, why: why.to_string() }
        }
        OutboundError::Tls(why) => HttpError::Broken { place, why: why.to_string() },
        OutboundError::Http(why) => HttpError::Broken { place, why: why.to_string() },
        OutboundError::TooLarge(_) => HttpError::TooLarge(place),
    }
}
