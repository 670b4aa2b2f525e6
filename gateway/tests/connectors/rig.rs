//! A registry on loopback, real connectors in runtimes of their own, and connectors that misbehave.
//! Always true: a wait has a generous limit; nothing is listened on but loopback.

use std::{net::SocketAddr, time::Duration};

use connector::{
    Config, Connector, quic,
    wire::{self, FrameReader},
};
use gateway::connectors::{ConnectorSpec, ConnectorStatus, LinkKey, LinkStream, OpenError, Registry};
use protocol::{
    id::SiteId,
    key::LinkPin,
    link::{ALPN, Frame, Hello, Outcome},
    target::{Target, TargetRules},
};
use quinn::{Connection, ConnectionError, Endpoint, RecvStream, SendStream};
use tokio::{
    net::TcpListener,
    runtime::Runtime,
    time::{interval, timeout},
};

/// Longer than anything takes; what hangs fails.
pub const HANG: Duration = Duration::from_secs(30);

pub fn key() -> LinkKey {
    LinkKey::from_pem(&LinkKey::generate()).unwrap()
}

fn copy_of(pem: &str) -> LinkKey {
    LinkKey::from_pem(pem).unwrap()
}

pub fn site() -> SiteId {
    "fra".parse().unwrap()
}

/// A registry that listens on a free port.
pub struct Rig {
    pub registry: Registry,
    pub address: SocketAddr,
    pub pin: LinkPin,
    pem: String,
    specs: Vec<ConnectorSpec>,
}

impl Rig {
    pub async fn start() -> Self {
        let pem = LinkKey::generate();
        let pin = copy_of(&pem).pin();
        let registry = Registry::start(&["127.0.0.1:0".parse().unwrap()], copy_of(&pem)).await.unwrap();
        let address = registry.addresses()[0];
        Self { registry, address, pin, pem, specs: Vec::new() }
    }

    /// Starts again where a registry, whose runtime is gone, has been.
    pub async fn restart(self) -> Self {
        let Self { registry, address, pin, pem, specs } = self;
        drop(registry);
        let again = async {
            loop {
                // The address is free when the runtime has let go of it.
                match Registry::start(&[address], copy_of(&pem)).await {
                    Ok(registry) => return registry,
                    Err(_) => tokio::task::yield_now().await,
                }
            }
        };
        let registry = timeout(HANG, again).await.unwrap();
        registry.configure(specs.clone());
        Self { registry, address, pin, pem, specs }
    }

    /// Configures one more connector, whose key it returns as PEM.
    pub fn add(&mut self, id: &str) -> String {
        let pem = LinkKey::generate();
        let pin = copy_of(&pem).pin();
        self.specs.push(ConnectorSpec { id: id.parse().unwrap(), site: site(), pin });
        self.registry.configure(self.specs.clone());
        pem
    }

    /// Takes a connector out of the configuration.
    pub fn remove(&mut self, id: &str) {
        self.specs.retain(|spec| spec.id.as_str() != id);
        self.registry.configure(self.specs.clone());
    }

    pub fn config(&self, pem: &str, allow: &[&str]) -> Config {
        Config {
            gateways: vec![self.address.to_string().parse().unwrap()],
            gateway_key: self.pin,
            private_key: copy_of(pem),
            targets: TargetRules { allow: allow.iter().map(|rule| rule.parse().unwrap()).collect() },
            drain: HANG,
        }
    }

    /// Configures and starts a connector that may dial 127.0.0.1, and waits until it is linked.
    pub async fn connector(&mut self, id: &str) -> Agent {
        let pem = self.add(id);
        let agent = Agent::start(self.config(&pem, &["127.0.0.1"]));
        self.linked(id).await;
        agent
    }

    pub fn status(&self, id: &str) -> ConnectorStatus {
        self.registry.status().into_iter().find(|status| status.id.as_str() == id).unwrap()
    }

    pub async fn linked(&self, id: &str) {
        until("both links", || self.status(id).connections == 2).await;
    }

    pub async fn open(&self, target: &str) -> Result<LinkStream, OpenError> {
        self.open_flow(target, 1).await
    }

    pub async fn open_flow(&self, target: &str, flow: u64) -> Result<LinkStream, OpenError> {
        let target: Target = target.parse().unwrap();
        timeout(HANG, self.registry.open(&site(), &target, flow)).await.unwrap()
    }
}

/// Asks again and again until it is so.
pub async fn until(what: &str, mut so: impl FnMut() -> bool) {
    let mut often = interval(Duration::from_millis(2));
    let wait = async {
        while !so() {
            often.tick().await;
        }
    };
    timeout(HANG, wait).await.unwrap_or_else(|_| panic!("waited too long for {what}"));
}

/// A connector in a runtime of its own, so that it can die without a word.
pub struct Agent {
    pub connector: Option<Connector>,
    runtime: Option<Runtime>,
}

impl Agent {
    pub fn start(config: Config) -> Self {
        Self::with_flows(config, 1000)
    }

    pub fn with_flows(config: Config, flows: usize) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let connector = {
            let _inside = runtime.enter();
            Connector::start(config, flows).unwrap()
        };
        Self { connector: Some(connector), runtime: Some(runtime) }
    }

    pub fn reload(&self, config: Config) -> Result<(), connector::StartError> {
        self.connector.as_ref().unwrap().reload(config)
    }

    /// Begins to drain; the handle ends when the connector has.
    pub fn drain(&mut self, limit: Duration) -> tokio::task::JoinHandle<()> {
        let connector = self.connector.take().unwrap();
        self.runtime.as_ref().unwrap().spawn(connector.drain(limit))
    }

    /// What `kill -9` does: nothing more is sent.
    pub fn kill(self) {}
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }
}

/// What a fake connector does with a flow.
#[derive(Clone)]
pub enum Habit {
    /// Takes the stream and says nothing.
    Silent,
    /// Accepts it and says this.
    Answers(Outcome),
}

/// A connector in so far as it shakes hands and says Hello.
pub struct Fake {
    pub connection: Connection,
    pub send: SendStream,
    pub recv: RecvStream,
    pub frames: FrameReader,
    _endpoint: Endpoint,
}

impl Fake {
    /// Only shakes hands.
    pub async fn connect(
        rig: &Rig,
        pem: &str,
        gateway: LinkPin,
    ) -> Result<(Endpoint, Connection), ConnectionError> {
        let endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
        let client = quic::client(&copy_of(pem), gateway, ALPN).unwrap();
        let connecting = endpoint.connect_with(client, rig.address, quic::SERVER_NAME).unwrap();
        Ok((endpoint, connecting.await?))
    }

    /// Shakes hands and says Hello, without waiting for an answer.
    pub async fn greet(rig: &Rig, pem: &str, hello: Hello) -> Self {
        let (endpoint, connection) = Self::connect(rig, pem, rig.pin).await.unwrap();
        let (mut send, recv) = connection.open_bi().await.unwrap();
        wire::write(&mut send, &Frame::Hello(hello)).await.unwrap();
        Self { connection, send, recv, frames: FrameReader::default(), _endpoint: endpoint }
    }

    /// Configures and links a fake of this habit.
    pub async fn link(rig: &mut Rig, id: &str, habit: Habit) -> Self {
        let pem = rig.add(id);
        let fake = Self::greet(rig, &pem, Hello::new("fake", [9; 16])).await;
        until("the fake's link", || rig.status(id).connections == 1).await;
        let connection = fake.connection.clone();
        tokio::spawn(async move {
            let mut held = Vec::new();
            while let Ok((mut send, recv)) = connection.accept_bi().await {
                if let Habit::Answers(outcome) = &habit {
                    wire::write(&mut send, &Frame::Accepted).await.unwrap();
                    wire::write(&mut send, &Frame::Outcome(outcome.clone())).await.unwrap();
                }
                held.push((send, recv));
            }
        });
        fake
    }

    /// The code with which the gateway closes the link.
    pub async fn closed(&self) -> u64 {
        match timeout(HANG, self.connection.closed()).await.unwrap() {
            ConnectionError::ApplicationClosed(close) => close.error_code.into_inner(),
            other => panic!("not closed by the gateway but {other}"),
        }
    }
}

pub async fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

/// A target that sends back what it gets, then ends.
pub async fn echo() -> String {
    let (listener, address) = listener().await;
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = socket.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
            });
        }
    });
    address
}
