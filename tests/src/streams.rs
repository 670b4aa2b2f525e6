//! TCP services of the private network: one that echoes and one that pours without end.
//! They know nothing of the product; each keeps how its connections ended.
//! Always true: a service never ends a connection by itself.

use std::{
    io::{ErrorKind, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    thread,
};

use anyhow::{Context, Result};

use crate::{host::Host, probe::Ending, wait::HANG};

/// What a service does with a connection.
#[derive(Debug, Clone, Copy)]
pub enum Manner {
    /// Sends back what comes.
    Echo,
    /// Sends without end.
    Pour,
}

/// A listening service.
pub struct Stream {
    accepted: Arc<AtomicUsize>,
    endings: Receiver<Ending>,
}

impl Stream {
    /// Listens on `host` on every address.
    pub fn listen(host: &Host, port: u16, manner: Manner) -> Result<Self> {
        let listener =
            host.within(|| TcpListener::bind(("::", port))).with_context(|| format!("port {port}"))?;
        let (sender, endings) = channel();
        let accepted = Arc::<AtomicUsize>::default();
        let count = Arc::clone(&accepted);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                count.fetch_add(1, Ordering::Relaxed);
                let sender = sender.clone();
                thread::spawn(move || serve(stream, manner, &sender));
            }
        });
        Ok(Self { accepted, endings })
    }

    /// How many connections reached it.
    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::Relaxed)
    }

    /// How the next connection to end ended.
    pub fn ending(&self) -> Result<Ending> {
        self.endings.recv_timeout(HANG).context("no connection to the service ended")
    }
}

/// Until the connection ends. Whoever watches may be gone by then, which is no fault.
fn serve(mut stream: TcpStream, manner: Manner, endings: &Sender<Ending>) {
    let mut buffer = vec![b'.'; 16 * 1024];
    let ending = loop {
        let step = match manner {
            Manner::Pour => stream.write_all(&buffer).map(|()| true),
            Manner::Echo => stream.read(&mut buffer).and_then(|count| {
                stream.write_all(buffer.get(..count).unwrap_or_default())?;
                Ok(count > 0)
            }),
        };
        match step {
            Ok(true) => {}
            Ok(false) => break Ending::Clean,
            // A pourer learns of a clean end by a broken pipe.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => break Ending::Clean,
            Err(_) => break Ending::Reset,
        }
    };
    let _ = endings.send(ending);
}
