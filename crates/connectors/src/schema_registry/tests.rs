use std::sync::atomic::{AtomicUsize, Ordering};

use forebay_core::{ErrorKind, Timestamp};
use forebay_testkit::{FakeClock, Reply, Request, StubHttp};
use serde_json::json;

use super::*;

const PLACE: &str = r#"{"type": "record", "name": "Place", "fields": []}"#;

fn schema(text: &str) -> Reply {
    Reply::json(&json!({"schema": text}))
}

fn refused(code: u32) -> Reply {
    let body = json!({"error_code": code, "message": "Schema not found"});
    Reply::status(404).body(body.to_string())
}

/// A registry whose `n`th request gets this answer, and a clock that does not wait.
async fn registry(
    answer: impl Fn(&Request, usize) -> Reply + Send + Sync + 'static,
) -> (StubHttp, Registry, Arc<FakeClock>) {
    forebay_testkit::install_crypto();
    let asked = AtomicUsize::new(0);
    let server = StubHttp::start(move |request: &Request| {
        answer(request, asked.fetch_add(1, Ordering::Relaxed))
    });
    let server = server.await;
    let clock = FakeClock::auto(Timestamp(0));
    let config = Config {
        url: server.url("/api"),
        auth: None,
        retry_for: Span(Duration::from_secs(30)),
    };
    let registry = Registry::new(config, clock.clone()).unwrap();
    (server, registry, clock)
}

fn read(schema: &str) -> Schema {
    serde_json::from_str(schema).unwrap()
}

#[tokio::test]
async fn a_schema_comes_with_all_it_refers_to_and_is_asked_for_once() {
    let (_server, mut registry, _) = registry(|request, n| {
        assert!(n < 2, "asked again");
        match request.path.as_str() {
            "/api/schemas/ids/7" => Reply::json(&json!({"schema": "{}", "references":
                [{"name": "Place", "subject": "a/b", "version": 3}]})),
            "/api/subjects/a%2Fb/versions/3" => schema(PLACE),
            path => panic!("{path}"),
        }
    })
    .await;
    for _ in 0..2 {
        let found = registry.schema(7).await.unwrap().unwrap();
        let reference = Reference {
            name: "Place".to_owned(),
            schema: PLACE.to_owned(),
        };
        assert_eq!(read(&found).kind, "AVRO");
        assert_eq!(read(&found).references, [reference]);
    }
}

#[tokio::test]
async fn an_id_that_the_registry_does_not_know_is_asked_for_again_later() {
    let (_server, mut registry, clock) = registry(|_, n| match n {
        0 => refused(40403),
        _ => schema("{}"),
    })
    .await;
    assert_eq!(registry.schema(7).await.unwrap(), None);
    assert_eq!(registry.schema(7).await.unwrap(), None);
    clock.sleep(UNKNOWN_FOR).await;
    assert!(registry.schema(7).await.unwrap().is_some());
}

#[tokio::test]
async fn what_is_no_answer_of_a_registry_is_no_unknown_schema() {
    let (_server, mut registry, _) = registry(|_, n| match n {
        0 => Reply::status(503),
        1 => Reply::status(404).body("<html>nobody has this page</html>"),
        2 => refused(404),
        _ => schema("{}"),
    })
    .await;
    assert!(registry.schema(7).await.unwrap().is_some());
}

#[tokio::test]
async fn a_registry_that_stays_away_ends_the_run() {
    let (_server, mut registry, clock) = registry(|_, _| Reply::status(404)).await;
    let error = registry.schema(7).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.code()),
        (ErrorKind::Unavailable, "registry_unavailable")
    );
    assert!(error.message().contains("404"), "{error}");
    let slept: Duration = clock.sleeps().iter().sum();
    assert!(slept <= Duration::from_secs(30), "{slept:?}");
    let (_server, mut registry, _) = registry_that_refuses().await;
    let error = registry.schema(7).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
}

async fn registry_that_refuses() -> (StubHttp, Registry, Arc<FakeClock>) {
    registry(|_, _| Reply::status(401)).await
}
