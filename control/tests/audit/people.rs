//! Who is in the log, and who is not any more.

use std::fs;

use control::audit::{Decided, Entry, Filter, Identity, Person, Tail, Verdict, Who, explain, grep};

use crate::world::{World, decision, revocation, small};

fn identity() -> Identity {
    Identity {
        user: "corp/canary-sub".into(),
        email: "canary@corp.example".into(),
        name: "Canary Bird".into(),
        device: "canary-device".into(),
        address: "192.0.2.77".into(),
    }
}

fn of(person: &Person, request_id: &str) -> Decided {
    Decided { user: Some(person.id.clone()), sealed: person.seal(&identity()), ..decision(request_id) }
}

async fn written(world: &World, person: &Person) {
    let (log, _heads) = world.open(small());
    let allowed = Decided { verdict: Verdict::Allow, reasons: Vec::new(), ..of(person, "req-2") };
    let ended =
        Entry::Ended { request_id: "req-2".into(), why: "device disabled".into(), sent: 5, received: 6 };
    let entries = [Entry::Decision(Box::new(of(person, "req-1"))), Entry::Decision(Box::new(allowed)), ended];
    for entry in entries {
        log.note(entry);
    }
    log.write(vec![Entry::Erasure { user: "u-other".into() }]).await.unwrap();
    log.close().await.unwrap();
}

#[tokio::test]
async fn an_erased_person_is_hidden_and_the_chain_stays_sound() {
    let (world, person) = (World::new("erased"), Person::random());
    written(&world, &person).await;
    let keys = |id: &str| (*id == *person.id).then(|| person.key.clone());
    let by = |email: &str| Filter { user: Some(email.into()), ..Filter::default() };
    let known = grep(&world.folder(), by("canary@corp.example"), &keys).unwrap();
    assert_eq!(known.map(|found| found.unwrap().who).collect::<Vec<_>>(), vec![Who::Known(identity()); 2]);
    let gone = grep(&world.folder(), by("canary@corp.example"), &|_| None).unwrap();
    assert_eq!(gone.count(), 0);
    let erased = grep(&world.folder(), by(&person.id), &|_| None).unwrap();
    let who = Who::Erased { user: person.id.to_string() };
    assert_eq!(erased.map(|found| found.unwrap().who).collect::<Vec<_>>(), vec![who; 2]);
    assert!(world.verify(&[]).is_sound());
    let day = world.lines()[0].at[..10].to_owned();
    let on = |since: &str, until: &str| {
        let filter = Filter { since: Some(since.into()), until: Some(until.into()), ..Filter::default() };
        grep(&world.folder(), filter, &|_| None).unwrap().count()
    };
    assert_eq!(on(&day, "2199"), world.lines().len());
    assert_eq!((on("2020", "2025-12-31"), on("2199", "2199")), (0, 0));
    assert_eq!(on("2020", &world.lines().last().unwrap().at[..10]), world.lines().len());
}

#[tokio::test]
async fn nothing_that_names_a_person_and_no_query_is_in_any_file() {
    let (world, person) = (World::new("canary"), Person::random());
    written(&world, &person).await;
    let key: Vec<u8> = person.key.expose().to_vec();
    for file in fs::read_dir(world.folder()).unwrap() {
        let bytes = fs::read(file.unwrap().path()).unwrap();
        let text = String::from_utf8_lossy(&bytes).to_lowercase();
        for canary in ["canary", "192.0.2.77", "hunter2", "token="] {
            assert!(!text.contains(canary), "{canary} in {text}");
        }
        assert!(!bytes.windows(key.len()).any(|window| window == key));
    }
}

#[tokio::test]
async fn an_explanation_says_who_what_why_and_what_helps() {
    let (world, person) = (World::new("explain"), Person::random());
    written(&world, &person).await;
    let keys = |id: &str| (*id == *person.id).then(|| person.key.clone());
    let denied = explain(&world.folder(), "req-1", &keys).unwrap().unwrap().to_string();
    for part in [
        "Request req-1 was DENIED at 20",
        "Canary Bird <canary@corp.example> (corp/canary-sub) on device canary-device from 192.0.2.77",
        "http_read on wiki at wiki.corp.example /page\n",
        "device.disk_encrypted is missing (policy laptops)",
        "helps:    turn on disk encryption",
        "facts at revision 7, policies abc; line 3",
    ] {
        assert!(denied.contains(part), "{part} not in\n{denied}");
    }
    let allowed = explain(&world.folder(), "req-2", &|_| None).unwrap().unwrap();
    let text = allowed.to_string();
    assert!(
        text.contains("ALLOWED") && text.contains("(erased)") && text.contains("device disabled at"),
        "{text}"
    );
    assert_eq!(explain(&world.folder(), "req-9", &keys).unwrap(), None);
}

#[tokio::test]
async fn the_tail_is_the_end_and_what_comes_after() {
    let world = World::new("tail");
    let (log, _heads) = world.open(small());
    for n in 0..20 {
        log.write(vec![revocation(&format!("a{n}"))]).await.unwrap();
    }
    let (last, mut tail) = Tail::open(&world.folder(), 12).unwrap();
    assert_eq!(last, world.lines().split_off(world.lines().len() - 12));
    for n in 0..20 {
        log.write(vec![revocation(&format!("b{n}"))]).await.unwrap();
        let new: Vec<_> = tail.more().unwrap().iter().filter_map(|line| line.entry.id().cloned()).collect();
        assert_eq!(new, [format!("b{n}").into()]);
    }
    assert_eq!(tail.more().unwrap(), []);
    assert!(world.files().len() > 3, "over several files");
    log.close().await.unwrap();
}
