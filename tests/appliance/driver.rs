//! What the shards run on, and that everybody is told.

use crate::common::{SOON, Setup, eventually};
use crate::sys;
use sluice_bench::channel::nth;
use sluice_bench::engine::{ChannelSpec, Engine, Options};
use std::process::Stdio;

/// Guards: where the kernel refuses io_uring, as Docker's default profile makes it do, the appliance falls back to epoll
/// by itself, says so in the log and the metrics, and plays.
#[test]
fn without_io_uring_the_shards_run_on_epoll_and_say_so() {
    let channels = vec![ChannelSpec::synthetic(0, 500_000)];
    let engine = Engine::start(Options { channels, ..Options::default() }).unwrap();
    let appliance = Setup::with_engines(&[&engine]).without_io_uring().start();
    let started = |lines: &[String]| lines.iter().filter(|line| line.contains("shard started")).count();
    appliance.wait_log("both shards start", |lines| started(lines) == 2);
    for line in appliance.log_lines().iter().filter(|line| line.contains("shard started")) {
        assert!(line.contains("epoll") && !line.contains("io_uring"), "{line}");
    }
    let player = appliance.player(nth(0).0).start();
    player.wait_packets(1_000, SOON).unwrap();
    assert_eq!(player.report().faults_or_losses(), Vec::<String>::new());
    assert!((appliance.metric("sluice_io_uring") - 0.0).abs() < 0.1);
}

/// Guards: the driver in the metrics is the one in the log, whatever the suite runs on.
#[test]
fn the_driver_in_the_metrics_is_the_one_in_the_log() {
    let appliance = Setup::bare().start();
    let of_shards = |lines: &[String], what: &str| {
        lines.iter().filter(|line| line.contains("shard started") && line.contains(what)).count()
    };
    appliance.wait_log("both shards start", |lines| of_shards(lines, "") == 2);
    let on_io_uring = of_shards(&appliance.log_lines(), "io_uring") as f64;
    eventually("both shards are in the metrics", || {
        (appliance.get("/metrics").text().matches("\nsluice_io_uring{").count() == 2).then_some(())
    });
    assert!((appliance.metric("sluice_io_uring") - on_io_uring).abs() < 0.1);
    if let Ok(driver) = std::env::var("SLUICE_TEST_DRIVER") {
        let expected = if driver == "io_uring" { 2.0 } else { 0.0 };
        assert!((on_io_uring - expected).abs() < 0.1, "{on_io_uring} shards on io_uring under {driver}");
    }
}

/// Guards: who asks for io_uring and nothing else is refused, not served slowly.
#[test]
fn a_demand_for_io_uring_is_not_met_with_epoll() {
    let setup = Setup::bare().without_io_uring().env("DRIVER", "io_uring");
    let mut child = setup.into_command().stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    let deadline = std::time::Instant::now() + SOON;
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break Some(status),
            None if std::time::Instant::now() >= deadline => break None,
            None => std::thread::sleep(std::time::Duration::from_millis(10)),
        }
    };
    for started in sys::children(child.id()) {
        sys::signal(started, libc::SIGKILL);
    }
    let _ = child.kill();
    let _ = child.wait();
    assert!(status.is_some_and(|status| !status.success()), "{status:?}");
}
