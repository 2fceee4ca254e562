//! Other engines on the tables of a project: scripts beside this file, which read them through the catalog's file.

use std::path::Path;
use std::process::Command;

use crate::flights::variable;
use crate::forebay::Project;

/// Runs a script, which must succeed; nothing without Python.
pub(crate) fn run_peers(project: &Project, script: &str, arguments: &[&str]) {
    let Some(python) = variable("FOREBAY_TEST_PYTHON") else {
        println!(
            "FOREBAY_TEST_PYTHON is not set (test.sh does): no other engine has read the table"
        );
        return;
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/it/{script}"));
    let read = Command::new(python)
        .arg(script)
        .arg(project.path().join(".forebay/store.db"))
        .args(arguments)
        .envs(project.environment())
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&read.stderr);
    assert!(read.status.success(), "{errors}");
}
