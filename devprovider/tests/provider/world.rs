//! A running provider with certificates of its own, two clients and three people.

use std::{
    env, fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use devprovider::{Config, Running, certificate};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject},
};
use tokio::net::TcpListener;

/// A folder that goes away with its test.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = env::temp_dir().join(format!("doorward-provider-{}-{count}", std::process::id()));
        certificate::make(&["idp.example".to_owned(), "app.example".to_owned()], &path).unwrap();
        Self(path)
    }

    pub fn config(&self, text: &str) -> Config {
        Config::parse(&self.0.join("provider.toml"), text).unwrap_or_else(|mistakes| panic!("{mistakes}"))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

/// Trusts one authority.
pub fn trust(ca: &Path) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca).unwrap()).unwrap();
    let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(tls)
}

pub struct World {
    pub running: Running,
    pub folder: Folder,
    pub issuer: String,
    pub address: SocketAddr,
    pub tls: Arc<ClientConfig>,
}

impl World {
    pub async fn new() -> Self {
        Self::with_listener_of_app("127.0.0.1:9".parse().unwrap()).await
    }

    /// The client `app` is told there when a session ends.
    pub async fn with_listener_of_app(app: SocketAddr) -> Self {
        let folder = Folder::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let issuer = format!("https://idp.example:{}", address.port());
        let config = folder.config(&text(&address.to_string(), &issuer, app, false));
        let tls = trust(&folder.0.join("ca.pem"));
        Self { running: Running::start_at(listener, config), folder, issuer, address, tls }
    }

    /// Disables Ada.
    pub fn disable_ada(&self) {
        let text = text("127.0.0.1:0", &self.issuer, self.address, true);
        self.running.replace_users(self.folder.config(&text).users);
    }
}

/// provider.toml.
pub fn text(listen: &str, issuer: &str, app: SocketAddr, ada_disabled: bool) -> String {
    format!(
        r#"
listen = "{listen}"
issuer = "{issuer}"
certificate = "server.pem"
key = "server.key"
client_ca = "ca.pem"
operator_secret = "the operator's"

[[client]]
id = "app"
secret = "app: secret%"
redirect_uris = ["https://app.example/cb", "https://app.example/other?x=1"]
post_logout_redirect_uris = ["https://app.example/bye"]
backchannel_logout_uri = "https://app.example/signed-out?by=idp"
backchannel_dial = "{app}"

[[client]]
id = "wiki"
secret = "wiki secret"
redirect_uris = ["https://wiki.example/cb"]
refresh_tokens = false

[[user]]
sub = "u-1"
name = "Ada <Lovelace>"
email = "ada@corp.example"
password = "countess"
otp = "123456"
groups = ["engineers", "mathematicians"]
disabled = {ada_disabled}

[[user]]
sub = "u-2"
name = "Bob"
email = "bob@corp.example"
password = "builder"
email_verified = false

[[user]]
sub = "u-3"
name = "Eve"
email = "eve@corp.example"
password = "gone"
disabled = true
"#
    )
}
