//! Limits of the process and the host.

use super::sys;
use std::io;

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

/// Bytes of socket memory at which the host begins to throttle every TCP connection (the middle value of `tcp_mem`).
pub fn tcp_memory_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_mem").ok()?;
    let pages: u64 = text.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * sys::page_size())
}
