//! Renders a refusal for whoever asked: a page for people, JSON for programs, text for terminals.
//! Always true: everything that came from outside is escaped, and the page runs no script and
//! loads nothing.

use std::{fmt::Write, sync::LazyLock};

use http::{HeaderMap, header};
use serde_json::json;

use super::refusal::{Obstacle, Refusal};
use crate::{
    page::{card, content_security_policy, escape},
    when,
};

/// In what form the asker wants to be refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A browser shows it.
    Page,
    /// A program reads it.
    Json,
    /// A terminal shows it.
    Text,
}

impl Form {
    /// What the request's headers say.
    pub fn of(headers: &HeaderMap) -> Self {
        let value = |name: &str| headers.get(name).map(|value| value.as_bytes());
        let accept = value(header::ACCEPT.as_str()).unwrap_or(b"*/*");
        let takes_html = accept.windows(9).any(|part| part.eq_ignore_ascii_case(b"text/html"));
        let mode = value("sec-fetch-mode");
        let navigates = mode == Some(b"navigate");
        // What a script fetches it reads, whatever it says that it takes.
        let is_fetched = !navigates && (mode.is_some() || value("x-requested-with").is_some());
        if navigates || (takes_html && !is_fetched) {
            return Self::Page;
        }
        let from_a_page =
            ["sec-fetch-mode", "origin", "x-requested-with"].iter().any(|name| value(name).is_some());
        if accept.trim_ascii() == b"*/*" && !from_a_page { Self::Text } else { Self::Json }
    }

    /// For the Content-Type header.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Page => "text/html; charset=utf-8",
            Self::Json => "application/json",
            Self::Text => "text/plain; charset=utf-8",
        }
    }
}

/// Allows our one style and nothing else, not even being framed.
pub static CONTENT_SECURITY_POLICY: LazyLock<String> = LazyLock::new(|| content_security_policy("'none'"));

/// The body that tells of `refusal`.
pub fn render(refusal: &Refusal, form: Form, host: &str, request_id: &str) -> String {
    match form {
        Form::Page => page(refusal, host, request_id),
        Form::Json => json(refusal, request_id),
        Form::Text => text(refusal, request_id),
    }
}

fn page(refusal: &Refusal, host: &str, request_id: &str) -> String {
    let sections: String = refusal.obstacles().iter().map(section).collect();
    let mut facts = format!("<dt>App</dt><dd><code>{}</code></dd>", escape(host));
    if let Some(until) = refusal.until() {
        let _ = write!(facts, "<dt>Opens again</dt><dd>{} at the earliest</dd>", when::whole(until));
    }
    let _ = write!(facts, "<dt>Request id</dt><dd><code>{}</code></dd>", escape(request_id));
    let way_in = refusal.sign_in().map_or_else(String::new, |address| {
        let address = escape(address);
        format!("<div class=\"buttons\"><a class=\"button\" href=\"{address}\">Sign in</a></div>")
    });
    card(refusal.title(), "", &format!("{sections}{way_in}<dl>{facts}</dl>"), "")
}

/// What stands in the way, as markup.
pub fn section(obstacle: &Obstacle) -> String {
    let mut out = format!("<section class=\"why\"><p>{}</p>", escape(&obstacle.text));
    if !obstacle.conditions.is_empty() {
        let items: String =
            obstacle.conditions.iter().map(|item| format!("<li>{}</li>", escape(item))).collect();
        let _ = write!(out, "<ul>{items}</ul>");
    }
    if let Some(remedy) = &obstacle.remedy {
        let _ = write!(out, "<p><strong>What helps:</strong> {}</p>", escape(remedy));
    }
    if let Some(rule) = &obstacle.rule {
        let _ = write!(out, "<p><small>Rule <code>{}</code></small></p>", escape(rule));
    }
    out + "</section>"
}

fn json(refusal: &Refusal, request_id: &str) -> String {
    let reasons: Vec<_> = refusal
        .obstacles()
        .into_iter()
        .map(|obstacle| {
            json!({
                "rule": obstacle.rule,
                "reason": obstacle.text,
                "conditions": obstacle.conditions,
                "remedy": obstacle.remedy,
            })
        })
        .collect();
    let body = json!({
        "error": refusal.code(),
        "message": refusal.title(),
        "reasons": reasons,
        "sign_in": refusal.sign_in(),
        "opens_again_at": refusal.until().map(|until| until.to_string()),
        "request_id": request_id,
    });
    format!("{body}\n")
}

fn text(refusal: &Refusal, request_id: &str) -> String {
    let mut out = format!("{}\n", refusal.title());
    for obstacle in refusal.obstacles() {
        let rule = obstacle.rule.map(|rule| format!(" [{rule}]")).unwrap_or_default();
        let _ = writeln!(out, "- {}{rule}", obstacle.text);
        for condition in &obstacle.conditions {
            let _ = writeln!(out, "    {condition}");
        }
        if let Some(remedy) = &obstacle.remedy {
            let _ = writeln!(out, "    What helps: {remedy}");
        }
    }
    if let Some(address) = refusal.sign_in() {
        let _ = writeln!(out, "Sign in at {address}");
    }
    if let Some(until) = refusal.until() {
        let _ = writeln!(out, "Opens again at {until} (at the earliest)");
    }
    let _ = writeln!(out, "Request id: {request_id}");
    out
}

#[cfg(test)]
mod tests {
    use policy::decision::Reason;
    use protocol::time::Timestamp;

    use super::*;
    use crate::{
        access::{Denied, DenyReason},
        connectors::OpenError,
    };

    fn denied() -> Refusal {
        let not_met = Reason::NotMet {
            policy: "ops-<b>".into(),
            title: Some("Ops & \"friends\" may enter".to_owned()),
            conditions: vec!["device.disk_encrypted is missing".to_owned()],
            advice: Some("Turn on disk encryption".to_owned()),
            step_up: None,
        };
        let error = Reason::Error { policy: "broken".into(), error: "secret detail".to_owned() };
        Refusal::Denied(Denied {
            user: None,
            reasons: vec![DenyReason::Policy(not_met), DenyReason::Policy(error)],
            until: Some(Timestamp::from_millis(1_795_254_900_000)),
            way_in: None,
        })
    }

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.parse().expect("a name"), value.parse().expect("a value")))
            .collect()
    }

    #[test]
    fn chooses_the_form_the_asker_reads() {
        assert_eq!(Form::of(&headers(&[("accept", "*/*")])), Form::Text);
        assert_eq!(Form::of(&headers(&[])), Form::Text);
        assert_eq!(Form::of(&headers(&[("accept", "text/html,application/xhtml+xml")])), Form::Page);
        assert_eq!(Form::of(&headers(&[("accept", "*/*"), ("sec-fetch-mode", "navigate")])), Form::Page);
        assert_eq!(Form::of(&headers(&[("accept", "*/*"), ("sec-fetch-mode", "cors")])), Form::Json);
        assert_eq!(Form::of(&headers(&[("accept", "*/*"), ("x-requested-with", "x")])), Form::Json);
        assert_eq!(Form::of(&headers(&[("accept", "application/json")])), Form::Json);
        assert_eq!(Form::of(&headers(&[("accept", "text/html"), ("sec-fetch-mode", "cors")])), Form::Json);
        assert_eq!(Form::of(&headers(&[("accept", "text/html"), ("origin", "https://a")])), Form::Page);
    }

    #[test]
    fn the_page_says_all_that_helps_and_escapes_it() {
        let page = render(&denied(), Form::Page, "wiki.corp.example", "r-1");
        for part in [
            "You cannot open this now",
            "Ops &amp; &quot;friends&quot; may enter",
            "<li>device.disk_encrypted is missing</li>",
            "What helps:</strong> Turn on disk encryption",
            "<code>ops-&lt;b&gt;</code>",
            "Opens again</dt><dd><time datetime=\"2026-11-21T09:55:00.000Z\">21 Nov 2026, 09:55 UTC</time>",
            "<code>r-1</code>",
            "viewport",
            "light dark",
        ] {
            assert!(page.contains(part), "{part} not in {page}");
        }
        assert!(!page.contains("secret detail") && !page.contains("<script"));
    }

    #[test]
    fn programs_and_terminals_get_the_same_facts() {
        let json: serde_json::Value =
            serde_json::from_str(&render(&denied(), Form::Json, "h", "r-1")).expect("JSON");
        assert_eq!(json["error"], "condition_not_met");
        assert_eq!(json["reasons"][0]["rule"], "ops-<b>");
        assert_eq!(json["reasons"][0]["conditions"][0], "device.disk_encrypted is missing");
        assert_eq!(json["opens_again_at"], "2026-11-21T09:55:00.000Z");
        assert_eq!(json["request_id"], "r-1");
        let text = render(&denied(), Form::Text, "h", "r-1");
        assert!(
            text.contains("device.disk_encrypted is missing") && text.contains("Request id: r-1"),
            "{text}"
        );
        assert!(text.lines().count() < 12 && !text.contains("secret detail"), "{text}");
    }

    #[test]
    fn an_unreachable_app_is_not_the_persons_fault() {
        let page = render(&Refusal::Unreachable(OpenError::NoConnector), Form::Page, "h", "r");
        assert!(page.contains("The fault is at the app or its site"), "{page}");
        assert!(page.contains("You are allowed to open it"), "{page}");
    }
}
