//! The authorization endpoint: what a client wishes, and the code it gets for it.
//! Always true: an unknown client or address gets a page, never a redirect; without S256, state and nonce
//! there is no code.

use http::StatusCode;
use url::Url;

use crate::{
    answer::{Answer, page, see_other, with_cookie},
    asked::Asked,
    client::{Clients, registered},
    form::Form,
    grant::Terms,
    page::message,
    provider::{BROWSER, Provider, SCOPES, SESSION},
    session::{Acr, Session},
    ticket::{is_ticket, ticket},
};

/// What the client says about asking the person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prompt {
    /// Only if needed.
    IfNeeded,
    /// Never.
    None,
    /// Always.
    Login,
}

/// One valid authorization request.
#[derive(Debug, Clone)]
pub struct Wish {
    /// Who asks.
    pub client: String,
    /// What the person may type, said by the client.
    pub hint: Option<String>,
    /// What the sign-in must be at least.
    pub acr: Acr,
    back: Back,
    scope: String,
    nonce: String,
    challenge: String,
    prompt: Prompt,
    max_age: Option<u64>,
}

/// Where the answer goes.
#[derive(Debug, Clone)]
struct Back {
    uri: Url,
    state: Option<String>,
}

/// Why there is no wish; the client's fault.
enum Refused {
    /// Nobody may be sent back.
    Page(&'static str),
    /// The client is told.
    Back(Box<Back>, Fault),
}

/// An error code of RFC 6749 or OpenID Connect Core, and what the developer reads.
type Fault = (&'static str, &'static str);

impl Wish {
    fn read(form: &Form, clients: &Clients) -> Result<Self, Refused> {
        let client = form.get("client_id").and_then(|id| clients.get(id));
        let client = client.ok_or(Refused::Page("The application that sent you here is not known here."))?;
        let uri = form.get("redirect_uri").and_then(|uri| registered(&client.redirect_uris, uri));
        let uri = uri.ok_or(Refused::Page(
            "The application that sent you here wants the answer at an address that is not registered for it.",
        ))?;
        let back = Back { uri: uri.url().clone(), state: form.get("state").map(str::to_owned) };
        Self::rest(form, &client.id, back.clone()).map_err(|fault| Refused::Back(Box::new(back), fault))
    }

    fn rest(form: &Form, client: &str, back: Back) -> Result<Self, Fault> {
        let invalid = |why| ("invalid_request", why);
        let refuse = |name, fault: Fault| if form.get(name).is_some() { Err(fault) } else { Ok(()) };
        refuse("request", ("request_not_supported", "send plain parameters"))?;
        refuse("request_uri", ("request_uri_not_supported", "send plain parameters"))?;
        match form.get("response_type") {
            Some("code") => {}
            Some(_) => return Err(("unsupported_response_type", "only code")),
            None => return Err(invalid("response_type is missing")),
        }
        if form.get("response_mode").is_some_and(|mode| mode != "query") {
            return Err(invalid("response_mode can only be query"));
        }
        back.state.as_ref().ok_or(invalid("state is missing"))?;
        let nonce = form.get("nonce").ok_or(invalid("nonce is missing"))?.to_owned();
        let max_age =
            form.get("max_age").map(|age| age.parse().map_err(|_| invalid("max_age is in seconds")));
        let prompt = match form.get("prompt") {
            None => Prompt::IfNeeded,
            Some("none") => Prompt::None,
            Some("login") => Prompt::Login,
            Some(_) => return Err(invalid("prompt can only be none or login")),
        };
        let wants_mfa = form.get("acr_values").is_some_and(|all| all.split(' ').any(|acr| acr == "mfa"));
        Ok(Self {
            client: client.to_owned(),
            hint: form.get("login_hint").map(str::to_owned),
            acr: if wants_mfa { Acr::Mfa } else { Acr::Pwd },
            back,
            scope: scope(form)?.to_owned(),
            nonce,
            challenge: challenge(form)?.to_owned(),
            prompt,
            max_age: max_age.transpose()?,
        })
    }
}

/// RFC 7636, 4.3.
fn challenge(form: &Form) -> Result<&str, Fault> {
    if form.get("code_challenge_method") != Some("S256") {
        return Err(("invalid_request", "code_challenge_method must be S256"));
    }
    let challenge = form.get("code_challenge").filter(|text| is_ticket(text));
    challenge.ok_or(("invalid_request", "code_challenge must be 43 letters of base64url"))
}

fn scope(form: &Form) -> Result<&str, Fault> {
    let scope = form.get("scope").unwrap_or_default();
    if scope.split(' ').any(|word| !SCOPES.contains(&word)) {
        return Err(("invalid_scope", "an unknown scope: see scopes_supported"));
    }
    let openid = scope.split(' ').any(|word| word == "openid");
    if openid { Ok(scope) } else { Err(("invalid_scope", "openid is missing")) }
}

impl Provider {
    /// The authorization endpoint.
    pub fn authorize(&mut self, asked: &Asked<'_>) -> Answer {
        let wish = match Wish::read(&asked.form, &self.config.clients) {
            Ok(wish) => wish,
            Err(Refused::Page(text)) => {
                return page(StatusCode::BAD_REQUEST, message("You cannot sign in from there", text));
            }
            Err(Refused::Back(back, fault)) => return self.fail(&back, fault),
        };
        if let Some((secret, session)) = self.session_for(&wish, asked) {
            return self.give_code(&wish, &secret, &session, asked.now);
        }
        if wish.prompt == Prompt::None {
            return self.fail(&wish.back, ("login_required", "nobody is signed in as this request needs it"));
        }
        let browser = asked.cookie(BROWSER).map_or_else(ticket, str::to_owned);
        let back = wish.back.clone();
        match self.logins.begin(wish, browser.clone(), asked.now) {
            Some(request) => with_cookie(see_other(&format!("/login?request={request}")), BROWSER, &browser),
            None => self.fail(&back, ("temporarily_unavailable", "too many sign-ins are under way")),
        }
    }

    /// Sends the browser back with a code.
    pub fn give_code(&mut self, wish: &Wish, secret: &str, session: &Session, now: u64) -> Answer {
        let terms = Terms {
            client: wish.client.clone(),
            redirect_uri: wish.back.uri.to_string(),
            challenge: wish.challenge.clone(),
            nonce: wish.nonce.clone(),
            scope: wish.scope.clone(),
            sub: session.sub.clone(),
            sid: session.sid.clone(),
            auth_time: session.auth_time,
            acr: session.acr,
        };
        let until = now.saturating_add(self.config.lifetimes.code);
        let Some(code) = self.grants.begin(terms, until, now) else {
            return self.fail(&wish.back, ("temporarily_unavailable", "too many people are signed in"));
        };
        self.sessions.used(secret, &wish.client);
        tracing::info!(client = wish.client, sub = session.sub, acr = session.acr.as_str(), "signed in");
        self.send_back(&wish.back, &[("code", &code)])
    }

    /// The browser's session, if it is as the request wants it.
    fn session_for(&self, wish: &Wish, asked: &Asked<'_>) -> Option<(String, Session)> {
        let secret = asked.cookie(SESSION)?;
        let session = self.sessions.get(secret, asked.now)?;
        let age = asked.now.saturating_sub(session.auth_time);
        let fits = wish.prompt != Prompt::Login
            && wish.max_age.is_none_or(|max| age < max)
            && session.acr >= wish.acr
            && self.config.users.active(&session.sub).is_some();
        fits.then(|| (secret.to_owned(), session.clone()))
    }

    fn fail(&self, back: &Back, (error, why): Fault) -> Answer {
        tracing::info!(error, why, to = %back.uri, "authorization refused");
        self.send_back(back, &[("error", error), ("error_description", why)])
    }

    /// With `iss` (RFC 9207), so that a client of several providers knows whose answer it is.
    fn send_back(&self, back: &Back, with: &[(&str, &str)]) -> Answer {
        let mut uri = back.uri.clone();
        let state = back.state.as_deref().map(|state| ("state", state));
        uri.query_pairs_mut()
            .extend_pairs(with)
            .extend_pairs(state)
            .append_pair("iss", self.config.issuer.as_str());
        see_other(uri.as_str())
    }
}
