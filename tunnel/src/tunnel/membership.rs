//! Who the peers are. A change is a difference: who stays keeps sessions and flows, who goes is cut and
//! forgotten when its resets are out. A contradiction in the list loses to what came before it.

use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
    time::Instant,
};

use protocol::{id::DeviceId, key::WgKey};

use super::Tunnel;
use crate::{
    config::PeerSpec,
    counters::Count,
    devices::{Device, DeviceSlot},
    event::{Event, FlowPhase, Gone},
    peers::Memory,
};

/// A device has two keys only while it rotates from one to the other.
const KEYS_PER_DEVICE: usize = 2;

type Memories = HashMap<WgKey, Memory>;

impl Tunnel {
    /// From now on exactly these are peers. A device that is missing, whose addresses changed, or that loses
    /// the key it speaks by, has its flows cut ([`Event::FlowGone`]); its keys live until the resets are out,
    /// at most 2.5 s.
    pub fn set_peers(&mut self, specs: &[PeerSpec], now: Instant) {
        let all = self.devices.current();
        self.change(all, specs, now);
    }

    /// The same of these devices only: those of them that `specs` names are peers from now on, the others
    /// of them are not, and all other devices stay as they are. Costs what the change is large, not the list.
    pub fn change_peers(&mut self, devices: &BTreeSet<DeviceId>, specs: &[PeerSpec], now: Instant) {
        let slots = devices.iter().filter_map(|id| self.devices.by_id(id)).collect();
        self.change(slots, specs, now);
    }

    fn change(&mut self, slots: Vec<DeviceSlot>, specs: &[PeerSpec], now: Instant) {
        let wanted: HashMap<&DeviceId, &PeerSpec> =
            specs.iter().rev().map(|spec| (&spec.device, spec)).collect();
        let mut memories = Memories::new();
        let mut leaving = BTreeSet::new();
        for slot in slots {
            let Some(device) = self.devices.get(slot) else { continue };
            let stays = |spec: &&&PeerSpec| same_addresses(device, spec) && self.keeps_its_way(device, spec);
            match wanted.get(&device.id).filter(stays) {
                Some(spec) => self.drop_keys(slot, &spec.keys, &mut memories),
                None => {
                    leaving.insert(slot);
                }
            }
        }
        self.cut_devices(&leaving, now);
        self.cut_datagrams_of(&leaving, now);
        for slot in leaving {
            self.retire(slot, &mut memories);
        }
        for spec in specs {
            self.add_or_extend(spec, &memories);
        }
        self.forget_retired();
        self.check();
    }

    /// Whether the device goes on by the key it was heard by last, which carries what is open.
    fn keeps_its_way(&self, device: &Device, spec: &PeerSpec) -> bool {
        let way = self.peers.way(&device.peers).and_then(|way| self.peers.get(way.peer));
        way.is_none_or(|peer| spec.keys.contains(&peer.key))
    }

    /// Drops the keys a staying device does not have any more; its flows go on with the other.
    fn drop_keys(&mut self, slot: DeviceSlot, keep: &[WgKey], memories: &mut Memories) {
        let Some(device) = self.devices.get_mut(slot) else { return };
        let keep = &keep[..keep.len().min(KEYS_PER_DEVICE)];
        let (stay, go) = device
            .peers
            .iter()
            .partition(|&&peer| self.peers.get(peer).is_some_and(|p| keep.contains(&p.key)));
        device.peers = stay;
        let go: Vec<_> = go;
        memories.extend(go.into_iter().filter_map(|peer| self.peers.forget(peer)));
    }

    fn cut_devices(&mut self, leaving: &BTreeSet<DeviceSlot>, now: Instant) {
        if leaving.is_empty() {
            return;
        }
        let flows = self.flows.all().into_iter().filter(|(_, flow)| leaving.contains(&flow.device));
        for (id, phase, device) in flows.map(|(id, flow)| (id, flow.phase(), flow.device)).collect::<Vec<_>>()
        {
            let untold = self.events.opened.take_back(device, |&waiting| waiting == id);
            self.cut_one(id, now);
            let shell_has_it = matches!(phase, FlowPhase::Held | FlowPhase::Admitted | FlowPhase::Live);
            if shell_has_it && !untold {
                self.events.push(Event::FlowGone { flow: id, why: Gone::DeviceRemoved });
            }
        }
    }

    fn retire(&mut self, slot: DeviceSlot, memories: &mut Memories) {
        self.devices.retire(slot);
        self.events.queries.take_back(slot, |_| true);
        if let Some(device) = self.devices.get(slot) {
            memories.extend(device.peers.iter().filter_map(|&peer| self.peers.retire(peer)));
        }
    }

    fn add_or_extend(&mut self, spec: &PeerSpec, memories: &Memories) {
        let slot = match self.devices.by_id(&spec.device) {
            Some(slot) => self.devices.get(slot).filter(|device| same_addresses(device, spec)).map(|_| slot),
            None => self.devices.add(spec.device.clone(), spec.v4, spec.v6),
        };
        let Some(device) = slot.and_then(|slot| self.devices.get_mut(slot)) else {
            self.out.counters.add(Count::SpecConflict);
            return;
        };
        let Some(slot) = slot else { return };
        for key in &spec.keys {
            let has_it = device.peers.iter().any(|&peer| self.peers.get(peer).is_some_and(|p| p.key == *key));
            if has_it {
                continue;
            }
            let room = device.peers.len() < KEYS_PER_DEVICE;
            let memory = memories.get(key).copied().unwrap_or_default();
            match room.then(|| self.peers.add(*key, slot, memory)).flatten() {
                Some(peer) => device.peers.push(peer),
                None => self.out.counters.add(Count::SpecConflict),
            }
        }
    }

    /// What a long silence does to a device's sessions.
    #[cfg(test)]
    pub(crate) fn lose_sessions(&mut self, device: &DeviceId) {
        let slot = self.devices.by_id(device).expect("a device");
        let peers = self.devices.get(slot).map(|device| device.peers.clone()).unwrap_or_default();
        peers.into_iter().for_each(|peer| self.peers.sleep(peer));
    }

    /// Forgets removed devices whose flows are done.
    pub(super) fn forget_retired(&mut self) {
        for slot in self.devices.retiring() {
            if !self.flows.any_of(slot) && !self.datagrams.any_of(slot) {
                for peer in self.devices.forget(slot) {
                    self.peers.forget(peer);
                }
            }
        }
    }
}

fn same_addresses(device: &Device, spec: &PeerSpec) -> bool {
    device.sources() == [IpAddr::from(spec.v4), IpAddr::from(spec.v6)]
}
