//! Upgrading where somebody else started the appliance: systemd, and a process namespace of which it is the first.

use crate::common::{SOON, Setup, eventually, listening, until};
use crate::scene::{RATE, first, healthy, stopped_once_each};
use crate::sys;
use sluice_bench::engine::Engine;
use sluice_bench::player::{Player, check};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use tempfile::TempDir;

/// A process that ends, and all it has started with it, when dropped.
struct Outer(Child);

impl Drop for Outer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Where the appliance that writes this log listens.
fn address(log: &Path) -> SocketAddr {
    let port = eventually("it listens", || {
        let text = fs::read_to_string(log).unwrap_or_default();
        text.lines().find_map(listening)
    });
    (Ipv4Addr::LOCALHOST, port).into()
}

/// A player of the first channel that checks every packet, once it plays.
fn playing(at: SocketAddr, engine: &Engine) -> Player {
    let (id, infohash) = first();
    let reference = Some(engine.control().broadcast(infohash).expect("the channel exists"));
    let plan = Player::get(at, &format!("/ace/getstream?id={id}"));
    let player = plan.check(check::Options { reference, ..check::Options::default() }).start();
    player.wait_decodable(SOON).expect("it plays");
    player
}

fn unharmed(player: &Player) {
    player.wait_more(RATE, SOON).expect("it plays on");
    assert_eq!(player.end(), None, "it was cut");
    assert_eq!(player.report().faults_or_losses(), Vec::<String>::new(), "{}", player.snapshot());
}

/// Guards: as PID 1, which no signal reaches that it does not ask for and which everything orphaned falls to, it is upgraded
/// under a player without a byte lost, twice, and still stops in order.
#[test]
fn pid_1_is_upgraded() {
    if !sys::may_unshare(&["--mount", "--pid"]) {
        return;
    }
    let engine = healthy();
    let directory = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let log = directory.path().join("log");
    let inner =
        Setup::with_engines(&[&engine]).env("DATA_DIR", directory.path().to_str().unwrap()).into_command();
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--kill-child"]).arg(inner.get_program()).env_clear();
    command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.stderr(fs::File::create(&log).unwrap()).stdout(Stdio::null());
    let mut outer = Outer(command.spawn().unwrap());
    let player = playing(address(&log), &engine);
    let main = sys::children(outer.0.id()).pop().expect("it was forked");
    for _ in 0..2 {
        let before = sys::children(main);
        sys::signal(main, libc::SIGUSR2);
        until("another process serves", || {
            let now = sys::children(main);
            now.len() == 1 && now != before
        });
        unharmed(&player);
    }
    drop(player);
    sys::signal(main, libc::SIGTERM);
    let status = eventually("it stops", || outer.0.try_wait().unwrap());
    assert!(status.success(), "{status}");
    stopped_once_each(&engine, first().1);
}

/// systemd as a user's manager in namespaces of its own, with one service.
struct Systemd {
    directory: TempDir,
    manager: Outer,
}

impl Systemd {
    /// Starts it, not yet the service.
    fn with(service: &str) -> Self {
        let directory = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let home = directory.path();
        fs::create_dir_all(home.join("systemd/user")).unwrap();
        fs::write(home.join("systemd/user/sluice.service"), service).unwrap();
        // A manager only runs where `/run` says that systemd booted the machine.
        let script =
            "mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/system && /lib/systemd/systemd --user & wait";
        let mut command = Command::new("unshare");
        command.args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", script]);
        command.env("XDG_RUNTIME_DIR", home).env("XDG_CONFIG_HOME", home).env("HOME", home);
        command.stdout(Stdio::null()).stderr(fs::File::create(home.join("manager")).unwrap());
        let systemd = Self { manager: Outer(command.spawn().unwrap()), directory };
        until("systemd answers", || systemd.ask(&["is-system-running"]).stdout.starts_with(b"running"));
        systemd
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// `systemctl` with these words.
    fn ask(&self, words: &[&str]) -> Output {
        let Some(inside) = sys::children(self.manager.0.id()).pop() else {
            return Command::new("false").output().expect("it runs");
        };
        let mut command = Command::new("nsenter");
        command
            .args(["--mount", "--pid", "--target", &inside.to_string(), "systemctl", "--user"])
            .args(words);
        command.env("XDG_RUNTIME_DIR", self.directory.path()).output().expect("it runs")
    }

    /// A property of the service.
    fn property(&self, name: &str) -> String {
        let answer = self.ask(&["show", "sluice.service", "--value", "--property", name]);
        String::from_utf8_lossy(&answer.stdout).trim().to_owned()
    }
}

/// Guards the unit that is documented: systemd counts the start as done when players are served, `systemctl reload` upgrades
/// under a player without a byte lost, the main process stays the same, and `systemctl stop` stops in order.
#[test]
fn systemd_upgrades_by_a_reload() {
    if !sys::may_unshare(&["--mount", "--pid"]) {
        return;
    }
    let engine = healthy();
    let setup = Setup::with_engines(&[&engine]).into_command();
    let data = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let log = data.path().join("log");
    let variables: Vec<String> = setup
        .get_envs()
        .filter(|(name, _)| *name != "DATA_DIR")
        .filter_map(|(name, value)| Some(format!("Environment=\"{}={}\"", name.to_str()?, value?.to_str()?)))
        .collect();
    let unit = include_str!("../../docs/examples/sluice.service");
    let unit = unit
        .replace("/usr/local/bin/sluice", setup.get_program().to_str().unwrap())
        .replace("/var/lib/sluice", data.path().to_str().unwrap())
        .replace(
            "[Service]",
            &format!("[Service]\n{}\nStandardError=append:{}", variables.join("\n"), log.display()),
        );
    let systemd = Systemd::with(&unit);
    let started = systemd.ask(&["start", "sluice.service"]);
    assert!(
        started.status.success(),
        "{started:?}\n{}",
        fs::read_to_string(systemd.path("manager")).unwrap()
    );
    let main = systemd.property("MainPID");
    let player = playing(address(&log), &engine);
    let took_over = || {
        fs::read_to_string(&log).unwrap_or_default().lines().filter(|line| line.contains("took over")).count()
    };
    for upgrades in 1..=2 {
        let reloaded = systemd.ask(&["reload", "sluice.service"]);
        assert!(reloaded.status.success(), "{reloaded:?}");
        until("another process serves", || took_over() == upgrades);
        unharmed(&player);
        assert_eq!(systemd.property("ActiveState"), "active");
        assert_eq!(systemd.property("MainPID"), main);
    }
    drop(player);
    let stopped = systemd.ask(&["stop", "sluice.service"]);
    assert!(stopped.status.success(), "{stopped:?}");
    assert_eq!(systemd.property("Result"), "success");
    stopped_once_each(&engine, first().1);
}
