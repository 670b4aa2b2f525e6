//! A queue that serves devices in turn, so that a device that asks much waits behind itself only.
//! Bounded per device; one device has at most one place in the round.

use std::collections::{HashMap, VecDeque};

use crate::devices::DeviceSlot;

/// Items of devices, taken round-robin between devices and in order within one.
#[derive(Debug)]
pub(crate) struct FairQueue<T> {
    waiting: HashMap<DeviceSlot, VecDeque<T>>,
    /// The devices with something waiting, each once.
    round: VecDeque<DeviceSlot>,
    per_device: usize,
}

impl<T> FairQueue<T> {
    pub(crate) fn new(per_device: usize) -> Self {
        Self { waiting: HashMap::new(), round: VecDeque::new(), per_device }
    }

    /// Queues `item`; false if the device has its fill waiting.
    pub(crate) fn push(&mut self, device: DeviceSlot, item: T) -> bool {
        let items = self.waiting.entry(device).or_default();
        if items.len() >= self.per_device {
            return false;
        }
        if items.is_empty() {
            self.round.push_back(device);
        }
        items.push_back(item);
        true
    }

    /// Takes the next item.
    pub(crate) fn pop(&mut self) -> Option<(DeviceSlot, T)> {
        let device = self.round.pop_front()?;
        let items = self.waiting.get_mut(&device)?;
        let item = items.pop_front()?;
        if items.is_empty() {
            self.waiting.remove(&device);
        } else {
            self.round.push_back(device);
        }
        Some((device, item))
    }

    /// Takes back what still waits and fits `unwanted`; whether there was any.
    pub(crate) fn take_back(&mut self, device: DeviceSlot, unwanted: impl Fn(&T) -> bool) -> bool {
        let Some(items) = self.waiting.get_mut(&device) else { return false };
        let before = items.len();
        items.retain(|item| !unwanted(item));
        let taken = items.len() < before;
        if items.is_empty() {
            self.waiting.remove(&device);
            self.round.retain(|&other| other != device);
        }
        taken
    }

    pub(crate) fn check_invariants(&self) {
        assert_eq!(self.round.len(), self.waiting.len(), "each waiting device has one place in the round");
        assert!(self.waiting.values().all(|items| (1..=self.per_device).contains(&items.len())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::devices::Devices;

    #[test]
    fn devices_take_turns() {
        let mut devices = Devices::new();
        let mut device = |n: u8| {
            devices.add(format!("d{n}").parse().unwrap(), [100, 64, 0, n].into(), [n; 16].into()).unwrap()
        };
        let (a, b) = (device(1), device(2));
        let mut queue = FairQueue::new(3);
        assert!((1..=3).all(|n| queue.push(a, n)));
        assert!(!queue.push(a, 4), "a has its fill");
        assert!(queue.push(b, 10) && queue.push(b, 11));
        assert!(queue.take_back(b, |&n| n == 11) && !queue.take_back(b, |&n| n == 11));
        queue.check_invariants();
        let order: Vec<_> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(order, [(a, 1), (b, 10), (a, 2), (a, 3)]);
        assert!(queue.push(b, 12) && queue.take_back(b, |_| true));
        queue.check_invariants();
        assert_eq!(queue.pop(), None);
    }
}
