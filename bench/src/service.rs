//! A service with any number of connections in one thread: sends back what comes.
//! A program of its own, so that its descriptors are not the client's.
//! Always true: it never ends a connection by itself.

use std::{
    collections::HashMap,
    convert::Infallible,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    os::fd::AsRawFd,
};

use anyhow::Result;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use crate::machine;

/// What it says when it listens.
pub const READY: &str = "serving";

/// Serves on every address until it is killed.
pub fn run(port: u16) -> Result<Infallible> {
    machine::raise_open_files()?;
    let listener = TcpListener::bind(("::", port))?;
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    let readable = |number| EpollEvent::new(EpollFlags::EPOLLIN, number);
    let door = u64::try_from(listener.as_raw_fd())?;
    epoll.add(&listener, readable(door))?;
    println!("{READY}");
    let mut open: HashMap<u64, TcpStream> = HashMap::new();
    let mut ready = [EpollEvent::empty(); 64];
    loop {
        let count = epoll.wait(&mut ready, EpollTimeout::NONE)?;
        for number in ready.iter().take(count).map(EpollEvent::data) {
            if number == door {
                let (stream, _) = listener.accept()?;
                let number = u64::try_from(stream.as_raw_fd())?;
                epoll.add(&stream, readable(number))?;
                open.insert(number, stream);
            } else if open.get_mut(&number).is_some_and(|stream| !echo(stream)) {
                open.remove(&number);
            }
        }
    }
}

/// Whether the connection goes on.
fn echo(stream: &mut TcpStream) -> bool {
    let mut buffer = [0; 1024];
    match stream.read(&mut buffer) {
        Ok(0) | Err(_) => false,
        Ok(count) => stream.write_all(buffer.get(..count).unwrap_or_default()).is_ok(),
    }
}
