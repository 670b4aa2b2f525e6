//! The product proven whole: real programs, real kernel, stock clients.
//! Every test makes its own world and is named by what holds.
//! Always true: no test depends on another, on the machine's network or on the internet.

mod access;
mod attacks;
mod backchannel;
mod books;
mod browser;
mod captive;
mod claims;
mod clients;
mod copied;
mod crowd;
mod cut;
mod datagrams;
mod faults;
mod files;
mod fixture;
mod foreign;
mod health;
mod hostile;
mod http;
mod https;
mod ipv6;
mod life;
mod portal;
mod refresh;
mod restart;
mod restore;
mod rights;
mod secrets;
mod session;
mod shards;
mod shared;
mod siblings;
mod sign_in;
mod smoke;
mod store;
mod stuck;
mod time;
mod tokens;

use std::process::ExitCode;

fn main() -> ExitCode {
    if tests::sandbox::as_root() {
        return tests::harness::main(smoke::TESTS.to_vec());
    }
    let modules = [
        fixture::TESTS,
        browser::TESTS,
        rights::TESTS,
        access::TESTS,
        ipv6::TESTS,
        cut::TESTS,
        datagrams::TESTS,
        time::TESTS,
        clients::TESTS,
        restart::TESTS,
        restore::TESTS,
        life::TESTS,
        files::TESTS,
        health::TESTS,
        attacks::TESTS,
        backchannel::TESTS,
        http::TESTS,
        https::TESTS,
        shards::TESTS,
        portal::TESTS,
        foreign::TESTS,
        claims::TESTS,
        copied::TESTS,
        crowd::TESTS,
        tokens::TESTS,
        sign_in::TESTS,
        captive::TESTS,
        session::TESTS,
        refresh::TESTS,
        siblings::TESTS,
        hostile::TESTS,
        stuck::TESTS,
        store::TESTS,
        books::TESTS,
        faults::TESTS,
        shared::TESTS,
        secrets::TESTS,
    ];
    tests::harness::main(modules.concat())
}
