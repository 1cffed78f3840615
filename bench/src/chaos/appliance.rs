//! The appliance under test, as a child process.

use std::collections::VecDeque;
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::Error;

/// Log lines kept for whoever has to find out what happened.
const LOG_LINES_MAX: usize = 400;
/// How long the appliance may take to listen.
const START_TIMEOUT: Duration = Duration::from_secs(20);

type Log = Arc<Mutex<VecDeque<String>>>;

/// A running appliance; killed when dropped.
pub(crate) struct Appliance {
    child: Child,
    /// Where it keeps its state, unless the caller chose a place.
    _state: Option<Directory>,
    addr: SocketAddr,
    log: Log,
}

impl Appliance {
    /// Starts it with these engines, if any, on a port of the kernel's choice.
    pub(crate) fn start(mut command: Command, engines: &[SocketAddr]) -> Result<Self, Error> {
        if !engines.is_empty() {
            let engines: Vec<String> = engines.iter().map(ToString::to_string).collect();
            command.env("STATIC_ENGINES", engines.join(","));
        }
        command
            .env("BIND_ADDR", "127.0.0.1")
            .env("APP_PORT", "0")
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        // Moves need no key here, and sessions end soon after their players, unless the caller says otherwise.
        for (name, value) in [("API_KEY", ""), ("PROXY_GRACE_PERIOD", "500ms"), ("WARM_CHANNELS", "0")] {
            if command.get_envs().all(|(given, _)| given != name) {
                command.env(name, value);
            }
        }
        let is_placed = command.get_envs().any(|(name, _)| name == "DATA_DIR");
        let state = (!is_placed).then(Directory::new).transpose().map_err(Error::Appliance)?;
        if let Some(Directory(path)) = &state {
            command.env("DATA_DIR", path);
        }
        let mut child = command.spawn().map_err(Error::Appliance)?;
        let log = Log::default();
        if let Some(stderr) = child.stderr.take() {
            let log = log.clone();
            thread::spawn(move || {
                for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                    let mut lines = log.lock().unwrap_or_else(PoisonError::into_inner);
                    if lines.len() == LOG_LINES_MAX {
                        lines.pop_front();
                    }
                    lines.push_back(line);
                }
            });
        }
        let mut appliance = Self { child, _state: state, addr: (Ipv4Addr::LOCALHOST, 0).into(), log };
        let deadline = Instant::now() + START_TIMEOUT;
        while Instant::now() < deadline && !appliance.has_ended() {
            if let Some(port) = appliance.log().iter().find_map(|line| port(line)) {
                appliance.addr.set_port(port);
                return Ok(appliance);
            }
            thread::sleep(Duration::from_millis(20));
        }
        Err(Error::NotListening(appliance.log().join("\n")))
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// What serves: the child of a supervisor, or the process itself.
    pub(crate) fn pid(&self) -> u32 {
        self.serving().pop().unwrap_or_else(|| self.child.id())
    }

    /// What the supervisor has started, oldest first: two while it upgrades.
    pub(super) fn serving(&self) -> Vec<u32> {
        let own = self.child.id();
        let children = fs::read_to_string(format!("/proc/{own}/task/{own}/children")).unwrap_or_default();
        children.split_whitespace().filter_map(|child| child.parse().ok()).collect()
    }

    /// Asks the supervisor for an upgrade; what serves is another process once it is done.
    pub(super) fn ask_for_upgrade(&self) {
        crate::sys::ask_for_upgrade(self.child.id());
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// The newest lines of its log.
    pub(crate) fn log(&self) -> Vec<String> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

impl Drop for Appliance {
    fn drop(&mut self) {
        // A child that is gone already has nothing left to end. What a supervisor has started ends in order without it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The port in the line that says where it listens.
fn port(line: &str) -> Option<u16> {
    let (_, rest) = line.split_once(" listening ")?;
    rest.split_once("port=")?.1.split(' ').next()?.parse().ok()
}

/// A directory of its own for each appliance; removed when dropped.
struct Directory(PathBuf);

impl Directory {
    fn new() -> io::Result<Self> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("sluice-bench-{}-{number}", std::process::id()));
        fs::create_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // What cannot be removed is left to whoever cleans the place for temporary files.
        let _ = fs::remove_dir_all(&self.0);
    }
}
