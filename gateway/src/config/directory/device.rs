//! Every `[[device]]`: owner, keys and what is known of its state.

use std::{collections::BTreeSet, net::Ipv4Addr, str::FromStr};

use policy::facts::{Fact, Platform, Posture, Source};
use protocol::{
    config::Section,
    id::{DeviceGroupId, DeviceId, UserId},
    key::WgKey,
    time::Timestamp,
};

use crate::config::{
    tunnel::{Part, Tunnel, explicit},
    unique::Unique,
};

/// Two while one takes over from the other.
const MOST_KEYS: usize = 2;

const PLATFORMS: [(&str, Platform); 6] = [
    ("linux", Platform::Linux),
    ("macos", Platform::Macos),
    ("windows", Platform::Windows),
    ("ios", Platform::Ios),
    ("android", Platform::Android),
    ("other", Platform::Other),
];

const SOURCES: [(&str, Source); 4] =
    [("attested", Source::Attested), ("mdm", Source::Mdm), ("agent", Source::Agent), ("self", Source::Own)];

/// A device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Its name.
    pub id: DeviceId,
    /// Whose it is.
    pub owner: UserId,
    /// One, or two while rotating.
    pub keys: Vec<WgKey>,
    /// Since when its keys are good, if that is known.
    pub key_since: Option<Timestamp>,
    /// Sets it is in.
    pub groups: BTreeSet<DeviceGroupId>,
    /// Kind of operating system.
    pub platform: Option<Platform>,
    /// What is known of its state.
    pub posture: Posture,
    /// Its tunnel address, if the operator chose one.
    pub address: Option<Ipv4Addr>,
}

/// What a device shares with no other.
#[derive(Default)]
struct Seen {
    names: Unique<DeviceId>,
    keys: Unique<WgKey>,
    addresses: Unique<Ipv4Addr>,
}

pub(super) fn read(s: &mut Section<'_>, tunnel: &Tunnel, is_listed: impl Fn(&UserId) -> bool) -> Vec<Device> {
    let mut seen = Seen::default();
    s.sections("device", |s| read_one(s, tunnel, &is_listed, &mut seen))
}

fn read_one(
    s: &mut Section<'_>,
    tunnel: &Tunnel,
    is_listed: impl Fn(&UserId) -> bool,
    seen: &mut Seen,
) -> Option<Device> {
    let id: Option<DeviceId> = s.text("name");
    if let Some(id) = &id {
        seen.names.claim(s, "name", id.clone());
    }
    let owner: Option<UserId> = s.text("owner");
    if let Some(owner) = owner.as_ref().filter(|owner| !is_listed(owner)) {
        s.mistake("owner", format!("there is no [[user]] with id = \"{owner}\""));
    }
    let keys = read_keys(s, &mut seen.keys);
    let key_since = s.optional_time("key_since");
    let platform = s.optional_choice("platform", &PLATFORMS);
    let groups = s.texts_or_empty("groups").into_iter().collect();
    let address = explicit(s, "address", Some(tunnel), Part::Devices);
    if let Some(address) = address {
        seen.addresses.claim(s, "address", address);
    }
    let posture = s.optional_section("posture", |s| Some(read_posture(s))).unwrap_or_default();
    Some(Device { id: id?, owner: owner?, keys: keys?, key_since, groups, platform, posture, address })
}

fn read_keys(s: &mut Section<'_>, seen: &mut Unique<WgKey>) -> Option<Vec<WgKey>> {
    let keys: Vec<WgKey> = s.texts("keys")?;
    seen.claim_all(s, "keys", keys.iter().copied());
    if s.is_empty_list("keys") {
        s.mistake("keys", "at least one key is needed, as `wg pubkey` prints it");
    }
    if keys.len() > MOST_KEYS {
        s.mistake(
            "keys",
            format!("{} keys; at most {MOST_KEYS}, while one takes over from the other", keys.len()),
        );
    }
    Some(keys)
}

fn read_posture(s: &mut Section<'_>) -> Posture {
    let mut yes = |key: &str| fact(s, key, |s| s.flag("value"));
    Posture {
        managed: yes("managed"),
        disk_encrypted: yes("disk_encrypted"),
        firewall: yes("firewall"),
        screen_lock: yes("screen_lock"),
        secure_boot: yes("secure_boot"),
        edr_healthy: yes("edr_healthy"),
        os_version: fact(s, "os_version", |s| s.text("value").map(|Version(packed)| packed)),
    }
}

fn fact<T>(
    s: &mut Section<'_>,
    key: &str,
    value: impl FnOnce(&mut Section<'_>) -> Option<T>,
) -> Option<Fact<T>> {
    s.optional_section(key, |s| {
        let value = value(s);
        let source = s.choice("source", &SOURCES);
        let at = s.time("at");
        Some(Fact { value: value?, source: source?, at: at? })
    })
}

/// `major[.minor[.patch]]`, packed so that versions compare as numbers.
#[derive(Debug, Clone, Copy)]
pub struct Version(pub i64);

impl FromStr for Version {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const FORM: &str =
            "write a version as major.minor.patch, for example 14.5.1: up to three numbers, each at most 999";
        let number = |part: &str| {
            let digits = (1..=3).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
            part.parse::<i64>().ok().filter(|_| digits).ok_or(FORM)
        };
        let mut parts = text.split('.');
        let mut next = || parts.next().map_or(Ok(0), number);
        let (major, minor, patch) = (next()?, next()?, next()?);
        if parts.next().is_some() {
            return Err(FORM);
        }
        Ok(Self(major * 1_000_000 + minor * 1_000 + patch))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_numbers() {
        let packed = |text: &str| text.parse::<Version>().map(|v| v.0);
        assert_eq!(packed("14.5.1"), Ok(14_005_001));
        assert_eq!(packed("14"), Ok(14_000_000));
        assert!(packed("14.10") > packed("14.9.9"));
        for bad in ["", ".", "14.", "1.2.3.4", "14.5b", "+1", "10.0.19045", "-1"] {
            assert!(packed(bad).is_err(), "{bad}");
        }
    }
}
