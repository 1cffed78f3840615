//! The ring and the kernel: driver choice, readiness, sendfile, memfd, epoll and socket options.
//!
//! The only room with unsafe code, and the only one that names monoio's drivers or libc. It knows no domain words: no
//! stream, client or engine. Everything here belongs to the thread that made it.
//!
//! Facts this room relies on, each pinned by a test in `facts.rs`:
//! - dropping a pending *read* may lose bytes, dropping a pending *readiness wait* loses nothing: so every wait in
//!   the data plane is for readiness, and the transfer is a direct non-blocking call afterwards;
//! - a task that stays runnable keeps the runtime from parking, and only parking runs timers and foreign wakers: so
//!   long loops end their slices in [`Turns::park_once`];
//! - pages handed to a socket by sendfile are references: overwriting them changes bytes on their way, punching
//!   whole aligned blocks does not.

mod driver;
mod epoll;
#[cfg(test)]
mod facts;
mod limits;
mod listener;
mod memfd;
mod options;
mod signal;
mod socket;
#[allow(unsafe_code, reason = "the system calls that neither std nor socket2 offers")]
mod sys;
mod task;
mod turns;

pub use driver::{Driver, Ladder, pin_to_core, run, usable_cores};
pub use epoll::LeaverSet;
pub use limits::{forget_startup_code, raise_descriptor_limit, tcp_memory_bytes, thread_time};
pub use listener::{Listener, bind, local_address};
pub use memfd::{BLOCK, Memfd};
pub use options::{is_writable, keep_alive, set_buffered_bytes_max, set_player_options};
pub use signal::Signal;
pub(crate) use socket::send_now;
pub use socket::{Socket, finish, reset};
pub use task::{caught, caught_call, spawn};
pub use turns::Turns;
