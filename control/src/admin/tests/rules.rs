//! One rule, one test. Always true: each fails if its rule is taken out.

use super::*;

fn remove_group(group: &str, with_members: bool) -> Request {
    Request::Group(GroupRequest::Remove { group: group.parse().unwrap(), with_members })
}

#[test]
fn a_refusal_says_what_to_do() {
    let mut world = World::peopled();
    world.does(&member("corp/g", "corp/a", true));
    world.does(&group_set("corp/h", &["corp/g"]));
    world.does(&device_add("phone", "corp/a", 2));
    world.does(&key_add("phone", 3, false));
    let k = |n| key(n).to_string();
    for (request, error) in [
        (user_add("corp/a"), "user corp/a is there already, as a name or an id: choose another".to_owned()),
        (device_add("x", "corp/nobody", 9), "there is no user corp/nobody: `doorward admin user list` shows those there are".to_owned()),
        (device_add("laptop", "corp/b", 9), "device laptop is there already, as a name or an id: choose another".to_owned()),
        (device_add("x", "corp/b", 1), format!("key {} is device laptop's already: every one needs a key of its own", k(1))),
        (device_add_at("x", "corp/b", 9, Some([100, 64, 0, 1]), false), "100.64.0.1 is no address for devices: it has to lie in the devices' half of tunnel.v4".to_owned()),
        (device_add_at("x", "corp/b", 9, Some([100, 64, 0, 2]), false), "device x is to have the tunnel address of index 2, but device laptop has it: choose another, or give device laptop an explicit one of its own".to_owned()),
        (key_add("phone", 9, false), format!("device phone has two keys, {} since before: remove that one first", k(2))),
        (key_remove("laptop", 1), "it is the last key of device laptop: disable or remove the device instead, or add its next key first".to_owned()),
        (key_remove("laptop", 9), format!("device laptop has no key {}: `doorward admin device show laptop` tells which it has", k(9))),
        (rename("laptop", "phone"), "device phone is there already, as a name or an id: choose another".to_owned()),
        (remove_user("corp/a", false), "user corp/a has devices (device laptop, device phone): remove them first, or together with --with-devices".to_owned()),
        (member("corp/x", "corp/a", true), "there is no group corp/x: `doorward admin group list` shows those there are".to_owned()),
        (member("corp/h", "corp/a", false), "corp/a is not in group corp/h directly: `doorward admin user show corp/a` tells where they are".to_owned()),
        (group_add("corp/i", &["corp/x"]), "there is no group corp/x: `doorward admin group list` shows those there are".to_owned()),
        (group_set("corp/g", &["corp/h"]), "these groups would lie in one another: corp/g in corp/h in corp/g".to_owned()),
        (group_set("corp/g", &["corp/g"]), "these groups would lie in one another: corp/g in corp/g".to_owned()),
        (remove_group("corp/g", false), "group corp/g is in use by user corp/a, group corp/h: take them out first, or together with --with-members".to_owned()),
    ] {
        assert_eq!(world.refuses(&request), error);
    }
}

#[test]
fn who_goes_takes_nothing_of_others_along() {
    let mut world = World::peopled();
    world.does(&device_add("other", "corp/b", 2));
    let plan = world.does(&remove_user("corp/a", true));
    let (user, laptop) = ("corp/a".parse().unwrap(), "laptop".parse().unwrap());
    assert_eq!(plan.revoked, [Revoked::Device { device: laptop }, Revoked::User { user }]);
    assert!(world.view.objects().get::<User>("corp/b").is_some());
    assert_eq!(world.device("other").keys[0].key, key(2));
    assert_eq!((world.index("laptop"), world.index("other")), (None, Some(3)));
}

#[test]
fn a_key_that_was_taken_does_not_come_back_by_itself() {
    let mut world = World::peopled();
    world.does(&key_add("laptop", 2, false));
    let plan = world.does(&key_remove("laptop", 1));
    assert_eq!(plan.revoked, [Revoked::Key { device: "laptop".parse().unwrap(), key: key(1) }]);
    let error = world.refuses(&key_add("laptop", 1, false));
    assert!(error.contains("was taken from device laptop") && error.contains("--again"), "{error}");
    world.does(&remove_device("laptop"));
    for n in [1, 2] {
        assert!(world.refuses(&device_add("new", "corp/b", n)).contains("was taken from device laptop"));
    }
    world.does(&device_add_at("new", "corp/b", 1, None, true));
    assert!(world.view.objects().get::<crate::object::Revocation>(&key(1).to_string()).is_none());
}

#[test]
fn what_is_enabled_again_is_as_it_was() {
    let mut world = World::peopled();
    let before = world.device("laptop").clone();
    let plan = world.does(&disable_device("laptop"));
    assert_eq!(plan.revoked, [Revoked::Device { device: "laptop".parse().unwrap() }]);
    assert!(!world.view.directory().device(&"laptop".parse().unwrap()).unwrap().enabled);
    assert_eq!(world.does(&disable_device("laptop")).revoked.len(), 1, "said again is done again");
    world.does(&enable_device("laptop"));
    assert_eq!(*world.device("laptop"), before);
    let before = world.user("corp/a").clone();
    world.does(&disable_user("corp/a"));
    assert!(world.user("corp/a").disabled.is_some());
    world.does(&Request::User(UserRequest::Enable { user: "corp/a".parse().unwrap() }));
    assert_eq!(*world.user("corp/a"), before);
}

#[test]
fn an_address_returns_rests_and_is_chosen() {
    let mut world = World::peopled();
    world.does(&remove_device("laptop"));
    world.does(&device_add("second", "corp/a", 2));
    assert_eq!(world.index("second"), Some(3), "2 rests");
    world.does(&device_add("laptop", "corp/a", 3));
    assert_eq!(world.index("laptop"), Some(2), "its own");
    world.does(&remove_device("laptop"));
    world.does(&device_add_at("third", "corp/a", 4, Some([100, 64, 0, 2]), false));
    assert_eq!(world.index("third"), Some(2), "chosen although it rests");
    let move_it = |last| {
        Request::Device(DeviceRequest::Set {
            device: "third".parse().unwrap(),
            platform: Edit::Keep,
            groups: None,
            address: Some(Ipv4Addr::new(100, 64, 0, last)),
        })
    };
    world.does(&move_it(8));
    assert_eq!(world.index("third"), Some(8));
    for (n, index) in [(10, 4), (11, 5), (12, 6), (13, 7), (14, 9)] {
        world.does(&device_add(&format!("d{n}"), "corp/b", n));
        assert_eq!(world.index(&format!("d{n}")), Some(index));
    }
    assert!(
        world
            .refuses(&device_add("late", "corp/b", 20))
            .contains("no tunnel address is left for device late")
    );
    world.days(31);
    world.does(&device_add("late", "corp/b", 20));
    assert_eq!(world.index("late"), Some(2), "30 days are over");
}

#[test]
fn a_device_goes_by_its_name_and_its_id() {
    let mut world = World::peopled();
    world.does(&rename("laptop", "notebook"));
    assert_eq!(world.device("laptop").name.as_str(), "notebook");
    assert!(world.refuses(&device_add("notebook", "corp/b", 5)).contains("is there already"));
    let scope = scope(&world.view, &remove_device("notebook"));
    assert_eq!((scope.object.as_deref(), scope.owner), (Some("laptop"), Some("corp/a".parse().unwrap())));
    world.does(&rename("laptop", "laptop"));
    world.does(&remove_device("laptop"));
}

#[test]
fn what_may_not_be_read_is_as_if_it_were_not_there() {
    let mut world = World::peopled();
    let show = |name| device(name, |device| DeviceRequest::Show { device });
    assert!(world.does(&show("laptop")).answer.data["keys"].is_array());
    world.hidden.insert("laptop".to_owned());
    assert_eq!(world.refuses(&show("laptop")), world.refuses(&show("nothing")).replace("nothing", "laptop"));
    let listed = world.does(&Request::Device(DeviceRequest::List)).answer.data;
    assert_eq!(listed, serde_json::json!([]));
    assert!(world.refuses(&device_add("x", "corp/b", 1)).contains("is another device's already"));
    assert!(world.refuses(&remove_user("corp/a", false)).contains("has devices (another device)"));
    let taken = world.refuses(&device_add_at("x", "corp/b", 9, Some([100, 64, 0, 2]), false));
    assert!(taken.contains("but another device has it"), "{taken}");
}

#[test]
fn of_two_that_decide_by_the_same_only_one_is_carried_out() {
    let set = |name: &str| {
        Request::User(UserRequest::Set {
            user: "corp/a".parse().unwrap(),
            email: Edit::Keep,
            name: Edit::To(name.to_owned()),
            contract_end: Edit::Keep,
        })
    };
    for (first, second) in [
        (set("Ann"), set("Anna")),
        (member("corp/g", "corp/a", true), member("corp/h", "corp/a", true)),
        (member("corp/g", "corp/b", true), remove_group("corp/g", false)),
        (remove_group("corp/g", false), member("corp/g", "corp/b", true)),
        (group_set("corp/g", &["corp/h"]), group_set("corp/h", &["corp/g"])),
        (device_add("x", "corp/b", 5), remove_user("corp/b", false)),
        (remove_user("corp/b", false), device_add("x", "corp/b", 5)),
        (device_add("x", "corp/a", 5), device_add("y", "corp/b", 5)),
        (device_add("x", "corp/a", 5), device_add("y", "corp/b", 6)),
        (key_add("laptop", 5, false), key_add("laptop", 6, false)),
        (key_add("laptop", 5, false), disable_device("laptop")),
        (rename("laptop", "x"), device_add("x", "corp/b", 5)),
        (remove_device("laptop"), key_add("laptop", 5, false)),
    ] {
        let mut world = World::peopled();
        let plans = [&first, &second].map(|request| world.plan(request).expect("both can be planned").commit);
        let [Some(one), Some(other)] = plans else { panic!("both change something") };
        assert!(world.commit(one).is_ok(), "{first:?}");
        assert!(world.commit(other).is_err(), "{second:?} after {first:?}");
        world.check();
    }
}

#[test]
fn posture_is_said_with_its_source_and_time() {
    let mut world = World::peopled();
    let said = |change| {
        device("laptop", |device| {
            let source = policy::facts::Source::Mdm;
            DeviceRequest::Posture { device, change: PostureChange::clone(&change), source }
        })
    };
    world.does(&said(PostureChange {
        managed: Edit::To(true),
        os_version: Edit::To(14),
        ..Default::default()
    }));
    let fact = world.device("laptop").posture.managed.expect("a fact");
    assert_eq!((fact.value, fact.source, fact.at), (true, policy::facts::Source::Mdm, world.now));
    world.does(&said(PostureChange { managed: Edit::Clear, ..Default::default() }));
    assert_eq!(world.device("laptop").posture.managed, None);
    assert!(world.device("laptop").posture.os_version.is_some(), "the rest stays");
}

#[test]
fn who_is_erased_goes_on_under_another_name_in_the_log() {
    let mut world = World::peopled();
    let before = world.user("corp/a").clone();
    world.does(&Request::User(UserRequest::Erase { user: "corp/a".parse().unwrap() }));
    let after = world.user("corp/a");
    assert!(after.audit != before.audit && after.key != before.key && after.email.is_none());
    let shown = world.does(&Request::User(UserRequest::Show { user: "corp/a".parse().unwrap() })).answer.data;
    assert!(!shown.to_string().contains("sealed"), "the sealed key is nobody's to see");
}

#[test]
fn requests_survive_the_socket() {
    for request in [
        user_add("corp/a"),
        device_add_at("x", "corp/a", 3, Some([100, 64, 0, 2]), true),
        group_set("corp/g", &["corp/h"]),
        Request::Token(TokenRequest::List),
        Request::Session(SessionRequest::List { user: None, device: Some("x".parse().unwrap()) }),
        Request::Session(SessionRequest::EndAll),
        device("x", |device| DeviceRequest::Posture {
            device,
            change: PostureChange { managed: Edit::Clear, ..Default::default() },
            source: policy::facts::Source::Own,
        }),
    ] {
        let text = serde_json::to_string(&request).unwrap();
        assert_eq!(serde_json::from_str::<Request>(&text).unwrap(), request, "{text}");
    }
    assert!(serde_json::from_str::<Request>(r#"{"user":{"show":{"user":"corp/a","more":1}}}"#).is_err());
}
