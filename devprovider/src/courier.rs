//! Tells clients over https that a session has ended: one POST each, not repeated.
//! Always true: a client is verified by the configured authority before it is told anything; one that hangs
//! holds up nobody else for long.

use std::{io, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::Full;
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{net::TcpStream, sync::mpsc, task::JoinSet, time::timeout};
use tokio_rustls::TlsConnector;
use url::{Url, form_urlencoded};

use crate::client::Backchannel;

/// How many clients are told at the same time.
const AT_ONCE: usize = 16;
/// How long one may take.
const LIMIT: Duration = Duration::from_secs(5);

/// Something a client is to be told.
#[derive(Debug)]
pub struct Notice {
    /// Its id, for the log.
    pub client: String,
    /// Where.
    pub to: Backchannel,
    /// The logout token.
    pub token: String,
}

/// Why a client could not be told.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    /// No client_ca is configured.
    #[error("no client_ca is configured to verify it by")]
    NoAuthority,
    /// The address has no host.
    #[error("its address names no host")]
    Address,
    /// Nobody answers there.
    #[error("cannot be reached: {0}")]
    Reach(io::Error),
    /// Somebody else answers there, or its certificate is not of client_ca.
    #[error("is not who it should be: {0}")]
    Certificate(io::Error),
    /// It does not speak HTTP as it should.
    #[error("the exchange failed: {0}")]
    Http(#[from] hyper::Error),
    /// It does not want to know.
    #[error("answered {0}")]
    Refused(StatusCode),
    /// It takes too long.
    #[error("took too long")]
    Slow,
}

/// Delivers until the sender is gone.
pub async fn run(mut inbox: mpsc::Receiver<Notice>, tls: Option<Arc<ClientConfig>>) {
    let mut under_way = JoinSet::new();
    while let Some(notice) = inbox.recv().await {
        if under_way.len() >= AT_ONCE {
            under_way.join_next().await;
        }
        while under_way.try_join_next().is_some() {}
        under_way.spawn(tell(notice, tls.clone()));
    }
}

async fn tell(notice: Notice, tls: Option<Arc<ClientConfig>>) {
    let (client, uri) = (&notice.client, &notice.to.uri);
    let told = timeout(LIMIT, deliver(&notice, tls)).await.unwrap_or(Err(DeliveryError::Slow));
    match told {
        Ok(()) => tracing::info!(client, %uri, "told that a session has ended"),
        Err(error) => tracing::warn!(client, %uri, "not told that a session has ended: it {error}"),
    }
}

async fn deliver(notice: &Notice, tls: Option<Arc<ClientConfig>>) -> Result<(), DeliveryError> {
    let tls = TlsConnector::from(tls.ok_or(DeliveryError::NoAuthority)?);
    let url = notice.to.uri.url();
    let host = url.host_str().ok_or(DeliveryError::Address)?.trim_matches(['[', ']']).to_owned();
    let tcp = match notice.to.dial {
        Some(address) => TcpStream::connect(address).await,
        None => TcpStream::connect((host.as_str(), url.port_or_known_default().unwrap_or(443))).await,
    };
    let name = ServerName::try_from(host).map_err(|_| DeliveryError::Address)?;
    let stream =
        tls.connect(name, tcp.map_err(DeliveryError::Reach)?).await.map_err(DeliveryError::Certificate)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // Dropped, and the connection with it, when the answer is there or is given up.
    let mut driving = JoinSet::new();
    driving.spawn(connection);
    let answer = sender.send_request(post(url, &notice.token)).await?;
    if answer.status().is_success() { Ok(()) } else { Err(DeliveryError::Refused(answer.status())) }
}

fn post(url: &Url, token: &str) -> Request<Full<Bytes>> {
    let body = form_urlencoded::Serializer::new(String::new()).append_pair("logout_token", token).finish();
    let target = &url[url::Position::BeforePath..];
    Request::post(target)
        .header(header::HOST, &url[url::Position::BeforeHost..url::Position::AfterPort])
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Full::from(body))
        .expect("a URL has a path and a host")
}

#[cfg(test)]
mod tests {
    use std::{env, fs, path::Path};

    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;
    use crate::{certificate, config::Config};

    /// A server with a certificate of its own, and a notice for it.
    fn set_up(folder: &Path, ca: &str) -> Config {
        let text = format!(
            "listen = \"127.0.0.1:0\"\nissuer = \"https://idp.example\"\ncertificate = \"one/server.pem\"\n\
             key = \"one/server.key\"\nclient_ca = \"{ca}/ca.pem\"\n"
        );
        Config::parse(&folder.join("p.toml"), &text).unwrap()
    }

    #[tokio::test]
    async fn who_is_not_of_the_authority_is_told_nothing() {
        let folder = env::temp_dir().join(format!("doorward-courier-{}", std::process::id()));
        for name in ["one", "two"] {
            certificate::make(&["app.example".to_owned()], &folder.join(name)).unwrap();
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = Backchannel {
            uri: "https://app.example/out".parse().unwrap(),
            dial: Some(listener.local_addr().unwrap()),
        };
        let notice = Notice { client: "app".to_owned(), to, token: "t".to_owned() };
        let config = set_up(&folder, "two");
        let tls = TlsAcceptor::from(config.tls);
        let (told, heard) = tokio::join!(deliver(&notice, config.client_tls), async {
            tls.accept(listener.accept().await.unwrap().0).await.map(drop)
        });
        assert!(matches!(told, Err(DeliveryError::Certificate(_))), "{told:?}");
        assert!(heard.is_err());
        assert!(matches!(deliver(&notice, None).await, Err(DeliveryError::NoAuthority)));
        fs::remove_dir_all(folder).unwrap();
    }
}
