//! Who may see the state of the pipelines, and which hosts and pages are answered.

use axum::body::Body;
use axum::http::Request;
use base64::Engine;
use forebay_core::Secret;
use forebay_server::Access;

use crate::site::{Answer, Server};

fn access(is_local: bool, token: Option<&str>) -> Access {
    Access {
        is_local,
        hosts: Vec::new(),
        status_token: token.map(Secret::new),
        catalog_token: None,
    }
}

async fn ask(server: &Server, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    server.ask(request.body(Body::from("{}")).unwrap()).await
}

#[tokio::test]
async fn the_state_of_the_pipelines_needs_the_status_token_beyond_loopback() {
    let without = Server::reached(&["{}"], access(false, None)).await;
    let with = Server::reached(&["{}"], access(false, Some("status token of these tests"))).await;
    let basic = base64::engine::general_purpose::STANDARD.encode("any:status token of these tests");
    let (basic, bearer) = (
        format!("Basic {basic}"),
        "Bearer status token of these tests",
    );
    for path in ["/", "/metrics", "/v1/pipelines", "/v1/pipelines/p0"] {
        for server in [&without, &with] {
            for headers in [&[][..], &[("authorization", "Bearer status token")]] {
                let answer = ask(server, "GET", path, headers).await;
                assert_eq!(
                    answer.refusal(),
                    (401, "status_denied".to_owned()),
                    "{path}"
                );
            }
        }
        for shown in [bearer, &basic] {
            let answer = ask(&with, "GET", path, &[("authorization", shown)]).await;
            assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        }
    }
    for path in ["/healthz", "/openapi.json"] {
        assert_eq!(ask(&without, "GET", path, &[]).await.status, 200);
    }
    let strange = ask(&with, "GET", "/readyz", &[]).await;
    assert_eq!(strange.status, 503);
    assert!(!strange.text.contains("the disk"), "{}", strange.text);
    let known = ask(&with, "GET", "/readyz", &[("authorization", bearer)]).await;
    assert!(known.text.contains("the disk is gone"), "{}", known.text);
}

#[tokio::test]
async fn pages_of_other_sites_reach_no_server_on_loopback() {
    let server = Server::reached(&["{}"], access(true, None)).await;
    for (headers, code) in [
        (&[("host", "evil.example")][..], "foreign_host"),
        (&[("host", "evil.example:7400")], "foreign_host"),
        (
            &[
                ("host", "127.0.0.1:7400"),
                ("origin", "http://evil.example"),
            ],
            "foreign_origin",
        ),
        (
            &[("host", "localhost:7400"), ("origin", "null")],
            "foreign_origin",
        ),
    ] {
        for (method, path) in [
            ("GET", "/v1/pipelines"),
            ("POST", "/v1/ingest/p0"),
            ("POST", "/"),
            ("GET", "/healthz"),
            ("GET", "/nothing"),
        ] {
            let answer = ask(&server, method, path, headers).await;
            assert_eq!(
                answer.refusal(),
                (403, code.to_owned()),
                "{path} {headers:?}"
            );
        }
    }
    let own = [
        ("host", "127.0.0.1:7400"),
        ("origin", "http://127.0.0.1:7400"),
    ];
    assert_eq!(
        ask(&server, "POST", "/v1/ingest/p0", &own).await.status,
        200
    );
    assert_eq!(server.kept().await.len(), 1);
}

#[tokio::test]
async fn who_fails_to_authenticate_too_often_is_deferred_and_a_right_token_is_not() {
    let server = Server::new(&["{auth: {token: \"${secret:token}\"}}"]).await;
    let push = async |token: &str| {
        let token = format!("Bearer {token}");
        server.push("{}", &[("authorization", &token)]).await.status
    };
    let mut statuses = Vec::new();
    for _ in 0..102 {
        statuses.push(push("wrong").await);
    }
    assert!(statuses[..100].iter().all(|status| *status == 401));
    assert_eq!(statuses[100..], [429, 429]);
    assert_eq!(push(&crate::site::secret("token")).await, 200);
}

#[tokio::test]
async fn times_are_iso_and_the_page_shows_the_pipelines() {
    let server = Server::new(&["{}"]).await;
    let receipt = server.push("{}", &[]).await.json();
    assert!(
        receipt["received_at"].as_str().unwrap().ends_with('Z'),
        "{receipt}"
    );
    let one = server.get("/v1/pipelines/p0").await.json();
    assert!(one["since"].as_str().unwrap().ends_with('Z'), "{one}");
    assert_eq!(
        (&one["next_at"], &one["schedule"]),
        (&serde_json::Value::Null, &"continuous".into())
    );
    let page = server.get("/").await;
    assert_eq!(page.headers["content-type"], "text/html; charset=utf-8");
    assert!(page.text.contains("/v1/ingest/p0"), "{}", page.text);
    assert!(
        page.headers["content-security-policy"]
            .to_str()
            .unwrap()
            .starts_with("default-src 'none'")
    );
}

#[tokio::test]
async fn a_long_path_is_cut_where_it_is_repeated() {
    let server = Server::new(&["{}"]).await;
    let answer = server.get(&format!("/{}", "a".repeat(60_000))).await;
    assert_eq!(answer.status, 404);
    assert!(answer.text.len() < 1_000, "{} bytes", answer.text.len());
}

#[tokio::test]
async fn the_catalog_needs_its_token_before_anything_of_a_caller_is_read() {
    let token = "catalog token of these tests";
    let access = |is_local, token: Option<&str>| Access {
        catalog_token: token.map(Secret::new),
        ..access(is_local, Some("status token of these tests"))
    };
    let open = Server::reached(&["{}"], access(true, None)).await;
    let without = Server::reached(&["{}"], access(false, None)).await;
    let with = Server::reached(&["{}"], access(true, Some(token))).await;
    let prefix = "/iceberg/v1/main/namespaces";
    let paths = [
        ("GET", "/iceberg/v1/config".to_owned()),
        ("GET", prefix.to_owned()),
        ("POST", prefix.to_owned()),
        ("HEAD", format!("{prefix}/a/tables/t")),
        ("POST", format!("{prefix}/a/tables/t")),
        ("DELETE", format!("{prefix}/a/tables/t")),
        ("POST", "/iceberg/v1/main/transactions/commit".to_owned()),
    ];
    for (method, path) in &paths {
        for (server, shown) in [
            (&without, "Bearer status token of these tests"),
            (&with, "Bearer status token of these tests"),
            (&with, "Basic Y2F0YWxvZw=="),
        ] {
            let answer = ask(
                server,
                method,
                path,
                &[("host", "localhost"), ("authorization", shown)],
            )
            .await;
            assert_eq!(answer.status, 401, "{method} {path}");
            if *method != "HEAD" {
                let error = &answer.json()["error"];
                assert_eq!(
                    (&error["type"], &error["code"]),
                    (&"NotAuthorizedException".into(), &401.into())
                );
            }
        }
        let bearer = format!("Bearer {token}");
        let shown = [("host", "localhost"), ("authorization", bearer.as_str())];
        // These servers have no lake.
        assert_eq!(
            ask(&with, method, path, &shown).await.status,
            400,
            "{method} {path}"
        );
        assert_eq!(
            ask(&open, method, path, &shown[..1]).await.status,
            400,
            "{method} {path}"
        );
    }
}
