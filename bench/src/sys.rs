//! The system calls that the standard library does not offer: epoll, sendfile, sparse memory files, discarding reads,
//! pinning, limits and process clocks.
//!
//! This module and those below it are the only place of this package with unsafe code. Each function wraps one call, takes borrowed descriptors and
//! slices, and returns the kernel's error; none keeps a descriptor or a pointer beyond the call.

#![allow(unsafe_code)]

pub(crate) mod pipe;
pub(crate) mod ring;

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

fn checked(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn counted(result: libc::ssize_t) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// Keeps the calling thread on one core.
///
/// # Errors
/// There is no such core, which the error then names.
pub(crate) fn pin(core: usize) -> io::Result<()> {
    let named = |cause: io::Error| io::Error::new(cause.kind(), format!("core {core}: {cause}"));
    if core >= libc::CPU_SETSIZE as usize {
        return Err(named(io::ErrorKind::InvalidInput.into()));
    }
    // SAFETY: an all-zero set is a valid, empty one, and `core` is within its size.
    let set = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(core, &mut set);
        set
    };
    // SAFETY: the kernel reads as many bytes as it is told the set has.
    checked(unsafe { libc::sched_setaffinity(0, size_of_val(&set), &raw const set) }).map(drop).map_err(named)
}

/// Lowers the calling thread's priority.
///
/// # Errors
/// The kernel refuses; to be nicer is always allowed.
pub(crate) fn be_nicer(nice: i32) -> io::Result<()> {
    // SAFETY: plain numbers; on Linux `who` 0 means the calling thread alone, since nice values are per thread there.
    checked(unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) }).map(drop)
}

/// Ends the process with success on SIGTERM. The first process of a container is spared what ends others.
///
/// # Errors
/// The kernel refuses; it has no reason to.
pub(crate) fn end_on_terminate() -> io::Result<()> {
    extern "C" fn end(_signal: libc::c_int) {
        // SAFETY: of what a handler may call this is the plainest: it ends the process and nothing else.
        unsafe { libc::_exit(0) }
    }
    let handler: extern "C" fn(libc::c_int) = end;
    // SAFETY: the handler has the signature the kernel calls it with and lives as long as the program.
    let before = unsafe { libc::signal(libc::SIGTERM, handler as libc::sighandler_t) };
    if before == libc::SIG_ERR { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Asks an appliance for an upgrade, given its first process, a child of this one.
pub(crate) fn ask_for_upgrade(pid: u32) {
    // SAFETY: no pointers are passed. A child that is not waited for keeps its number, so nobody else is meant.
    unsafe { libc::kill(pid as libc::pid_t, libc::SIGUSR2) };
}

/// Raises the limit on open descriptors as far as this process may, and returns it.
///
/// # Errors
/// The kernel refuses; it has no reason to.
pub(crate) fn raise_descriptor_limit() -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls get a pointer to a whole `rlimit`.
    unsafe {
        checked(libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit))?;
        limit.rlim_cur = limit.rlim_max;
        checked(libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit))?;
    }
    Ok(limit.rlim_cur)
}

/// CPU time this process has used, all its threads together.
pub(crate) fn process_cpu() -> Duration {
    cpu(libc::CLOCK_PROCESS_CPUTIME_ID)
}

/// CPU time the calling thread has used.
pub(crate) fn thread_cpu() -> Duration {
    cpu(libc::CLOCK_THREAD_CPUTIME_ID)
}

fn cpu(clock: libc::clockid_t) -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a whole `timespec`. The call fails only for a clock that does not exist.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Clock ticks per second in `/proc/PID/stat`.
pub(crate) fn clock_ticks() -> f64 {
    // SAFETY: reads a constant of the system.
    unsafe { libc::sysconf(libc::_SC_CLK_TCK) as f64 }
}

/// Bytes in a page.
pub(crate) fn page_size() -> u64 {
    // SAFETY: reads a constant of the system.
    unsafe { libc::sysconf(libc::_SC_PAGESIZE) as u64 }
}

/// An anonymous file in memory.
///
/// # Errors
/// No memory or no descriptor.
pub(crate) fn memory_file(name: &CStr) -> io::Result<File> {
    // SAFETY: the name ends with a zero byte; the descriptor that comes back belongs to nobody else.
    unsafe {
        let fd = checked(libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC))?;
        Ok(File::from_raw_fd(fd))
    }
}

/// Gives the memory behind a range of a file back; the range then reads as zeros and the file keeps its size.
///
/// # Errors
/// The file system cannot.
pub(crate) fn punch_hole(file: &File, offset: u64, len: u64) -> io::Result<()> {
    let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    // SAFETY: plain numbers and a descriptor that is open for the length of the call.
    checked(unsafe { libc::fallocate(file.as_raw_fd(), mode, offset as libc::off_t, len as libc::off_t) })
        .map(drop)
}

/// Sends a range of a file to a socket; returns how many bytes it took.
///
/// # Errors
/// The socket takes nothing now (`WouldBlock`) or ever again.
pub(crate) fn send_file(socket: BorrowedFd<'_>, file: &File, offset: u64, len: usize) -> io::Result<usize> {
    let mut offset = offset as libc::off_t;
    // SAFETY: both descriptors are open for the length of the call, and `offset` outlives it.
    counted(unsafe { libc::sendfile(socket.as_raw_fd(), file.as_raw_fd(), &raw mut offset, len) })
}

/// Takes up to `most` bytes off a TCP socket without looking at them; 0 is the end of the stream. Never blocks.
///
/// # Errors
/// Nothing there now (`WouldBlock`), or the connection failed.
pub(crate) fn discard(socket: BorrowedFd<'_>, sink: &mut [u8], most: usize) -> io::Result<usize> {
    let len = sink.len().min(most);
    // SAFETY: TCP throws the bytes away because of `MSG_TRUNC`; another kind of socket would write them to `sink`, which
    // has room for `len`.
    counted(unsafe {
        libc::recv(socket.as_raw_fd(), sink.as_mut_ptr().cast(), len, libc::MSG_DONTWAIT | libc::MSG_TRUNC)
    })
}

/// Bounds what may wait unsent in a TCP socket.
///
/// # Errors
/// It is no TCP socket.
pub(crate) fn set_unsent_max(socket: BorrowedFd<'_>, bytes: u32) -> io::Result<()> {
    // SAFETY: the kernel reads as many bytes as it is told the value has.
    checked(unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_NOTSENT_LOWAT,
            (&raw const bytes).cast(),
            size_of_val(&bytes) as libc::socklen_t,
        )
    })
    .map(drop)
}

/// What to be told of a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interest {
    /// It can be read, or the peer has closed; told as long as that is so.
    Read,
    /// It can be written, which for a new socket means that it is connected or failed.
    Write,
    /// It failed or was reset; told once.
    Failure,
}

impl Interest {
    fn bits(self) -> u32 {
        (match self {
            Self::Read => libc::EPOLLIN,
            Self::Write => libc::EPOLLOUT,
            // Errors and hang-ups are always told.
            Self::Failure => libc::EPOLLET,
        }) as u32
    }
}

/// A set of descriptors to wait for, each with the number it is told by.
#[derive(Debug)]
pub(crate) struct Epoll {
    set: OwnedFd,
    events: Vec<libc::epoll_event>,
}

impl Epoll {
    /// An empty set that tells of up to `events_max` descriptors at a time.
    ///
    /// # Errors
    /// No descriptor left.
    pub(crate) fn new(events_max: usize) -> io::Result<Self> {
        // SAFETY: the descriptor that comes back belongs to nobody else.
        let set = unsafe { OwnedFd::from_raw_fd(checked(libc::epoll_create1(libc::EPOLL_CLOEXEC))?) };
        Ok(Self { set, events: vec![libc::epoll_event { events: 0, u64: 0 }; events_max.max(1)] })
    }

    /// Adds a descriptor. It leaves the set when it is closed.
    ///
    /// # Errors
    /// It is in the set already, or memory is out.
    pub(crate) fn add(&self, fd: impl AsFd, interest: Interest, number: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd.as_fd(), interest.bits(), number)
    }

    /// Changes what is told of a descriptor.
    ///
    /// # Errors
    /// It is not in the set.
    pub(crate) fn modify(&self, fd: impl AsFd, interest: Interest, number: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, fd.as_fd(), interest.bits(), number)
    }

    /// Takes a descriptor out.
    ///
    /// # Errors
    /// It is not in the set.
    pub(crate) fn remove(&self, fd: impl AsFd) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_DEL, fd.as_fd(), 0, 0)
    }

    fn control(
        &self,
        operation: libc::c_int,
        fd: BorrowedFd<'_>,
        events: u32,
        number: u64,
    ) -> io::Result<()> {
        let mut event = libc::epoll_event { events, u64: number };
        // SAFETY: both descriptors are open, and `event` outlives the call.
        checked(unsafe { libc::epoll_ctl(self.set.as_raw_fd(), operation, fd.as_raw_fd(), &raw mut event) })
            .map(drop)
    }

    /// Waits until there is something to tell or the time is over (rounded up to milliseconds), and puts the numbers
    /// of the descriptors into `ready`. An interrupting signal is an early end.
    ///
    /// # Errors
    /// The set is broken, which would be a mistake of ours.
    pub(crate) fn wait(&mut self, ready: &mut Vec<u64>, timeout: Duration) -> io::Result<()> {
        ready.clear();
        let millis = timeout.as_nanos().div_ceil(1_000_000).min(60_000) as libc::c_int;
        let room = self.events.len() as libc::c_int;
        // SAFETY: the kernel writes at most `room` events to the buffer, which has that many.
        let told = unsafe { libc::epoll_wait(self.set.as_raw_fd(), self.events.as_mut_ptr(), room, millis) };
        match checked(told) {
            Ok(told) => {
                ready.extend(self.events[..told as usize].iter().map(|event| event.u64));
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};

    use super::*;

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let near = TcpStream::connect(listener.local_addr().expect("bound")).expect("connects");
        (near, listener.accept().expect("accepts").0)
    }

    /// Guards that readiness, discarding and the end of a stream are told as they are.
    #[test]
    fn discarded_bytes_are_counted_and_the_end_is_zero() {
        let (mut near, far) = pair();
        let mut epoll = Epoll::new(4).expect("epoll");
        epoll.add(&far, Interest::Read, 7).expect("added");
        let mut ready = Vec::new();
        epoll.wait(&mut ready, Duration::ZERO).expect("wait");
        assert!(ready.is_empty());
        near.write_all(&[1; 1000]).expect("sent");
        epoll.wait(&mut ready, Duration::from_secs(5)).expect("wait");
        assert_eq!(ready, [7]);
        let mut sink = [0; 4096];
        assert_eq!(discard(far.as_fd(), &mut sink, 300).expect("bytes"), 300);
        assert_eq!(discard(far.as_fd(), &mut sink, 5000).expect("bytes"), 700);
        assert!(sink.iter().all(|byte| *byte == 0), "discarded means not copied");
        let empty = discard(far.as_fd(), &mut sink, 1).expect_err("nothing there");
        assert_eq!(empty.kind(), io::ErrorKind::WouldBlock);
        drop(near);
        epoll.wait(&mut ready, Duration::from_secs(5)).expect("wait");
        assert_eq!(discard(far.as_fd(), &mut sink, 1).expect("end"), 0);
    }

    /// Guards: a core that is not there is named.
    #[test]
    fn a_core_that_is_not_there_is_named() {
        for core in [libc::CPU_SETSIZE as usize - 1, libc::CPU_SETSIZE as usize, usize::MAX] {
            let error = pin(core).expect_err("no machine has as many").to_string();
            assert!(error.starts_with(&format!("core {core}: ")), "{error}");
        }
    }

    /// Guards that sending past a file's end sends nothing, and that a hole reads as zeros.
    #[test]
    fn a_memory_file_is_sent_up_to_its_end() {
        let (near, mut far) = pair();
        let mut file = memory_file(c"test").expect("memory");
        file.write_all(&[5; 8192]).expect("written");
        assert_eq!(send_file(near.as_fd(), &file, 8000, 1000).expect("sent"), 192);
        assert_eq!(send_file(near.as_fd(), &file, 8192, 1000).expect("nothing there"), 0);
        punch_hole(&file, 0, 4096).expect("punched");
        assert_eq!(send_file(near.as_fd(), &file, 4000, 200).expect("sent"), 200);
        drop(near);
        let mut all = Vec::new();
        std::io::Read::read_to_end(&mut far, &mut all).expect("read");
        assert_eq!(all, [vec![5; 192], vec![0; 96], vec![5; 104]].concat());
    }
}
