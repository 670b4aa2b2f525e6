//! A name server of the test's own, over UDP: every name it knows has one address.
//! It knows nothing else of DNS. Always true: what it does not know does not exist.

use std::{
    net::{Ipv4Addr, UdpSocket},
    thread,
};

use anyhow::{Context, Result};

use crate::host::Host;

/// Answers on port 53 of `host` until the test ends: `names` stand at `address`.
pub fn listen(host: &Host, names: &'static [&'static str], address: Ipv4Addr) -> Result<()> {
    let socket = host.within(|| UdpSocket::bind("0.0.0.0:53")).context("port 53")?;
    thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let answer = buffer.get(..length).and_then(|query| answer(query, names, address));
            if let Some(answer) = answer {
                // Who asked may be gone.
                let _ = socket.send_to(&answer, from);
            }
        }
    });
    Ok(())
}

/// RFC 1035, 4.1: the header, the question as it came, and an address if it is asked for one.
fn answer(query: &[u8], names: &[&str], address: Ipv4Addr) -> Option<Vec<u8>> {
    let (name, end) = name(query)?;
    let question = query.get(12..end + 4)?;
    let is_known = names.contains(&name.as_str());
    let wants_address = query.get(end..end + 2)? == [0, 1];
    let found = u8::from(is_known && wants_address);
    let mut answer = query.get(..2)?.to_vec();
    answer.extend([0x81, if is_known { 0x80 } else { 0x83 }, 0, 1, 0, found, 0, 0, 0, 0]);
    answer.extend(question);
    if found == 1 {
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        answer.extend(address.octets());
    }
    Some(answer)
}

/// The name that is asked for, in lower case, and where it ends.
fn name(query: &[u8]) -> Option<(String, usize)> {
    let (mut labels, mut at) = (Vec::new(), 12);
    loop {
        let length = usize::from(*query.get(at)?);
        if length == 0 {
            return Some((labels.join("."), at + 1));
        }
        labels.push(String::from_utf8_lossy(query.get(at + 1..=at + length)?).to_ascii_lowercase());
        at += 1 + length;
    }
}
