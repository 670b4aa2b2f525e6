//! Many people at once, and a provider by other people.

use std::thread;

use anyhow::{Result, anyhow, ensure};
use serde_json::json;
use tests::{
    browser::Browser,
    company::{GATEWAY, Machine, Person as Employee},
    device::Device,
    mirror::fields,
    office::{Office, Opening, WIKI_PAGE},
    person::Person,
    provider_mock::{ISSUER, ProviderMock},
    scene::{Plan, Scene},
};

tests::tests![
    fifty_people_sign_in_at_once_and_each_is_themselves,
    a_provider_of_another_make_signs_people_in
];

/// How many.
const PEOPLE: u8 = 50;

/// A person of the crowd: their login, their machine's name and number.
type One = (&'static str, &'static str, u8);

fn crowd() -> Vec<One> {
    let kept = |text: String| -> &'static str { text.leak() };
    (0..PEOPLE).map(|n| (kept(format!("corp/p{n}")), kept(format!("m{n}")), 100 + n)).collect()
}

/// Runs `act` for every part on a thread of its own.
fn each<T: Send, P: Send>(parts: Vec<P>, act: impl Fn(P) -> Result<T> + Sync) -> Result<Vec<T>> {
    thread::scope(|scope| {
        let act = &act;
        let threads: Vec<_> = parts.into_iter().map(|part| scope.spawn(move || act(part))).collect();
        threads.into_iter().map(|thread| thread.join().map_err(|_| anyhow!("it panicked"))?).collect()
    })
}

fn fifty_people_sign_in_at_once_and_each_is_themselves() -> Result<()> {
    let crowd = crowd();
    let mut opening = Opening::new()?;
    for (id, machine, number) in &crowd {
        opening.plan.company.people.push(Employee { id, groups: vec![], disabled: false });
        opening.plan.company.machines.push(Machine::new(machine, id, *number)?);
    }
    let office = Office::with(opening)?;
    for (id, _, _) in &crowd {
        let login = login(id);
        let claims = json!({ "name": login, "groups": ["staff"], "email": format!("{login}@corp.example"), "email_verified": true });
        office.provider.change(login, &claims)?;
    }
    let mut machines = Vec::new();
    for one in &crowd {
        let key = office.scene.company.machine(one.1)?.key.clone();
        machines.push((
            *one,
            office.scene.world.device(one.1, one.2)?,
            office.scene.device_text(one.1)?,
            key,
        ));
    }
    // All at once: fifty stock clients come up, and nobody waits for anybody.
    let devices =
        each(machines, |(one, host, text, key)| Ok((one, Device::up(host, &text, &key, GATEWAY)?)))?;
    let mut people = Vec::new();
    for ((id, _, _), device) in &devices {
        people.push((*id, Person::at(&office, device, "crowd")?));
    }
    let came = each(people, |(id, person)| {
        let page = person.signs_in(&format!("{WIKI_PAGE}{id}"), login(id))?;
        ensure!(page.status == 200 && page.url == format!("{WIKI_PAGE}{id}"), "{id}: {page:?}");
        Ok((id, page.body))
    })?;
    for (id, head) in &came {
        assert_eq!(fields(head, "X-Forwarded-User").collect::<Vec<_>>(), [*id], "{head}");
        let email = format!("{}@corp.example", login(id));
        assert_eq!(fields(head, "X-Forwarded-Email").collect::<Vec<_>>(), [email.as_str()], "{head}");
    }
    assert_eq!(came.len(), usize::from(PEOPLE));
    Ok(())
}

fn login(id: &str) -> &str {
    id.trim_start_matches("corp/")
}

fn a_provider_of_another_make_signs_people_in() -> Result<()> {
    let mut plan = Plan::new()?;
    plan.company.sign_in = true;
    let mut scene = Scene::with(plan)?;
    let mock = ProviderMock::start(scene.world.device("login2", 6)?)?;
    mock.set(
        "alice",
        &json!({ "email": "alice@corp.example", "email_verified": true, "groups": ["staff"] }),
    )?;
    let folder = scene.gateway.folder().clone();
    std::fs::copy(mock.ca(), folder.join("mock-ca.pem"))?;
    tests::company::write_secret(&folder.join("mock.secret"), "any")?;
    scene.change(|company| {
        company.more += &format!(
            "[[provider]]\nname = \"corp\"\nissuer = \"{ISSUER}\"\nclient_id = \"doorward\"\n\
             client_secret = \"mock.secret\"\nca = \"mock-ca.pem\"\ndomains = [\"corp.example\"]\ngroups = [\"*\"]\n"
        );
        Ok(())
    })?;
    let laptop = scene.device("laptop")?;
    let root = laptop.host().folder().join("gateway-ca.pem");
    std::fs::write(&root, laptop.page(&["http://door.corp.example/ca.pem"])?)?;
    let browser = Browser::open(laptop.host(), &[&root, mock.ca()])?;
    browser.goto(&format!("{WIKI_PAGE}other"))?;
    browser.wait_for_url(ISSUER)?;
    browser.fill("[name=sub]", "alice")?;
    browser.click("button:text('Authorize')")?;
    browser.wait_for_url(WIKI_PAGE)?;
    assert_eq!(browser.url()?, format!("{WIKI_PAGE}other"));
    let head = browser.text("body")?;
    assert_eq!(fields(&head, "X-Forwarded-User").collect::<Vec<_>>(), ["corp/alice"], "{head}");
    Ok(())
}
