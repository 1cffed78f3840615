//! A network namespace that all these tests share: their daemons, bridges and ports are not the machine's.

use std::fs::File;
use std::io;
use std::sync::OnceLock;

#[allow(unsafe_code, reason = "entering a network namespace")]
mod sys;

/// Puts the calling thread into the tests' network, made with the first call; answers whether this was it. Whatever the
/// thread starts from then on is in there too.
pub fn enter() -> io::Result<bool> {
    static SPACE: OnceLock<File> = OnceLock::new();
    if let Some(space) = SPACE.get() {
        return sys::join_network(space).map(|()| false);
    }
    sys::leave_network()?;
    let own = File::open("/proc/thread-self/ns/net")?;
    Ok(SPACE.set(own).is_ok())
}
