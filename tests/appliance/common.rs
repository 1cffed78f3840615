//! The appliance as a child process, and waiting for conditions.

use crate::sys;
use sluice_bench::engine::Engine;
use sluice_bench::player::http::{self, Response};
use sluice_bench::player::{Plan, Player};
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long anything may take that should be quick; generous, because the machine is shared.
pub const SOON: Duration = Duration::from_secs(20);

/// How an appliance is started.
pub struct Setup {
    command: Command,
    data: TempDir,
}

/// A running appliance; ended when dropped, its log printed when the test fails.
pub struct Appliance {
    child: Child,
    log: Arc<Log>,
    ports: Vec<u16>,
    /// Its `DATA_DIR`, gone with it.
    data: TempDir,
}

#[derive(Default)]
struct Log {
    lines: Mutex<(Vec<String>, bool)>,
    changed: Condvar,
}

impl Log {
    /// A test that fails while it looks leaves the lock poisoned, and its log is what is wanted then.
    fn lock(&self) -> MutexGuard<'_, (Vec<String>, bool)> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Setup {
    /// An appliance with these engines, on a port of the kernel's choice, on the driver the suite runs under, with a
    /// short grace period and nothing kept warm. Anything else is set by [`Setup::env`].
    pub fn with_engines(engines: &[&Engine]) -> Self {
        Self::bare().engines(engines)
    }

    /// Names engines.
    pub fn engines(self, engines: &[&Engine]) -> Self {
        let addresses: Vec<String> = engines.iter().map(|engine| engine.addr().to_string()).collect();
        self.env("STATIC_ENGINES", &addresses.join(","))
    }

    /// An appliance without any engine setting.
    pub fn bare() -> Self {
        Self::of(Path::new(env!("CARGO_BIN_EXE_sluice")))
    }

    /// The same of this program.
    pub fn of(program: &Path) -> Self {
        let mut command = Command::new(program);
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
        command.env_clear().current_dir(directory).env("APP_PORT", "0").env("BIND_ADDR", "127.0.0.1");
        // Whatever Docker this machine has is not the tests' to fill.
        command.env("ENGINE_PROVISIONING", "off");
        command
            .env("SHARDS", "2")
            .env("NO_COLOR", "1")
            .env("LOG_LEVEL", "debug")
            .env("PROXY_GRACE_PERIOD", "2s")
            .env("WARM_CHANNELS", "0")
            .env("API_KEY", "");
        command.env("RUST_BACKTRACE", "1");
        let data = tempfile::tempdir_in(directory).expect("a data directory");
        command.env("DATA_DIR", data.path());
        match std::env::var("SLUICE_TEST_DRIVER").as_deref() {
            Ok("io_uring") => drop(command.env("DRIVER", "io_uring")),
            Ok("epoll") => drop(command.env("DRIVER", "epoll")),
            Ok("seccomp") => sys::refuse_io_uring(&mut command),
            Ok(other) => panic!("SLUICE_TEST_DRIVER={other} is none of io_uring, epoll, seccomp"),
            Err(_) => {}
        }
        Self { command, data }
    }

    /// Sets a variable.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Adds an argument.
    pub fn arg(mut self, argument: &str) -> Self {
        self.command.arg(argument);
        self
    }

    /// Takes io_uring away from it, and with it the choice of a driver.
    pub fn without_io_uring(mut self) -> Self {
        self.command.env_remove("DRIVER");
        sys::refuse_io_uring(&mut self.command);
        self
    }

    /// Leaves it this many descriptors.
    pub fn descriptors_max(mut self, count: u64) -> Self {
        sys::limit_descriptors(&mut self.command, count);
        self
    }

    /// Gives it a disk of its own, of so many bytes, for `DATA_DIR`; it is seen through [`Appliance::disk`].
    pub fn small_disk(mut self, bytes: u64) -> Self {
        sys::mount_small_disk(&mut self.command, self.data.path(), bytes);
        self
    }

    /// Starts it in a control group, given by the path of its `cgroup.procs`.
    pub fn in_cgroup(mut self, processes: &std::path::Path) -> Self {
        sys::enter_cgroup(&mut self.command, processes);
        self
    }

    /// The command, for tests that start it in their own way.
    pub fn into_command(self) -> Command {
        self.command
    }

    /// Starts it and waits until it listens.
    pub fn start(self) -> Appliance {
        let Self { mut command, data } = self;
        let mut child =
            command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().expect("the binary starts");
        let log = Arc::new(Log::default());
        let (sink, stderr) = (log.clone(), child.stderr.take().expect("stderr is piped"));
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                sink.lock().0.push(line);
                sink.changed.notify_all();
            }
            sink.lock().1 = true;
            sink.changed.notify_all();
        });
        let mut appliance = Appliance { child, log, ports: Vec::new(), data };
        appliance.wait_log("the shards run", |lines| {
            lines.iter().filter(|line| line.contains("shard started")).count() >= 1
                && lines.iter().any(|line| line.contains("listening"))
        });
        let lines = appliance.log_lines();
        appliance.ports = lines.iter().filter_map(|line| listening(line)).collect();
        assert!(!appliance.ports.is_empty(), "no port in the log: {lines:#?}");
        appliance
    }
}

impl Appliance {
    /// Where it listens (the first address).
    pub fn addr(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.ports[0]).into()
    }

    /// Where it listens on its further addresses.
    pub fn more_addrs(&self) -> Vec<SocketAddr> {
        self.ports[1..].iter().map(|port| (Ipv4Addr::LOCALHOST, *port).into()).collect()
    }

    /// Its `DATA_DIR`.
    pub fn data(&self) -> &Path {
        self.data.path()
    }

    /// Its `DATA_DIR` as it sees it itself.
    pub fn disk(&self) -> std::path::PathBuf {
        let inside = self.data.path().strip_prefix("/").expect("an absolute path");
        Path::new(&format!("/proc/{}/root", self.pid())).join(inside)
    }

    /// Process id of what serves: the child of the supervisor, or the only process of a demo.
    pub fn pid(&self) -> u32 {
        sys::children(self.child.id()).pop().unwrap_or_else(|| self.child.id())
    }

    /// Process id of what was started: signals go there.
    pub fn supervisor(&self) -> u32 {
        self.child.id()
    }

    /// A player of a content id, to be adapted and started.
    pub fn player(&self, id: impl std::fmt::Display) -> Plan {
        Player::get(self.addr(), &format!("/ace/getstream?id={id}"))
    }

    /// A GET.
    pub fn get(&self, path: &str) -> Response {
        http::get(self.addr(), path).unwrap_or_else(|error| panic!("GET {path}: {error}"))
    }

    /// A GET of a JSON document.
    pub fn json(&self, path: &str) -> serde_json::Value {
        let response = self.get(path);
        serde_json::from_slice(&response.body).unwrap_or_else(|error| panic!("{path}: {error}: {response:?}"))
    }

    /// The sum over shards (and other labels) of a metric; `name` may carry one label as `name{label="value"`.
    pub fn metric(&self, name: &str) -> f64 {
        let (name, label) = name.split_once('{').unwrap_or((name, ""));
        let text = self.get("/metrics").text();
        let of_name = |line: &&str| {
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])) && line.contains(label)
        };
        let lines: Vec<&str> = text.lines().filter(of_name).collect();
        assert!(!lines.is_empty(), "no metric {name}{{{label}");
        lines.iter().filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// All log lines so far.
    pub fn log_lines(&self) -> Vec<String> {
        self.log.lock().0.clone()
    }

    /// Waits for a condition on the log.
    pub fn wait_log(&self, what: &str, mut holds: impl FnMut(&[String]) -> bool) {
        let deadline = Instant::now() + SOON;
        let mut lines = self.log.lock();
        while !holds(&lines.0) {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero() && !lines.1, "{what} did not come; log: {:#?}", lines.0);
            lines = self.log.changed.wait_timeout(lines, left).unwrap().0;
        }
    }

    /// Waits until so many engines have been found healthy: before that, one that is known may get everything.
    pub fn wait_healthy(&self, engines: usize) {
        let is_healthy = |line: &&String| line.contains("health changed") && line.contains("\"healthy\"");
        self.wait_log("the engines are healthy", |lines| lines.iter().filter(is_healthy).count() >= engines);
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("it is a child")
    }

    /// Sends SIGTERM and waits for the end.
    pub fn terminate(&mut self, within: Duration) -> ExitStatus {
        sys::signal(self.child.id(), libc::SIGTERM);
        eventually_within("the appliance ends", within, || self.child.try_wait().unwrap())
    }

    /// Ends it with SIGKILL and starts another one, as `setup` says, on the data directory it leaves.
    pub fn kill_and_start(mut self, setup: Setup) -> Self {
        sys::signal(self.pid(), libc::SIGKILL);
        self.child.wait().expect("it ends");
        let Setup { mut command, .. } = setup;
        command.env("DATA_DIR", self.data.path());
        let fresh = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
        Setup { command, data: std::mem::replace(&mut self.data, fresh) }.start()
    }

    /// Open descriptors of the process.
    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid())).map_or(0, Iterator::count)
    }
}

impl Drop for Appliance {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for line in self.log_lines() {
                eprintln!("  | {line}");
            }
        }
        // The supervisor ends with what it has started, and would leave it alone in an orderly stop of seconds otherwise.
        let served: Vec<_> =
            sys::children(self.child.id()).into_iter().filter_map(sys::Watched::new).collect();
        for child in &served {
            child.kill();
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        // What served is nobody's child now, and holds its `DATA_DIR` until it is gone, which the next one may want.
        for child in &served {
            if !child.wait_end(SOON) {
                eprintln!("a process of the appliance did not end");
            }
        }
    }
}

/// The port in a log line that says where it listens.
pub fn listening(line: &str) -> Option<u16> {
    let (_, rest) = line.split_once(" listening ")?;
    rest.split_once("port=")?.1.split(' ').next()?.parse().ok()
}

/// Waits until `look` finds something, [`SOON`].
pub fn eventually<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    eventually_within(what, SOON, look)
}

/// Waits until `look` finds something.
pub fn eventually_within<T>(what: &str, within: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + within;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}: not within {within:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Waits until something holds, [`SOON`].
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    eventually(what, || holds().then_some(()));
}
