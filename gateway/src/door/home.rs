//! The portal's first page: who I am here, what I can open, what is open, why the last thing was refused.
//! Always true: an app of which the person is no candidate is not named; nothing here changes anything.

use std::fmt::Write;

use axum::{Extension, extract::State, response::Response};
use control::object::Session;
use policy::decision::Reason;
use protocol::{id::UserId, target::Target, time::Timestamp};

use super::{Door, Visitor, html, standing::place, words};
use crate::{
    access::{self, Ask, Denied, DenyReason, NotIn, Question, ResourceId, Verdict, WayIn},
    admin::now,
    config::{AppKind, AppSpec},
    http::{obstacles, section},
    page::{document, escape},
    snapshot::Snapshot,
};

pub(super) async fn home(State(door): State<Door>, Extension(visitor): Extension<Visitor>) -> Response {
    let (snapshot, at) = (door.snapshot(), now());
    let Some(device) = snapshot.device(&visitor.device).cloned() else {
        let text = "This device is not enrolled any more.";
        return html(words::message("Unknown device", text, "Ask your administrators to enrol it.", ""));
    };
    let owner = &device.facts.owner;
    let session = access::session(&snapshot, &visitor.device, owner, at);
    let here = Here { door: &door, snapshot: &snapshot, visitor: &visitor, owner, at };
    let head = format!(
        "<header><p><strong>{}</strong><span>{}</span></p></header>",
        escape(snapshot.config().dns.zones.first().map_or("Doorward", String::as_str)),
        escape(device.name.as_str())
    );
    let main = match session {
        Ok(_) => here.signed_in(),
        Err(why) => here.signed_out(why),
    };
    let title = if here.is_in() { "Your apps" } else { "Sign in" };
    html(document(title, &head, &main))
}

/// What a page is made of.
struct Here<'a> {
    door: &'a Door,
    snapshot: &'a Snapshot,
    visitor: &'a Visitor,
    owner: &'a UserId,
    at: Timestamp,
}

impl Here<'_> {
    fn is_in(&self) -> bool {
        access::session(self.snapshot, &self.visitor.device, self.owner, self.at).is_ok()
    }

    fn signed_in(&self) -> String {
        let session = self.snapshot.directory().session(&self.visitor.device);
        let who = session.map_or_else(String::new, |session| self.who(session));
        let out = "<form method=\"post\" action=\"/sign-out\"><button class=\"plain\">Sign out</button></form> \
<form method=\"post\" action=\"/sign-out\"><input type=\"hidden\" name=\"everywhere\" value=\"1\">\
<button class=\"plain\">Sign out everywhere</button></form>";
        format!(
            "{who}<div class=\"buttons\">{out}</div>{}{}{}{}",
            self.apps(),
            self.refused(),
            self.open(),
            self.elsewhere()
        )
    }

    fn who(&self, session: &Session) -> String {
        let person = self.snapshot.user(&session.user);
        let name = person.and_then(|person| person.name.clone()).unwrap_or_else(|| session.user.to_string());
        let mail = person.and_then(|person| person.facts.email.clone());
        let mail =
            mail.map_or_else(String::new, |mail| format!(" <span class=\"quiet\">{}</span>", escape(&mail)));
        format!(
            "<p>You are <strong>{}</strong>{mail}, signed in until {}.</p>",
            escape(&name),
            words::until(session.expires, self.at)
        )
    }

    fn signed_out(&self, why: NotIn) -> String {
        let why = match why {
            NotIn::Over => "<p>Your session on this device is over.</p>".to_owned(),
            NotIn::Suspended => {
                let denied = Denied::because(DenyReason::SessionSuspended);
                obstacles(&denied).iter().map(section).collect()
            }
            NotIn::Nobody => "<p>You are not signed in on this device.</p>".to_owned(),
        };
        let providers = &self.snapshot.config().providers;
        let buttons: String = providers
            .iter()
            .map(|provider| {
                let label = format!("Sign in with {}", provider.label);
                words::button(&format!("/sign-in?provider={}", provider.spec.id), &label)
            })
            .collect();
        let buttons = if providers.is_empty() {
            "<p>This gateway has no identity provider: nobody can sign in. Tell those who run it.</p>"
                .to_owned()
        } else {
            format!("<div class=\"buttons\">{buttons}</div>")
        };
        let trust = if self.door.root().is_some() {
            "<p class=\"quiet\">Does your browser warn about internal pages? \
<a href=\"/certificate\">Trust your company’s certificates</a>.</p>"
        } else {
            ""
        };
        let open = if self.snapshot.config().session.required { String::new() } else { self.apps() };
        format!("{why}{buttons}{trust}{open}{}{}", self.refused(), self.elsewhere())
    }

    /// What can be opened now, and what could be.
    fn apps(&self) -> String {
        let mut rows = String::new();
        for app in &self.snapshot.config().apps {
            let Some(question) = self.question(app) else { continue };
            let row = match access::check(self.snapshot, &question, self.at) {
                Verdict::Allow(allowed) => Some(self.can_open(app, allowed.until)),
                Verdict::Deny(denied) => self.could_open(app, &denied),
            };
            rows.extend(row);
        }
        if rows.is_empty() {
            return "<p>No rule gives you access to an app. Ask your administrators.</p>".to_owned();
        }
        format!("<ul class=\"rows\">{rows}</ul>")
    }

    fn question(&self, app: &AppSpec) -> Option<Question> {
        let ask = match &app.kind {
            AppKind::Http(_) => Ask::Http {
                write: false,
                method: "GET".into(),
                host: app.hosts.first()?.as_str().into(),
                paths: ["/".to_owned()].into(),
            },
            AppKind::Tcp(tcp) => {
                let target = Target { host: tcp.target.clone(), port: *app.ports.first()? };
                Ask::Connect { proto: protocol::target::Proto::Tcp, target }
            }
            AppKind::Through(_) => return None,
        };
        let resource = ResourceId::App(app.facts.id.clone());
        Some(Question {
            device: self.visitor.device.clone(),
            source: self.visitor.source.ip(),
            resource,
            ask,
        })
    }

    fn can_open(&self, app: &AppSpec, until: Option<Timestamp>) -> String {
        let ends = self.snapshot.directory().session(&self.visitor.device).map(|session| session.expires);
        // That everything ends with the session is said once.
        let until = until.filter(|until| Some(*until) != ends);
        let until = until.map_or_else(String::new, |until| format!("until {}", words::until(until, self.at)));
        format!("<li>{}<small>{until}</small></li>", named(app, true))
    }

    /// Only what the person is a candidate for is named.
    fn could_open(&self, app: &AppSpec, denied: &Denied) -> Option<String> {
        let candidate = denied.reasons.iter().any(|reason| {
            matches!(reason, DenyReason::Policy(Reason::NotMet { .. } | Reason::Forbidden { .. }))
        });
        let helps = match &denied.way_in {
            Some(WayIn::StepUp(_)) => "opens after you have signed in once more",
            Some(WayIn::SignIn) => "opens after you have signed in",
            None if candidate => "not now",
            None => return None,
        };
        let why = obstacles(denied).into_iter().next().map(|obstacle| obstacle.text).unwrap_or_default();
        let leads = denied.way_in.is_some();
        Some(format!("<li>{}<small>{helps}: {}</small></li>", named(app, leads), escape(&why)))
    }

    fn refused(&self) -> String {
        let Some(refused) = self.door.0.parts.denials.last_of(&self.visitor.device) else {
            return String::new();
        };
        let sections: String = obstacles(&refused.denied).iter().map(section).collect();
        format!(
            "<h2>What was refused last</h2><p class=\"quiet\">{}, {}</p>{sections}",
            escape(&refused.to),
            words::clock(refused.at)
        )
    }

    fn open(&self) -> String {
        let mut rows = String::new();
        for open in self.door.0.parts.live.open_of(&self.visitor.device) {
            let until = match open.until {
                Some(until) => format!("until {}", words::until(until, self.at)),
                None => String::new(),
            };
            let place = escape(&place(self.snapshot, &open));
            let _ = write!(rows, "<li><span>{place}</span><small>{until}</small></li>");
        }
        if rows.is_empty() {
            return String::new();
        }
        format!("<h2>Open now</h2><ul class=\"rows\">{rows}</ul>")
    }

    /// The person's sessions on other devices.
    fn elsewhere(&self) -> String {
        let directory = self.snapshot.directory();
        let others = directory.owned(self.owner).filter(|device| **device != self.visitor.device);
        let rows: String = others
            .filter_map(|device| directory.session(device))
            .filter(|session| session.expires > self.at)
            .map(|session| self.other(session))
            .collect();
        if rows.is_empty() {
            return String::new();
        }
        format!("<h2>Signed in elsewhere</h2><ul class=\"rows\">{rows}</ul>")
    }

    fn other(&self, session: &Session) -> String {
        let device = escape(session.device.as_str());
        format!(
            "<li><span>{device}<br><small>since {}, until {}</small></span>\
<form method=\"post\" action=\"/sign-out\"><input type=\"hidden\" name=\"device\" value=\"{device}\">\
<button class=\"plain\">Sign out there</button></form></li>",
            words::clock(session.at),
            words::until(session.expires, self.at)
        )
    }
}

/// Its name, which leads there if there is a page.
fn named(app: &AppSpec, leads: bool) -> String {
    let host = app.hosts.first().map_or_else(|| app.facts.id.to_string(), Clone::clone);
    let AppKind::Http(http) = &app.kind else {
        let ports: Vec<String> = app.ports.iter().map(u16::to_string).collect();
        return format!("<span>{} <small>port {}</small></span>", escape(&host), ports.join(", "));
    };
    let (scheme, usual) = if http.tls { ("https", 443) } else { ("http", 80) };
    let port =
        app.ports.first().filter(|port| **port != usual).map_or_else(String::new, |port| format!(":{port}"));
    if leads {
        format!("<a href=\"{scheme}://{}{port}/\">{}</a>", escape(&host), escape(&host))
    } else {
        format!("<span>{}</span>", escape(&host))
    }
}
