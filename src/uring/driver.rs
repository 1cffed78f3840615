//! Which driver a shard runs on, and how it is started.
//!
//! monoio's own probe opens a ring of two entries and says nothing of the ring that is really needed; where the
//! kernel refuses the larger one, its builder fails instead of falling back. So the ladder here builds the real ring,
//! takes a smaller one if memory for locked pages is short, and ends on epoll.

use monoio::{IoUringDriver, LegacyDriver, RuntimeBuilder};
use std::future::Future;
use std::io;

/// What drives a shard's readiness and timers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    /// io_uring with this many submission entries.
    IoUring {
        /// Entries of the submission queue.
        entries: u32,
    },
    /// epoll.
    Epoll,
}

impl Driver {
    /// Name for logs, metrics and the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::IoUring { .. } => "io_uring",
            Self::Epoll => "epoll",
        }
    }
}

/// Which drivers may be tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ladder {
    /// io_uring, then epoll.
    #[default]
    Auto,
    /// io_uring or nothing: for those who would rather not start than be slow.
    IoUring,
    /// epoll only.
    Epoll,
}

const ENTRIES: [u32; 2] = [1024, 256];

/// Runs a future to its end on this thread and returns its value with the driver that was used. The future is built
/// once a driver stands, by `body`, which is told which one it is.
///
/// # Errors
/// When no driver of the ladder can be built; the error is the last one seen.
pub fn run<B, F>(ladder: Ladder, body: B) -> io::Result<F::Output>
where
    B: FnOnce(Driver) -> F,
    F: Future,
{
    let mut refused = None;
    if ladder != Ladder::Epoll {
        for entries in ENTRIES {
            let built = if monoio::utils::detect_uring() {
                RuntimeBuilder::<IoUringDriver>::new().with_entries(entries).enable_timer().build()
            } else {
                Err(io::Error::new(
                    io::ErrorKind::Unsupported,
                    "the kernel or a seccomp filter refuses io_uring",
                ))
            };
            match built {
                Ok(mut runtime) => return Ok(runtime.block_on(body(Driver::IoUring { entries }))),
                Err(error) => refused = Some(error),
            }
        }
    }
    match (ladder, refused) {
        (Ladder::IoUring, Some(error)) => Err(error),
        _ => {
            let mut runtime = RuntimeBuilder::<LegacyDriver>::new().enable_timer().build()?;
            Ok(runtime.block_on(body(Driver::Epoll)))
        }
    }
}

/// Pins the calling thread to one core.
///
/// # Errors
/// When the core lies outside the set this process may use; a warning, not a reason to stop.
pub fn pin_to_core(core: usize) -> io::Result<()> {
    monoio::utils::bind_to_cpu_set([core]).map_err(io::Error::other)
}

/// The cores this process may use, in ascending order.
///
/// # Errors
/// When the kernel does not tell.
pub fn usable_cores() -> io::Result<Vec<usize>> {
    super::sys::affinity()
}
