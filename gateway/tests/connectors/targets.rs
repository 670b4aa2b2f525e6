//! What a connector dials and what it does not: security cases D3 and C1.

use connector::dial::Site;
use gateway::connectors::OpenError;
use protocol::target::TargetRules;

use super::rig::{Agent, Rig, echo, listener};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_end_of_a_dial_is_told() {
    let mut rig = Rig::start().await;
    let _agent = rig.connector("fra-1").await;
    let (unused, closed) = listener().await;
    drop(unused);
    assert_eq!(rig.open(&closed).await.unwrap_err(), OpenError::Refused);
    assert_eq!(rig.open("no-such-host.invalid:80").await.unwrap_err(), OpenError::NameNotFound);
    let refused = rig.open("10.0.0.1:80").await.unwrap_err();
    assert_eq!(refused, OpenError::NotAllowed("10.0.0.1 port 80 is not in the site's allow list".to_owned()));
    assert_eq!(rig.status("fra-1").last_error, None, "none of this is the connector's fault");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_never_is_a_target_needs_its_exact_name() {
    let mut rig = Rig::start().await;
    let pem = rig.add("fra-1");
    let everything = rig.config(&pem, &["0.0.0.0/0", "::/0", "127.0.0.0/8", "169.254.0.0/16"]);
    let agent = Agent::start(everything);
    rig.linked("fra-1").await;
    let port = echo().await.rsplit_once(':').unwrap().1.to_owned();
    let loopback = ["127.0.0.1", "[::ffff:127.0.0.1]", "[64:ff9b::7f00:1]", "localhost", "[::1]"];
    let others = ["0.0.0.0", "[::]", "169.254.169.254", "169.254.1.1", "[fd00:ec2::254]", "[fe80::1]"];
    let more = [
        "[2002:7f00:1::1]",
        "[64:ff9b:1::7f00:1]",
        "[::ffff:169.254.169.254]",
        "224.0.0.1",
        "100.100.100.200",
    ];
    for host in loopback.iter().chain(&others).chain(&more) {
        let refused = rig.open(&format!("{host}:{port}")).await.unwrap_err();
        assert!(matches!(refused, OpenError::NotAllowed(_)), "{host}: {refused:?}");
    }
    for own in Site::here(TargetRules::default()).unwrap().own {
        let target = std::net::SocketAddr::new(own, port.parse().unwrap());
        let refused = rig.open(&target.to_string()).await.unwrap_err();
        assert!(matches!(refused, OpenError::NotAllowed(_)), "{own}: {refused:?}");
    }

    agent.reload(rig.config(&pem, &[&format!("127.0.0.1:{port}")])).unwrap();
    for host in ["127.0.0.1", "[::ffff:127.0.0.1]", "localhost"] {
        assert!(rig.open(&format!("{host}:{port}")).await.is_ok(), "{host}");
    }
    let by_translator = rig.open(&format!("[64:ff9b::7f00:1]:{port}")).await.unwrap_err();
    assert!(matches!(by_translator, OpenError::NotAllowed(_)), "{by_translator:?}");
    let other_port = rig.open("127.0.0.1:1").await.unwrap_err();
    assert!(matches!(other_port, OpenError::NotAllowed(_)), "{other_port:?}");
}
