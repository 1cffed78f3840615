//! What the server under load uses, read from `/proc`: CPU time, memory, descriptors. Works only for a server on this
//! machine; reads, never signals.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::net::SocketAddr;

use serde::Serialize;

use crate::sys;

/// Why the server's use cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody on this machine listens there, or it is not ours to see.
    #[error("no process found that listens on port {0}; name it with --server-pid")]
    NotFound(u16),
    /// A file of the process cannot be read.
    #[error("cannot read {path}: {cause}")]
    Read {
        /// Which.
        path: String,
        /// Why.
        cause: io::Error,
    },
    /// A file of the process is not what it should be.
    #[error("cannot make sense of {0}")]
    Format(String),
}

/// The processes that make up the server: usually one, or a supervisor and its child.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    pids: Vec<u32>,
}

/// What the server used up to, or has at, one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Usage {
    /// CPU seconds since its start, user and system.
    pub cpu_s: f64,
    /// Resident memory in bytes.
    pub rss: u64,
    /// Open descriptors.
    pub fds: u64,
    /// Memory of all TCP sockets of the host, the players' included, in bytes.
    pub host_tcp: u64,
    /// Memory files of the host, such as stream windows, which count to no process as long as none maps them.
    pub host_shared: u64,
}

impl Server {
    /// The server with this process id.
    pub fn with_pid(pid: u32) -> Self {
        Self { pids: vec![pid] }
    }

    /// Finds the processes that hold the listening socket of an address.
    ///
    /// # Errors
    /// There is none that this process may look into.
    pub fn listening_on(address: SocketAddr) -> Result<Self, Error> {
        let tables =
            ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| fs::read_to_string(path).unwrap_or_default());
        let sockets: HashSet<String> =
            tables.iter().flat_map(|table| listeners(table, address.port())).collect();
        let holds_one = |pid: u32| {
            let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
            let links = descriptors.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
            links.map(|link| link.to_string_lossy().into_owned()).find(|link| sockets.contains(link))
        };
        let processes = fs::read_dir("/proc").into_iter().flatten().filter_map(|entry| {
            let name = entry.ok()?.file_name();
            name.to_str()?.parse().ok()
        });
        let mut pids: Vec<u32> = processes.filter(|pid| holds_one(*pid).is_some()).collect();
        pids.sort_unstable();
        if pids.is_empty() { Err(Error::NotFound(address.port())) } else { Ok(Self { pids }) }
    }

    /// Process ids.
    pub fn pids(&self) -> &[u32] {
        &self.pids
    }

    /// Reads the use, all processes and what they have started together, so that an upgrade makes no difference.
    ///
    /// # Errors
    /// The server is gone.
    pub fn usage(&self) -> Result<Usage, Error> {
        let host = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let host_shared = kilobytes(&host, "Shmem").unwrap_or(0) * 1024;
        let mut all = Usage { host_tcp: host_tcp(), host_shared, ..Usage::default() };
        let started: Vec<u32> = self.pids.iter().flat_map(|pid| descendants(*pid)).collect();
        let started = started.iter().filter(|pid| !self.pids.contains(pid));
        for (pid, is_named) in self.pids.iter().map(|pid| (pid, true)).chain(started.map(|pid| (pid, false)))
        {
            let path = format!("/proc/{pid}/stat");
            let (stat, status) = match (read(&path), read(&format!("/proc/{pid}/status"))) {
                (Ok(stat), Ok(status)) => (stat, status),
                // It ended meanwhile, and counts to who waited for it.
                _ if !is_named => continue,
                (Err(error), _) | (_, Err(error)) => return Err(error),
            };
            let ticks = cpu_ticks(&stat).ok_or(Error::Format(path))?;
            all.cpu_s += ticks as f64 / sys::clock_ticks();
            // A process that is just ending has no memory lines.
            all.rss += kilobytes(&status, "VmRSS").unwrap_or(0) * 1024;
            all.fds += fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, |entries| entries.count() as u64);
        }
        Ok(all)
    }
}

fn read(path: &str) -> Result<String, Error> {
    fs::read_to_string(path).map_err(|cause| Error::Read { path: path.to_owned(), cause })
}

/// `socket:[inode]` of each listening socket with this port.
fn listeners(table: &str, port: u16) -> Vec<String> {
    const LISTEN: &str = "0A";
    let socket = |line: &str| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let (_, local) = fields.get(1)?.rsplit_once(':')?;
        let listens = u16::from_str_radix(local, 16).ok()? == port && *fields.get(3)? == LISTEN;
        listens.then(|| Some(format!("socket:[{}]", fields.get(9)?))).flatten()
    };
    table.lines().skip(1).filter_map(socket).collect()
}

/// Processes that a process has started and that are there, and theirs.
fn descendants(pid: u32) -> Vec<u32> {
    let mut found = vec![pid];
    let mut next = 0;
    while let Some(&pid) = found.get(next) {
        next += 1;
        let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        for thread in threads {
            let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            found.extend(children.split_ascii_whitespace().filter_map(|child| child.parse::<u32>().ok()));
        }
    }
    found.split_off(1)
}

/// User and system time, of the process itself and of those it has waited for. The command's name, in parentheses, may hold
/// anything.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let times: Vec<u64> = fields.take(4).map_while(|field| field.parse().ok()).collect();
    (times.len() == 4).then(|| times.iter().sum())
}

fn kilobytes(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

fn host_tcp() -> u64 {
    let text = fs::read_to_string("/proc/net/sockstat").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("TCP:")).unwrap_or("");
    let mut words = line.split_ascii_whitespace().skip_while(|word| *word != "mem").skip(1);
    words.next().and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * sys::page_size()
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;
    use std::process::{Command, Stdio};

    use super::*;

    /// Guards that the server is found by its port, and that its use is read from the right columns.
    #[test]
    fn a_listener_is_found_by_its_port() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let server = Server::listening_on(address).expect("this process listens");
        assert_eq!(server.pids(), [std::process::id()]);
        let usage = server.usage().expect("this process is there");
        assert!(usage.rss > 1 << 20 && usage.rss < 1 << 34, "{usage:?}");
        assert!(usage.fds >= 4, "{usage:?}");
        drop(listener);
        assert!(matches!(Server::listening_on(address), Err(Error::NotFound(_))));
        assert!(Server::with_pid(u32::MAX).usage().is_err());
    }

    /// Guards that what the server has started counts, while it runs and after.
    #[test]
    fn what_it_started_counts() {
        let burn = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; echo done; read -r go";
        let mut shell = Command::new("sh")
            .args(["-c", &format!("sh -c '{burn}'; echo over; read -r go")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell starts");
        let mut said = BufReader::new(shell.stdout.take().expect("a pipe")).lines();
        let (server, mut word) = (Server::with_pid(shell.id()), shell.stdin.take().expect("a pipe"));
        assert_eq!(said.next().expect("a line").expect("text"), "done");
        let while_it_runs = server.usage().expect("it is there").cpu_s;
        assert_eq!(descendants(shell.id()).len(), 1);
        word.write_all(b"go\n").expect("it listens");
        assert_eq!(said.next().expect("a line").expect("text"), "over");
        let after = server.usage().expect("it is there").cpu_s;
        assert!(while_it_runs > 0.0 && after >= while_it_runs, "{while_it_runs} {after}");
        assert!(descendants(shell.id()).is_empty());
        word.write_all(b"go\n").expect("it listens");
        shell.wait().expect("it ends");
    }

    /// Guards the columns of `stat` behind a name made to confuse.
    #[test]
    fn cpu_time_is_read_behind_any_name() {
        let stat = "1 (a) b (c) S 2 3 4 5 6 7 8 9 10 11 500 70 14 15 20";
        assert_eq!(cpu_ticks(stat), Some(599));
        assert_eq!(cpu_ticks("nonsense"), None);
    }
}
