//! Canary secrets at every key that takes one, in front of servers that repeat them: none is found in anything that Forebay
//! writes or says.

mod places;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use forebay_testkit::{Reply, Request, StubHttp};

use crate::forebay::Project;
use crate::served::{Server, runtime};

/// Pipelines for each kind of answer: one for each kind of authentication.
const AUTHS: [(&str, &str); 5] = [
    ("bearer", "{bearer: {token: \"${secret:NAME}\"}}"),
    (
        "basic",
        "{basic: {username: me, password: \"${secret:NAME}\"}}",
    ),
    (
        "header",
        "{api_key: {header: x-key, value: \"${secret:NAME}\"}}",
    ),
    (
        "prefix",
        "{api_key: {header: x-key, value: \"${secret:NAME}\", prefix: \"Key \"}}",
    ),
    ("param", "{api_key: {param: k, value: \"${secret:NAME}\"}}"),
];

/// How the server repeats what it was sent.
const ANSWERS: [&str; 13] = [
    "200-text",
    "200-html",
    "200-object",
    "200-header",
    "200-link",
    "200-gzip",
    "302",
    "400",
    "401",
    "404",
    "422",
    "429",
    "503",
];

/// How many pipelines there are of each kind of authentication and answer.
const ROUNDS: usize = 3;

/// How every canary begins and ends: in no other text, and long enough to be in no compressed bytes by chance.
const HEAD: &str = "CanaryBird";
const TAIL: &str = "driByranaC";

/// Secrets by the names under which pipelines refer to them.
#[derive(Default)]
struct Canaries(BTreeMap<String, String>);

impl Canaries {
    /// A secret that is found in no other text, with characters that every encoding changes.
    fn make(&mut self, name: &str) -> String {
        let n = self.0.len();
        let value = format!("{HEAD}{n:03}+/q&v\"Z{n:03}{TAIL}");
        self.0.insert(name.to_uppercase(), value.clone());
        value
    }
}

/// Everything of the request, in the encodings that servers use.
fn repeated(request: &Request) -> String {
    let mut said = format!("{}\n", request.query);
    for (name, value) in &request.headers {
        said.push_str(&format!("{name}: {value}\n"));
    }
    for (_, value) in request.params() {
        said.push_str(&format!("{value}\n"));
    }
    said
}

/// The credential of the request as it was sent.
fn credential(request: &Request) -> String {
    let header = ["authorization", "x-key"]
        .iter()
        .find_map(|name| request.headers.get(*name));
    header
        .cloned()
        .or_else(|| request.param("k"))
        .unwrap_or_default()
}

fn answer(request: &Request) -> Reply {
    let credential = credential(request);
    let said = repeated(request);
    let mixed = format!(
        "{credential}\n{}\n{said}",
        serde_json::to_string(&said).unwrap()
    );
    let kind = request.path.rsplit('/').next().unwrap_or_default();
    let query = &request.query;
    match kind {
        "200-text" => Reply::status(200).body(mixed),
        "200-html" => Reply::status(200)
            .header("content-type", "text/html")
            .body(mixed),
        "200-object" => Reply::json(&serde_json::json!({"error": credential, "said": said})),
        "200-header" => Reply::json(&serde_json::json!({"items": [{"id": 1}]}))
            .header("etag", credential.clone())
            .header("last-modified", credential),
        "200-link" => Reply::json(&serde_json::json!({"items": [{"id": 1}]})).header(
            "link",
            format!("<http://127.0.0.1:1/next?{query}&page_of={query}>; rel=next"),
        ),
        "200-gzip" => Reply::status(200)
            .header("content-encoding", "gzip")
            .body(mixed),
        "302" => {
            Reply::status(302).header("location", format!("http://127.0.0.1:1/{query}?q={query}"))
        }
        status => Reply::status(status.parse().unwrap_or(403)).body(mixed),
    }
}

/// Pipelines that pull from the server, one for each kind of authentication and answer.
fn write_http(project: &Project, server: &StubHttp, canaries: &mut Canaries) {
    for round in 0..ROUNDS {
        for (auth, template) in AUTHS {
            for kind in ANSWERS {
                let name = format!("{auth}_{}_{round}", kind.replace('-', "_"));
                canaries.make(&name);
                let paginate = match round {
                    0 => "paginate: {link_header: {}}",
                    1 => "paginate: {page: {param: page}}",
                    _ => "params: {format: json}",
                };
                let text = format!(
                    "pipeline: {name}\nsource:\n  http:\n    url: {}\n    allow_private: true\n    auth: {}\n    retry: {{attempts: 1}}\n    records: items\n    pages_max: 2\n    {paginate}\nextract: {{json: {{records: items}}}}\nload: {{iceberg: {{table: c.{name}}}}}\n",
                    server.url(&format!("/{kind}")),
                    template.replace("NAME", &name),
                );
                project.write(&format!("pipelines/{name}.yaml"), &text);
            }
        }
    }
}

/// A pipeline that reads from a bucket whose server refuses and repeats.
fn write_s3(project: &Project, server: &StubHttp, canaries: &mut Canaries) {
    canaries.make("s3_secret");
    canaries.make("s3_session");
    let endpoint = server.url("");
    let s3 = format!(
        "{{endpoint: \"{endpoint}\", allow_http: true, access_key_id: me, secret_access_key: \"${{secret:s3_secret}}\", session_token: \"${{secret:s3_session}}\"}}"
    );
    let source = format!("source: {{file: {{path: \"s3://bucket/*.json\", s3: {s3}}}}}\n");
    let rest = "extract: {json: {}}\nload: {iceberg: {table: c.s3}}\n";
    project.write(
        "pipelines/s3_source.yaml",
        &format!("pipeline: s3_source\n{source}{rest}"),
    );
}

/// A pipeline whose secret URL is wrong, which `check` says.
fn write_wrong(project: &Project, canaries: &mut Canaries) -> PathBuf {
    let password = canaries.make("pg_password");
    let coded: String = password
        .bytes()
        .map(|byte| format!("%{byte:02X}"))
        .collect();
    let url = format!("postgres://me:{coded}@127.0.0.1:1/db?no_such_option={coded}");
    canaries.0.insert("PG_URL".to_owned(), url);
    let text = "pipeline: pg_sink\nsource: {file: {path: \"data/*.json\"}}\nextract: {json: {}}\nload: {postgres: {url: \"${secret:pg_url}\", table: c.t}}\n";
    project.write("pipelines/pg_sink.yaml", text)
}

/// Pipelines that take pushes.
fn write_pushes(project: &Project, canaries: &mut Canaries) {
    canaries.make("push_token");
    canaries.make("push_hmac");
    for (name, auth) in [
        ("push_token", "{token: \"${secret:push_token}\"}"),
        (
            "push_hmac",
            "{hmac: {secret: \"${secret:push_hmac}\", header: x-signature}}",
        ),
    ] {
        let text = format!(
            "pipeline: {name}\nsource: {{push: {{auth: {auth}}}}}\nextract: {{json: {{lines: true}}}}\nbuffer: {{time: 50ms}}\nload: {{iceberg: {{table: c.{name}}}}}\n"
        );
        project.write(&format!("pipelines/{name}.yaml"), &text);
    }
}

/// What is looked for: the ends of the canaries, in plain, in hex and in the three alignments of base64.
fn needles() -> Vec<String> {
    let mut needles = Vec::new();
    for part in [HEAD, TAIL] {
        let hex: String = part.bytes().map(|byte| format!("{byte:02x}")).collect();
        needles.extend([part.to_owned(), hex.to_uppercase(), hex]);
        needles.extend((0..3).map(|shift| base64_of(part, shift)));
    }
    needles
}

/// The digits of base64 that depend on `part` alone when `shift` other bytes come before it.
fn base64_of(part: &str, shift: usize) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let padded = [&b"xx"[..shift], part.as_bytes()].concat();
    let bits = padded
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |n| byte >> n & 1));
    let bits: Vec<u8> = bits.collect();
    let sixes = bits
        .chunks_exact(6)
        .map(|six| six.iter().fold(0, |n, bit| n << 1 | bit));
    let digits: String = sixes.map(|n| char::from(DIGITS[usize::from(n)])).collect();
    digits[(shift * 8).div_ceil(6)..].to_owned()
}

fn collect(folder: &Path, found: &mut Vec<(String, Vec<u8>)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, found);
        } else if let Ok(bytes) = std::fs::read(&path) {
            found.push((path.display().to_string(), bytes));
        }
    }
}

#[test]
fn no_canary_is_found_in_anything_that_is_written_or_said() {
    let runtime = runtime();
    let _inside = runtime.enter();
    let server = runtime.block_on(StubHttp::start(answer));
    let project = Project::new();
    let mut canaries = Canaries::default();
    write_http(&project, &server, &mut canaries);
    write_s3(&project, &server, &mut canaries);
    let refusing = runtime.block_on(StubHttp::start(places::refuse));
    #[cfg(feature = "kafka")]
    {
        places::write_kafka(&project, &mut canaries);
        places::write_registry(&project, &refusing, &mut canaries);
    }
    places::write_telemetry(&project, &refusing, &mut canaries);
    let wrong = write_wrong(&project, &mut canaries);
    write_pushes(&project, &mut canaries);
    assert!(canaries.0.len() >= 200, "{}", canaries.0.len());
    let variables: Vec<(String, String)> = canaries
        .0
        .iter()
        .map(|(name, value)| (format!("FOREBAY_SECRET_{name}"), value.clone()))
        .collect();
    let mut said = places::said_of_storage(&refusing, &mut canaries);
    for args in [
        &["check"][..],
        &["run", "-v"],
        &["sql", "SELECT * FROM audit.requests", "--format", "ndjson"],
        &["runs", "ls", "--format", "ndjson"],
    ] {
        if args[0] == "run" {
            std::fs::remove_file(&wrong).unwrap();
        }
        let output = project
            .command(args)
            .envs(variables.iter().cloned())
            .output()
            .unwrap();
        said.push((format!("stdout of {args:?}"), output.stdout));
        said.push((format!("stderr of {args:?}"), output.stderr));
    }
    assert!(
        server.requests().len() >= AUTHS.len() * ANSWERS.len() * ROUNDS,
        "{}",
        server.requests().len()
    );
    let asked: Vec<String> = refusing.requests().into_iter().map(|r| r.path).collect();
    for path in ["/collector/v1/traces", "/bucket/lake"] {
        let is_asked = asked.iter().any(|asked| asked.starts_with(path));
        assert!(is_asked, "{path} was not asked: {asked:?}");
    }
    said.extend(pushed(&project, &variables));
    collect(&project.path().join(".forebay"), &mut said);
    let everything: usize = said.iter().map(|(_, bytes)| bytes.len()).sum();
    assert!(
        everything > 100_000,
        "{everything} bytes were looked through"
    );
    let mut leaks = Vec::new();
    for (place, bytes) in &said {
        let text = String::from_utf8_lossy(bytes);
        for needle in needles() {
            if let Some(at) = text.find(&needle) {
                let from = text.floor_char_boundary(at.saturating_sub(120));
                let to = text.floor_char_boundary(at + 80);
                leaks.push(format!("{place}: {:?}", &text[from..to]));
            }
        }
    }
    assert!(
        leaks.is_empty(),
        "{} leaks:\n{}",
        leaks.len(),
        leaks.join("\n")
    );
}

/// Pushes with right and wrong credentials, and what the server says.
fn pushed(project: &Project, variables: &[(String, String)]) -> Vec<(String, Vec<u8>)> {
    let pairs: Vec<(&str, &str)> = variables
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let keep = ["push_token", "push_hmac"];
    for entry in std::fs::read_dir(project.path().join("pipelines")).unwrap() {
        let path = entry.unwrap().path();
        if !keep
            .iter()
            .any(|name| path.ends_with(format!("{name}.yaml")))
        {
            std::fs::remove_file(path).unwrap();
        }
    }
    let server = Server::start_where(project, "127.0.0.1:0", &["--log", "json", "-v"], &pairs);
    let runtime = runtime();
    let client = crate::served::client();
    let token = pairs
        .iter()
        .find(|(name, _)| name.ends_with("PUSH_TOKEN"))
        .unwrap()
        .1;
    let mut said = Vec::new();
    for (pipeline, header, value) in [
        ("push_token", "authorization", format!("Bearer {token}")),
        ("push_token", "authorization", format!("Basic {token}")),
        ("push_token", "x-other", token.to_owned()),
        ("push_hmac", "x-signature", token.to_owned()),
    ] {
        let _inside = runtime.enter();
        let url = server.url(&format!("/v1/ingest/{pipeline}"));
        let sent = client.post(url).header(header, value).body("{\"n\": 1}\n");
        let text = runtime.block_on(async { sent.send().await.unwrap().text().await.unwrap() });
        said.push((format!("answer of {pipeline}"), text.into_bytes()));
    }
    for headers in places::aws_requests(token) {
        let _inside = runtime.enter();
        let body = "{\"StreamName\": \"push_token\", \"Data\": \"e30=\", \"PartitionKey\": \"k\"}";
        let sent = client.post(server.url("/")).body(body);
        let sent = headers
            .into_iter()
            .fold(sent, |sent, (name, value)| sent.header(name, value));
        let text = runtime.block_on(async { sent.send().await.unwrap().text().await.unwrap() });
        said.push(("answer to an AWS client".to_owned(), text.into_bytes()));
    }
    for path in ["/v1/pipelines", "/metrics", "/readyz"] {
        said.push((path.to_owned(), server.get(&runtime, path).into_bytes()));
    }
    let lines = server.said().join("\n");
    server.stop();
    said.push(("log of serve".to_owned(), lines.into_bytes()));
    said
}
