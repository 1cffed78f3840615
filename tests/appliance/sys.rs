//! System calls the tests need.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::ffi::CString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const BPF_LD_W_ABS: u16 = 0x20;
const BPF_JEQ: u16 = 0x15;
const BPF_RET: u16 = 0x06;

/// Makes the kernel answer EPERM to the three io_uring calls of the child, as Docker's default profile does.
pub fn refuse_io_uring(command: &mut Command) {
    let refuse = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
    let is =
        |call: libc::c_long, skip: u8| libc::sock_filter { code: BPF_JEQ, jt: skip, jf: 0, k: call as u32 };
    let answer = |k: u32| libc::sock_filter { code: BPF_RET, jt: 0, jf: 0, k };
    let filter = [
        libc::sock_filter { code: BPF_LD_W_ABS, jt: 0, jf: 0, k: 0 },
        is(libc::SYS_io_uring_setup, 3),
        is(libc::SYS_io_uring_enter, 2),
        is(libc::SYS_io_uring_register, 1),
        answer(libc::SECCOMP_RET_ALLOW),
        answer(refuse),
    ];
    let install = move || {
        let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_ptr().cast_mut() };
        // SAFETY: both calls take plain numbers and a pointer to `program`, which lives across them.
        let outcome = unsafe {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
                | libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program)
        };
        if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    };
    // SAFETY: between fork and exec the closure only makes two system calls on memory prepared before the fork.
    unsafe { command.pre_exec(install) };
}

/// Leaves the child this many descriptors, soft and hard.
pub fn limit_descriptors(command: &mut Command, count: u64) {
    let limit = libc::rlimit { rlim_cur: count, rlim_max: count };
    let install = move || {
        // SAFETY: `limit` lives across the call.
        let outcome = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
        if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    };
    // SAFETY: between fork and exec the closure only makes a system call on memory prepared before the fork.
    unsafe { command.pre_exec(install) };
}

/// Puts the child into a control group, given by its `cgroup.procs`, before it begins.
pub fn enter_cgroup(command: &mut Command, processes: &Path) {
    let path = CString::new(processes.as_os_str().as_bytes()).expect("a path has no zero byte");
    let enter = move || {
        // SAFETY: `path` is a valid C string; the descriptor is closed by the exec.
        let fd = unsafe { libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC) };
        // SAFETY: one byte of a static string; "0" is whoever writes it. A descriptor of -1 is refused.
        let written = unsafe { libc::write(fd, c"0".as_ptr().cast(), 1) };
        if written == 1 { Ok(()) } else { Err(io::Error::last_os_error()) }
    };
    // SAFETY: between fork and exec the closure only makes two system calls on memory prepared before the fork.
    unsafe { command.pre_exec(enter) };
}

/// Says that a test cannot run here, and why; CI has to be able to run it.
pub fn skip(why: &str) {
    assert!(std::env::var_os("CI").is_none(), "{why}, and CI has to test it");
    println!("skipped: {why}");
}

/// Whether this process may mount.
pub fn may_mount() -> bool {
    // SAFETY: no pointers are passed.
    let may = unsafe { libc::geteuid() == 0 };
    if !may {
        skip("a disk of its own takes root");
    }
    may
}

/// Whether namespaces of these kinds, as `unshare` names them, can be made here.
pub fn may_unshare(kinds: &[&str]) -> bool {
    let made = Command::new("unshare").args(kinds).args(["--fork", "true"]).stderr(Stdio::null()).status();
    let may = made.is_ok_and(|status| status.success());
    if !may {
        skip("no namespace can be made");
    }
    may
}

/// Mounts an empty disk of so many bytes, which the child alone sees, on a directory.
pub fn mount_small_disk(command: &mut Command, directory: &Path, bytes: u64) {
    let target = CString::new(directory.as_os_str().as_bytes()).expect("a path has no zero byte");
    let size = CString::new(format!("size={bytes}")).expect("a number has no zero byte");
    let mount = move || {
        let private = libc::MS_REC | libc::MS_PRIVATE;
        let null = std::ptr::null();
        // SAFETY: every pointer is null where that means "none", or to a C string that lives across the calls.
        let outcome = unsafe {
            libc::unshare(libc::CLONE_NEWNS)
                | libc::mount(null, c"/".as_ptr(), null, private, null.cast())
                | libc::mount(c"tmpfs".as_ptr(), target.as_ptr(), c"tmpfs".as_ptr(), 0, size.as_ptr().cast())
        };
        if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    };
    // SAFETY: between fork and exec the closure only makes three system calls on memory prepared before the fork.
    unsafe { command.pre_exec(mount) };
}

/// Processor time a process has used so far.
pub fn cpu_time(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process lives");
    // The name in parentheses may hold anything; user and system time are the 12th and 13th field behind it.
    let (_, fields) = stat.rsplit_once(')').expect("the name is in parentheses");
    let ticks: u64 =
        fields.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    // SAFETY: no pointers are passed.
    let ticks_per_s = unsafe { libc::sysconf(libc::_SC_CLK_TCK) }.max(1) as u64;
    Duration::from_millis(ticks * 1_000 / ticks_per_s)
}

/// The processes that a process has started and that are still there, oldest first.
pub fn children(pid: u32) -> Vec<u32> {
    let listed = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    listed.split_whitespace().filter_map(|child| child.parse().ok()).collect()
}

/// Sends a signal to a process the tests started.
pub fn signal(pid: u32, signal: i32) {
    // SAFETY: no pointers are passed.
    unsafe { libc::kill(pid as libc::pid_t, signal) };
}

/// A process that need not be a child of this one, told from a later one of the same id.
pub struct Watched(OwnedFd);

impl Watched {
    /// `None` where it has ended already.
    pub fn new(pid: u32) -> Option<Self> {
        let pid = Pid::from_raw(pid as i32)?;
        pidfd_open(pid, PidfdFlags::empty()).ok().map(Self)
    }

    /// Sends it SIGKILL, which is in vain if it has ended.
    pub fn kill(&self) {
        let _ = pidfd_send_signal(&self.0, Signal::KILL);
    }

    /// Waits until it has ended and let go of everything it held; `false` where that took longer.
    pub fn wait_end(&self, within: Duration) -> bool {
        let mut polled = [PollFd::new(&self.0, PollFlags::IN)];
        let within = Timespec::try_from(within).expect("not for centuries");
        poll(&mut polled, Some(&within)).is_ok_and(|ready| ready > 0)
    }
}

/// What a connection holds in the kernel, seen from outside.
#[derive(Debug)]
pub struct SocketMemory {
    /// Bytes of kernel memory for what is to be sent.
    pub send_memory: u64,
    /// Bytes that the peer has not acknowledged.
    pub unsent_or_in_flight: u64,
}

/// The established connections of a local port.
pub fn sockets_of_port(port: u16) -> Vec<SocketMemory> {
    let shown = Command::new("ss")
        .args(["--no-header", "--oneline", "--tcp", "--numeric", "--memory", "state", "established"])
        .arg(format!("( sport = :{port} )"))
        .output()
        .expect("ss of iproute2 is there: make test installs it");
    assert!(shown.status.success(), "{shown:?}");
    String::from_utf8_lossy(&shown.stdout).lines().map(socket_memory).collect()
}

fn socket_memory(line: &str) -> SocketMemory {
    // Receive queue, send queue, addresses, then skmem:(r…,rb…,t…,tb…,f…,w…,…): t is with the device, w queued.
    let number = |text: &str| text.parse::<u64>().unwrap_or_else(|_| panic!("{text:?} in {line}"));
    let queued = line.split_whitespace().nth(1).map(number).expect("a send queue");
    let (_, memory) = line.split_once("skmem:(").unwrap_or_else(|| panic!("no memory in {line}"));
    let fields: Vec<&str> = memory.trim_end_matches(')').split(',').collect();
    let field = |at: usize, name: &str| number(fields[at].strip_prefix(name).expect("fields in their order"));
    SocketMemory { send_memory: field(2, "t").max(field(5, "w")), unsent_or_in_flight: queued }
}
