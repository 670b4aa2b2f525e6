//! What joining asks of its folder and of its token, without a gateway.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use super::*;

struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("doorward-join-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn names(&self) -> Vec<String> {
        let names = fs::read_dir(&self.0).unwrap();
        let mut names: Vec<_> =
            names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

fn order(folder: &Path) -> Order {
    Order {
        gateways: vec!["gw.example.com:51821".parse().unwrap(), "[2001:db8::1]:51821".parse().unwrap()],
        gateway_key: LinkPin([7; 32]),
        folder: folder.to_owned(),
        allow: vec!["10.50.0.0/24".parse().unwrap(), "[fd50::/64]:443".parse().unwrap()],
    }
}

fn unasked() -> io::Result<Secret<String>> {
    panic!("the token was asked for")
}

#[test]
fn what_is_written_is_what_run_reads() {
    let scratch = Scratch::new("written");
    for allow in [order(&scratch.0).allow, Vec::new()] {
        let order = Order { allow, ..order(&scratch.0) };
        let left = format!(".connector.toml.{}", std::process::id());
        fs::write(scratch.0.join(left), "of a process that was killed").unwrap();
        let folder = Folder::prepare(&scratch.0).unwrap();
        let key = folder.key().pin();
        let file = folder.finish(&order.configuration("fra-1", "fra")).unwrap();
        let config = Config::load(&file).unwrap();
        assert_eq!((config.gateways, config.gateway_key), (order.gateways, order.gateway_key));
        assert_eq!((config.targets.allow, config.private_key.pin()), (order.allow, key));
        assert_eq!(scratch.names(), ["connector.key", "connector.toml"]);
        fs::remove_file(file).unwrap();
    }
}

#[tokio::test]
async fn nothing_that_is_there_is_overwritten() {
    let scratch = Scratch::new("standing");
    fs::write(scratch.0.join("connector.toml"), "mine").unwrap();
    let refused = order(&scratch.0).run(unasked).await.unwrap_err();
    assert!(matches!(refused, JoinError::Standing(_)), "{refused}");
    assert_eq!(scratch.names(), ["connector.toml"]);

    fs::remove_file(scratch.0.join("connector.toml")).unwrap();
    let folder = Folder::prepare(&scratch.0).unwrap();
    fs::write(scratch.0.join("connector.toml"), "another's, meanwhile").unwrap();
    let refused = folder.finish("ours").unwrap_err();
    assert!(matches!(refused, JoinError::Unwritten(..)), "{refused}");
    assert_eq!(fs::read_to_string(scratch.0.join("connector.toml")).unwrap(), "another's, meanwhile");
}

#[tokio::test]
async fn the_token_is_asked_for_when_all_else_is_ready() {
    let scratch = Scratch::new("order");
    let nowhere = order(&scratch.0.join("nowhere")).run(unasked).await.unwrap_err();
    assert!(nowhere.to_string().contains("the token was not used"), "{nowhere}");

    fs::write(scratch.0.join("connector.key"), "no key").unwrap();
    let exposed = order(&scratch.0).run(unasked).await.unwrap_err();
    assert!(matches!(exposed, JoinError::Key(_, LinkKeyError::Exposed(_))), "{exposed}");
    fs::set_permissions(scratch.0.join("connector.key"), fs::Permissions::from_mode(0o600)).unwrap();
    let broken = order(&scratch.0).run(unasked).await.unwrap_err();
    assert!(matches!(broken, JoinError::Key(_, LinkKeyError::NotAKey)), "{broken}");
    assert_eq!(scratch.names(), ["connector.key"], "what was begun is removed");

    fs::remove_file(scratch.0.join("connector.key")).unwrap();
    let many = (1..=17).map(|n| format!("gw{n}.example.com:1").parse().unwrap()).collect();
    let many = Order { gateways: many, ..order(&scratch.0) }.run(unasked).await.unwrap_err();
    assert!(many.to_string().contains("name 1 to 16 gateways"), "{many}");
}

#[tokio::test]
async fn what_is_no_token_goes_nowhere_and_is_not_said_again() {
    let scratch = Scratch::new("token");
    for text in ["hunter2".to_owned(), String::new(), format!("{TOKEN}{}", "x".repeat(MAX_TOKEN))] {
        let refused = order(&scratch.0).run(|| Ok(Secret::new(text.clone()))).await.unwrap_err();
        assert!(matches!(refused, JoinError::NotAToken), "{refused}");
        assert!(!refused.to_string().contains("hunter2"));
    }
    assert_eq!(scratch.names(), ["connector.key"], "the next try has the same key");
}
