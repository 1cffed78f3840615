//! Short of memory: windows stay within their budget, who waits for memory is told so, and nothing is killed.

use crate::common::{Appliance, SOON, Setup, eventually, until};
use sluice_bench::channel::nth;
use sluice_bench::engine::{ChannelSpec, Engine, Options};
use sluice_bench::player::Player;
use std::path::{Path, PathBuf};

const MIB: f64 = 1_048_576.0;

fn engine(channels: u32, rate: u64) -> Engine {
    let channels = (0..channels).map(|n| ChannelSpec::synthetic(n, rate)).collect();
    Engine::start(Options { channels, ..Options::default() }).unwrap()
}

/// A counter with a label, 0 until it first counts.
fn count(appliance: &Appliance, name: &str) -> f64 {
    let (_, label) = name.split_once('{').expect("it has a label");
    if appliance.get("/metrics").text().contains(label) { appliance.metric(name) } else { 0.0 }
}

/// Starts a player for each channel and tells who plays from who was refused, which must be for memory.
fn play_all(appliance: &Appliance, channels: u32, total_mib: f64) -> Vec<Player> {
    let players: Vec<Player> = (0..channels).map(|n| appliance.player(nth(n).0).start()).collect();
    let mut playing = Vec::new();
    for player in players {
        let head = player.wait_head(SOON).unwrap();
        let held = appliance.metric("sluice_window_bytes");
        assert!(held <= total_mib * MIB, "{held} bytes in windows of {total_mib} MiB");
        match head.status {
            200 => playing.push(player),
            503 => {
                player.wait_end(SOON).unwrap();
                let text = String::from_utf8_lossy(&player.last_bytes()).into_owned();
                assert!(text.contains("\"memory\""), "{text}");
                assert!(head.header("retry-after").is_some(), "{head:?}");
            }
            other => panic!("status {other}: {head:?}"),
        }
    }
    playing
}

/// Everybody goes on playing without a fault; places that were skipped for want of memory are flagged.
fn assert_all_play(appliance: &Appliance, playing: &[Player], total_mib: f64) {
    for player in playing {
        player.wait_more(1 << 20, SOON).unwrap();
        let held = appliance.metric("sluice_window_bytes");
        assert!(held <= total_mib * MIB, "{held} bytes in windows of {total_mib} MiB");
        assert_eq!(player.report().faults(), Vec::<String>::new());
    }
}

/// Guards: with memory for a few windows, a few of twenty channels play without a fault and the others are refused with
/// `memory` and a time to come back; the windows never exceed their budget.
#[test]
fn more_channels_than_memory_are_refused_and_the_others_play() {
    let engine = engine(20, 500_000);
    let appliance = Setup::with_engines(&[&engine]).env("WINDOW_TOTAL_MIB", "64").start();
    let playing = play_all(&appliance, 20, 64.0);
    assert!((2..=4).contains(&playing.len()), "{} channels play", playing.len());
    let refused = (20 - playing.len()) as f64;
    until("the refusals are counted", || {
        (count(&appliance, "sluice_requests_refused_total{code=\"memory\"") - refused).abs() < 0.1
    });
    assert_all_play(&appliance, &playing, 64.0);
}

/// Guards: sessions that nobody watches any more give their memory to whoever wants to watch something else.
#[test]
fn idle_sessions_give_way_to_a_newcomer() {
    let engine = engine(6, 500_000);
    let setup =
        Setup::with_engines(&[&engine]).env("WINDOW_TOTAL_MIB", "32").env("PROXY_GRACE_PERIOD", "300s");
    let appliance = setup.start();
    for n in 0..6 {
        let player = appliance.player(nth(n).0).start();
        assert_eq!(player.wait_head(SOON).unwrap().status, 200, "channel {n} was refused");
        player.wait_decodable(SOON).unwrap();
        player.stop();
        until("nobody watches", || appliance.metric("sluice_clients") < 0.5);
    }
    // At most two of these windows fit.
    until("four sessions gave way", || {
        count(&appliance, "sluice_sessions_ended_total{reason=\"memory\"") >= 4.0
    });
    let held = appliance.metric("sluice_window_bytes");
    assert!(held <= 32.0 * MIB, "{held}");
}

/// Guards: in a container of 256 MiB twenty channels do not get the process killed: the budget follows the container's
/// limit by itself. Needs a cgroup that may be made here.
#[test]
fn a_small_container_survives_twenty_channels() {
    let Some(group) = Cgroup::with_memory(256 << 20) else { return };
    let engine = engine(20, 1_000_000);
    let appliance = Setup::with_engines(&[&engine]).in_cgroup(&group.directory.join("cgroup.procs")).start();
    let own = std::fs::read_to_string(format!("/proc/{}/cgroup", appliance.pid())).unwrap();
    assert!(own.contains(&group.name), "it runs elsewhere: {own}");
    let playing = play_all(&appliance, 20, 128.0);
    assert!(playing.len() >= 4, "only {} channels play", playing.len());
    assert_all_play(&appliance, &playing, 128.0);
    assert_eq!(appliance.get("/health").status(), 200);
}

/// A control group for one test; removed when dropped.
struct Cgroup {
    directory: PathBuf,
    name: String,
}

impl Cgroup {
    /// `None`, with the reason printed, where none can be made.
    fn with_memory(bytes: u64) -> Option<Self> {
        let name = format!("sluice-test-{}", std::process::id());
        let hierarchies =
            [("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")];
        let mut reason = String::from("there is no memory controller");
        for (root, limit) in hierarchies {
            if !Path::new(root).join("cgroup.procs").exists() {
                continue;
            }
            let group = Self { directory: Path::new(root).join(&name), name: name.clone() };
            let made = std::fs::create_dir(&group.directory)
                .and_then(|()| std::fs::write(group.directory.join(limit), bytes.to_string()));
            match made {
                Ok(()) => return Some(group),
                Err(error) => reason = format!("{}: {error}", group.directory.display()),
            }
        }
        eprintln!("skipped: no cgroup with a memory limit: {reason}");
        None
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // The kernel lets go of a group some time after its last process is gone.
        if self.directory.exists() {
            eventually("the cgroup is removed", || std::fs::remove_dir(&self.directory).ok());
        }
    }
}
