//! Credentials appear in no position, record, message or name, whatever the server does with them.

use forebay_testkit::{Reply, StubHttp};
use serde_json::json;

use super::{Bench, all_records};

const SECRET: &str = "hush-hush+/8\"x&";

/// Everything of a run that a person or a table may see.
fn shown(bench: &Bench, pulled: &super::Pulled) -> String {
    let mut text = format!("{:?} {:?}", bench.log.0.lock().unwrap(), pulled.position);
    if let Some(error) = &pulled.error {
        text.push_str(&format!("{error:?} {error}"));
        let mut cause = std::error::Error::source(error);
        while let Some(error) = cause {
            text.push_str(&error.to_string());
            cause = error.source();
        }
    }
    for chunk in &pulled.chunks {
        text.push_str(&format!("{:?} {:?}", chunk.head, chunk.position));
    }
    text
}

#[tokio::test]
async fn a_credential_that_the_server_repeats_is_covered() {
    let yaml = serde_json::to_string(SECRET).unwrap();
    for auth in [
        format!("{{bearer: {{token: {yaml}}}}}"),
        format!("{{basic: {{username: me, password: {yaml}}}}}"),
        format!("{{api_key: {{header: x-key, value: {yaml}}}}}"),
        format!("{{api_key: {{param: k, value: {yaml}}}}}"),
    ] {
        for status in [200, 302, 400, 401, 404, 500] {
            let server = StubHttp::start(move |request| {
                // All of the request, as it came and as JSON.
                let mut said = format!("{} {:?}", request.query, request.headers);
                said.push_str(&serde_json::to_string(&request.headers).unwrap());
                said.push_str(
                    &request
                        .params()
                        .iter()
                        .map(|(_, value)| value.as_str())
                        .collect::<String>(),
                );
                Reply::status(status)
                    .header(
                        "etag",
                        request
                            .headers
                            .get("authorization")
                            .or(request.headers.get("x-key"))
                            .cloned()
                            .unwrap_or_default(),
                    )
                    .header(
                        "location",
                        format!("http://127.0.0.1:1/?q={}", request.query),
                    )
                    .body(said)
            })
            .await;
            let config =
                format!("auth: {auth}\nretry: {{attempts: 2}}\npaginate: {{page: {{param: p}}}}");
            let bench = Bench::new(&server.url("/q"), &config);
            let pulled = bench.pull(None).await;
            let text = shown(&bench, &pulled);
            let base64 = "bWU6aHVzaC1odXNoKy84In";
            for leak in [SECRET, "hush", "Imh1c2", base64] {
                assert!(!text.contains(leak), "{status} {auth}: {leak} in {text}");
            }
        }
    }
}

/// Three pages whose next links carry a token that the server wants.
async fn signed_server(cut: usize) -> StubHttp {
    StubHttp::start(move |request| {
        let page = super::param(request, "after");
        if request.count == cut {
            return Reply::status(403);
        }
        let is_signed = request.param("access_token").as_deref() == Some("SECRETNEXT");
        if page > 0 && !is_signed {
            return Reply::status(401);
        }
        let link = format!("</q?after={}&access_token=SECRETNEXT>; rel=next", page + 1);
        let reply = Reply::json(&json!([{"id": page * 2}, {"id": page * 2 + 1}]));
        reply.header("link", if page < 3 { link } else { String::new() })
    })
    .await
}

#[tokio::test]
async fn a_next_link_with_a_credential_is_not_stored_and_the_pass_resumes() {
    for key in ["", "\nkey: id"] {
        for cut in 1..4 {
            let server = signed_server(cut).await;
            let bench = Bench::new(
                &server.url("/q"),
                &format!("paginate: {{link_header: {{}}}}{key}"),
            );
            let first = bench.pull(None).await;
            assert_eq!(first.error.as_ref().unwrap().code(), "source_denied");
            let text = shown(&bench, &first);
            assert!(!text.contains("SECRETNEXT"), "{text}");
            let second = bench.take(first.position.as_ref()).await;
            let mut records = all_records(&first.chunks, "");
            records.extend(all_records(&second.chunks, ""));
            if key.is_empty() {
                assert_eq!(records.len(), 8, "each once: {records:?}");
            }
            assert!(!shown(&bench, &second).contains("SECRETNEXT"));
        }
    }
}

#[tokio::test]
async fn a_list_that_changed_before_a_signed_link_is_an_error() {
    let server = StubHttp::start(|request| {
        let page = super::param(request, "after");
        if request.count == 1 {
            return Reply::status(403);
        }
        let link = format!("</q?after={}&sig=SECRETNEXT>; rel=next", page + 1);
        Reply::json(&json!([{"id": request.count}])).header("link", link)
    })
    .await;
    let bench = Bench::new(&server.url("/q"), "paginate: {link_header: {}}");
    let first = bench.pull(None).await;
    let second = bench.pull(first.position.as_ref()).await;
    assert_eq!(second.error.unwrap().code(), "list_changed");
    assert!(second.chunks.is_empty());
}

#[tokio::test]
async fn a_plain_server_behind_an_https_link_is_named() {
    let server = StubHttp::start(|request| {
        let host = request.headers["host"].clone();
        Reply::json(&json!({"items": [1], "next": format!("https://{host}/q?p=2")}))
    })
    .await;
    let bench = Bench::new(
        &server.url("/q"),
        "records: items\npaginate: {next: {path: next}}",
    );
    let (code, error) = bench.fails().await;
    assert_eq!(code, "tls_expected", "{error:?}");
    assert!(error.hint().unwrap().contains("`url` is plain http"));
}

#[tokio::test]
async fn a_redirect_from_a_private_host_opens_no_other() {
    let other = StubHttp::start(|_| Reply::json(&json!([]))).await;
    for target in [
        format!("http://127.0.0.2:{}/", other.port()),
        format!("http://localhost:{}/", other.port()),
    ] {
        let home =
            StubHttp::start(move |_| Reply::status(302).header("location", target.clone())).await;
        let (code, error) = Bench::new(&home.url("/q"), "method: GET").fails().await;
        assert_eq!(code, "address_refused", "{error}");
    }
    assert!(other.requests().is_empty());
}
