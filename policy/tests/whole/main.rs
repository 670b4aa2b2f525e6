//! The crate from outside: loading, deciding, looking ahead, explaining, and failing shut.

mod agree;
mod explain;
mod facts;
mod fail_open;
mod generate;
mod lints;
mod load;
mod until;
