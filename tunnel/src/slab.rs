//! Records in one array, found without hashing. A slot names a record while it exists: a place is used
//! again, but under the next generation, so that an old slot finds nothing rather than somebody else.

use std::{cmp::Ordering, fmt, hash, marker::PhantomData};

/// The name of a `T` in its slab.
pub(crate) struct Slot<T> {
    at: u32,
    generation: u32,
    of: PhantomData<fn() -> T>,
}

/// A place, and whoever has it now.
#[derive(Debug)]
struct Place<T> {
    generation: u32,
    value: Option<T>,
}

/// All records of one kind.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    places: Vec<Place<T>>,
    free: Vec<u32>,
    len: usize,
}

impl<T> Slab<T> {
    pub(crate) fn new() -> Self {
        Self { places: Vec::new(), free: Vec::new(), len: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn insert(&mut self, value: T) -> Slot<T> {
        let at = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place { generation: 0, value: None });
            u32::try_from(self.places.len() - 1).expect("fewer records than 2^32")
        });
        let place = &mut self.places[at as usize];
        place.value = Some(value);
        self.len += 1;
        Slot { at, generation: place.generation, of: PhantomData }
    }

    pub(crate) fn remove(&mut self, slot: Slot<T>) -> Option<T> {
        let place =
            self.places.get_mut(slot.at as usize).filter(|place| place.generation == slot.generation)?;
        let value = place.value.take()?;
        self.len -= 1;
        // A place whose generations are used up is never used again.
        if let Some(next) = place.generation.checked_add(1) {
            place.generation = next;
            self.free.push(slot.at);
        }
        Some(value)
    }

    pub(crate) fn get(&self, slot: Slot<T>) -> Option<&T> {
        let place = self.places.get(slot.at as usize)?;
        place.value.as_ref().filter(|_| place.generation == slot.generation)
    }

    pub(crate) fn get_mut(&mut self, slot: Slot<T>) -> Option<&mut T> {
        let place = self.places.get_mut(slot.at as usize)?;
        place.value.as_mut().filter(|_| place.generation == slot.generation)
    }

    /// Every record, by place.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Slot<T>, &T)> {
        (0..).zip(&self.places).filter_map(|(at, place)| {
            let slot = Slot { at, generation: place.generation, of: PhantomData };
            place.value.as_ref().map(|value| (slot, value))
        })
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &T> {
        self.places.iter().filter_map(|place| place.value.as_ref())
    }
}

impl<T> Slot<T> {
    /// A number below `parts`, spread evenly over slots.
    pub(crate) fn part(self, parts: usize) -> usize {
        self.at as usize % parts
    }
}

// Derived, these would ask the same of `T`.
impl<T> Clone for Slot<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Slot<T> {}

impl<T> PartialEq for Slot<T> {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.generation) == (other.at, other.generation)
    }
}

impl<T> Eq for Slot<T> {}

impl<T> PartialOrd for Slot<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Slot<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.generation).cmp(&(other.at, other.generation))
    }
}

impl<T> hash::Hash for Slot<T> {
    fn hash<H: hash::Hasher>(&self, state: &mut H) {
        state.write_u64(u64::from(self.generation) << 32 | u64::from(self.at));
    }
}

impl<T> fmt::Debug for Slot<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.at, self.generation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_slot_finds_nobody() {
        let mut slab = Slab::new();
        let (a, b) = (slab.insert("a"), slab.insert("b"));
        assert_eq!(slab.remove(a), Some("a"));
        assert!(slab.get(a).is_none() && slab.get_mut(a).is_none() && slab.remove(a).is_none());
        let c = slab.insert("c");
        assert_ne!(a, c);
        assert_eq!((slab.get(a), slab.get(b), slab.get(c)), (None, Some(&"b"), Some(&"c")));
        assert_eq!((slab.len(), slab.places.len()), (2, 2), "the place is used again");
        assert_eq!(slab.iter().map(|(slot, _)| slot).collect::<Vec<_>>(), [c, b]);
    }

    #[test]
    fn a_worn_out_place_is_left_alone() {
        let mut slab = Slab::new();
        let first = slab.insert(1);
        slab.places[0].generation = u32::MAX;
        let last = Slot { generation: u32::MAX, ..first };
        assert_eq!(slab.remove(last), Some(1));
        let next = slab.insert(2);
        assert_eq!((slab.get(last), slab.get(next), slab.places.len()), (None, Some(&2), 2));
    }
}
