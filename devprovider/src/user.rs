//! The people who can sign in, as the configuration lists them; their passwords are in plain text there.
//! Always true: who is disabled is not found.

use std::collections::HashSet;

use protocol::config::{Secret, Section};

use crate::ticket::same;

/// One person.
#[derive(Debug)]
pub struct User {
    /// What clients know the person by.
    pub sub: String,
    /// For people to read.
    pub name: String,
    /// Also what may be typed at the sign-in.
    pub email: String,
    /// Whether the address is said to be the person's.
    pub email_verified: bool,
    /// The groups the person is in.
    pub groups: Vec<String>,
    password: Secret<String>,
    otp: Option<Secret<String>>,
    disabled: bool,
}

impl User {
    fn walk(section: &mut Section<'_>) -> Option<Self> {
        let sub = section.text::<String>("sub");
        if sub.as_ref().is_some_and(|sub| sub.is_empty() || sub.len() > 255 || !sub.is_ascii()) {
            section.mistake("sub", "write 1 to 255 ASCII characters (OpenID Connect Core, 2)");
        }
        let (name, email) = (section.text("name"), section.text("email"));
        let password = section.text::<String>("password");
        let otp = section.optional_text::<String>("otp");
        for (key, value) in [("password", &password), ("otp", &otp)] {
            if value.as_ref().is_some_and(String::is_empty) {
                section.mistake(key, "cannot be empty: nobody could type it");
            }
        }
        let groups = section.texts_or_empty("groups");
        let (email_verified, disabled) =
            (section.flag_or("email_verified", true), section.flag_or("disabled", false));
        Some(Self {
            sub: sub?,
            name: name?,
            email: email?,
            email_verified,
            groups,
            password: Secret::new(password?),
            otp: otp.map(Secret::new),
            disabled,
        })
    }

    /// Whether `password` is this person's.
    pub fn knows(&self, password: &str) -> bool {
        same(password, self.password.expose())
    }

    /// Whether `code` is this person's one-time code; never, for who has none.
    pub fn has_code(&self, code: &str) -> bool {
        self.otp.as_ref().is_some_and(|otp| same(code, otp.expose()))
    }
}

/// Everybody.
#[derive(Debug)]
pub struct Users(Vec<User>);

impl Users {
    /// All `[[user]]`.
    pub(crate) fn walk(section: &mut Section<'_>) -> Self {
        let all = section.sections("user", User::walk);
        let mut names = HashSet::new();
        for user in &all {
            // One person may well have their address as their subject.
            let own = HashSet::from([user.sub.to_lowercase(), user.email.to_lowercase()]);
            for name in own {
                if names.contains(&name) {
                    section.mistake("user", format!("{name:?} stands for two people"));
                }
                names.insert(name);
            }
        }
        Self(all)
    }

    /// Who has this subject and is not disabled.
    pub fn active(&self, sub: &str) -> Option<&User> {
        self.0.iter().find(|user| user.sub == sub && !user.disabled)
    }

    /// Who signs in by this subject or e-mail address.
    pub fn named(&self, typed: &str) -> Option<&User> {
        let is = |user: &&User| user.sub == typed || user.email.eq_ignore_ascii_case(typed);
        self.0.iter().find(is).filter(|user| !user.disabled)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }
}
