//! The provider's one file: where it listens, who signs in, and to what.
//! It starts nothing.
//! Always true: an unknown key is a mistake, and all mistakes are told at once.

use std::{
    collections::HashSet,
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use protocol::config::{Mistakes, Secret, Section, read};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use url::Url;

use crate::{
    client::{Client, Clients},
    user::Users,
};

/// What the file says.
#[derive(Debug)]
pub struct Config {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Who we say we are.
    pub issuer: Issuer,
    /// How we prove it.
    pub tls: Arc<ServerConfig>,
    /// How clients prove themselves when they are told that a session has ended.
    pub client_tls: Option<Arc<ClientConfig>>,
    /// What opens the operator's endpoint; without one there is none.
    pub operator: Option<Secret<String>>,
    /// How long everything holds.
    pub lifetimes: Lifetimes,
    /// Where people sign in to.
    pub clients: Clients,
    /// Who signs in.
    pub users: Users,
}

/// How long everything holds, in seconds.
#[derive(Debug, Clone, Copy)]
pub struct Lifetimes {
    /// From the sign-in to the token endpoint.
    pub code: u64,
    /// An ID token.
    pub id_token: u64,
    /// An access token.
    pub access_token: u64,
    /// A refresh token that nobody uses.
    pub refresh_token: u64,
    /// A person's session with us.
    pub session: u64,
}

/// The issuer: an https origin without a slash at its end.
#[derive(Debug, Clone)]
pub struct Issuer(String);

impl Issuer {
    /// `https://…`, as it stands in tokens.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What stands in the Host header of requests to us.
    pub fn authority(&self) -> &str {
        self.0.trim_start_matches("https://")
    }
}

impl FromStr for Issuer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let origin = Url::parse(text).map_err(|error| error.to_string())?.origin().ascii_serialization();
        if !origin.starts_with("https://") {
            return Err("an issuer begins with https://".to_owned());
        }
        if origin == text { Ok(Self(origin)) } else { Err(format!("write it as {origin}")) }
    }
}

/// Why there is no configuration; the operator's to mend.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {0}: {1}")]
    File(PathBuf, io::Error),
    /// It has mistakes; all are listed.
    #[error(transparent)]
    Mistakes(#[from] Mistakes),
}

impl Config {
    /// Reads the file and those it names.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = fs::read_to_string(path).map_err(|error| ConfigError::File(path.to_owned(), error))?;
        Ok(Self::parse(path, &text)?)
    }

    /// Reads `text` as the file at `path` would be, and the files it names.
    pub fn parse(path: &Path, text: &str) -> Result<Self, Mistakes> {
        read(path, text, walk)
    }
}

fn walk(section: &mut Section<'_>) -> Option<Config> {
    let (listen, issuer) = (section.text("listen"), section.text("issuer"));
    let tls = walk_tls(section);
    let client_tls = walk_client_ca(section);
    let operator = section.optional_text::<String>("operator_secret");
    if operator.as_ref().is_some_and(String::is_empty) {
        section.mistake("operator_secret", "cannot be empty: leave it out, and nobody has that access");
    }
    let lifetimes = walk_lifetimes(section);
    let clients = section.sections("client", Client::walk);
    if clients.iter().any(|client| client.backchannel.is_some()) && !section.has("client_ca") {
        section.mistake(
            "client_ca",
            "name the PEM file that clients with backchannel_logout_uri are verified by",
        );
    }
    let mut ids = HashSet::new();
    for twice in clients.iter().filter(|client| !ids.insert(&client.id)) {
        section.mistake("client", format!("{:?} is there twice", twice.id));
    }
    let users = Users::walk(section);
    Some(Config {
        listen: listen?,
        issuer: issuer?,
        tls: tls?,
        client_tls,
        operator: operator.map(Secret::new),
        lifetimes,
        clients: Clients(clients),
        users,
    })
}

fn walk_lifetimes(section: &mut Section<'_>) -> Lifetimes {
    let hours = |n: u64| n * 3600;
    let mut all = Lifetimes {
        code: 60,
        id_token: hours(1),
        access_token: hours(1),
        refresh_token: hours(24 * 30),
        session: hours(12),
    };
    section.optional_section("lifetimes", |section| {
        let places = [
            ("code", &mut all.code),
            ("id_token", &mut all.id_token),
            ("access_token", &mut all.access_token),
            ("refresh_token", &mut all.refresh_token),
            ("session", &mut all.session),
        ];
        for (key, place) in places {
            *place = section.duration_or(key, Duration::from_secs(*place)).as_secs();
        }
        Some(())
    });
    all
}

fn walk_tls(section: &mut Section<'_>) -> Option<Arc<ServerConfig>> {
    let (certificate, key) = (section.path("certificate"), section.path("key"));
    let chain = certificate.and_then(|path| certificates(section, "certificate", &path));
    let key = key.and_then(|path| {
        let told = |error| section.mistake("key", format!("{}: {error}", path.display()));
        PrivateKeyDer::from_pem_file(&path).map_err(told).ok()
    });
    let mut tls = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring knows the default versions")
        .with_no_client_auth()
        .with_single_cert(chain?, key?)
        .map_err(|error| section.mistake("key", format!("does not go with the certificate: {error}")))
        .ok()?;
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    Some(Arc::new(tls))
}

fn walk_client_ca(section: &mut Section<'_>) -> Option<Arc<ClientConfig>> {
    let path = section.optional_path("client_ca")?;
    let mut roots = RootCertStore::empty();
    for root in certificates(section, "client_ca", &path)? {
        roots
            .add(root)
            .map_err(|error| section.mistake("client_ca", format!("{}: {error}", path.display())))
            .ok()?;
    }
    let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring knows the default versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Some(Arc::new(tls))
}

/// The certificates in a PEM file, at least one.
fn certificates(section: &mut Section<'_>, key: &str, path: &Path) -> Option<Vec<CertificateDer<'static>>> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let reason = match read {
        Ok(all) if !all.is_empty() => return Some(all),
        Ok(_) => "has no certificate".to_owned(),
        Err(error) => error.to_string(),
    };
    section.mistake(key, format!("{}: {reason}", path.display()));
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_is_an_https_origin() {
        let issuer: Issuer = "https://idp.example:8443".parse().unwrap();
        assert_eq!(issuer.authority(), "idp.example:8443");
        for bad in
            ["http://idp.example", "https://idp.example/", "https://idp.example:443", "https://idp.example/x"]
        {
            assert!(bad.parse::<Issuer>().is_err(), "{bad}");
        }
    }

    #[test]
    fn all_mistakes_are_told_at_once() {
        let text = "listen = \"x\"\nissuer = \"http://a\"\ncertificate = \"none.pem\"\nkey = \"none.key\"\nlisen = 1\n\
                    [lifetimes]\ncode = \"1\"\n\
                    [[client]]\nid = \"a\"\nsecret = \"s\"\nredirect_uris = [\"http://a/\"]\n\
                    [[client]]\nid = \"b\"\nsecret = \"\"\nredirect_uris = []\nbackchannel_logout_uri = \"https://b.example/out\"\n\
                    [[client]]\nid = \"b\"\nsecret = \"s\"\nredirect_uris = []\n\
                    [[user]]\nsub = \"1\"\nname = \"A\"\nemail = \"a@a.example\"\npassword = \"\"\n\
                    [[user]]\nsub = \"2\"\nname = \"B\"\nemail = \"A@a.example\"\npassword = \"p\"\n";
        let told = Config::parse(Path::new("/nowhere/p.toml"), text).unwrap_err().to_string();
        for part in [
            ": listen:",
            "begins with https",
            ": certificate: /nowhere/none.pem",
            ": key: /nowhere/none.key",
            "did you mean \"listen\"",
            "lifetimes.code",
            "client[0].redirect_uris[0]",
            "client[1].secret",
            "client: \"b\" is there twice",
            "client_ca: name the PEM file",
            "user[0].password",
            "\"a@a.example\" stands for two people",
        ] {
            assert!(told.contains(part), "{part} is missing in:\n{told}");
        }
    }
}
