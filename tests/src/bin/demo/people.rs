//! The people of the demo's company, as its identity provider knows them.
//! It signs nobody in. Always true: what stands here opens nothing but this demo, which prints it all.

use crate::net::Net;

/// Somebody who signs in.
#[derive(Debug)]
pub struct Person {
    /// What the provider calls them; here they are `corp/<login>`.
    pub login: &'static str,
    /// For people to read.
    pub name: &'static str,
    /// Groups, by the provider's names.
    pub groups: &'static [&'static str],
    /// Their password.
    pub password: &'static str,
    /// Their one-time code; the development provider's never changes.
    pub code: &'static str,
}

/// Whose devices the tour uses.
pub const ADA: Person = Person {
    login: "ada",
    name: "Ada Lovelace",
    groups: &["engineering", "admins"],
    password: "engine",
    code: "314159",
};
/// Who watches, and comes in afterwards.
pub const GRACE: Person = Person {
    login: "grace",
    name: "Grace Hopper",
    groups: &["engineering", "admins"],
    password: "compiler",
    code: "271828",
};
/// All of them.
pub const EVERYBODY: [&Person; 2] = [&ADA, &GRACE];

impl Person {
    /// As the directory has it.
    pub fn email(&self) -> String {
        format!("{}@corp.example", self.login)
    }
}

/// `login/provider.toml`, for the development provider.
pub fn provider(net: &Net, secret: &str) -> String {
    let people: String = EVERYBODY.iter().map(|person| user(person)).collect();
    format!(
        r#"listen = "{}"
issuer = "https://login.corp.example"
certificate = "server.pem"
key = "server.key"

[[client]]
id = "doorward"
secret = "{secret}"
redirect_uris = ["https://door.corp.example/callback/corp"]
post_logout_redirect_uris = ["https://door.corp.example/signed-out"]
{people}"#,
        net.login
    )
}

fn user(person: &Person) -> String {
    let Person { login, name, groups, password, code } = person;
    format!(
        r#"
[[user]]
sub = "{login}"
name = "{name}"
email = "{}"
password = "{password}"
otp = "{code}"
groups = {groups:?}
"#,
        person.email()
    )
}
