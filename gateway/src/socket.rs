//! The control socket in the state folder: how `doorward status`, `reload` and `policy load` reach
//! the running gateway. One JSON line asks, one JSON line answers.
//! Always true: only the gateway's own user, root, and the group that is named can open it; one gateway per
//! state folder.

use std::{
    fs::{File, Permissions},
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
    unistd::Group,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
};

use crate::admin::request::AdminRequest;

/// The longest question: a directory of far more than 100,000 devices. Answers are not read by the gateway.
const LONGEST_QUESTION: u64 = 128 << 20;
/// How long a caller may take to ask, and to take the answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a caller may ask.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Question {
    /// How things are.
    Status,
    /// Read every file again.
    Reload,
    /// Read the policies again.
    LoadPolicies,
    /// Administer.
    Admin(Box<AdminRequest>),
}

/// What the gateway answers; `Err` is meant for the person who asked.
pub type Answer<T> = Result<T, String>;

/// The listening socket, held with a lock on the state folder.
#[derive(Debug)]
pub struct ControlSocket {
    listener: UnixListener,
    _lock: Flock<File>,
}

/// Where the socket of a state folder is.
pub fn path(state: &Path) -> PathBuf {
    state.join("doorward.sock")
}

/// The state folder a configuration names, mistakes elsewhere in it notwithstanding.
pub fn state_of(config: &Path) -> Answer<PathBuf> {
    let text = std::fs::read_to_string(config)
        .map_err(|error| format!("{}: cannot be read: {error}", config.display()))?;
    let state = protocol::config::peek(&text, "gateway", "state")
        .ok_or_else(|| format!("{}: names no gateway.state folder", config.display()))?;
    Ok(config.parent().unwrap_or(Path::new("")).join(state))
}

fn group_of(name: &str) -> io::Result<u32> {
    let group = Group::from_name(name)?.map(|group| group.gid.as_raw());
    group.ok_or_else(|| {
        io::Error::other(format!("gateway.admins: there is no group {name}: `groupadd {name}`"))
    })
}

impl ControlSocket {
    /// Locks the state folder, making it if need be, and listens; `group` may open the socket, and see
    /// nothing else of the folder. What a killed gateway left is removed.
    pub fn bind(state: &Path, group: Option<&str>) -> io::Result<Self> {
        let group = group.map(group_of).transpose()?;
        std::fs::create_dir_all(state)?;
        std::os::unix::fs::chown(state, None, group)?;
        let folder = if group.is_some() { 0o710 } else { 0o700 };
        std::fs::set_permissions(state, Permissions::from_mode(folder))?;
        let file = File::create(state.join("lock"))?;
        let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| {
            let why = if errno == Errno::EWOULDBLOCK { "another gateway runs with it" } else { errno.desc() };
            io::Error::other(format!("{}: {why}", state.display()))
        })?;
        let path = path(state);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&path)?;
        std::os::unix::fs::chown(&path, None, group)?;
        let mode = if group.is_some() { 0o660 } else { 0o600 };
        std::fs::set_permissions(&path, Permissions::from_mode(mode))?;
        Ok(Self { listener, _lock: lock })
    }

    /// The next caller and what they ask.
    pub async fn next(&self) -> io::Result<UnixStream> {
        Ok(self.listener.accept().await?.0)
    }
}

/// Reads the one question of a caller.
pub async fn question(stream: &mut UnixStream) -> io::Result<Question> {
    let mut line = String::new();
    let read = async { BufReader::new(stream.take(LONGEST_QUESTION)).read_line(&mut line).await };
    tokio::time::timeout(PATIENCE, read).await??;
    Ok(serde_json::from_str(&line)?)
}

/// Sends the last answer.
pub async fn answer(stream: &mut UnixStream, answer: &impl Serialize) -> io::Result<()> {
    say(stream, answer).await?;
    tokio::time::timeout(PATIENCE, stream.shutdown()).await?
}

/// Sends an answer that others follow.
pub async fn say(stream: &mut UnixStream, answer: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    tokio::time::timeout(PATIENCE, stream.write_all(&line)).await?
}

/// Asks the gateway of `state`, and takes one answer.
pub async fn ask<T: DeserializeOwned>(state: &Path, question: Question) -> Answer<T> {
    let mut answer = None;
    ask_on(state, question, |said| answer = Some(said)).await?;
    answer.ok_or_else(|| "the gateway ended before it answered".to_owned())?
}

/// The same with every answer there is, until the gateway has said all.
pub async fn ask_on<T: DeserializeOwned>(
    state: &Path,
    question: Question,
    mut each: impl FnMut(Answer<T>),
) -> Answer<()> {
    let path = path(state);
    let unreachable = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            format!("no gateway runs with the state folder {}", state.display())
        }
        io::ErrorKind::PermissionDenied => {
            format!(
                "{}: only root, the user the gateway runs as and members of gateway.admins may ask it",
                path.display()
            )
        }
        _ => format!("{}: {error}", path.display()),
    };
    let mut stream = UnixStream::connect(&path).await.map_err(unreachable)?;
    let mut line = serde_json::to_vec(&question).map_err(|error| error.to_string())?;
    line.push(b'\n');
    stream.write_all(&line).await.map_err(unreachable)?;
    let mut lines = BufReader::new(stream).lines();
    while let Some(line) = lines.next_line().await.map_err(unreachable)? {
        let answer = serde_json::from_str::<Answer<T>>(&line);
        each(answer.map_err(|error| format!("the gateway's answer makes no sense: {error}"))?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::MetadataExt, path::PathBuf};

    use super::*;
    use crate::testing::Company;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).expect("it is there").mode() & 0o777
    }

    fn state(company: &Company) -> PathBuf {
        company.folder().join("state")
    }

    #[tokio::test]
    async fn nobody_else_may_open_it() {
        let company = Company::new("", "");
        let state = state(&company);
        std::fs::set_permissions(&state, Permissions::from_mode(0o755)).expect("an open folder");
        let _socket = ControlSocket::bind(&state, None).expect("bound");
        assert_eq!((mode(&state), mode(&path(&state))), (0o700, 0o600));
    }

    #[tokio::test]
    async fn a_group_may_open_it_and_see_nothing_else() {
        let company = Company::new("", "");
        let state = state(&company);
        let own = nix::unistd::getgid();
        let group = Group::from_gid(own).expect("readable").expect("our own group").name;
        let _socket = ControlSocket::bind(&state, Some(&group)).expect("bound");
        assert_eq!((mode(&state), mode(&path(&state))), (0o710, 0o660));
        let error = ControlSocket::bind(&state, Some("no-such-group-here")).expect_err("refused");
        assert!(error.to_string().contains("groupadd no-such-group-here"), "{error}");
    }

    #[tokio::test]
    async fn one_gateway_has_a_state_folder() {
        let company = Company::new("", "");
        let state = state(&company);
        let first = ControlSocket::bind(&state, None).expect("bound");
        let error = ControlSocket::bind(&state, None).expect_err("a second gateway");
        assert!(error.to_string().contains("another gateway runs with it"), "{error}");
        drop(first);
        ControlSocket::bind(&state, None).expect("what it left is removed");
    }

    #[tokio::test]
    async fn what_is_asked_is_answered() {
        let company = Company::new("", "");
        let state = state(&company);
        let socket = ControlSocket::bind(&state, None).expect("bound");
        let answered = async {
            let mut caller = socket.next().await.expect("a caller");
            assert_eq!(question(&mut caller).await.expect("a question"), Question::LoadPolicies);
            answer(&mut caller, &Answer::<u8>::Err("no".to_owned())).await.expect("sent");
        };
        let (said, ()) = tokio::join!(ask::<u8>(&state, Question::LoadPolicies), answered);
        assert_eq!(said, Err("no".to_owned()));
    }

    #[tokio::test]
    async fn a_question_without_end_is_not_read_on() {
        let (mut caller, mut gateway) = UnixStream::pair().expect("a pair");
        let talking = tokio::spawn(async move {
            let spaces = vec![b' '; 1 << 20];
            while caller.write_all(&spaces).await.is_ok() {}
        });
        assert!(question(&mut gateway).await.is_err());
        drop(gateway);
        talking.await.expect("it was not read on");
    }

    #[tokio::test]
    async fn a_state_folder_without_a_gateway_says_so() {
        let company = Company::new("", "");
        let error = ask::<u8>(&state(&company), Question::Status).await.expect_err("nobody answers");
        assert!(error.starts_with("no gateway runs with the state folder"), "{error}");
    }
}
