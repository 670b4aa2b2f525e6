//! One connection of every kind a device can have: TCP, an HTTP connection that is kept for later,
//! an HTTP answer under way, a WebSocket. What ends them is for the tests.
//! Always true: when it exists, each of them is open and has carried something both ways.

use std::{
    io::{ErrorKind, Write},
    net::TcpStream,
};

use anyhow::{Context, Result, bail, ensure};
use tungstenite::{Error, Message, WebSocket, protocol::frame::coding::CloseCode};

use crate::{
    company::{DESK, ECHO, WIKI},
    device::Device,
    mirror::read_answer,
    probe::{Ending, drain, echo, read_until},
};

/// Open connections of one device.
pub struct Connections {
    /// To the service that echoes.
    pub tcp: TcpStream,
    /// Has had one whole answer.
    pub kept: TcpStream,
    /// Has had the beginning of an answer that never ends.
    pub answering: TcpStream,
    /// Echoes messages.
    pub socket: WebSocket<TcpStream>,
}

impl Connections {
    /// Opens them all.
    pub fn open(device: &Device) -> Result<Self> {
        let mut tcp = device.dial(&format!("{DESK}:{ECHO}"))?;
        echo(&mut tcp, "before")?;
        let mut kept = ask(device, "/")?;
        let answer = read_answer(&mut kept)?;
        ensure!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        let mut answering = ask(device, "/hold")?;
        read_until(&mut answering, "begun\n\r\n")?;
        let flow = device.dial(&format!("{WIKI}:80"))?;
        let (mut socket, _) = tungstenite::client("ws://wiki.corp.example/live", flow)?;
        greet(&mut socket)?;
        Ok(Self { tcp, kept, answering, socket })
    }

    /// Each must go on.
    pub fn expect_open(&mut self) -> Result<()> {
        echo(&mut self.tcp, "after").context("TCP")?;
        request(&mut self.kept, "/").context("the kept connection")?;
        let answer = read_answer(&mut self.kept).context("the kept connection")?;
        ensure!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        greet(&mut self.socket).context("the WebSocket")
    }

    /// Each must end by a reset with nothing before it; a WebSocket may be told why by a 1008.
    pub fn expect_cut(mut self) -> Result<()> {
        let flows = [
            ("TCP", &mut self.tcp),
            ("the kept connection", &mut self.kept),
            ("the answer under way", &mut self.answering),
        ];
        for (name, flow) in flows {
            let ended = drain(flow).context(name)?;
            ensure!(ended == (0, Ending::Reset), "{name}: {ended:?}");
        }
        match self.socket.read() {
            Ok(Message::Close(Some(frame))) if frame.code == CloseCode::Policy => Ok(()),
            Err(Error::Io(error)) if error.kind() == ErrorKind::ConnectionReset => Ok(()),
            other => bail!("the WebSocket was not cut: {other:?}"),
        }
    }
}

/// Asks the wiki for `path` on a connection of its own.
fn ask(device: &Device, path: &str) -> Result<TcpStream> {
    let mut flow = device.dial(&format!("{WIKI}:80"))?;
    request(&mut flow, path)?;
    Ok(flow)
}

fn request(flow: &mut TcpStream, path: &str) -> Result<()> {
    write!(flow, "GET {path} HTTP/1.1\r\nHost: wiki.corp.example\r\n\r\n").context("asking")
}

fn greet(socket: &mut WebSocket<TcpStream>) -> Result<()> {
    socket.send(Message::text("hello"))?;
    let answer = socket.read()?;
    ensure!(answer == Message::text("hello"), "{answer}");
    Ok(())
}
