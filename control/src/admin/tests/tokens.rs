//! Tokens: made, redeemed once, revoked. Always true: an outsider is told one thing, whatever is wrong.

use protocol::key::LinkPin;

use super::*;
use crate::object::Token;

const HOUR: u64 = 3600;

fn token(seconds: u64) -> Request {
    let (site, name) = ("fra".parse().unwrap(), None);
    Request::Connector(ConnectorRequest::Token { site, name, seconds })
}

fn pin(n: u8) -> LinkPin {
    LinkPin([n; 32])
}

/// A world with a token, its id and its secret.
fn made() -> (World, String, String) {
    let mut world = World::new();
    let plan = world.does(&token(HOUR));
    let text = plan.answer.text.clone().expect("the token");
    let (id, secret) = parse_token(&text).expect("it is written like a token");
    assert!(!format!("{plan:?}").contains(secret), "no secret in Debug");
    let kept: String = world.objects.values().map(|object| object.body.to_string()).collect();
    assert!(!kept.contains(secret), "nor in the store");
    let listed = world.does(&Request::Token(TokenRequest::List)).answer.data.to_string();
    assert!(listed.contains(id) && !listed.contains(secret) && !listed.contains("hash"), "{listed}");
    (world, id.to_owned(), secret.to_owned())
}

#[test]
fn a_connector_joins_once_and_a_lost_answer_is_given_again() {
    let (mut world, id, secret) = made();
    let plan = redeem(&world.view, &id, &secret, pin(1), world.now).expect("it joins");
    let rival = redeem(&world.view, &id, &secret, pin(2), world.now).expect("nobody was first yet");
    let answer = plan.answer.clone();
    world.commit(plan.commit.expect("a commit")).expect("carried out");
    assert!(world.commit(rival.commit.expect("a commit")).is_err(), "used up by the same commit");
    let again = redeem(&world.view, &id, &secret, pin(1), world.now).expect("the same again");
    assert!(again.commit.is_none() && again.answer == answer);
    assert_eq!(redeem(&world.view, &id, &secret, pin(2), world.now).unwrap_err(), RedeemError::Used);
    assert_eq!(world.view.objects().all::<Connector>().count(), 1);
    let connector = world.view.objects().all::<Connector>().next().unwrap().id.clone();
    world.does(&Request::Connector(ConnectorRequest::Remove { connector }));
    assert_eq!(redeem(&world.view, &id, &secret, pin(1), world.now).unwrap_err(), RedeemError::Used);
}

#[test]
fn outsiders_are_told_one_thing() {
    let (mut world, id, secret) = made();
    let now = world.now;
    let late = now.plus(std::time::Duration::from_secs(HOUR));
    let wrong = "A".repeat(43);
    let errors = [
        (redeem(&world.view, "000000000000", &secret, pin(1), now), RedeemError::Unknown),
        (redeem(&world.view, &id, &wrong, pin(1), now), RedeemError::Wrong),
        (redeem(&world.view, &id, &secret, pin(1), late), RedeemError::Expired),
    ];
    for (result, error) in errors {
        let found = result.expect_err("no good");
        assert_eq!((found, found.to_string()), (error, RedeemError::Unknown.to_string()));
    }
    let revoked = Revoked::Token { token: id.as_str().into() };
    world.view.revoke(&revoked);
    let ahead = redeem(&world.view, &id, &secret, pin(1), now);
    assert_eq!(ahead.unwrap_err(), RedeemError::Unknown, "also ahead of the store");
    world.view.give_back(&revoked);
    world.does(&Request::Connector(ConnectorRequest::Add {
        connector: "other".parse().unwrap(),
        site: "fra".parse().unwrap(),
        key: pin(1),
    }));
    assert_eq!(redeem(&world.view, &id, &secret, pin(1), now).unwrap_err(), RedeemError::KeyTaken);
    let plan = world.does(&Request::Token(TokenRequest::Revoke { token: id.clone() }));
    assert_eq!(plan.revoked, [revoked]);
    assert_eq!(redeem(&world.view, &id, &secret, pin(2), now).unwrap_err(), RedeemError::Unknown);
}

#[test]
fn a_token_is_for_a_known_site_and_not_for_long() {
    let mut world = World::new();
    for seconds in [0, 7 * 86_400 + 1] {
        assert!(world.refuses(&token(seconds)).contains("seven days"));
    }
    let at = |site: &str| {
        Request::Connector(ConnectorRequest::Token { site: site.parse().unwrap(), name: None, seconds: HOUR })
    };
    assert!(world.refuses(&at("nowhere")).contains("there is no site nowhere"));
    assert!(world.refuses(&at("local")).contains("no connector stands there"));
    world.does(&token(HOUR));
    world.days(31);
    world.does(&token(HOUR));
    assert_eq!(world.view.objects().all::<Token>().count(), 1, "what is long over goes");
}
