//! The portal's first page: who I am here, what I can open, what is open, why the last thing was refused.
//! Always true: an app of which the person is no candidate is not named; nothing here changes anything.

use std::collections::BTreeMap;

use axum::{Extension, extract::State, response::Response};
use control::object::Session;
use policy::decision::Reason;
use protocol::{id::UserId, target::Target, time::Timestamp};

use super::{Door, Visitor, html, standing::place, way_in, words};
use crate::{
    access::{self, Ask, Denied, DenyReason, NotIn, Question, ResourceId, Verdict, WayIn},
    admin::now,
    config::{AppKind, AppSpec, Provider},
    http::{obstacles, section},
    page::{card, document, escape, header},
    snapshot::Snapshot,
    when,
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
    let company = snapshot.config().dns.zones.first().map_or("Doorward", String::as_str);
    let head = header(company, device.name.as_str());
    html(match session {
        Ok(_) => document("Your apps", &head, &here.signed_in()),
        Err(why) => card("Sign in", &head, &here.sign_in(why), &here.signed_out()),
    })
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
    fn signed_in(&self) -> String {
        let session = self.snapshot.directory().session(&self.visitor.device);
        let who = session.map_or_else(String::new, |session| self.who(session));
        let (apps, refused, open, elsewhere) = (self.apps(), self.refused(), self.open(), self.elsewhere());
        format!("{who}{apps}{refused}{open}{elsewhere}")
    }

    fn who(&self, session: &Session) -> String {
        let person = self.snapshot.user(&session.user);
        let name = person.and_then(|person| person.name.clone()).unwrap_or_else(|| session.user.to_string());
        let mail = person.and_then(|person| person.facts.email.clone());
        let mail =
            mail.map_or_else(String::new, |mail| format!(" <span class=\"quiet\">{}</span>", escape(&mail)));
        let (until, left) =
            (when::marked(session.expires, self.at), when::long(self.at.until(session.expires)));
        format!(
            "<div class=\"who\"><div><h1>Your apps</h1><p><strong>{}</strong>{mail}</p>\
<p class=\"quiet\">Signed in until {until}, another {left}</p></div>\
<form method=\"post\" action=\"/sign-out\"><button class=\"plain\">Sign out</button></form></div>",
            escape(&name),
        )
    }

    /// Why nobody is signed in, and what leads in.
    fn sign_in(&self, why: NotIn) -> String {
        let why = match why {
            NotIn::Over => "<p>Your session on this device is over.</p>".to_owned(),
            NotIn::Suspended => {
                let denied = Denied::because(DenyReason::SessionSuspended);
                obstacles(&denied).iter().map(section).collect()
            }
            NotIn::Nobody => "<p>You are not signed in on this device.</p>".to_owned(),
        };
        let providers = &self.snapshot.config().providers;
        if providers.is_empty() {
            return format!(
                "{why}<p>This gateway has no identity provider: nobody can sign in. Tell those who run it.</p>"
            );
        }
        let button = |provider: &Provider| {
            let label = format!("Sign in with {}", provider.label);
            words::button(&format!("/sign-in?provider={}", provider.spec.id), &label)
        };
        let buttons: String = providers.iter().map(button).collect();
        format!("{why}<div class=\"buttons\">{buttons}</div>{}", self.trust())
    }

    fn trust(&self) -> &'static str {
        if self.door.root().is_none() {
            return "";
        }
        "<p class=\"quiet\">Does your browser warn about your company’s pages? \
<a href=\"/certificate\">Install its certificate</a>.</p>"
    }

    /// What there is to say to who has not signed in.
    fn signed_out(&self) -> String {
        let required = self.snapshot.config().session.required;
        let apps = if required { String::new() } else { format!("<h2>Your apps</h2>{}", self.apps()) };
        format!("{apps}{}{}", self.refused(), self.elsewhere())
    }

    /// What can be opened now, and what could be.
    fn apps(&self) -> String {
        let (mut now, mut later) = (String::new(), String::new());
        for app in &self.snapshot.config().apps {
            let Some(question) = self.question(app) else { continue };
            match access::check(self.snapshot, &question, self.at) {
                Verdict::Allow(allowed) => now.push_str(&self.can_open(app, allowed.until)),
                Verdict::Deny(denied) => later.extend(could_open(app, &denied)),
            }
        }
        if now.is_empty() && later.is_empty() {
            return "<div class=\"card\"><p>There is no app for you yet.</p>\
<p class=\"quiet\">If you expected one, ask your administrators for access.</p></div>"
                .to_owned();
        }
        format!("<ul class=\"rows\">{now}{later}</ul>")
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
        row(&named(app, true), &self.until(until))
    }

    /// That everything ends with the session is said once, elsewhere.
    fn until(&self, until: Option<Timestamp>) -> String {
        let ends = self.snapshot.directory().session(&self.visitor.device).map(|session| session.expires);
        let until = until.filter(|until| Some(*until) != ends);
        until.map_or_else(String::new, |until| {
            format!("<small>until {}</small>", when::marked(until, self.at))
        })
    }

    fn refused(&self) -> String {
        let Some(refused) = self.door.0.parts.denials.last_of(&self.visitor.device) else {
            return String::new();
        };
        let sections: String = obstacles(&refused.denied).iter().map(section).collect();
        format!(
            "<h2>What was refused last</h2><div class=\"card\"><p><strong>{}</strong> \
<span class=\"quiet\">{}</span></p>{sections}</div>",
            // What was asked for matters where it is not just a page.
            escape(refused.to.strip_prefix("GET ").unwrap_or(&refused.to)),
            when::ago(refused.at, self.at)
        )
    }

    /// Each place once, however many connections lead there.
    fn open(&self) -> String {
        let mut places: BTreeMap<String, (usize, Option<Timestamp>)> = BTreeMap::new();
        for open in self.door.0.parts.live.open_of(&self.visitor.device) {
            let (count, until) = places.entry(place(self.snapshot, &open)).or_default();
            *count += 1;
            *until = (*until).into_iter().chain(open.until).min();
        }
        if places.is_empty() {
            return String::new();
        }
        let shown = |(place, (count, until)): (&String, &(usize, Option<Timestamp>))| {
            let times =
                if *count > 1 { format!("<small>{count} connections</small>") } else { String::new() };
            row(&format!("<span>{}{times}</span>", escape(place)), &self.until(*until))
        };
        let rows: String = places.iter().map(shown).collect();
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
        format!(
            "<h2>Signed in elsewhere</h2><ul class=\"rows\">{rows}</ul><div class=\"buttons\">\
<form method=\"post\" action=\"/sign-out\"><input type=\"hidden\" name=\"everywhere\" value=\"1\">\
<button class=\"plain\">Sign out everywhere</button></form></div>"
        )
    }

    fn other(&self, session: &Session) -> String {
        let device = escape(session.device.as_str());
        let (since, until) = (when::ago(session.at, self.at), when::marked(session.expires, self.at));
        row(
            &format!("<span>{device}<small>signed in {since}, until {until}</small></span>"),
            &format!(
                "<form method=\"post\" action=\"/sign-out\">\
<input type=\"hidden\" name=\"device\" value=\"{device}\">\
<button class=\"plain\" aria-label=\"Sign out on {device}\">Sign out</button></form>"
            ),
        )
    }
}

/// Of a list: what it is about, and what there is to say or do.
fn row(about: &str, more: &str) -> String {
    format!("<li>{about}{more}</li>")
}

/// Only what the person is a candidate for is named.
fn could_open(app: &AppSpec, denied: &Denied) -> Option<String> {
    let candidate = denied
        .reasons
        .iter()
        .any(|reason| matches!(reason, DenyReason::Policy(Reason::NotMet { .. } | Reason::Forbidden { .. })));
    // What has no page of its own leads to the provider from here.
    let has_page = matches!(app.kind, AppKind::Http(_));
    let leads = |words: &str, way: &WayIn| {
        let address = way_in(way, String::new()).address("");
        if has_page { words.to_owned() } else { format!("<a href=\"{}\">{words}</a>", escape(&address)) }
    };
    let helps = match &denied.way_in {
        Some(way @ WayIn::StepUp(_)) => leads("sign in once more", way),
        Some(way @ WayIn::SignIn) => leads("sign in first", way),
        None if candidate => "closed now".to_owned(),
        None => return None,
    };
    let why = obstacles(denied).into_iter().next().map(|obstacle| obstacle.text).unwrap_or_default();
    let name = format!("<span>{}<small>{}</small></span>", named(app, denied.way_in.is_some()), escape(&why));
    Some(row(&name, &format!("<small>{helps}</small>")))
}

/// Its name, which leads there if there is a page.
fn named(app: &AppSpec, leads: bool) -> String {
    let host = app.hosts.first().map_or_else(|| app.facts.id.to_string(), Clone::clone);
    let AppKind::Http(http) = &app.kind else {
        let ports: Vec<String> = app.ports.iter().map(u16::to_string).collect();
        let word = if ports.len() == 1 { "port" } else { "ports" };
        return format!("<span>{}<small>{word} {}</small></span>", escape(&host), ports.join(", "));
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
