//! Sessions ended by an administrator. Always true: what ends is out of force when the answer comes, and
//! the audit log says so without anybody's name.

use control::{
    admin::SessionRequest,
    object::{Body, Session},
    store::Commit,
};
use serde_json::json;

use super::*;

async fn world() -> World {
    let world = World::new().await;
    world.fill().await;
    let body = json!({
        "id": "5e55", "user": "corp/alice", "device": "laptop", "provider": "corp", "subject": "x",
        "at": now(), "expires": now().plus(std::time::Duration::from_secs(3600)), "refreshed": now(),
        "refresh": "sealed",
    });
    let session: Session = serde_json::from_value(body).expect("a session");
    let commit = Commit { ops: vec![session.put()], ..Commit::default() };
    world.store().commit(commit).await.expect("kept");
    world.admin.0.reloader.catch_up().await.expect("read");
    world
}

fn is_signed_in(world: &World) -> bool {
    world.admin.0.live.snapshot().directory().session(&"laptop".parse().expect("a name")).is_some()
}

#[tokio::test]
async fn a_session_ends_at_once_and_the_log_says_so() {
    let requests = [
        SessionRequest::End { session: "5e55".to_owned() },
        SessionRequest::EndOn { device: "laptop".parse().expect("a name") },
        SessionRequest::EndOf { user: "corp/alice".parse().expect("a name") },
        SessionRequest::EndAll,
    ];
    for request in requests {
        let world = world().await;
        assert!(is_signed_in(&world));
        let ask = || world.ask(AdminRequest::Control(Request::Session(request.clone())));
        ask().await;
        assert!(!is_signed_in(&world), "{request:?}");
        let logged = world.audited("session end").await.to_string();
        assert!(logged.contains("session end"), "{logged}");
        let revoked = world.audited("session 5e55 laptop").await;
        assert_eq!(revoked.as_array().map(Vec::len), Some(1), "{revoked}");
        let entries: Vec<&Value> =
            revoked.as_array().into_iter().flatten().map(|line| &line["entry"]).collect();
        assert!(!json!(entries).to_string().contains("alice"), "{entries:?}");
        if !matches!(request, SessionRequest::End { .. }) {
            ask().await;
        }
    }
}

/// A person is named by their random id alone, also where it is their sessions that end, or did not.
#[tokio::test]
async fn the_log_does_not_name_the_person_whose_sessions_end() {
    let world = world().await;
    let end = SessionRequest::EndOf { user: "corp/alice".parse().expect("a name") };
    world.ask(AdminRequest::Control(Request::Session(end))).await;
    let folder = world.file("state/audit");
    let lines: String = std::fs::read_dir(folder)
        .expect("a folder")
        .map(|file| std::fs::read_to_string(file.expect("a file").path()).unwrap_or_default())
        .collect();
    assert!(lines.contains("session end-of") && !lines.contains("alice"), "{lines}");
}
