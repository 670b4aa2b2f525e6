//! Memory that this process has freed and the system has not got back. It frees nothing itself.
//! Always true: nothing that is in use is touched; where the C library has no such call, nothing happens.

#[cfg(target_env = "gnu")]
use crate::sys;

/// Gives the system what was freed. glibc keeps what lies below anything still in use, and to read the files of
/// 100,000 devices takes several times what they need afterwards. Takes about 0.1 s for each GB.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    sys::trim();
}

#[cfg(target_env = "gnu")]
#[cfg(test)]
mod tests {
    use super::*;

    /// Resident, in pages.
    fn resident() -> usize {
        let text = std::fs::read_to_string("/proc/self/statm").unwrap();
        text.split(' ').nth(1).unwrap().parse().unwrap()
    }

    #[test]
    fn what_lies_between_things_in_use_is_given_back_too() {
        let mut all: Vec<Option<Box<[u8; 1024]>>> = (0..65_536).map(|_| Some(Box::new([1; 1024]))).collect();
        for (at, one) in all.iter_mut().enumerate() {
            if at % 64 != 63 {
                one.take();
            }
        }
        let before = resident();
        give_back();
        let after = resident();
        assert!(after + 8_000 < before, "{before} pages before, {after} after");
        assert!(all.iter().flatten().all(|one| one[0] == 1));
    }
}
