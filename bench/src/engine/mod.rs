//! The simulated AceStream engine: fails the way a real engine fails.
//!
//! An [`Engine`] owns a thread (or a few) with its own runtime, listens on two ports and speaks HTTP by
//! hand, because a real engine's answers are odder than any HTTP library would produce. It covers progressive
//! TS playback and HLS, sessions and their exclusivity, stat, commands, events, the service endpoints and every fault of
//! [`Faults`] and [`EngineFaults`]. It does not do the legacy text API; unknown paths answer 500 as real engines do.
//!
//! [`Control`] sets faults and reads counters; the same is served as HTTP and JSON on the second port (see `side`).
//! Given the same channels and epoch, all engines serve identical bytes on one timeline.

mod clock;
mod control;
mod faults;
mod hls;
mod http;
mod ledger;
mod open;
mod options;
mod pacer;
mod playback;
mod pump;
mod serve;
mod service;
mod session;
mod side;
mod world;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;
use std::{io, thread};

use tokio::net::TcpListener;
use tokio::sync::watch;

pub use control::Control;
pub use faults::{
    Body, Cut, EngineFaults, Faults, Framing, Garbage, HeadQuirk, HlsFaults, Redirect, Resume, StatQuirk,
};
pub use ledger::{ChannelCounters, End, EngineCounters, REMEMBERED_MAX, RequestRecord, SessionRecord};
pub use options::{ChannelSpec, Options, SecondReader, Version};
pub use pacer::{Profile, UnknownProfile};

use world::World;

/// How long stopping may take before connections are abandoned to the operating system.
const STOP_TIMEOUT: Duration = Duration::from_secs(1);

/// Why an engine does not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A port cannot be had.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the operating system says.
        #[source]
        cause: io::Error,
    },
    /// The engine's thread or runtime cannot be made.
    #[error("cannot start the engine's thread")]
    Thread(#[source] io::Error),
    /// A channel's options make no sense.
    #[error("channel {name:?} cannot be built")]
    Channel {
        /// The channel's name.
        name: String,
        /// What is wrong.
        #[source]
        cause: crate::channel::Error,
    },
    /// Two channels share a content id or an infohash.
    #[error("the content id or the infohash of channel {name:?} is taken by another channel")]
    SameIdTwice {
        /// The later of the two.
        name: String,
    },
    /// No channel has the id.
    #[error("no channel has the id {0}")]
    UnknownChannel(crate::channel::Id),
}

/// A running simulated engine. Dropping it closes its ports and connections before the drop returns.
pub struct Engine {
    addr: SocketAddr,
    control_addr: SocketAddr,
    control: Control,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl Engine {
    /// Builds the channels, binds both ports and starts serving.
    ///
    /// # Errors
    /// A channel cannot be built, two share an id, or a port is taken.
    pub fn start(options: Options) -> Result<Self, Error> {
        let world = Arc::new(World::new(options)?);
        let runtime = runtime(world.options.threads).map_err(Error::Thread)?;
        let (stop, stopping) = watch::channel(false);
        let (ready, started) = mpsc::channel();
        let served = world.clone();
        let thread = thread::Builder::new()
            .name("engine".to_owned())
            .spawn(move || {
                runtime.block_on(run(served, stopping, ready));
                runtime.shutdown_timeout(STOP_TIMEOUT);
            })
            .map_err(Error::Thread)?;
        let (addr, control_addr) = started
            .recv()
            .unwrap_or_else(|_| Err(Error::Thread(io::Error::other("the engine's thread ended early"))))?;
        Ok(Self { addr, control_addr, control: Control::new(world), stop, thread: Some(thread) })
    }

    /// Where the HTTP API listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Where the side channel listens.
    pub fn control_addr(&self) -> SocketAddr {
        self.control_addr
    }

    /// A handle that sets faults and reads counters; it outlives the engine harmlessly.
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// Dies as a killed process does: connections are reset, the port is closed.
    pub fn kill(self) {
        self.control.update_engine_faults(|faults| faults.refuse = true);
        self.control.reset_connections();
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take() {
            // A panic of the engine's thread has been printed already.
            let _ = thread.join();
        }
    }
}

fn runtime(threads: usize) -> io::Result<tokio::runtime::Runtime> {
    let mut builder = match threads {
        0 | 1 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    builder.worker_threads(threads.max(1)).thread_name("engine").enable_all().build()
}

type Started = Result<(SocketAddr, SocketAddr), Error>;

async fn run(world: Arc<World>, mut stopping: watch::Receiver<bool>, ready: mpsc::Sender<Started>) {
    let bound = async {
        let api = bind(world.options.listen).await?;
        let side = bind(world.options.control).await?;
        Ok::<_, Error>((api, side))
    };
    let ((api, addr), (side, side_addr)) = match bound.await {
        Ok(listeners) => listeners,
        Err(error) => {
            // The starter waits for exactly this message.
            let _ = ready.send(Err(error));
            return;
        }
    };
    tokio::spawn(serve::listen(world.clone(), api, addr));
    tokio::spawn(side::listen(world.clone(), side));
    tokio::spawn(serve::reap(world.clone()));
    let _ = ready.send(Ok((addr, side_addr)));
    // An error means that the engine was dropped.
    let _ = stopping.wait_for(|stop| *stop).await;
    // Give a reset that precedes the end the chance to be carried out.
    tokio::task::yield_now().await;
    serve::settle(&world).await;
}

async fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), Error> {
    let fail = |cause| Error::Listen { address, cause };
    let listener = TcpListener::bind(address).await.map_err(fail)?;
    let bound = listener.local_addr().map_err(fail)?;
    Ok((listener, bound))
}
