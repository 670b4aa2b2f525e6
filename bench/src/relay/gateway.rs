//! The gateway's end without the packet core: accepts TCP connections and relays each to the target
//! itself, or over the link of a connector. It decides nothing and pins nobody.

use std::{fs, net::SocketAddr, path::Path, sync::Arc};

use anyhow::{Context, Result, bail};
use connector::{
    key::LinkKey,
    quic,
    relay::{self, Stalls, Traffic},
    wire::{self, FlowStream, FrameReader},
};
use protocol::{
    link::{ALPN, Frame, Hello, Open, Outcome},
    target::{Host, Proto, Target},
};
use quinn::{Connection, Endpoint, EndpointConfig, ServerConfig, crypto::rustls::QuicServerConfig};
use tokio::net::{TcpListener, TcpStream};

use super::Role;

/// Links of one connector.
const LINKS: usize = 2;

/// Serves until the process ends.
#[tokio::main]
pub async fn serve(role: Role) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let endpoint = role.link.as_deref().map(listen).transpose()?;
    println!("{}", listener.local_addr()?);
    let links = match (endpoint, role.link) {
        (Some(endpoint), Some(files)) => links(&endpoint, &files).await?,
        _ => Vec::new(),
    };
    for flow in 0.. {
        let (client, _) = listener.accept().await?;
        client.set_nodelay(true)?;
        let link = links.get(flow % LINKS).map(|(link, _)| link.clone());
        tokio::spawn(async move {
            if let Err(error) = carry(client, link, role.target).await {
                eprintln!("bench: {error:#}");
            }
        });
    }
    Ok(())
}

async fn carry(mut client: TcpStream, link: Option<Connection>, target: SocketAddr) -> Result<()> {
    let traffic = Traffic::default();
    // A reset of either side is how a measurement ends.
    match link {
        Some(link) => {
            let mut stream = open(&link, target).await?;
            // None of a measurement's flows stands still for long.
            let places = Stalls::new(1).of(&());
            let _ = relay::link(&mut client, &mut stream, &traffic, &places).await;
        }
        None => {
            let mut stream = TcpStream::connect(target).await?;
            stream.set_nodelay(true)?;
            let _ = relay::tcp(&mut client, &mut stream, &traffic).await;
        }
    }
    Ok(())
}

async fn open(link: &Connection, target: SocketAddr) -> Result<FlowStream> {
    let mut stream = FlowStream::new(link.open_bi().await?);
    let target = Target { host: Host::Ip(target.ip()), port: target.port() };
    wire::write(&mut stream.send, &Frame::Open(Open { flow: 1, proto: Proto::Tcp, target })).await?;
    let mut frames = FrameReader::default();
    for expected in [Frame::Accepted, Frame::Outcome(Outcome::Connected)] {
        let frame = frames.next(&mut stream.recv).await?;
        if frame != expected {
            bail!("the connector answers {frame:?}");
        }
    }
    Ok(stream)
}

fn listen(files: &Path) -> Result<Endpoint> {
    let key = LinkKey::create(&files.join("gateway.key"))?;
    let (certificate, private) = key.certified();
    let mut tls = rustls::ServerConfig::builder_with_provider(quic::provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], private)?;
    tls.alpn_protocols = vec![ALPN.to_vec()];
    let mut config = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls)?));
    config.transport_config(quic::transport(1, "127.0.0.1:1".parse()?));
    let socket = std::net::UdpSocket::bind("127.0.0.1:0")?;
    quic::widen(&socket);
    fs::write(files.join("address"), socket.local_addr()?.to_string())?;
    fs::write(files.join("pin"), key.pin().to_string())?;
    let mut endpoint = EndpointConfig::default();
    quic::take_long_datagrams(&mut endpoint);
    Ok(Endpoint::new(endpoint, Some(config), socket, Arc::new(quinn::TokioRuntime))?)
}

/// Greets the connector on all its links; each lives as long as its control stream is kept.
async fn links(endpoint: &Endpoint, files: &Path) -> Result<Vec<(Connection, impl Sized + use<>)>> {
    let mut links = Vec::new();
    while links.len() < LINKS {
        let connection = endpoint.accept().await.context("the endpoint ended")?.await?;
        let (mut send, mut recv) = connection.accept_bi().await?;
        let mut frames = FrameReader::default();
        let Frame::Hello(_) = frames.next(&mut recv).await? else { bail!("the connector does not greet") };
        wire::write(&mut send, &Frame::Hello(Hello::new("bench", [0; 16]))).await?;
        links.push((connection, (send, recv)));
    }
    fs::write(files.join("linked"), "")?;
    Ok(links)
}
