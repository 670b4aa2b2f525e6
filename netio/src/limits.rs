//! The process's limit of open descriptors, of which a proxied flow needs one or two, and how many are
//! open. It never lowers a limit. Always true: the limit it returns is what the kernel will grant.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Raises the soft limit of open files to the hard one; returns the limit that holds now.
pub fn raise_nofile() -> u64 {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return 0 };
    match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
        Ok(()) => hard,
        Err(_) => soft,
    }
}

/// How many descriptors are open now; 0 where /proc does not tell.
pub fn open() -> u64 {
    std::fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_open_is_counted() {
        let before = open();
        let files: Vec<_> = (0..50).map(|_| std::fs::File::open("/dev/null").unwrap()).collect();
        // Other tests of this process open and close some as well.
        assert!(open() >= before.saturating_sub(20) + files.len() as u64);
        assert!(before > 2);
    }

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        let raised = raise_nofile();
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        assert_eq!((raised, raised), (soft, hard));
    }
}
