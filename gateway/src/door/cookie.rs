//! What a browser keeps while its person is at the provider: sealed, for one device, for a few minutes.
//! It says nobody's name and signs nobody in by itself. Always true: what another device began, what was
//! changed, and what is too old reads as nothing.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use control::seal::{Keyring, Place};
use http::{HeaderMap, HeaderValue, header};
use protocol::{
    id::{DeviceId, ProviderId},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

/// The prefix binds it to this host, https, and the whole path (RFC 6265bis §4.1.3.2).
const NAME: &str = "__Host-doorward-sign-in";
/// How long a person may take at the provider.
pub const GOOD_FOR: Duration = Duration::from_secs(600);
/// How far ahead the clock of another gateway may be, at which a device began that comes back here.
const AHEAD: Duration = Duration::from_secs(60);
/// Tabs that may be under way at once; the oldest gives way.
const TABS: usize = 3;

/// A sign-in that was begun.
#[derive(Clone, Serialize, Deserialize)]
pub struct Begun {
    /// At which provider.
    pub provider: ProviderId,
    /// What it has to send back.
    pub state: String,
    /// What its token has to hold.
    pub nonce: String,
    /// What proves that the code is ours (RFC 7636).
    pub verifier: String,
    /// Where to go back to.
    pub to: String,
    /// What the person was asked to prove anew.
    pub max_age: Option<Duration>,
    /// How strongly.
    pub acr: Option<String>,
    /// Whether the provider was asked not to bother the person.
    pub silent: bool,
    /// When.
    pub at: Timestamp,
}

fn place<'a>(store: &'a str, device: &'a DeviceId) -> Place<'a> {
    Place { store, kind: "door", id: device.as_str(), field: "sign-in" }
}

/// Those that `device` began in this browser and that are still good, the latest last.
pub fn read(
    headers: &HeaderMap,
    keys: &Keyring,
    store: &str,
    device: &DeviceId,
    now: Timestamp,
) -> Vec<Begun> {
    let sent = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let pairs = sent.flat_map(|cookies| cookies.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let mut ours = pairs.filter(|(name, _)| *name == NAME).map(|(_, value)| value);
    // Two of one name: somebody planted one, and nobody can tell which.
    let (Some(value), None) = (ours.next(), ours.next()) else { return Vec::new() };
    let sealed = URL_SAFE_NO_PAD.decode(value).ok().and_then(|text| String::from_utf8(text).ok());
    let opened = sealed.and_then(|sealed| keys.open(&place(store, device), &sealed).ok());
    let begun: Option<Vec<Begun>> = opened.and_then(|text| serde_json::from_slice(text.expose()).ok());
    let mut begun = begun.unwrap_or_default();
    begun.retain(|one| one.at <= now.plus(AHEAD) && one.at.until(now) < GOOD_FOR);
    begun
}

/// The header that makes the browser keep `begun`, or forget all of them if there are none.
pub fn write(begun: &[Begun], keys: &Keyring, store: &str, device: &DeviceId) -> Option<HeaderValue> {
    let kept = begun.get(begun.len().saturating_sub(TABS)..).unwrap_or_default();
    let (value, age) = if kept.is_empty() {
        (String::new(), 0)
    } else {
        let sealed = keys.seal(&place(store, device), &serde_json::to_vec(kept).ok()?);
        (URL_SAFE_NO_PAD.encode(sealed), GOOD_FOR.as_secs())
    };
    // Lax: the provider's page leads back here, and nothing else of another site's carries it.
    let text = format!("{NAME}={value}; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age={age}");
    HeaderValue::from_str(&text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct World {
        folder: std::path::PathBuf,
        keys: Keyring,
    }

    impl Drop for World {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }

    fn world(name: &str) -> World {
        let folder = std::env::temp_dir().join(format!("doorward-cookie-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let file = folder.join("store.key");
        Keyring::create(&file).expect("keys");
        World { keys: Keyring::read(&file).expect("keys"), folder }
    }

    fn begun(state: &str, at: i64) -> Begun {
        Begun {
            provider: "corp".parse().expect("an id"),
            state: state.to_owned(),
            nonce: "n".to_owned(),
            verifier: "very-secret".to_owned(),
            to: "https://wiki.corp.example/".to_owned(),
            max_age: None,
            acr: None,
            silent: false,
            at: Timestamp::from_millis(at),
        }
    }

    fn device(name: &str) -> DeviceId {
        name.parse().expect("a name")
    }

    fn sent(header: &HeaderValue) -> HeaderMap {
        let text = header.to_str().expect("text").split(';').next().expect("a pair").to_owned();
        HeaderMap::from_iter([(header::COOKIE, HeaderValue::from_str(&text).expect("a value"))])
    }

    fn states(world: &World, headers: &HeaderMap, of: &str, now: i64) -> Vec<String> {
        let begun = read(headers, &world.keys, "s", &device(of), Timestamp::from_millis(now));
        begun.into_iter().map(|one| one.state).collect()
    }

    #[test]
    fn the_latest_tabs_are_kept_for_their_device_and_their_time() {
        let world = world("tabs");
        let all: Vec<Begun> = (0..5).map(|n| begun(&format!("s{n}"), 1_000_000 + n)).collect();
        let header = write(&all, &world.keys, "s", &device("laptop")).expect("a header");
        let text = header.to_str().expect("text");
        assert!(text.contains("Secure; HttpOnly; SameSite=Lax") && !text.contains("very-secret"), "{text}");
        assert!(text.len() < 4096, "{} bytes: a browser would drop it", text.len());
        let headers = sent(&header);
        assert_eq!(states(&world, &headers, "laptop", 1_001_000), ["s2", "s3", "s4"]);
        assert_eq!(states(&world, &headers, "phone", 1_001_000), Vec::<String>::new(), "another device's");
        assert_eq!(states(&world, &headers, "laptop", 1_000_002 + 600_000), ["s3", "s4"], "too old");
        assert_eq!(states(&world, &headers, "laptop", 999_000).len(), 3, "another gateway's clock is ahead");
        assert_eq!(states(&world, &headers, "laptop", 940_001), Vec::<String>::new(), "from the future");
    }

    /// Case H7: a cookie that somebody planted is dropped.
    #[test]
    fn what_was_planted_or_changed_reads_as_nothing() {
        let world = world("planted");
        let header = write(&[begun("s", 1000)], &world.keys, "s", &device("laptop")).expect("a header");
        let good = sent(&header);
        assert_eq!(states(&world, &good, "laptop", 2000).len(), 1);
        let mut two = good.clone();
        two.append(header::COOKIE, HeaderValue::from_static("__Host-doorward-sign-in=planted"));
        assert!(states(&world, &two, "laptop", 2000).is_empty(), "two of one name");
        let text = good[header::COOKIE].to_str().expect("text").to_owned();
        for n in NAME.len() + 1..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[n] = if changed[n] == b'A' { b'B' } else { b'A' };
            let value = HeaderValue::from_bytes(&changed).expect("a value");
            let headers = HeaderMap::from_iter([(header::COOKIE, value)]);
            let read = states(&world, &headers, "laptop", 2000);
            // The last character of base64 may hold bits that mean nothing.
            assert!(read.is_empty() || n + 1 == text.len(), "byte {n}");
        }
        assert!(states(&world, &HeaderMap::new(), "laptop", 2000).is_empty());
        let other = self::world("other");
        assert!(states(&other, &good, "laptop", 2000).is_empty(), "other keys");
    }

    #[test]
    fn forgetting_is_said_to_the_browser() {
        let world = world("forget");
        let header = write(&[], &world.keys, "s", &device("laptop")).expect("a header");
        assert!(header.to_str().expect("text").contains("Max-Age=0"));
    }
}
