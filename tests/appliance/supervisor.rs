//! The first process: what systemd and a container runtime see of the appliance.

use crate::common::{SOON, Setup, eventually, until};
use crate::sys;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

/// Whether a process still runs; one that nobody has reaped yet does not.
fn runs(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, fields)| !fields.trim_start().starts_with('Z'))
}

/// Guards: systemd is told when it serves and when it stops, the process it knows stays the main one, which has one
/// thread, and a signal to it stops everything in order.
#[test]
fn systemd_is_told_of_start_and_stop() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    let told = || {
        let mut buffer = [0; 64];
        let count = socket.recv(&mut buffer).expect("systemd is told");
        String::from_utf8_lossy(&buffer[..count]).into_owned()
    };
    let mut appliance = Setup::bare().env("NOTIFY_SOCKET", path.to_str().unwrap()).start();
    assert_eq!(told(), "READY=1");
    assert_eq!(appliance.get("/health").status(), 200);
    let (main, serving) = (appliance.supervisor(), appliance.pid());
    assert_ne!(main, serving);
    let threads = std::fs::read_dir(format!("/proc/{main}/task")).unwrap().count();
    assert_eq!(threads, 1, "the supervisor has one thread");
    let status = appliance.terminate(SOON);
    assert!(status.success(), "{status}");
    assert_eq!(told(), "STOPPING=1");
    assert!(!runs(serving), "it ended before what it started");
}

/// Guards: neither outlives the other. What serves dies, and the supervisor ends with its status; the supervisor dies, and
/// what serves stops in order.
#[test]
fn neither_outlives_the_other() {
    let mut setup = Setup::bare().into_command();
    let mut child = setup.stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    let serving = eventually("it serves", || sys::children(child.id()).pop());
    sys::signal(serving, libc::SIGKILL);
    let status = eventually("the supervisor ends", || child.try_wait().unwrap());
    assert_eq!(status.code(), Some(128 + libc::SIGKILL));

    let appliance = Setup::bare().start();
    let serving = appliance.pid();
    sys::signal(appliance.supervisor(), libc::SIGKILL);
    until("what serves ends", || !runs(serving));
    appliance
        .wait_log("that it stopped in order", |lines| lines.iter().any(|line| line.ends_with("stopped")));
}

/// Guards: as PID 1 of a container it stops on SIGTERM, which the kernel keeps from a PID 1 that does not ask for it, and
/// reaps what others leave behind.
#[test]
fn as_pid_1_it_stops_on_a_signal_and_reaps_orphans() {
    if !sys::may_unshare(&["--pid"]) {
        return;
    }
    let inner = Setup::bare().into_command();
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork"]).arg(inner.get_program()).env_clear();
    command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let mut outer = command.stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    let main = eventually("it is forked", || sys::children(outer.id()).pop());
    let serving = eventually("it serves", || sys::children(main).pop());
    // The shell ends at once and leaves its child to PID 1.
    let orphan = ["--pid", "--target", &main.to_string(), "sh", "-c", "sleep 0.2 & exit 0"];
    assert!(Command::new("nsenter").args(orphan).status().unwrap().success());
    until("the orphan is there", || sys::children(main).len() == 2);
    until("the orphan is reaped", || sys::children(main) == [serving]);
    sys::signal(main, libc::SIGTERM);
    let status = eventually("it stops", || outer.try_wait().unwrap());
    assert!(status.success() && status.signal().is_none(), "{status}");
}
