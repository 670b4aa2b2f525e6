//! The applications that people sign in to, as the configuration lists them.
//! Always true: addresses are https and compared letter by letter.

use std::{fmt, net::SocketAddr, str::FromStr};

use protocol::config::{Secret, Section};
use url::Url;

use crate::ticket::same;

/// An https address that reads back exactly as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address(Url);

impl Address {
    /// Where it leads.
    pub fn url(&self) -> &Url {
        &self.0
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let url = Url::parse(text).map_err(|error| error.to_string())?;
        if url.scheme() != "https" || url.fragment().is_some() || url.username() != "" {
            return Err("write a whole https:// address without user and without #".to_owned());
        }
        if url.as_str() != text {
            return Err(format!("write it as {url}"));
        }
        Ok(Self(url))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where a client hears that a session has ended.
#[derive(Debug, Clone)]
pub struct Backchannel {
    /// What the client registered.
    pub uri: Address,
    /// Dialled instead of what the name in `uri` resolves to.
    pub dial: Option<SocketAddr>,
}

/// One application.
#[derive(Debug)]
pub struct Client {
    /// What it calls itself.
    pub id: String,
    secret: Secret<String>,
    /// Where people may be sent with a code.
    pub redirect_uris: Vec<Address>,
    /// Where people may be sent after signing out.
    pub post_logout_redirect_uris: Vec<Address>,
    /// Where to tell it that a session has ended.
    pub backchannel: Option<Backchannel>,
    /// Whether it gets refresh tokens.
    pub refresh: bool,
}

impl Client {
    /// One `[[client]]`.
    pub(crate) fn walk(section: &mut Section<'_>) -> Option<Self> {
        let (id, secret) = (section.text::<String>("id"), section.text::<String>("secret"));
        for (key, value) in [("id", &id), ("secret", &secret)] {
            if value.as_ref().is_some_and(|text| text.is_empty() || !text.is_ascii()) {
                section.mistake(key, "write 1 or more ASCII characters");
            }
        }
        let redirect_uris = section.texts("redirect_uris");
        let post_logout_redirect_uris = section.texts_or_empty("post_logout_redirect_uris");
        let (uri, dial) =
            (section.optional_text("backchannel_logout_uri"), section.optional_text("backchannel_dial"));
        let refresh = section.flag_or("refresh_tokens", true);
        Some(Self {
            id: id?,
            secret: Secret::new(secret?),
            redirect_uris: redirect_uris?,
            post_logout_redirect_uris,
            backchannel: uri.map(|uri| Backchannel { uri, dial }),
            refresh,
        })
    }

    /// Whether `secret` is this client's.
    pub fn proves(&self, secret: &str) -> bool {
        same(secret, self.secret.expose())
    }
}

/// All applications.
#[derive(Debug)]
pub struct Clients(pub(crate) Vec<Client>);

impl Clients {
    /// The client of this id.
    pub fn get(&self, id: &str) -> Option<&Client> {
        self.0.iter().find(|client| client.id == id)
    }
}

/// The registered address that is exactly `given`.
pub fn registered<'a>(all: &'a [Address], given: &str) -> Option<&'a Address> {
    all.iter().find(|address| address.url().as_str() == given)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_https_and_as_written() {
        assert!("https://a.example/cb?x=1".parse::<Address>().is_ok());
        for bad in [
            "http://a.example/",
            "https://a.example",
            "https://A.example/",
            "https://u@a.example/",
            "x",
            "https://a.example/#f",
        ] {
            assert!(bad.parse::<Address>().is_err(), "{bad}");
        }
    }

    #[test]
    fn nothing_but_the_registered_address_matches() {
        let all = ["https://a.example/cb".parse().unwrap()];
        assert!(registered(&all, "https://a.example/cb").is_some());
        for near in [
            "https://a.example/cb/",
            "https://a.example/cb?x",
            "https://a.example/CB",
            "https://a.example/x/../cb",
        ] {
            assert!(registered(&all, near).is_none(), "{near}");
        }
    }
}
