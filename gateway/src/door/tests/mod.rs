//! The door, and what ends sessions, in a company whose people have to sign in at a provider.

pub(crate) mod world;

use world::World;

#[tokio::test]
async fn a_person_signs_in_through_the_door_and_has_a_session() {
    let world = World::new().await;
    assert!(!world.is_in("laptop"));
    world.sign_in("laptop", "alice", "s1").await;
    assert!(world.is_in("laptop") && !world.is_in("tablet"));
}

/// What is not served in the clear leads to where it is.
#[tokio::test]
async fn whatever_is_asked_in_the_clear_leads_to_https() {
    let world = World::new().await;
    let mut plain = world.visit("laptop", false);
    for path in ["/", "/sign-in?to=https://wiki.corp.example/", "/nothing"] {
        let answer =
            plain.ask_whole(&format!("GET {path} HTTP/1.1\r\nHost: door.corp.example\r\n\r\n")).await;
        assert_eq!((answer.status, answer.values("location")), (308, vec!["https://door.corp.example/"]));
    }
}
