//! Signing out: who is asked, who is sent where, and which clients are told.

use std::{convert::Infallible, sync::Arc};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::{net::TcpListener, sync::mpsc, task::JoinSet};
use tokio_rustls::TlsAcceptor;
use url::form_urlencoded;

use crate::{
    browser::{Browser, Reply, parameter},
    client::{code, refusal, text},
    world::World,
};

/// The client `app`, listening for what the provider tells it.
struct App {
    heard: mpsc::Receiver<String>,
    _task: JoinSet<()>,
}

async fn world_and_app() -> (World, App) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let world = World::with_listener_of_app(listener.local_addr().unwrap()).await;
    let config =
        world.folder.config(&crate::world::text("127.0.0.1:0", "https://app.example", world.address, false));
    let (says, heard) = mpsc::channel(16);
    let mut task = JoinSet::new();
    task.spawn(listen(listener, TlsAcceptor::from(config.tls), says));
    (world, App { heard, _task: task })
}

async fn listen(listener: TcpListener, tls: TlsAcceptor, says: mpsc::Sender<String>) {
    let says = Arc::new(says);
    loop {
        let stream = tls.accept(listener.accept().await.unwrap().0).await.unwrap();
        let service = service_fn(|request: Request<Incoming>| {
            let says = says.clone();
            async move {
                assert_eq!(request.uri(), "/signed-out?by=idp");
                assert_eq!(request.headers()["host"], "app.example");
                let body = request.into_body().collect().await.unwrap().to_bytes();
                says.send(String::from_utf8(body.into()).unwrap()).await.unwrap();
                Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
            }
        });
        let connection = hyper::server::conn::http1::Builder::new();
        // Who has their answer may hang up.
        let _ = connection.serve_connection(TokioIo::new(stream), service).await;
    }
}

impl App {
    /// The next logout token.
    async fn hears(&mut self) -> String {
        let body = self.heard.recv().await.unwrap();
        let mut form = form_urlencoded::parse(body.as_bytes());
        let (name, token) = form.next().unwrap();
        assert!(name == "logout_token" && form.next().is_none(), "{body}");
        token.into_owned()
    }

    fn heard_nothing(&mut self) -> bool {
        self.heard.try_recv().is_err()
    }
}

/// Ada signs in to `app`; the answer with her tokens.
async fn signed_in(browser: &mut Browser) -> Reply {
    let grant = browser.ada(&[]).await;
    browser.redeem(&grant).await
}

async fn is_signed_in(browser: &mut Browser) -> bool {
    let back = browser.authorize(&[("prompt", "none")]).await.location();
    parameter(&back, "error").is_none()
}

#[tokio::test]
async fn a_client_signs_a_person_out_and_every_client_is_told() {
    let (world, mut app) = world_and_app().await;
    let mut browser = Browser::new(&world);
    let tokens = signed_in(&mut browser).await;
    let id_token = text(&tokens, "id_token");
    let id = browser.claims(&id_token, "JWT").await;
    let query = [
        ("id_token_hint", &*id_token),
        ("post_logout_redirect_uri", "https://app.example/bye"),
        ("state", "a b"),
    ];
    let back = browser.get_with("/logout", &query).await.location();
    assert_eq!(back.as_str(), "https://app.example/bye?state=a+b");
    assert!(!browser.cookies.contains_key("__Host-dev-session"));

    let token = app.hears().await;
    let told = browser.claims(&token, "logout+jwt").await;
    assert_eq!((&told["iss"], &told["aud"]), (&json!(world.issuer), &json!("app")));
    assert_eq!((&told["sub"], &told["sid"]), (&id["sub"], &id["sid"]));
    assert_eq!(told["events"], json!({ "http://schemas.openid.net/event/backchannel-logout": {} }));
    assert!(
        told["jti"].is_string() && told["iat"].as_u64() < told["exp"].as_u64() && told["nonce"].is_null()
    );

    assert!(!is_signed_in(&mut browser).await);
    let refused = browser.refresh(&text(&tokens, "refresh_token")).await;
    assert_eq!(refusal(&refused), "invalid_grant", "the session took its grants along");
}

#[tokio::test]
async fn a_client_id_is_enough_to_sign_out_here() {
    let (world, mut app) = world_and_app().await;
    let mut browser = Browser::new(&world);
    signed_in(&mut browser).await;
    let page = browser.get("/logout?client_id=app").await;
    assert!(page.status == StatusCode::OK && page.body.contains("You are signed out"));
    app.hears().await;
    assert!(!is_signed_in(&mut browser).await);
}

#[tokio::test]
async fn nobody_is_sent_on_to_what_is_not_registered() {
    let (world, mut app) = world_and_app().await;
    let mut browser = Browser::new(&world);
    let tokens = signed_in(&mut browser).await;
    let hint = ("id_token_hint", &*text(&tokens, "id_token"));
    let bye = ("post_logout_redirect_uri", "https://app.example/bye");
    for query in [
        vec![bye],
        vec![("client_id", "nobody"), bye],
        vec![("client_id", "wiki"), bye],
        vec![("client_id", "wiki"), hint],
        vec![hint, ("post_logout_redirect_uri", "https://app.example/bye/")],
        vec![hint, ("post_logout_redirect_uri", "https://app.example/cb")],
    ] {
        let refused = browser.get_with("/logout", &query).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{query:?}");
        assert!(!refused.headers.contains_key("location"), "{query:?}");
    }
    assert!(is_signed_in(&mut browser).await && app.heard_nothing());
}

#[tokio::test]
async fn who_comes_by_themselves_is_asked_first() {
    let (world, mut app) = world_and_app().await;
    let mut browser = Browser::new(&world);
    assert!(browser.get("/logout").await.body.contains("You are signed out"));
    let tokens = signed_in(&mut browser).await;
    let access = text(&tokens, "access_token");
    assert!(browser.get_with("/logout", &[("id_token_hint", &access)]).await.body.contains("Sign out?"));
    let page = browser.get("/logout").await;
    assert!(page.body.contains("ada@corp.example"), "{}", page.body);
    let confirm = page.hidden("confirm");
    for (form, header) in
        [(("confirm", "x"), ("x-none", "1")), (("confirm", &*confirm), ("origin", "https://evil.example"))]
    {
        let asked = browser.post("/logout", &[form], &[header]).await;
        assert!(asked.body.contains("Sign out?") && is_signed_in(&mut browser).await, "{header:?}");
    }
    let done = browser.post("/logout", &[("confirm", &confirm)], &[]).await;
    assert!(done.body.contains("You are signed out") && !is_signed_in(&mut browser).await);
    app.hears().await;
}

#[tokio::test]
async fn the_operator_signs_a_person_out_everywhere() {
    let (world, mut app) = world_and_app().await;
    let (mut one, mut two) = (Browser::new(&world), Browser::new(&world));
    signed_in(&mut one).await;
    signed_in(&mut two).await;
    let mut operator = Browser::new(&world);
    for wrong in ["", "Bearer x", "Bearer "] {
        let refused =
            operator.post("/operator/sign-out", &[("sub", "u-1")], &[("authorization", wrong)]).await;
        assert_eq!(refused.status, StatusCode::UNAUTHORIZED, "{wrong}");
    }
    let key = ("authorization", "Bearer the operator's");
    let unclear = operator.post("/operator/sign-out", &[], &[key]).await;
    assert_eq!(unclear.status, StatusCode::BAD_REQUEST);
    let ended = operator.post("/operator/sign-out", &[("sub", "u-1")], &[key]).await;
    assert_eq!(ended.json(), json!({ "ended": 2 }));
    let (first, second) = (app.hears().await, app.hears().await);
    let (first, second) =
        (operator.claims(&first, "logout+jwt").await, operator.claims(&second, "logout+jwt").await);
    assert!(first["sid"] != second["sid"] && first["jti"] != second["jti"]);
    assert!(!is_signed_in(&mut one).await && !is_signed_in(&mut two).await);
}

#[tokio::test]
async fn another_person_in_the_same_browser_ends_the_first_ones_session() {
    let (world, mut app) = world_and_app().await;
    let mut browser = Browser::new(&world);
    let tokens = signed_in(&mut browser).await;
    let page = browser.login_page(&[("prompt", "login")]).await;
    code(&browser.fill(&page, "bob@corp.example", "builder", "").await.location());
    let token = app.hears().await;
    assert_eq!(browser.claims(&token, "logout+jwt").await["sub"], "u-1");
    assert_eq!(refusal(&browser.refresh(&text(&tokens, "refresh_token")).await), "invalid_grant");
    let again = code(&browser.authorize(&[("prompt", "none")]).await.location());
    let tokens = browser.redeem(&again).await;
    let claims = browser.claims(&text(&tokens, "id_token"), "JWT").await;
    assert_eq!((&claims["sub"], &claims["email_verified"]), (&json!("u-2"), &json!(false)));
}
