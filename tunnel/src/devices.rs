//! The devices: addresses, which peers speak for them, and what each may still spend on answers.
//! It knows no keys' secrets and no flows. Always true: an address or an id leads to one device only,
//! and never to one that was removed.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use protocol::id::DeviceId;

use crate::{
    budget::Budget,
    peers::PeerSlot,
    slab::{Slab, Slot},
};

/// A device's name while it exists; never reused.
pub(crate) type DeviceSlot = Slot<Device>;

/// One device.
#[derive(Debug)]
pub(crate) struct Device {
    pub(crate) id: DeviceId,
    v4: Ipv4Addr,
    v6: Ipv6Addr,
    pub(crate) peers: Vec<PeerSlot>,
    /// Removed: it lives on only until its closing flows are done.
    pub(crate) retiring: bool,
    pub(crate) opens: Budget,
    pub(crate) resets: Budget,
    pub(crate) icmp: Budget,
}

impl Device {
    pub(crate) fn sources(&self) -> [IpAddr; 2] {
        [self.v4.into(), self.v6.into()]
    }
}

/// All devices, by slot, id and address.
#[derive(Debug)]
pub(crate) struct Devices {
    slots: Slab<Device>,
    by_id: HashMap<DeviceId, DeviceSlot>,
    by_addr: HashMap<IpAddr, DeviceSlot>,
}

impl Devices {
    pub(crate) fn new() -> Self {
        Self { slots: Slab::new(), by_id: HashMap::new(), by_addr: HashMap::new() }
    }

    /// Adds a device; none if its id or an address is taken.
    pub(crate) fn add(&mut self, id: DeviceId, v4: Ipv4Addr, v6: Ipv6Addr) -> Option<DeviceSlot> {
        let addrs: [IpAddr; 2] = [v4.into(), v6.into()];
        if self.by_id.contains_key(&id) || addrs.iter().any(|addr| self.by_addr.contains_key(addr)) {
            return None;
        }
        let [opens, resets, icmp] = [Budget::default(); 3];
        let device =
            Device { id: id.clone(), v4, v6, peers: Vec::new(), retiring: false, opens, resets, icmp };
        let slot = self.slots.insert(device);
        self.by_id.insert(id, slot);
        self.by_addr.extend(addrs.map(|addr| (addr, slot)));
        Some(slot)
    }

    /// Takes the device out of every lookup but its slot's.
    pub(crate) fn retire(&mut self, slot: DeviceSlot) {
        let Some(device) = self.slots.get_mut(slot) else { return };
        device.retiring = true;
        self.by_id.remove(&device.id);
        for addr in device.sources() {
            self.by_addr.remove(&addr);
        }
    }

    /// Forgets a retired device and returns its peers.
    pub(crate) fn forget(&mut self, slot: DeviceSlot) -> Vec<PeerSlot> {
        self.slots.remove(slot).map(|device| device.peers).unwrap_or_default()
    }

    pub(crate) fn get(&self, slot: DeviceSlot) -> Option<&Device> {
        self.slots.get(slot)
    }

    pub(crate) fn get_mut(&mut self, slot: DeviceSlot) -> Option<&mut Device> {
        self.slots.get_mut(slot)
    }

    pub(crate) fn by_id(&self, id: &DeviceId) -> Option<DeviceSlot> {
        self.by_id.get(id).copied()
    }

    pub(crate) fn by_addr(&self, addr: IpAddr) -> Option<DeviceSlot> {
        self.by_addr.get(&addr).copied()
    }

    /// Every current device's slot.
    pub(crate) fn current(&self) -> Vec<DeviceSlot> {
        self.slots_that(|device| !device.retiring)
    }

    /// Those that were retired and not yet forgotten.
    pub(crate) fn retiring(&self) -> Vec<DeviceSlot> {
        if self.slots.len() == self.by_id.len() {
            Vec::new()
        } else {
            self.slots_that(|device| device.retiring)
        }
    }

    fn slots_that(&self, wanted: impl Fn(&Device) -> bool) -> Vec<DeviceSlot> {
        self.slots.iter().filter(|(_, device)| wanted(device)).map(|(slot, _)| slot).collect()
    }

    pub(crate) fn check_invariants(&self) {
        let current = self.slots.values().filter(|device| !device.retiring).count();
        assert_eq!(self.by_id.len(), current, "each current device has its id");
        assert_eq!(self.by_addr.len(), 2 * current, "each current device has its two addresses");
        for (slot, device) in self.slots.iter().filter(|(_, device)| !device.retiring) {
            assert_eq!(self.by_id(&device.id), Some(slot));
            assert!(device.sources().iter().all(|&addr| self.by_addr(addr) == Some(slot)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retired_device_frees_its_names() {
        let mut devices = Devices::new();
        let (id, v4, v6) = ("a".parse::<DeviceId>().unwrap(), [100, 64, 0, 2].into(), [1; 16].into());
        let first = devices.add(id.clone(), v4, v6).unwrap();
        assert_eq!(devices.add(id.clone(), [100, 64, 0, 3].into(), [2; 16].into()), None);
        assert_eq!(devices.add("b".parse().unwrap(), v4, [2; 16].into()), None);
        devices.retire(first);
        devices.check_invariants();
        let second = devices.add(id.clone(), v4, v6).unwrap();
        assert_ne!(first, second);
        assert_eq!((devices.by_id(&id), devices.by_addr(v4.into())), (Some(second), Some(second)));
        assert_eq!(devices.retiring(), [first]);
        devices.forget(first);
        devices.check_invariants();
        assert_eq!(devices.current(), [second]);
    }
}
