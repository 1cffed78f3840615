//! Thin, safe wrappers around single system calls. No policy.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn check_size(result: isize) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// An anonymous file in memory, close-on-exec.
pub(super) fn memfd(name: &std::ffi::CStr) -> io::Result<File> {
    // SAFETY: `name` is a valid C string for the duration of the call.
    let fd = check(unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC) })?;
    // SAFETY: the kernel just gave us this descriptor; nobody else owns it.
    Ok(File::from(unsafe { OwnedFd::from_raw_fd(fd) }))
}

/// Frees the pages of a range; the file's size stays.
pub(super) fn punch_hole(file: &File, offset: u64, length: u64) -> io::Result<()> {
    let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    // SAFETY: plain integers and a descriptor that `file` keeps open.
    check(unsafe { libc::fallocate(file.as_raw_fd(), mode, offset as libc::off_t, length as libc::off_t) })?;
    Ok(())
}

/// Hands up to `count` bytes of `file` from `offset` on to a non-blocking socket, as page references.
pub(super) fn sendfile(socket: BorrowedFd<'_>, file: &File, offset: u64, count: usize) -> io::Result<usize> {
    let mut at = offset as libc::off_t;
    // SAFETY: `at` lives across the call; both descriptors are open, borrowed from their owners.
    check_size(unsafe { libc::sendfile(socket.as_raw_fd(), file.as_raw_fd(), &raw mut at, count) })
}

/// Accepts one connection, non-blocking and close-on-exec from its first moment.
pub(super) fn accept(listener: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: null address pointers ask the kernel not to report the peer.
    let fd = check(unsafe {
        libc::accept4(listener.as_raw_fd(), std::ptr::null_mut(), std::ptr::null_mut(), flags)
    })?;
    // SAFETY: the kernel just gave us this descriptor; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Receives without waiting.
pub(super) fn recv(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the pointer and length describe `buffer`, which is ours for the call.
    check_size(unsafe {
        libc::recv(socket.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), libc::MSG_DONTWAIT)
    })
}

/// Sends without waiting and without SIGPIPE. `more` tells TCP that further bytes follow at once.
pub(super) fn send(socket: BorrowedFd<'_>, bytes: &[u8], more: bool) -> io::Result<usize> {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL | if more { libc::MSG_MORE } else { 0 };
    // SAFETY: the pointer and length describe `bytes`, which is borrowed for the call.
    check_size(unsafe { libc::send(socket.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), flags) })
}

/// Whether a socket would take bytes now.
pub(super) fn is_writable(socket: BorrowedFd<'_>) -> io::Result<bool> {
    let mut poll = libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLOUT, revents: 0 };
    // SAFETY: one entry, which lives across the call; a timeout of 0 never waits.
    Ok(check(unsafe { libc::poll(&raw mut poll, 1, 0) })? > 0)
}

/// Sets an integer option of the TCP layer.
pub(super) fn set_tcp_option(
    socket: BorrowedFd<'_>,
    option: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    // SAFETY: the pointer and length describe `value`, which lives across the call.
    check(unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            option,
            (&raw const value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    })?;
    Ok(())
}

/// A new epoll set, close-on-exec.
pub(super) fn epoll_create() -> io::Result<OwnedFd> {
    // SAFETY: no pointers are passed.
    let fd = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
    // SAFETY: the kernel just gave us this descriptor; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Watches a descriptor; `token` comes back with its events.
pub(super) fn epoll_add(set: BorrowedFd<'_>, fd: BorrowedFd<'_>, events: i32, token: u64) -> io::Result<()> {
    let mut event = libc::epoll_event { events: events as u32, u64: token };
    // SAFETY: `event` lives across the call.
    check(unsafe { libc::epoll_ctl(set.as_raw_fd(), libc::EPOLL_CTL_ADD, fd.as_raw_fd(), &raw mut event) })?;
    Ok(())
}

/// Watches a descriptor no longer.
pub(super) fn epoll_remove(set: BorrowedFd<'_>, fd: BorrowedFd<'_>) -> io::Result<()> {
    let none = std::ptr::null_mut();
    // SAFETY: both descriptors are open for the call, which reads no event when it removes.
    check(unsafe { libc::epoll_ctl(set.as_raw_fd(), libc::EPOLL_CTL_DEL, fd.as_raw_fd(), none) })?;
    Ok(())
}

/// Collects events without waiting; returns how many of `events` were filled.
pub(super) fn epoll_poll(set: BorrowedFd<'_>, events: &mut [libc::epoll_event]) -> io::Result<usize> {
    // SAFETY: the pointer and length describe `events`, which is ours for the call.
    let count = check(unsafe {
        libc::epoll_wait(set.as_raw_fd(), events.as_mut_ptr(), events.len() as libc::c_int, 0)
    })?;
    Ok(count as usize)
}

/// What the calling thread has used of its processor.
pub(super) fn thread_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` lives across the call. The clock exists since Linux 2.6.12: without it the time is zero.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Soft and hard limit of open descriptors.
pub(super) fn descriptor_limit() -> io::Result<(u64, u64)> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` lives across the call.
    check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) })?;
    Ok((limit.rlim_cur, limit.rlim_max))
}

/// Sets the soft limit of open descriptors.
pub(super) fn set_descriptor_limit(soft: u64, hard: u64) -> io::Result<()> {
    let limit = libc::rlimit { rlim_cur: soft, rlim_max: hard };
    // SAFETY: `limit` lives across the call.
    check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) })?;
    Ok(())
}

/// The cores this thread may run on.
pub(super) fn affinity() -> io::Result<Vec<usize>> {
    // SAFETY: an all-zero set is a valid `cpu_set_t`.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer and size describe `set`, which lives across the call.
    check(unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set) })?;
    // SAFETY: every index is below the number of bits of the set.
    Ok((0..libc::CPU_SETSIZE as usize).filter(|core| unsafe { libc::CPU_ISSET(*core, &set) }).collect())
}

/// Forgets the pages of the program's own code; they are read from its file again when they are needed.
pub(super) fn forget_own_code() -> io::Result<usize> {
    let program = std::fs::read_link("/proc/self/exe")?;
    let maps = std::fs::read_to_string("/proc/self/maps")?;
    let mut looked_at = 0;
    for (start, length) in maps.lines().filter_map(|line| code(line, program.as_os_str().as_encoded_bytes()))
    {
        // SAFETY: the kernel says that this is mapped from the program's file and not writable, and nothing here makes code
        // writable: what is read anew is the same.
        check(unsafe { libc::madvise(start as *mut libc::c_void, length, libc::MADV_DONTNEED) })?;
        looked_at += length;
    }
    Ok(looked_at)
}

/// The range of a line of `/proc/PID/maps` if it is code of this program.
pub(super) fn code(line: &str, program: &[u8]) -> Option<(usize, usize)> {
    let mut fields = line.splitn(6, ' ');
    let (range, rights) = (fields.next()?, fields.next()?);
    let path = fields.nth(3)?.trim_start();
    if rights != "r-xp" || path.as_bytes() != program {
        return None;
    }
    let (start, end) = range.split_once('-')?;
    let (start, end) = (usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?);
    Some((start, end.checked_sub(start)?))
}

/// Unix page size; used by tests and start-up checks.
pub(super) fn page_size() -> u64 {
    // SAFETY: no pointers are passed.
    unsafe { libc::sysconf(libc::_SC_PAGESIZE) as u64 }
}

/// Duplicates a descriptor, close-on-exec.
pub(super) fn duplicate(fd: impl AsFd) -> io::Result<OwnedFd> {
    fd.as_fd().try_clone_to_owned()
}
