//! Signing out: by the person, by a client that sends them (OpenID Connect RP-Initiated Logout), by the operator.
//! Clients that want to know are told (Back-Channel Logout); delivery is the courier's.
//! Always true: nobody is sent on to an address that is not registered; nobody signs a person out unasked
//! but a client, the operator, or the person on our own page.

use http::StatusCode;
use serde_json::{Value, json};
use url::Url;

use crate::{
    answer::{Answer, json, page, see_other, with_cookie},
    asked::Asked,
    client::registered,
    courier::Notice,
    page::{confirm, message},
    provider::{Provider, SESSION},
    session::Session,
    ticket::{same, ticket},
    token::Kind,
};

/// How long a client may take to read that a session has ended, in seconds.
const LOGOUT_TOKEN: u64 = 120;

/// What a client said when it sent a person here.
struct Sender {
    /// The session it means, by an ID token of ours.
    sid: Option<String>,
    /// Where it wants them afterwards.
    to: Option<Url>,
    known: bool,
}

impl Provider {
    /// The end-session endpoint.
    pub fn logout(&mut self, asked: &Asked<'_>) -> Answer {
        let sender = match self.sender(asked) {
            Ok(sender) => sender,
            Err(why) => return page(StatusCode::BAD_REQUEST, message("Not signed out", why)),
        };
        let secret = asked.cookie(SESSION);
        let own = secret.and_then(|secret| self.sessions.get(secret, asked.now)).cloned();
        if let (Some(session), false) = (&own, sender.known) {
            let confirmed = asked.form.get("confirm").is_some_and(|csrf| same(csrf, &session.csrf));
            if !confirmed || asked.is_foreign(self.config.issuer.as_str()) {
                let user = self.config.users.active(&session.sub).map_or(&session.sub, |user| &user.email);
                return page(StatusCode::OK, confirm(&session.csrf, user));
            }
        }
        let meant = sender.sid.or_else(|| own.as_ref().map(|session| session.sid.clone()));
        if let Some(sid) = &meant {
            self.end(|session| session.sid == *sid, asked.now);
        }
        let answer = match &sender.to {
            Some(to) => see_other(to.as_str()),
            None => page(StatusCode::OK, message("You are signed out", "You can close this page.")),
        };
        let gone = own.is_none_or(|own| meant.is_some_and(|sid| sid == own.sid));
        if gone && secret.is_some() { with_cookie(answer, SESSION, "") } else { answer }
    }

    fn sender(&self, asked: &Asked<'_>) -> Result<Sender, &'static str> {
        // Of another run of ours, or none of ours: then it says nothing.
        let hint = asked.form.get("id_token_hint").and_then(|token| self.key.verify(Kind::Id, token));
        let said = |name| hint.as_ref().and_then(|claims| claims.get(name)).and_then(Value::as_str);
        let id = match (said("aud"), asked.form.get("client_id")) {
            (Some(a), Some(b)) if a != b => return Err("The application sent another application's token."),
            (Some(id), _) | (None, Some(id)) => Some(id),
            (None, None) => None,
        };
        let client = id.and_then(|id| self.config.clients.get(id));
        if id.is_some() && client.is_none() {
            return Err("The application that sent you here is not known here.");
        }
        let to = match asked.form.get("post_logout_redirect_uri") {
            Some(uri) => {
                let all = client.map_or(&[][..], |client| &client.post_logout_redirect_uris);
                let address = registered(all, uri).ok_or(
                    "The application wants you to go on to an address that is not registered for it.",
                )?;
                let mut to = address.url().clone();
                if let Some(state) = asked.form.get("state") {
                    to.query_pairs_mut().append_pair("state", state);
                }
                Some(to)
            }
            None => None,
        };
        Ok(Sender { sid: said("sid").map(str::to_owned), to, known: client.is_some() })
    }

    /// The operator's endpoint: ends the sessions of `sub`, or the one called `sid`.
    pub fn operator_sign_out(&mut self, asked: &Asked<'_>) -> Answer {
        let secret = self.config.operator.as_ref();
        if !secret.zip(asked.bearer()).is_some_and(|(secret, given)| same(given, secret.expose())) {
            return json(StatusCode::UNAUTHORIZED, &json!({ "error": "the operator_secret is needed" }));
        }
        let ended = match (asked.form.get("sub"), asked.form.get("sid")) {
            (Some(sub), None) => self.end(|session| session.sub == sub, asked.now),
            (None, Some(sid)) => self.end(|session| session.sid == sid, asked.now),
            (Some(_), Some(_)) | (None, None) => {
                return json(StatusCode::BAD_REQUEST, &json!({ "error": "send sub or sid" }));
            }
        };
        json(StatusCode::OK, &json!({ "ended": ended }))
    }

    fn end(&mut self, meant: impl Fn(&Session) -> bool, now: u64) -> usize {
        let ended = self.sessions.take_all(meant);
        let count = ended.len();
        for session in ended {
            self.tell_ended(session, now);
        }
        count
    }

    /// Ends what a session gave, and has every client told that it signed in to.
    pub fn tell_ended(&mut self, session: Session, now: u64) {
        self.grants.end_session(&session.sid);
        tracing::info!(sub = session.sub, clients = session.clients.len(), "signed out");
        for client in session.clients.iter().filter_map(|id| self.config.clients.get(id)) {
            let Some(to) = client.backchannel.clone() else { continue };
            let claims = json!({
                "iss": self.config.issuer.as_str(), "aud": client.id, "iat": now, "exp": now + LOGOUT_TOKEN,
                "jti": ticket(), "sub": session.sub, "sid": session.sid,
                "events": { "http://schemas.openid.net/event/backchannel-logout": {} },
            });
            let token = self.key.sign(Kind::Logout, &claims);
            self.notices.push(Notice { client: client.id.clone(), to, token });
        }
    }
}
