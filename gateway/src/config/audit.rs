//! `[audit]`: for how long the audit log is kept, and where the heads of its chain go, so that a log
//! that was cut or written anew shows. Absent: for ever, and nowhere but the store.

use std::{path::PathBuf, time::Duration};

use protocol::config::Section;

/// Below, what happened on Friday could be gone on Monday.
const SHORTEST: Duration = Duration::from_secs(7 * 86_400);

/// `[audit]`.
#[derive(Debug, Default)]
pub struct Audit {
    /// Whole files whose lines are all older go.
    pub keep_for: Option<Duration>,
    /// Where heads go.
    pub otlp: Option<Otlp>,
}

/// A collector of OTLP log records over HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Otlp {
    /// With its path.
    pub endpoint: String,
    /// Who signed its certificate, in PEM; always there for `https`.
    pub ca: Option<PathBuf>,
}

pub(super) fn read(s: &mut Section<'_>) -> Audit {
    s.optional_section("audit", |s| Some(walk(s))).unwrap_or_default()
}

fn walk(s: &mut Section<'_>) -> Audit {
    let keep_for = s.has("keep_for").then(|| s.duration_or("keep_for", SHORTEST));
    if keep_for.is_some_and(|keep| keep < SHORTEST) {
        s.mistake("keep_for", "at least \"7d\"");
    }
    let endpoint: Option<String> = s.optional_text("otlp");
    let ca = s.optional_path("otlp_ca");
    if let Some(endpoint) = &endpoint {
        let secure = endpoint.starts_with("https://");
        if !secure && !endpoint.starts_with("http://") {
            s.mistake(
                "otlp",
                "write where the collector takes logs, for example https://otel.corp.example/v1/logs",
            );
        } else if secure && ca.is_none() {
            s.mistake("otlp", "https needs otlp_ca: who signed the collector's certificate");
        }
    } else if ca.is_some() {
        s.mistake("otlp_ca", "this goes with otlp, which is not there");
    }
    Audit { keep_for, otlp: endpoint.map(|endpoint| Otlp { endpoint, ca }) }
}
