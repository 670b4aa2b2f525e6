//! What must outlive a restart of the packet core: where each peer was, and the greatest handshake
//! label it used, so that clients are called back at once and no old handshake is replayed.
//! Losing the file costs only time and that memory. Always true: it is replaced whole or not at all.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufWriter},
    net::SocketAddr,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use protocol::key::WgKey;
use serde::{Deserialize, Serialize, Serializer};
use tunnel::{KnownEndpoint, KnownStamp, Stamp};

/// What is known of the peers.
#[derive(Debug, Default, PartialEq, Eq, Hash)]
pub struct Known {
    /// Where each was last proven to be.
    pub endpoints: Vec<KnownEndpoint>,
    /// Each one's greatest label.
    pub stamps: Vec<KnownStamp>,
}

impl Known {
    /// What several know together.
    pub fn of_all(parts: Vec<Self>) -> Self {
        let mut all = Self::default();
        for part in parts {
            all.endpoints.extend(part.endpoints);
            all.stamps.extend(part.stamps);
        }
        all
    }

    /// What is known of the keys that are `wanted`.
    pub fn of(mut self, wanted: impl Fn(&WgKey) -> bool) -> Self {
        self.endpoints.retain(|known| wanted(&known.key));
        self.stamps.retain(|known| wanted(&known.key));
        self
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Line {
    key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    endpoint: Option<(usize, SocketAddr)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stamp: Option<String>,
}

fn file(state: &Path) -> PathBuf {
    state.join("peers.json")
}

/// Reads what the last run knew; nothing if there is no such file.
pub fn read(state: &Path) -> io::Result<Known> {
    let text = match std::fs::read_to_string(file(state)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Known::default()),
        read => read?,
    };
    let mut known = Known::default();
    for line in serde_json::from_str::<Vec<Line>>(&text)? {
        let key = line.key.parse().map_err(io::Error::other)?;
        known.endpoints.extend(line.endpoint.map(|(socket, addr)| KnownEndpoint { key, socket, addr }));
        if let Some(stamp) = line.stamp {
            let bytes = STANDARD.decode(stamp).ok().and_then(|bytes| bytes.try_into().ok());
            let stamp = Stamp(bytes.ok_or_else(|| io::Error::other("a handshake label is 12 bytes"))?);
            known.stamps.push(KnownStamp { key, stamp });
        }
    }
    Ok(known)
}

/// Replaces the file: written aside, synced, renamed.
pub fn write(state: &Path, known: &Known) -> io::Result<()> {
    let endpoints = known.endpoints.iter().map(|known| Line {
        key: known.key.to_string(),
        endpoint: Some((known.socket, known.addr)),
        stamp: None,
    });
    let stamps = known.stamps.iter().map(|known| Line {
        key: known.key.to_string(),
        endpoint: None,
        stamp: Some(STANDARD.encode(known.stamp.0)),
    });
    let aside = state.join("peers.json.new");
    let out = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
    let mut out = BufWriter::new(out);
    // Never a text of all of them in memory.
    serde_json::Serializer::new(&mut out).collect_seq(endpoints.chain(stamps))?;
    out.into_inner()?.sync_all()?;
    std::fs::rename(&aside, file(state))?;
    File::open(state)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembers_over_a_restart() {
        let state = std::env::temp_dir().join(format!("doorward-peerfile-{}", std::process::id()));
        std::fs::create_dir_all(&state).unwrap();
        assert_eq!(read(&state).unwrap(), Known::default());
        let key = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=".parse().unwrap();
        let known = Known {
            endpoints: vec![KnownEndpoint { key, socket: 1, addr: "[2001:db8::1]:9".parse().unwrap() }],
            stamps: vec![KnownStamp { key, stamp: Stamp([7; 12]) }],
        };
        write(&state, &known).unwrap();
        assert_eq!(read(&state).unwrap(), known);
        std::fs::write(state.join("peers.json"), "[{\"key\":").unwrap();
        assert!(read(&state).is_err());
        std::fs::remove_dir_all(&state).unwrap();
    }
}
