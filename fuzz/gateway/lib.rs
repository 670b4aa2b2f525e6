//! The parts of `gateway` that read what others wrote, without the parts that need pingora.
#![allow(unused_imports, dead_code, reason = "what a configuration offers to the other parts")]

#[path = "../../gateway/src/config/mod.rs"]
pub mod config;
#[path = "../../gateway/src/dns/mod.rs"]
pub mod dns;
#[path = "../../gateway/src/rate.rs"]
mod rate;

/// As `gateway::tls`, which reads certificates: here there are none.
pub mod tls {
    use std::path::Path;

    /// A certificate that cannot be read.
    #[derive(Debug)]
    pub struct FileCertificate;

    /// Why not.
    #[derive(Debug, thiserror::Error)]
    #[error("no certificate is read here")]
    pub struct FileError;

    impl FileError {
        /// Whether the key is at fault.
        pub fn is_of_key(&self) -> bool {
            false
        }
    }

    impl FileCertificate {
        /// Always fails.
        ///
        /// # Errors
        /// Always.
        pub fn read(_: &Path, _: &Path) -> Result<Self, FileError> {
            Err(FileError)
        }

        /// Nowhere.
        pub fn chain(&self) -> &Path {
            Path::new("")
        }

        /// Nowhere.
        pub fn key(&self) -> &Path {
            Path::new("")
        }

        /// For no name.
        pub fn covers(&self, _: &str) -> bool {
            false
        }
    }
}
