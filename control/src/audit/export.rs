//! Sends the heads of the chain to an OTLP collector, so that a cut or rewritten chain shows elsewhere.
//! Only the latest head waits: each vouches for all before it. Always true: the log never waits for a
//! collector; TLS is ours, by the configuration given.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response, Uri};
use opentelemetry::{
    InstrumentationScope, KeyValue,
    logs::{LogRecord, Logger, LoggerProvider, Severity},
};
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{LogExporter, RetryPolicy, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::{
    Resource,
    logs::{LogBatch, LogExporter as _, SdkLogger, SdkLoggerProvider},
};
use rustls::ClientConfig;
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use super::Head;
use crate::outbound;

/// For one attempt.
const LIMIT: Duration = Duration::from_secs(10);
/// Between attempts, doubled up to the longest.
const WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// A collector's answer is a few bytes.
const ANSWER: usize = 64 << 10;

/// Where heads go.
#[derive(Debug, Clone)]
pub struct Collector {
    /// With the path: `https://otel.corp.example/v1/logs`.
    pub endpoint: String,
    /// Whom to trust, for `https`.
    pub tls: Arc<ClientConfig>,
}

/// Why there can be no export.
#[derive(Debug, thiserror::Error)]
#[error("{endpoint} is no OTLP endpoint ({why}): write http:// or https://, a host, and /v1/logs")]
pub struct ExportError {
    endpoint: String,
    why: String,
}

/// What became of heads so far.
#[derive(Debug, Default)]
pub struct Exported {
    /// Heads that the collector has taken.
    pub sent: AtomicU64,
    /// Attempts that failed.
    pub failed: AtomicU64,
}

/// The sending of heads, to be run as a task.
pub struct Export {
    exporter: LogExporter,
    logger: SdkLogger,
    scope: InstrumentationScope,
    heads: watch::Receiver<Option<Head>>,
    exported: Arc<Exported>,
}

impl Export {
    /// To `collector`, in the name of `gateway`.
    pub fn new(
        collector: Collector,
        gateway: &str,
        heads: watch::Receiver<Option<Head>>,
    ) -> Result<Self, ExportError> {
        let endpoint = collector.endpoint.clone();
        let failed = |why: String| ExportError { endpoint: endpoint.clone(), why };
        let uri: Uri = endpoint.parse().map_err(|_| failed("no URL".to_owned()))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none() {
            return Err(failed("no such scheme, or no host".to_owned()));
        }
        let builder = LogExporter::builder().with_http().with_http_client(Client { tls: collector.tls });
        // Its own retries would put the runtime's thread to sleep.
        let builder = builder.with_retry_policy(RetryPolicy::disabled());
        let exporter = builder.with_endpoint(endpoint.clone()).with_timeout(LIMIT).build();
        let mut exporter = exporter.map_err(|error| failed(error.to_string()))?;
        let instance = KeyValue::new("service.instance.id", gateway.to_owned());
        exporter.set_resource(
            &Resource::builder_empty().with_service_name("doorward").with_attribute(instance).build(),
        );
        let logger = SdkLoggerProvider::builder().build().logger("doorward.audit");
        let scope = InstrumentationScope::builder("doorward.audit").build();
        Ok(Self { exporter, logger, scope, heads, exported: Arc::default() })
    }

    /// What became of heads, also while it runs.
    pub fn exported(&self) -> Arc<Exported> {
        self.exported.clone()
    }

    /// Runs until the log is closed and its last head sent; of a collector that fails then it expects no more.
    pub async fn run(mut self) {
        let mut wait = WAIT;
        loop {
            let head = self.heads.borrow_and_update().clone();
            let sent = match &head {
                Some(head) => self.send(head).await,
                None => true,
            };
            if sent {
                wait = WAIT;
                if self.heads.changed().await.is_err() {
                    return;
                }
            } else if self.heads.has_changed().is_err() {
                return;
            } else {
                sleep(wait).await;
                wait = LONGEST_WAIT.min(wait * 2);
            }
        }
    }

    async fn send(&self, head: &Head) -> bool {
        let mut record = self.logger.create_log_record();
        record.set_event_name("doorward.audit.head");
        record.set_timestamp(SystemTime::now());
        record.set_observed_timestamp(SystemTime::now());
        record.set_severity_number(Severity::Info);
        record.set_body(format!("audit chain of {} up to line {}", head.gateway, head.n).into());
        let n = i64::try_from(head.n).unwrap_or(i64::MAX);
        record.add_attribute("doorward.audit.n", n);
        record.add_attributes([
            ("doorward.audit.gateway", head.gateway.to_string()),
            ("doorward.audit.hash", head.hash.to_string()),
            ("doorward.audit.at", head.at.clone()),
            ("doorward.audit.signature", head.signature.clone()),
            ("doorward.audit.key", head.key.clone()),
        ]);
        let result = self.exporter.export(LogBatch::new(&[(&record, &self.scope)])).await;
        let counter = if result.is_ok() { &self.exported.sent } else { &self.exported.failed };
        counter.fetch_add(1, Ordering::Relaxed);
        let _ =
            result.as_ref().inspect_err(|error| tracing::warn!(%error, "the audit head is not exported yet"));
        result.is_ok()
    }
}

/// One connection for each request: there is one a minute.
struct Client {
    tls: Arc<ClientConfig>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Client")
    }
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        Ok(timeout(LIMIT, outbound::exchange(&self.tls, None, request, ANSWER)).await??)
    }
}
