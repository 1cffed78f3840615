//! The `floor` and `play` subcommands on the real binary: what they print is what scripts rely on.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Command, Output};
use std::thread;

use serde_json::Value;

fn bench(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sluice-bench")).args(arguments).output().expect("the binary runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Guards that the floor measures with both ways of sending, sends what it was asked for, and prints one line of JSON.
#[test]
fn the_floor_prints_its_figures_as_json() {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let player_core = (cores - 1).to_string();
    for (path, more) in [("sendfile", None), ("copy", Some("--copy"))] {
        let mut arguments = vec!["floor", "20", "8", "20", "1", "--player-core", &player_core];
        arguments.extend(more);
        let output = bench(&arguments);
        assert!(output.status.success(), "{}", text(&output.stderr));
        let figures: Value = serde_json::from_slice(&output.stdout).expect("one JSON value");
        assert_eq!((figures["path"].as_str(), figures["clients"].as_u64()), (Some(path), Some(20)));
        // The last round may be a tick before the end, and a busy machine may miss one.
        let sent = figures["gbit_s"].as_f64().expect("a number");
        assert!((0.12..=0.17).contains(&sent), "{figures}");
        assert!(figures["cpu_s_per_gb"].as_f64().is_some_and(|cpu| cpu > 0.0), "{figures}");
        let [middle, most] = ["round_p50_ms", "round_max_ms"].map(|name| figures[name].as_f64());
        assert!(middle.is_some_and(|middle| middle > 15.0) && most >= middle, "{figures}");
    }
}

/// Guards that senseless options end with a message and no figures.
#[test]
fn senseless_options_are_refused() {
    for arguments in
        [["floor", "0", "8", "20", "1"], ["floor", "9", "8", "0", "1"], ["floor", "9", "-8", "1", "1"]]
    {
        let output = bench(&arguments);
        assert!(!output.status.success() && output.stdout.is_empty(), "{arguments:?}");
    }
    let output = bench(&["play", "--url", "http://192.0.2.1", "--id", "a", "--clients", "1"]);
    assert!(text(&output.stderr).contains("--allow-remote"), "{}", text(&output.stderr));
    let output = bench(&["play", "--clients", "1"]);
    assert!(text(&output.stderr).contains("nothing to play"), "{}", text(&output.stderr));
}

/// Guards that a run whose players were turned away fails and names the status.
#[test]
fn a_run_without_service_fails_and_says_why() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let _request = stream.read(&mut [0; 4096]);
            let _answered = stream.write_all(b"HTTP/1.1 503 Service Unavailable\r\n\r\n");
        }
    });
    let output =
        bench(&["play", "--url", &url, "--channels", "2", "--clients", "4", "--ramp", "0", "--settle", "0"]);
    assert!(!output.status.success());
    assert!(text(&output.stderr).contains("4 × status 503"), "{}", text(&output.stderr));
}

/// Guards: ways of sending are measured side by side, the result is given in every form, and a threshold that is crossed has an exit code of
/// its own.
#[test]
fn ways_side_by_side_are_given_in_every_form() {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let player_core = (cores - 1).to_string();
    let directory = std::env::temp_dir().join(format!("sluice-bench-commands-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a directory");
    let page = directory.join("report.html").display().to_string();
    let sweep = |more: &[&str]| {
        let mut arguments = vec!["floor", "20", "8", "20", "0.5", "--player-core", &player_core];
        arguments.extend(["--paths", "splice,uring,zerocopy", "--json", "-", "--html", &page]);
        arguments.extend(more);
        bench(&arguments)
    };
    let output = sweep(&["--fail-if", "cpu_s_per_gb>1000"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let given: Value = serde_json::from_slice(&output.stdout).expect("one JSON value");
    assert!(given["command"].as_str().is_some_and(|it| it.starts_with("sluice-bench floor 20 8")), "{given}");
    assert!(given["machine"]["kernel"].is_string(), "{given}");
    for cell in given["result"]["cells"].as_array().expect("cells") {
        // A kernel may refuse rings, and says so.
        let is_refused = cell["refused"].is_string() && cell["way"] != "splice";
        let sent = cell["rounds"][0]["gbit_s"].as_f64();
        assert!(is_refused || sent.is_some_and(|sent| (0.10..=0.18).contains(&sent)), "{cell}");
    }
    let figure = &given["figures"]["cells.splice_20.rounds.cpu_s_per_gb"];
    assert_eq!(figure["count"], 1, "{given}");
    let page_text = std::fs::read_to_string(&page).expect("the page is written");
    assert!(page_text.contains("<svg") && page_text.contains("cells.splice_20.rounds.gbit_s"), "{page_text}");
    let crossed = sweep(&["--fail-if", "splice_20.rounds.cpu_s_per_gb>0"]);
    assert_eq!(crossed.status.code(), Some(3), "{}", text(&crossed.stderr));
    assert!(text(&crossed.stderr).contains("fails at"), "{}", text(&crossed.stderr));
    let unknown = sweep(&["--fail-if", "nonsense>0"]);
    assert_eq!(unknown.status.code(), Some(1), "{}", text(&unknown.stderr));
    assert_eq!(bench(&["floor", "--fail-if", "nonsense"]).status.code(), Some(2));
    std::fs::remove_dir_all(&directory).expect("removed");
}
