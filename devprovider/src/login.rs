//! Sign-ins under way, and the page where a person proves who they are.
//! Always true: a form counts only in the browser that began its sign-in, with the secret of its page, and
//! a few tries long.

use std::collections::HashMap;

use http::StatusCode;

use crate::{
    answer::{Answer, page, with_cookie},
    asked::Asked,
    authorize::Wish,
    page::{Login, login, message},
    provider::{BROWSER, Provider, SESSION},
    session::Acr,
    ticket::{same, ticket},
};

/// A full table refuses further sign-ins until some are over.
const MAX: usize = 4096;
/// How long somebody may look for their password, in seconds.
const PATIENCE: u64 = 600;
/// How often somebody may mistype before the application has to ask again.
const TRIES: u8 = 5;

/// A sign-in under way.
struct Pending {
    wish: Wish,
    browser: String,
    csrf: String,
    tries: u8,
    until: u64,
}

/// All sign-ins under way.
#[derive(Default)]
pub struct Logins(HashMap<String, Pending>);

impl Logins {
    /// Begins one in a browser, unless there are too many; gives its name in our addresses.
    pub fn begin(&mut self, wish: Wish, browser: String, now: u64) -> Option<String> {
        if self.0.len() >= MAX {
            self.0.retain(|_, pending| now < pending.until);
        }
        if self.0.len() >= MAX {
            return None;
        }
        let (name, csrf, until) = (ticket(), ticket(), now.saturating_add(PATIENCE));
        self.0.insert(name.clone(), Pending { wish, browser, csrf, tries: 0, until });
        Some(name)
    }

    /// The sign-in that this browser began.
    fn of(&mut self, asked: &Asked<'_>) -> Option<(String, &mut Pending)> {
        let (name, browser) = (asked.form.get("request")?, asked.cookie(BROWSER)?);
        let pending = self.0.get_mut(name)?;
        let valid = asked.now < pending.until && same(browser, &pending.browser);
        valid.then(|| (name.to_owned(), pending))
    }
}

impl Provider {
    /// The sign-in page.
    pub fn login_page(&mut self, asked: &Asked<'_>) -> Answer {
        let Some((name, pending)) = self.logins.of(asked) else { return over() };
        let user = pending.wish.hint.clone().unwrap_or_default();
        show(&name, pending, &user, None)
    }

    /// The form of the sign-in page.
    pub fn login(&mut self, asked: &Asked<'_>) -> Answer {
        if asked.is_foreign(self.config.issuer.as_str()) {
            return over();
        }
        let Some((name, pending)) = self.logins.of(asked) else { return over() };
        let field = |name| asked.form.get(name).unwrap_or_default();
        if !same(field("csrf"), &pending.csrf) {
            return over();
        }
        let user = self.config.users.named(field("user")).filter(|user| user.knows(field("password")));
        let acr = pending.wish.acr;
        match user.filter(|user| acr == Acr::Pwd || user.has_code(field("otp"))) {
            Some(user) => {
                let (sub, wish) = (user.sub.clone(), pending.wish.clone());
                self.logins.0.remove(&name);
                self.welcome(&sub, &wish, asked)
            }
            None => {
                pending.tries += 1;
                tracing::info!(client = pending.wish.client, tries = pending.tries, "sign-in mistyped");
                if pending.tries < TRIES {
                    let mistake = match acr {
                        Acr::Pwd => "That is not a person and password known here.",
                        Acr::Mfa => "That is not a person, password and one-time code known here.",
                    };
                    return show(&name, pending, field("user"), Some(mistake));
                }
                self.logins.0.remove(&name);
                over()
            }
        }
    }

    /// Begins the session of who has just signed in, or goes on with it.
    fn welcome(&mut self, sub: &str, wish: &Wish, asked: &Asked<'_>) -> Answer {
        let before = asked.cookie(SESSION).and_then(|secret| self.sessions.take(secret));
        let own = match before {
            Some(session) if session.sub == sub => Some(session),
            Some(another) => {
                self.tell_ended(another, asked.now);
                None
            }
            None => None,
        };
        let Some(secret) = self.sessions.begin(sub, wish.acr, own, asked.now) else {
            let told = "Too many people are signed in. Try again later.";
            return page(StatusCode::SERVICE_UNAVAILABLE, message("Not now", told));
        };
        let session = self.sessions.get(&secret, asked.now).cloned().expect("it has just begun");
        with_cookie(self.give_code(wish, &secret, &session, asked.now), SESSION, &secret)
    }
}

fn show(name: &str, pending: &Pending, user: &str, mistake: Option<&str>) -> Answer {
    let status = if mistake.is_some() { StatusCode::FORBIDDEN } else { StatusCode::OK };
    let otp = pending.wish.acr == Acr::Mfa;
    let client = &pending.wish.client;
    page(status, login(&Login { request: name, csrf: &pending.csrf, client, user, otp, mistake }))
}

fn over() -> Answer {
    let told = "It has expired, was completed, failed too often, or began in another browser. \
                Begin again at the application that you want to use.";
    page(StatusCode::FORBIDDEN, message("This sign-in is over", told))
}
