//! On which cores something runs. It knows no processes but those started while it holds.
//! Always true: afterwards this thread runs where it did before.

use anyhow::Result;
use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};

/// This thread.
const OWN: Pid = Pid::from_raw(0);

/// The cores this thread may use.
pub fn usable() -> Result<Vec<usize>> {
    let set = sched_getaffinity(OWN)?;
    Ok((0..CpuSet::count()).filter(|&core| set.is_set(core) == Ok(true)).collect())
}

/// Does `act` on these cores; the threads and processes it starts stay there.
pub fn confined<T>(cores: &[usize], act: impl FnOnce() -> Result<T>) -> Result<T> {
    let before = sched_getaffinity(OWN)?;
    let mut only = CpuSet::new();
    cores.iter().try_for_each(|&core| only.set(core))?;
    sched_setaffinity(OWN, &only)?;
    let done = act();
    sched_setaffinity(OWN, &before)?;
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_started_meanwhile_stays_and_we_do_not() -> Result<()> {
        let all = usable()?;
        let first = &all[..1];
        let seen = confined(first, || std::thread::spawn(usable).join().expect("it does not panic"))?;
        assert_eq!(seen, first);
        assert_eq!(usable()?, all);
        Ok(())
    }
}
