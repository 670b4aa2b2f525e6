//! The sessions of people with this provider, found by the secret in their browser's cookie.
//! Always true: an expired session is not found; the session id in tokens is not the secret in the cookie.

use std::collections::{BTreeSet, HashMap};

use crate::ticket::ticket;

/// More than any test has; a full table refuses to sign in.
const MAX: usize = 16_384;

/// How somebody proved who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
pub enum Acr {
    /// With a password.
    Pwd,
    /// With a password and a one-time code.
    Mfa,
}

impl Acr {
    /// As it stands in tokens and in requests.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pwd => "pwd",
            Self::Mfa => "mfa",
        }
    }

    /// The means used (RFC 8176).
    pub fn amr(self) -> &'static [&'static str] {
        match self {
            Self::Pwd => &["pwd"],
            Self::Mfa => &["pwd", "otp"],
        }
    }
}

/// One person in one browser.
#[derive(Debug, Clone)]
pub struct Session {
    /// What clients know the session by.
    pub sid: String,
    /// Whose it is.
    pub sub: String,
    /// When the person last proved who they are.
    pub auth_time: u64,
    /// How.
    pub acr: Acr,
    /// What a form must carry to end this session.
    pub csrf: String,
    /// Where the person signed in to with it.
    pub clients: BTreeSet<String>,
    until: u64,
}

/// All sessions.
pub struct Sessions {
    by_secret: HashMap<String, Session>,
    lifetime: u64,
}

impl Sessions {
    /// None yet; each will hold for `lifetime` seconds.
    pub fn new(lifetime: u64) -> Self {
        Self { by_secret: HashMap::new(), lifetime }
    }

    /// The session of a browser with this cookie.
    pub fn get(&self, secret: &str, now: u64) -> Option<&Session> {
        self.by_secret.get(secret).filter(|session| now < session.until)
    }

    /// A person has just signed in; `before` is what their browser had, if that was theirs. Gives the new
    /// secret, unless there are too many sessions.
    pub fn begin(&mut self, sub: &str, acr: Acr, before: Option<Session>, now: u64) -> Option<String> {
        if self.by_secret.len() >= MAX {
            self.by_secret.retain(|_, session| now < session.until);
        }
        if self.by_secret.len() >= MAX {
            return None;
        }
        let (sid, clients) =
            before.map_or_else(|| (ticket(), BTreeSet::new()), |session| (session.sid, session.clients));
        let (secret, until) = (ticket(), now.saturating_add(self.lifetime));
        let (sub, csrf) = (sub.to_owned(), ticket());
        self.by_secret
            .insert(secret.clone(), Session { sid, sub, auth_time: now, acr, csrf, clients, until });
        Some(secret)
    }

    /// Remembers that the session's person signed in to `client`.
    pub fn used(&mut self, secret: &str, client: &str) {
        if let Some(session) = self.by_secret.get_mut(secret) {
            session.clients.insert(client.to_owned());
        }
    }

    /// Takes the session of this cookie out.
    pub fn take(&mut self, secret: &str) -> Option<Session> {
        self.by_secret.remove(secret)
    }

    /// Takes those out that are meant.
    pub fn take_all(&mut self, meant: impl Fn(&Session) -> bool) -> Vec<Session> {
        self.by_secret.extract_if(|_, session| meant(session)).map(|(_, session)| session).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_ends_by_itself() {
        let mut all = Sessions::new(60);
        let secret = all.begin("1", Acr::Pwd, None, 1000).unwrap();
        assert!(all.get(&secret, 1059).is_some() && all.get(&secret, 1060).is_none());
        assert_ne!(all.get(&secret, 1000).unwrap().sid, secret);
    }

    #[test]
    fn signing_in_again_keeps_the_session_and_changes_the_secret() {
        let mut all = Sessions::new(60);
        let first = all.begin("1", Acr::Pwd, None, 1000).unwrap();
        all.used(&first, "app");
        let before = all.take(&first).unwrap();
        let second = all.begin("1", Acr::Mfa, Some(before.clone()), 1010).unwrap();
        let now = all.get(&second, 1010).unwrap();
        assert!(now.sid == before.sid && now.clients.contains("app") && now.auth_time == 1010);
        assert!(all.get(&first, 1010).is_none());
    }

    #[test]
    fn a_full_table_forgets_what_is_over_and_else_refuses() {
        let mut all = Sessions::new(60);
        for _ in 0..MAX {
            all.begin("1", Acr::Pwd, None, 1000).unwrap();
        }
        assert_eq!(all.begin("1", Acr::Pwd, None, 1059), None);
        assert!(all.begin("1", Acr::Pwd, None, 1060).is_some());
    }
}
