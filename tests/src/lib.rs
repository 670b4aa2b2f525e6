//! The world the end-to-end tests run in: hosts in namespaces, real services, stock clients, our
//! three programs. It asserts nothing about the product; the tests in `tests/` do.
//! Always true: nothing here touches the machine's own network, mounts or files outside `target`.

pub mod album;
pub mod authority;
pub mod browser;
pub mod clock;
pub mod company;
pub mod connections;
pub mod connector;
pub mod datagrams;
pub mod device;
pub mod gateway;
pub mod harness;
pub mod host;
pub mod hostile;
pub mod mirror;
pub mod node;
pub mod office;
pub mod person;
pub mod postgres;
pub mod probe;
pub mod process;
pub mod programs;
pub mod provider;
pub mod provider_mock;
pub mod resolver;
pub mod sandbox;
pub mod scene;
pub mod services;
pub mod site;
pub mod streams;
pub mod wait;
pub mod wan;
pub mod world;
