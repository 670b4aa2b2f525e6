//! What sessions mean for the store. Always true: nobody gets a session on another's device.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use super::*;
use crate::{
    object::{Logout, Session, session::Refreshing},
    revoked::Revoked,
    session::{
        Answered, Authority, Claims, NotSignedIn, Sessions, SignIn, Speaks, asked, ended, logged_out, over,
        refreshed, signed_in, suspended,
    },
};

const HOUR: Duration = Duration::from_secs(3600);

pub(super) fn authority(groups: Speaks) -> Authority {
    let mapped = ["corp/mapped"].map(|group| group.parse().unwrap()).into();
    Authority { provider: "corp".parse().unwrap(), email: true, groups, mapped }
}

fn claims(groups: &[&str]) -> Claims {
    let groups = groups.iter().map(|group| group.parse().unwrap()).collect();
    Claims { email: Some("a@corp.example".to_owned()), name: Some("A".to_owned()), groups }
}

pub(super) fn sign_in(user: &str, session: &str, world: &World) -> SignIn {
    SignIn {
        session: session.into(),
        device: "laptop".parse().unwrap(),
        user: user.parse().unwrap(),
        provider: "corp".parse().unwrap(),
        subject: "a".into(),
        claims: claims(&["corp/g", "corp/new"]),
        auth_time: None,
        amr: BTreeSet::new(),
        acr: None,
        sid: Some("sid-1".into()),
        refresh: Some("sealed".into()),
        expires: world.now.plus(12 * HOUR),
    }
}

impl World {
    /// A gateway asks with what is known now.
    fn asks(&mut self, gateway: &str) -> Option<Refreshing> {
        let (seen, question) = (self.session()?.clone(), Refreshing { at: self.now, by: gateway.into() });
        let plan = asked(&self.view, &seen, &question)?;
        self.carries_out(plan);
        Some(question)
    }

    fn is_answered(&self, question: &Refreshing, answered: &Answered) -> Option<crate::session::Plan> {
        refreshed(&self.view, "s1", (question, answered), &authority(Speaks::All), self.now)
    }

    pub(super) fn carries_out(&mut self, plan: crate::session::Plan) -> Vec<Revoked> {
        if let Some(commit) = plan.commit {
            self.commit(commit).expect("it is kept");
        }
        plan.revoked
    }

    pub(super) fn signs_in(&mut self, session: &str) -> Vec<Revoked> {
        let sign_in = sign_in("corp/a", session, self);
        let plan = signed_in(&self.view, &sign_in, &authority(Speaks::All), self.now).expect("signed in");
        self.carries_out(plan)
    }

    pub(super) fn session(&self) -> Option<&Arc<Session>> {
        self.view.directory().session(&"laptop".parse().unwrap())
    }

    fn groups(&self) -> Vec<&str> {
        self.user("corp/a").groups.iter().map(|group| group.as_str()).collect()
    }
}

#[test]
fn a_sign_in_makes_a_session_and_the_providers_groups_count() {
    let mut world = World::peopled();
    world.does(&group_add("desk/own", &[]));
    world.does(&member("corp/h", "corp/a", true));
    world.does(&member("desk/own", "corp/a", true));
    let revoked = world.signs_in("s1");
    let membership =
        Revoked::Membership { user: "corp/a".parse().unwrap(), group: "corp/h".parse().unwrap() };
    assert_eq!(revoked, [membership], "the provider does not say so");
    assert_eq!(world.groups(), ["corp/g", "corp/new", "desk/own"], "another's group stays");
    assert_eq!(world.user("corp/a").email.as_deref(), Some("a@corp.example"));
    assert_eq!(world.session().map(|session| &*session.id), Some("s1"));
    world.signs_in("s2");
    assert_eq!(world.session().map(|session| &*session.id), Some("s2"));
    assert_eq!(world.view.objects().all::<Session>().count(), 1, "one on a device");
}

/// Case C12: a provider's word counts for what it may speak for only.
#[test]
fn a_provider_speaks_for_its_own_only() {
    let mut world = World::peopled();
    world.does(&member("corp/h", "corp/a", true));
    let mut sign_in = sign_in("corp/a", "s1", &world);
    sign_in.claims = claims(&["corp/g", "corp/new", "corp/mapped", "desk/admins"]);
    sign_in.claims.email = Some("b@corp.example".to_owned());
    let named = Speaks::Of(["g".to_owned()].into());
    let mut authority = authority(named);
    authority.email = false;
    let plan = signed_in(&world.view, &sign_in, &authority, world.now).expect("signed in");
    assert_eq!(world.carries_out(plan), []);
    assert_eq!(world.groups(), ["corp/g", "corp/h", "corp/mapped"]);
    assert_eq!(world.user("corp/a").email.as_deref(), Some("a@corp.example"), "it speaks for no address");
}

#[test]
fn nobody_signs_in_on_anothers_device_nor_shut_out() {
    let mut world = World::peopled();
    let tries = |world: &World, user| {
        let sign_in = sign_in(user, "s1", world);
        signed_in(&world.view, &sign_in, &authority(Speaks::All), world.now).map(drop)
    };
    let user = || "corp/b".parse().unwrap();
    assert_eq!(tries(&world, "corp/b"), Err(NotSignedIn::NotOwner { user: user() }));
    world.does(&Request::Device(DeviceRequest::Disable { device: "laptop".parse().unwrap(), why: None }));
    assert_eq!(tries(&world, "corp/a"), Err(NotSignedIn::DeviceDisabled));
    world.does(&Request::Device(DeviceRequest::Enable { device: "laptop".parse().unwrap() }));
    world.does(&Request::User(UserRequest::Disable { user: "corp/a".parse().unwrap(), why: None }));
    assert!(matches!(tries(&world, "corp/a"), Err(NotSignedIn::UserDisabled { .. })));
    world.does(&Request::User(UserRequest::Enable { user: "corp/a".parse().unwrap() }));
    assert_eq!(tries(&world, "corp/a"), Ok(()));
    // What is revoked ahead of the store counts as well.
    world.view.revoke(&Revoked::Device { device: "laptop".parse().unwrap() });
    assert_eq!(tries(&world, "corp/a"), Err(NotSignedIn::DeviceDisabled));
}

#[test]
fn who_is_shut_out_meanwhile_is_not_signed_in() {
    let mut world = World::peopled();
    let sign_in = sign_in("corp/a", "s1", &world);
    let plan = signed_in(&world.view, &sign_in, &authority(Speaks::All), world.now).expect("signed in");
    world.does(&Request::Device(DeviceRequest::Disable { device: "laptop".parse().unwrap(), why: None }));
    assert!(world.commit(plan.commit.expect("a session")).is_err());
    assert!(world.session().is_none());
}

#[test]
fn sessions_end_with_their_person_and_their_device() {
    let ways = [
        Request::User(UserRequest::Disable { user: "corp/a".parse().unwrap(), why: None }),
        Request::User(UserRequest::Remove { user: "corp/a".parse().unwrap(), with_devices: true }),
        Request::Device(DeviceRequest::Disable { device: "laptop".parse().unwrap(), why: None }),
        Request::Device(DeviceRequest::Remove { device: "laptop".parse().unwrap() }),
    ];
    for way in ways {
        let mut world = World::peopled();
        world.signs_in("s1");
        let plan = world.does(&way);
        assert!(plan.revoked.iter().any(|one| matches!(one, Revoked::Session { .. })), "{way:?}");
        assert!(world.session().is_none() && world.view.objects().all::<Session>().next().is_none());
    }
}

#[test]
fn a_refresh_is_written_down_before_it_is_asked_and_only_gone_ends() {
    let mut world = World::peopled();
    world.signs_in("s1");
    let answer = |world: &mut World, answered: Answered| {
        let question = world.asks("g1").expect("it can be asked about");
        assert!(world.session().is_some_and(|session| session.refreshing.is_some()));
        world.now = world.now.plus(HOUR);
        let plan = world.is_answered(&question, &answered);
        world.carries_out(plan.expect("the session is there"))
    };
    assert_eq!(answer(&mut world, Answered::Later { refresh: None }), []);
    let session = world.session().expect("it stays").clone();
    assert!(session.refreshing.is_none() && session.refreshed < world.now);
    let still = Answered::Still { claims: Some(claims(&["corp/g"])), refresh: Some("next".into()) };
    assert_eq!(answer(&mut world, still).len(), 1, "out of corp/new");
    let session = world.session().expect("it stays").clone();
    assert_eq!((session.refresh.as_deref(), session.refreshed), (Some("next"), world.now));
    assert_eq!(world.groups(), ["corp/g"]);
    assert_eq!(answer(&mut world, Answered::Gone).len(), 1);
    assert!(world.session().is_none());
    world.signs_in("s1");
    assert_eq!(answer(&mut world, Answered::Lost { holds: 2 * HOUR }), []);
    let session = world.session().expect("it stays").clone();
    assert_eq!((session.refresh.as_deref(), session.expires), (None, session.refreshed.plus(2 * HOUR)));
    assert!(world.asks("g1").is_none(), "there is nothing to ask with");
}

/// Two gateways ask about one session, since one of them was taken for dead.
#[test]
fn who_was_overtaken_asks_nothing_and_ends_nothing() {
    let mut world = World::peopled();
    world.signs_in("s1");
    let seen = world.session().expect("signed in").clone();
    let first = world.asks("g1").expect("it can be asked about");
    let other = Refreshing { at: world.now, by: "g2".into() };
    assert!(asked(&world.view, &seen, &other).is_none(), "it is being asked");
    world.now = world.now.plus(HOUR);
    let second = world.asks("g2").expect("g1 was waited for long enough");
    assert!(world.is_answered(&first, &Answered::Gone).is_none(), "what it asked with was used up by g2");
    let still = Answered::Still { claims: None, refresh: Some("next".into()) };
    let plan = world.is_answered(&second, &still).expect("the last to ask knows");
    world.carries_out(plan);
    assert!(asked(&world.view, &seen, &other).is_none(), "what it would ask with is used up");
    assert!(world.is_answered(&first, &Answered::Gone).is_none());
    assert_eq!(world.session().expect("it stays").refresh.as_deref(), Some("next"));
}

#[test]
fn a_logout_token_ends_once() {
    let mut world = World::peopled();
    world.signs_in("s1");
    let which = Sessions::Sid("corp".parse().unwrap(), "sid-1".into());
    let token = Logout { id: "corp/1".into(), at: world.now, rest: Default::default() };
    let other = Sessions::Sid("other".parse().unwrap(), "sid-1".into());
    assert!(other.found(&world.view).is_empty(), "another provider's");
    assert_eq!(Sessions::Subject("corp".parse().unwrap(), "a".into()).found(&world.view).len(), 1);
    let plan = logged_out(&world.view, &which, &token, world.now).expect("it was not said before");
    assert_eq!(world.carries_out(plan).len(), 1);
    assert!(world.session().is_none());
    world.signs_in("s2");
    assert!(logged_out(&world.view, &which, &token, world.now).is_none());
    assert!(world.session().is_some());
    world.now = world.now.plus(24 * HOUR);
    let plan = over(&world.view, world.now, 10).expect("both are over");
    world.carries_out(plan);
    assert!(world.view.objects().all::<Logout>().next().is_none());
    assert!(world.view.objects().all::<Session>().next().is_none());
    assert!(over(&world.view, world.now, 10).is_none());
}

#[test]
fn a_suspended_session_stays_so_until_the_person_signs_in_again() {
    let mut world = World::peopled();
    let laptop: protocol::id::DeviceId = "laptop".parse().unwrap();
    assert!(suspended(&world.view, &laptop, "two places", world.now).is_none());
    world.signs_in("s1");
    let plan = suspended(&world.view, &laptop, "two places", world.now).expect("a session");
    world.carries_out(plan);
    assert!(world.session().is_some_and(|session| session.suspended.is_some()));
    assert!(suspended(&world.view, &laptop, "two places", world.now).is_none());
    world.signs_in("s2");
    assert!(world.session().is_some_and(|session| session.suspended.is_none()));
    let plan = ended(&world.view, &Sessions::Of("corp/a".parse().unwrap()), world.now);
    assert_eq!(world.carries_out(plan).len(), 1);
    assert!(world.session().is_none());
}
