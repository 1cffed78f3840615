//! Limits of the process and the host.

use super::sys;
use std::io;
use std::time::Duration;

/// Raises the soft limit of open descriptors to the hard one and returns what holds now.
///
/// # Errors
/// When the kernel does not tell; a refused raise is not an error, the old limit is returned.
pub fn raise_descriptor_limit() -> io::Result<u64> {
    let (soft, hard) = sys::descriptor_limit()?;
    if soft < hard && sys::set_descriptor_limit(hard, hard).is_ok() {
        return Ok(hard);
    }
    Ok(soft)
}

/// What the calling thread has used of its processor since it began.
pub fn thread_time() -> Duration {
    sys::thread_time()
}

/// Lets go of the program's own code, which a start has run through once and most of which is not needed again; what is comes
/// back from the page cache, 16 pages at a time. Returns the bytes looked at. Data that was relocated is left alone.
///
/// # Errors
/// When the kernel does not tell what is mapped, or does not let go of it.
pub fn forget_startup_code() -> io::Result<usize> {
    sys::forget_own_code()
}

/// Bytes of socket memory at which the host begins to throttle every TCP connection (the middle value of `tcp_mem`).
pub fn tcp_memory_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_mem").ok()?;
    let pages: u64 = text.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * sys::page_size())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guards that only the program's own code is let go of, and that it runs on afterwards.
    #[test]
    fn only_our_own_code_is_forgotten() {
        let line = |rights: &str, path: &str| format!("55d0-57d0 {rights} 00002000 fe:00 4711      {path}");
        assert_eq!(
            sys::code(&line("r-xp", "/a b/sluice (deleted)"), b"/a b/sluice (deleted)"),
            Some((0x55d0, 0x200))
        );
        for (rights, path) in
            [("r--p", "/sluice"), ("rw-p", "/sluice"), ("r-xp", "/lib/libc.so"), ("rwxp", "/sluice")]
        {
            assert_eq!(sys::code(&line(rights, path), b"/sluice"), None, "{rights} {path}");
        }
        assert_eq!(sys::code("55d0-57d0 r-xp 00000000 00:00 0 ", b"/sluice"), None, "code of no file");
        assert!(forget_startup_code().expect("it may") > 1 << 16);
        assert!(forget_startup_code().expect("again") > 1 << 16);
    }
}
