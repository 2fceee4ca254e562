//! The AWS SDKs themselves: they push by changing the endpoint, whatever they speak (JSON or CBOR, HTTP/1.1 or HTTP/2).
//!
//! boto3 is in `serve.rs`. The others are fetched by `dev/install_aws_sdks.sh`.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::flights::variable;
use crate::forebay::Project;
use crate::served::{PIPELINE, Server, wait_for};

const SECRET: &str = "open sesame, open wide";

/// Records that each program pushes at most.
const PER_PROGRAM: usize = 1_000;

/// What is installed of the SDKs, as commands and the records that each pushes.
fn programs(sdks: &Path, url: &str) -> Vec<(Command, usize)> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/aws_sdks");
    let mut programs = Vec::new();
    if sdks.join("node_modules").is_dir() {
        let mut node = Command::new("node");
        node.arg(sources.join("pushes.mjs"));
        node.args([url, SECRET]).arg(sdks).arg("0");
        programs.push((node, 54));
    }
    if sdks.join("java/Pushes.class").is_file() {
        let folder = sdks.join("java");
        let path = format!("{0}:{0}/*", folder.display());
        for (n, (kind, records)) in [("v1", 51), ("sync", 52), ("async", 51)].iter().enumerate() {
            let mut java = Command::new("java");
            let first = ((n + 1) * PER_PROGRAM).to_string();
            java.args(["-XX:TieredStopAtLevel=1", "-cp", &path, "Pushes", kind]);
            java.args([url, SECRET, &first]);
            programs.push((java, *records));
        }
    }
    programs
}

#[test]
fn every_aws_sdk_pushes_by_changing_its_endpoint() {
    let Some(sdks) = variable("FOREBAY_TEST_AWS_SDKS").map(PathBuf::from) else {
        println!("FOREBAY_TEST_AWS_SDKS is not set (test.sh does): this test has checked nothing");
        return;
    };
    let project = Project::new();
    let text = PIPELINE.replace("push: {}", "push: {auth: {token: \"${secret:door}\"}}");
    project.write("pipelines/events.yaml", &text);
    let server = Server::start(&project, "127.0.0.1:0");
    let mut pushed = 0;
    for (mut program, records) in programs(&sdks, &server.url("")) {
        let done = program.output().unwrap();
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.success(), "{program:?}: {said}");
        pushed += records;
    }
    println!("{pushed} records pushed by the SDKs of {}", sdks.display());
    wait_for(&project, pushed);
    assert_eq!(server.stop(), Some(0));
    let distinct = project.value("SELECT count(DISTINCT n) FROM push.events");
    assert_eq!(distinct, pushed.to_string());
}
