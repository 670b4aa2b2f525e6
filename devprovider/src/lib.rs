//! A small, strict OpenID Connect provider for demos and tests: people and passwords come from one file.
//! It is for development only and keeps nothing over a restart; the gateway knows it as one more https issuer.
//! Always true: nobody is sent to an address that the client has not registered; what is used up opens nothing.

mod answer;
mod asked;
mod authorize;
pub mod certificate;
pub mod client;
pub mod config;
mod courier;
mod form;
mod grant;
mod login;
mod logout;
mod page;
mod provider;
mod server;
mod session;
mod ticket;
mod token;
mod tokens;
pub mod user;

pub use self::{
    config::Config,
    server::{Running, StartError},
};
