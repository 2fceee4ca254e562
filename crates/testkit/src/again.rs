//! The same tests with their tables in a bucket: one suite, two kinds of storage.

use std::process::Command;

use crate::S3Server;

/// Variable with the storage of tables for a test process.
const STORAGE: &str = "FOREBAY_TEST_STORAGE";

/// Whether the tests of this process keep tables on S3.
#[expect(
    clippy::disallowed_methods,
    reason = "the test that started this process sets the variable"
)]
pub fn on_s3() -> bool {
    std::env::var(STORAGE).is_ok_and(|storage| storage == "s3")
}

/// Runs the tests of this executable whose names contain one of `names` (all when there are none) once more, with
/// [`on_s3`] saying yes. The calling test's own name must contain `again_on_s3`.
///
/// # Panics
/// When a test fails, or none ran.
pub fn again_on_s3(names: &[&str]) {
    if on_s3() || !S3Server::is_installed() {
        return;
    }
    let executable = std::env::current_exe().expect("a test knows its executable");
    let output = Command::new(executable)
        .args(names)
        .args(["--skip", "again_on_s3"])
        .env(STORAGE, "s3")
        .output()
        .expect("a test can be started");
    let text =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let none = text[0].contains("test result: ok. 0 passed");
    assert!(
        output.status.success() && !none,
        "on S3:\n{}{}",
        text[0],
        text[1]
    );
}
