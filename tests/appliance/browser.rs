//! A browser: hls.js in headless Chromium, which needs exact durations, discontinuities and CORS.

use crate::common::Setup;
use crate::decoders::is_there;
use crate::scene::{RATE, serving};
use serde_json::Value;
use sluice_bench::channel::nth;
use sluice_bench::engine::{ChannelSpec, Engine, Options};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Seconds of video it plays.
const LENGTH: u64 = 60;
/// How far it has come when its engine is killed.
const KILLED_AT: f64 = 12.0;

fn engines() -> Vec<Engine> {
    let channels = || vec![ChannelSpec::clip(0, RATE)];
    let start = || Engine::start(Options { channels: channels(), ..Options::default() });
    (0..2).map(|_| start().expect("it starts")).collect()
}

/// The browser's driver; ended when dropped.
struct Browser(Child);

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Guards: hls.js plays for a minute while the engine is replaced under it, without a fatal error, the picture moving
/// throughout, from a page of another origin.
#[test]
fn hls_js_plays_on_over_a_failover() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser");
    if !is_there("node") || !is_there("chromium") || !is_installed(&directory) {
        return;
    }
    let mut engines = engines();
    let (id, infohash) = nth(0);
    let appliance = Setup::with_engines(&[&engines[0], &engines[1]]).start();
    appliance.wait_healthy(2);
    let mut node = Command::new("node");
    node.arg(directory.join("play.js"));
    node.arg(format!("http://{}/ace/manifest.m3u8?id={id}", appliance.addr())).arg(LENGTH.to_string());
    let spawned = node.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut browser = Browser(spawned.expect("node starts"));
    let reports = BufReader::new(browser.0.stdout.take().expect("stdout is piped"));
    let (mut last, mut killed_at) = (Value::Null, None);
    for line in reports.lines().map_while(Result::ok) {
        last = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let played = last["played"].as_f64().unwrap_or(0.0);
        if killed_at.is_none() && played >= KILLED_AT {
            engines.remove(serving(&engines, infohash)).kill();
            killed_at = Some(played);
        }
    }
    let mut complaints = String::new();
    let _ = browser.0.stderr.take().expect("stderr is piped").read_to_string(&mut complaints);
    assert!(browser.0.wait().expect("it ends").success(), "{complaints}");

    let number = |name: &str| last[name].as_f64().unwrap_or_else(|| panic!("no {name}: {last}"));
    assert!(killed_at.is_some(), "{last}");
    assert_eq!(last["fatal"], serde_json::json!([]), "{last}");
    assert!(number("played") >= LENGTH as f64 && number("width") > 0.0, "{last}");
    // A shared machine may hold the browser up; what does not move any more stands still to the end.
    assert!(number("changes") >= number("samples") * 0.8 && number("still_s") < 5.0, "{last}");
    assert!(number("frames") - number("dropped") >= LENGTH as f64 * 25.0 / 2.0, "{last}");
    assert_eq!(
        engines[0].control().counters(infohash).unwrap().opens,
        1,
        "one engine session after the other"
    );
    assert_eq!(appliance.metric("sluice_task_panics_total"), 0.0);
}

/// Whether the packages of `tests/browser` are there; in CI they have to be.
fn is_installed(directory: &Path) -> bool {
    let is_there = directory.join("node_modules/hls.js").exists();
    assert!(is_there || std::env::var_os("CI").is_none(), "tests/support/install browser has not been run");
    if !is_there {
        println!("skipped: tests/support/install browser has not been run");
    }
    is_there
}
