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
        "forebay_pipeline_up{pipeline=\"p0\"} 1",
        "forebay_pipeline_committed_rows_total{pipeline=\"p0\"} 0",
        "forebay_broken_files 0",
        "# EOF",
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
    assert!(backlog.unwrap().parse::<u64>().unwrap() > 0);
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
