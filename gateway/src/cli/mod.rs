//! What `doorward` does besides running: each command one file.
//! A command returns what it has to say; printing and exit codes are `main`'s.

pub mod check;
pub mod device_config;
pub mod init;
mod new_key;

use std::time::SystemTime;

use protocol::time::Timestamp;

fn now() -> Timestamp {
    Timestamp::from_system(SystemTime::now())
}
