//! What `doorward` does besides running: each command one file.
//! A command returns what it has to say; printing and exit codes are `main`'s.

pub mod admin;
pub mod check;
pub mod init;
mod new_key;
