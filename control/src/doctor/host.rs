//! Host settings: each page of `tuning/` is looked at. Reads files and runs the programs the pages name; changes nothing.

use super::page::{Check, PAGES, Page, Place, Verdict};
use super::{Finding, State, Subject};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Most of a file or of what a program says that is looked at.
const TEXT_LEN_MAX: usize = 256 * 1024;

/// What the checks are told beside what they see.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// Where files are looked for; `/` outside of tests.
    pub root: PathBuf,
    /// Port that players come to.
    pub port: u16,
    /// Milliseconds of a tick that does not change; `None` when it does.
    pub tick_ms: Option<u128>,
    /// Each shard has a core of its own.
    pub is_pinned: bool,
}

impl Surroundings {
    fn names(&self) -> BTreeMap<&'static str, String> {
        let route = fs::read_to_string(self.root.join("proc/net/route")).unwrap_or_default();
        let device = default_device(&route).unwrap_or("lo").to_owned();
        BTreeMap::from([("port", self.port.to_string()), ("device", device)])
    }

    fn fact(&self, name: &str) -> Option<String> {
        match name {
            "tick" => Some(self.tick_ms.map_or_else(|| "adaptive".to_owned(), |tick| tick.to_string())),
            "pinned" => Some(if self.is_pinned { "yes" } else { "no" }.to_owned()),
            _ => None,
        }
    }
}

/// The interface of the default route.
fn default_device(routes: &str) -> Option<&str> {
    routes.lines().skip(1).find_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let (device, to) = (words.next()?, words.next()?);
        (to == "00000000").then_some(device)
    })
}

/// Looks at every page.
pub fn examine(around: &Surroundings) -> Vec<Finding> {
    let names = around.names();
    PAGES.iter().map(|(name, text)| look(name, text, &names, around)).collect()
}

/// Looks at one.
fn look(name: &'static str, text: &str, names: &BTreeMap<&str, String>, around: &Surroundings) -> Finding {
    let page = match Page::parse(text, names) {
        Ok(page) => page,
        Err(fault) => return unseen(Subject::Host { name, code: u8::MAX }, &fault.to_string()),
    };
    let subject = Subject::Host { name, code: page.code };
    let (mut off, mut reason) = (None, String::new());
    for check in &page.checks {
        match there(check, around) {
            Ok(Some(text)) => match check.judge(&text) {
                Verdict::Met(seen) => return Finding::well(subject, seen),
                Verdict::Off { seen, wanted } => off = off.or(Some(format!("{seen}, wanted {wanted}"))),
            },
            Ok(None) if check.absent_is_fine => {
                return Finding::well(subject, "this host has no such thing".to_owned());
            }
            Ok(None) => reason = format!("{} is not there", check.place),
            Err(error) => reason = format!("{}: {error}", check.place),
        }
    }
    match off {
        Some(text) => Finding::noted(subject, text, &page.apply),
        None => unseen(subject, &reason),
    }
}

fn unseen(subject: Subject, reason: &str) -> Finding {
    Finding { subject, state: State::Unseen, text: reason.to_owned(), remedy: None }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => write!(f, "/{path}"),
            Self::Run(words) => f.write_str(&words.join(" ")),
            Self::Fact(name) => f.write_str(name),
        }
    }
}

/// What is at a check's place; `None` when there is no such thing.
fn there(check: &Check, around: &Surroundings) -> io::Result<Option<String>> {
    let found = match &check.place {
        Place::File(path) => read(&around.root.join(path)),
        Place::Run(words) => run(words),
        Place::Fact(name) => return Ok(around.fact(name)),
    };
    match found {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = fs::read_to_string(path)?;
    text.truncate(text.floor_char_boundary(TEXT_LEN_MAX));
    Ok(text)
}

/// Runs a program of the host, also where only root looks for programs.
fn run(words: &[String]) -> io::Result<String> {
    let (program, arguments) = words.split_first().ok_or(io::ErrorKind::NotFound)?;
    let path = std::env::var("PATH").unwrap_or_default();
    let places = path.split(':').chain(["/usr/sbin", "/sbin"]).filter(|place| !place.is_empty());
    let file = places.map(|place| Path::new(place).join(program)).find(|file| file.is_file());
    let output =
        Command::new(file.ok_or(io::ErrorKind::NotFound)?).args(arguments).stdin(Stdio::null()).output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let line = said.lines().next().unwrap_or("it failed without a word").to_owned();
        return Err(io::Error::other(line));
    }
    let kept = &output.stdout[..output.stdout.len().min(TEXT_LEN_MAX)];
    Ok(String::from_utf8_lossy(kept).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::{exit_code, first_off};

    const FILES: &[(&str, &str)] = &[
        ("proc/self/limits", "Max open files            1024                65536                files\n"),
        ("proc/sys/net/core/somaxconn", "4096\n"),
        ("proc/sys/net/ipv4/tcp_mem", "1\t2\t524288\n"),
        ("proc/sys/net/ipv4/tcp_wmem", "4096\t16384\t4194304\n"),
        ("proc/sys/net/ipv4/tcp_notsent_lowat", "4294967295\n"),
        ("proc/sys/net/ipv4/tcp_slow_start_after_idle", "0\n"),
        ("proc/sys/net/ipv4/tcp_congestion_control", "cubic\n"),
        ("proc/sys/net/netfilter/nf_conntrack_max", "2097152\n"),
        ("sys/kernel/mm/transparent_hugepage/shmem_enabled", "always advise [never]\n"),
        ("proc/sys/kernel/io_uring_disabled", "0\n"),
        ("sys/fs/cgroup/cpu.max", "max 100000\n"),
        ("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "performance\n"),
        ("sys/devices/system/clocksource/clocksource0/current_clocksource", "tsc\n"),
        ("proc/net/route", "Iface\tDestination\nveth7\t00000000\t0\n"),
        ("sys/class/net/veth7/queues/rx-0/rps_cpus", "3\n"),
    ];

    /// A made-up host, gone when dropped.
    struct Root(Surroundings);

    impl Root {
        fn new(name: &str, changed: &[(&str, &str)]) -> Self {
            let root = std::env::temp_dir().join(format!("sluice-tuning-{}-{name}", std::process::id()));
            for (file, text) in FILES.iter().chain(changed) {
                let file = root.join(file);
                fs::create_dir_all(file.parent().unwrap()).unwrap();
                fs::write(file, text).unwrap();
            }
            Self(Surroundings { root, port: 8000, tick_ms: None, is_pinned: true })
        }

        fn off(&self) -> Vec<String> {
            let findings = examine(&self.0);
            let off = findings.iter().filter(|finding| finding.state == State::Noted);
            // What programs say is this machine's and not the made-up host's.
            let off = off.filter(|finding| !["offloads", "big_tcp"].contains(&&*finding.subject.to_string()));
            off.map(|finding| finding.subject.to_string()).collect()
        }
    }

    impl Drop for Root {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0.root);
        }
    }

    /// Guards: on a host that is well nothing is off, and each setting that is broken is told with its code and remedy.
    #[test]
    fn each_setting_that_is_off_is_told() {
        let root = Root::new("well", &[]);
        assert_eq!(root.off(), Vec::<String>::new());
        for (file, text, name, code) in [
            ("proc/self/limits", "Max open files 1024 4096 files", "nofile", 20),
            ("proc/sys/net/core/somaxconn", "128", "somaxconn", 21),
            ("proc/sys/net/ipv4/tcp_mem", "1 2 3", "tcp_mem", 22),
            ("proc/sys/net/ipv4/tcp_wmem", "4096 16384 65536", "tcp_wmem", 23),
            ("proc/sys/net/ipv4/tcp_notsent_lowat", "16384", "tcp_notsent_lowat", 24),
            ("proc/sys/net/ipv4/tcp_slow_start_after_idle", "1", "slow_start", 25),
            ("sys/kernel/mm/transparent_hugepage/shmem_enabled", "[always] never", "shmem_huge", 27),
            ("proc/sys/net/ipv4/tcp_congestion_control", "reno", "congestion", 37),
            ("proc/sys/kernel/io_uring_disabled", "2", "driver", 28),
            ("sys/fs/cgroup/cpu.max", "50000 100000", "cgroup", 31),
            ("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave", "governor", 32),
            ("sys/devices/system/clocksource/clocksource0/current_clocksource", "hpet", "clocksource", 33),
            ("sys/class/net/veth7/queues/rx-0/rps_cpus", "00", "irq", 36),
        ] {
            let root = Root::new(name, &[(file, text)]);
            assert_eq!(root.off(), [name]);
            let findings = examine(&root.0);
            let told = findings.iter().find(|finding| finding.subject.to_string() == name).unwrap();
            assert_eq!(told.subject.code(), code);
            assert!(told.remedy.as_ref().is_some_and(|remedy| !remedy.contains('{')), "{told:?}");
            assert_eq!(exit_code(&findings), 0, "what is off stops nobody");
            assert!(first_off(&findings) > 0 && first_off(&findings) <= code);
        }
        let mut own = Root::new("own", &[]);
        (own.0.tick_ms, own.0.is_pinned) = (Some(10), false);
        assert_eq!(own.off(), ["pinning", "tick"]);
        own.0.tick_ms = Some(100);
        assert_eq!(own.off(), ["pinning"]);
    }

    /// Guards: what cannot be looked at is said to be so and is not taken for off or well.
    #[test]
    fn what_is_not_there_is_not_guessed() {
        let root = Root::new("bare", &[]);
        fs::remove_file(root.0.root.join("proc/sys/net/core/somaxconn")).unwrap();
        fs::remove_file(root.0.root.join("sys/fs/cgroup/cpu.max")).unwrap();
        let findings = examine(&root.0);
        let state = |name: &str| findings.iter().find(|it| it.subject.to_string() == name).map(|it| it.state);
        assert_eq!((state("somaxconn"), state("cgroup")), (Some(State::Unseen), Some(State::Well)));
    }
}
