use axum::body::Body;
use axum::http::Request;

use crate::site::Server;

#[tokio::test]
async fn the_description_names_every_path_and_no_other() {
    let server = Server::new(&["{}"]).await;
    let document = server.get("/openapi.json").await.json();
    let paths = document["paths"].as_object().unwrap();
    assert_eq!(paths.len(), 8);
    for (path, methods) in paths {
        for method in methods.as_object().unwrap().keys() {
            let path = path.replace("{pipeline}", "p0");
            let request = Request::builder()
                .method(method.to_uppercase().as_str())
                .uri(&path);
            let answer = server.ask(request.body(Body::from("{}")).unwrap()).await;
            assert!(
                ![404, 405].contains(&answer.status),
                "{method} {path}: {}",
                answer.status
            );
        }
    }
    let source = include_str!("../../src/lib.rs");
    for path in source
        .lines()
        .filter_map(|line| line.trim().strip_prefix(".route(\"")?.split('"').next())
    {
        assert!(paths.contains_key(path), "{path} is not described");
        let listed = format!("    \"{path}\",\n");
        assert!(source.contains(&listed), "{path} is not counted by itself");
    }
}

#[tokio::test]
async fn what_is_not_there_says_where_to_look() {
    let server = Server::new(&["{}"]).await;
    for (path, code) in [
        ("/v1/nothing", "no_such_path"),
        ("/v1/pipelines/x", "no_such_pipeline"),
    ] {
        let answer = server.get(path).await;
        assert_eq!(answer.refusal(), (404, code.to_owned()));
        assert!(answer.json()["error"]["hint"].is_string());
    }
    assert_eq!(
        server.get("/v1/ingest/p0").await.refusal(),
        (405, "no_such_method".to_owned())
    );
    let request = Request::post("/v1/ingest/..%2Fetc")
        .body(Body::from("x"))
        .unwrap();
    assert_eq!(server.ask(request).await.refusal().0, 404);
}

#[tokio::test]
async fn a_dead_store_makes_it_unready_and_not_dead() {
    let server = Server::with_store(&["{}"], Err("the disk is gone")).await;
    let ready = server.get("/readyz").await;
    assert_eq!(ready.refusal(), (503, "not_ready".to_owned()));
    assert!(ready.text.contains("the disk is gone"));
    assert_eq!(server.get("/healthz").await.status, 200);
    assert_eq!(Server::new(&["{}"]).await.get("/readyz").await.status, 200);
}

#[tokio::test]
async fn metrics_count_requests_by_route_and_pipelines_by_name() {
    let server = Server::new(&["{}"]).await;
    server.push("{}", &[]).await;
    server.get("/v1/pipelines/p0").await;
    server.get("/v1/pipelines/nobody").await;
    server.get("/anything/else").await;
    let answer = server.get("/metrics").await;
    for line in [
        "forebay_http_requests_total{path=\"/v1/ingest/{pipeline}\",status=\"200\"} 1",
        "forebay_http_requests_total{path=\"/v1/pipelines/{pipeline}\",status=\"404\"} 1",
        "forebay_http_requests_total{path=\"other\",status=\"404\"} 1",
        "forebay_pipeline_up{pipeline=\"p0\"} 1.0",
        "forebay_pipeline_committed_rows_total{pipeline=\"p0\"} 0",
        "forebay_broken_files 0.0",
        "forebay_pipeline_state{pipeline=\"p0\",state=\"failed\"} 0.0",
        "# TYPE forebay_http_request_duration_seconds histogram",
        "# TYPE forebay_http_requests_total counter",
        "forebay_journal_records_total{pipeline=\"p0\"} 1",
        "forebay_journal_fsync_duration_seconds_count{pipeline=\"p0\"} 1",
    ] {
        assert!(
            answer.text.lines().any(|found| found == line),
            "{line}\n{}",
            answer.text
        );
    }
    let backlog = answer
        .text
        .lines()
        .find_map(|line| line.strip_prefix("forebay_pipeline_backlog_bytes{pipeline=\"p0\"} "));
    assert!(backlog.unwrap().parse::<f64>().unwrap() > 0.0);
}

#[tokio::test]
async fn metrics_speak_open_metrics_to_who_asks_for_it() {
    let server = Server::new(&["{}"]).await;
    let request = Request::get("/metrics").header(
        "accept",
        "application/openmetrics-text;version=1.0.0,text/plain;q=0.5",
    );
    let open = server.ask(request.body(Body::empty()).unwrap()).await;
    assert!(open.text.ends_with("# EOF\n"));
    assert!(open.text.contains("# TYPE process_cpu_seconds counter\n"));
    let classic = server.get("/metrics").await;
    assert_eq!(
        classic.headers["content-type"],
        "text/plain; version=0.0.4; charset=utf-8"
    );
    assert!(!classic.text.contains("# EOF"));
}

#[tokio::test]
async fn what_waits_has_an_age_and_is_0_when_nothing_waits() {
    let server = Server::at_rest(&["{}"]).await;
    server.push("{}", &[]).await;
    server.advance(std::time::Duration::from_secs(90));
    let lag = |text: &str| {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("forebay_pipeline_lag_seconds{pipeline=\"p0\"} "));
        line.unwrap().parse::<f64>().unwrap()
    };
    assert!((lag(&server.get("/metrics").await.text) - 90.0).abs() < 1e-3);
    let journal = server.journals.find(&"p0".parse().unwrap()).unwrap();
    journal.release(journal.durable()).await.unwrap();
    assert!(lag(&server.get("/metrics").await.text) < 1e-3);
}

#[tokio::test]
async fn a_request_has_a_name_that_its_answer_carries() {
    let server = Server::new(&["{}"]).await;
    let given = server.push("{}", &[("x-request-id", "order-7/a")]).await;
    assert_eq!(given.headers["x-request-id"], "order-7/a");
    let long = "x".repeat(129);
    let mut fresh = std::collections::BTreeSet::new();
    for id in ["", "with space", &long] {
        let answer = server.push("", &[("x-request-id", id)]).await;
        let name = answer.headers["x-request-id"].to_str().unwrap().to_owned();
        assert!(name.len() < 40 && name.len() > 10, "{name}");
        fresh.insert(name);
    }
    assert_eq!(fresh.len(), 3);
}

#[tokio::test]
async fn pipelines_are_listed_with_what_they_do() {
    let server = Server::new(&["{}", "{}"]).await;
    let list = server.get("/v1/pipelines").await.json();
    let names: Vec<&str> = list["pipelines"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p["pipeline"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["p0", "p1"]);
    let one = server.get("/v1/pipelines/p1").await.json();
    assert_eq!((&one["file"], &one["runs"]), (&"p1.yaml".into(), &0.into()));
}
