//! `doorward admin`: what is typed becomes a request to the running gateway, its answer a table, a
//! text or JSON. It decides nothing. Always true: a private key that is made here stays here.

mod audit;
mod backup;
mod connector;
mod device;
mod group;
mod import;
mod key;
mod print;
mod provider;
mod session;
mod token;
mod user;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use control::admin::{Answer, Edit};
use serde::de::DeserializeOwned;

use self::device::Finish;
use crate::{
    admin::request::AdminRequest,
    cli,
    socket::{self, Question},
};

/// `doorward admin …`
#[derive(Debug, Args)]
pub struct Admin {
    #[command(subcommand)]
    noun: Noun,
    /// The gateway's configuration
    #[arg(long, global = true, value_name = "FILE", default_value = "doorward.toml")]
    config: PathBuf,
    /// Print the answer as data
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Noun {
    /// People: add, disable, remove
    #[command(subcommand)]
    User(user::UserCommand),
    /// Groups of people, and who is in them
    #[command(subcommand)]
    Group(group::GroupCommand),
    /// Devices, their keys, configurations and posture
    #[command(subcommand)]
    Device(device::DeviceCommand),
    /// Connectors, and tokens with which they join
    #[command(subcommand)]
    Connector(connector::ConnectorCommand),
    /// Tokens that were made and what became of them
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// Who is signed in where, and the end of it
    #[command(subcommand)]
    Session(session::SessionCommand),
    /// Providers that sign people in, and what they lack
    #[command(subcommand)]
    Provider(provider::ProviderCommand),
    /// Take over people, groups and devices from a directory.toml
    Import(import::Import),
    /// Read and verify the audit log
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// Keep everything in a file, while the gateway runs
    Backup(backup::Backup),
    /// Go back to a backup
    Restore(backup::Restore),
    /// Keys that seal the store's secrets
    #[command(subcommand)]
    Key(key::KeyCommand),
}

/// A request, and what is to be done with its answer.
struct Asked {
    request: AdminRequest,
    finish: Finish,
}

impl From<control::admin::Request> for Asked {
    fn from(request: control::admin::Request) -> Self {
        AdminRequest::Control(request).into()
    }
}

impl From<AdminRequest> for Asked {
    fn from(request: AdminRequest) -> Self {
        Self { request, finish: Finish::default() }
    }
}

impl Noun {
    fn asked(self) -> Result<Asked, String> {
        Ok(match self {
            Self::User(command) => command.request().into(),
            Self::Group(command) => command.request().into(),
            Self::Device(command) => return command.asked(),
            Self::Connector(command) => command.request().into(),
            Self::Token(command) => command.request().into(),
            Self::Session(command) => command.request().into(),
            Self::Provider(command) => command.request().into(),
            Self::Import(command) => command.request()?.into(),
            Self::Audit(command) => command.request().into(),
            Self::Backup(command) => command.request()?.into(),
            Self::Restore(command) => command.request()?.into(),
            Self::Key(command) => command.request().into(),
        })
    }
}

/// Asks the running gateway, and prints what it says.
pub fn run(admin: Admin) -> Result<(), String> {
    let Admin { noun, config, json } = admin;
    let Asked { request, mut finish } = noun.asked()?;
    let state = socket::state_of(&config)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let mut shown = Ok(());
    let question = Question::Admin(Box::new(request));
    runtime.block_on(socket::ask_on(&state, question, |answer| {
        let done = answer.and_then(|answer| show(answer, std::mem::take(&mut finish), json));
        shown = std::mem::replace(&mut shown, Ok(())).and(done);
    }))?;
    shown
}

fn show(mut answer: Answer, finish: Finish, json: bool) -> Result<(), String> {
    finish.apply(&mut answer)?;
    for note in &answer.notes {
        eprintln!("{note}");
    }
    cli::say(print::rendered(&answer, json).as_bytes()).map_err(|error| error.to_string())?;
    answer.failed.map_or(Ok(()), Err)
}

/// A value that is written as one word, and in JSON as well.
fn word<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_json::from_value(text.into()).map_err(|error| error.to_string())
}

/// `--x VALUE`, `--no-x`, or neither.
fn edit<T>(value: Option<T>, clear: bool) -> Edit<T> {
    match value {
        Some(value) => Edit::To(value),
        None if clear => Edit::Clear,
        None => Edit::Keep,
    }
}

/// Where a file is, for a process that runs elsewhere.
fn absolute(file: &Path) -> Result<PathBuf, String> {
    std::path::absolute(file).map_err(|error| format!("{}: {error}", file.display()))
}

#[cfg(test)]
mod tests;
