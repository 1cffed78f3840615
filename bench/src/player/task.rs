//! The task behind a player: one connection, on the library's own runtime. It owns the socket; orders reach it over a
//! bounded channel, and everything it learns goes into the shared [`Record`].

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, SockFilter, SockRef, Socket, Type};
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::time::{sleep_until, timeout};

use super::body::{Body, Head};
use super::reading::{Allowance, Pace, Reading};
use super::record::End;
use super::{Setup, Shared};

/// Bytes asked for in one read.
const READ_LEN_MAX: usize = 256 * 1024;
/// After FIN a player reads on so long for the server to close too.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);

/// Threads of the players' runtime; two, so that a test with a thousand players does not take the whole machine.
const RUNTIME_THREADS: usize = 2;

pub(super) static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(RUNTIME_THREADS)
        .thread_name("player")
        .enable_all()
        .build()
        .expect("a runtime needs nothing but an epoll set, an eventfd and two threads")
});

/// What the owner of a player wants of its task.
#[derive(Clone, Copy, Debug)]
pub(super) enum Order {
    /// Read differently from now on.
    Read(Reading),
    /// Leave with FIN.
    Leave,
    /// Leave with RST.
    Reset,
    /// Acknowledge nothing from now on, without telling the server.
    Vanish,
}

/// Runs a player to its end.
pub(super) async fn run(shared: Arc<Shared>, setup: Setup, orders: mpsc::Receiver<Order>) {
    let end = match timeout(setup.time_limit, play(&shared, &setup, orders)).await {
        Ok(end) => end,
        Err(_) => End::TimeLimit,
    };
    shared.update(|record, now| record.end(end, now));
}

async fn play(shared: &Shared, setup: &Setup, orders: mpsc::Receiver<Order>) -> End {
    let mut stream = match connect(setup).await {
        Ok(stream) => stream,
        Err(error) => return End::NoConnection(error.to_string()),
    };
    shared.update(|record, now| record.connected(now));
    if let Err(error) = stream.write_all(&setup.request).await {
        return end_of(&error);
    }
    let pace = Pace::new(setup.reading, Instant::now());
    let mut connection = Connection {
        stream,
        pace,
        orders,
        orders_open: true,
        head: Vec::new(),
        body: None,
        asks_head: setup.asks_head,
    };
    connection.run(shared).await
}

async fn connect(setup: &Setup) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(setup.to), Type::STREAM, Some(Protocol::TCP))?;
    if let Some(size) = setup.receive_buffer {
        socket.set_recv_buffer_size(size)?;
    }
    if let Some(source) = setup.source {
        socket.bind(&SocketAddr::new(source, 0).into())?;
    }
    socket.set_tcp_nodelay(true)?;
    socket.set_nonblocking(true)?;
    tokio::net::TcpSocket::from_std_stream(socket.into()).connect(setup.to).await
}

fn end_of(error: &io::Error) -> End {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => End::Reset,
        _ => End::Failed(error.to_string()),
    }
}

/// Reads once; cancelled, it has read nothing.
async fn read(stream: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        stream.readable().await?;
        match stream.try_read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            read => return read,
        }
    }
}

struct Connection {
    stream: TcpStream,
    pace: Pace,
    orders: mpsc::Receiver<Order>,
    orders_open: bool,
    head: Vec<u8>,
    body: Option<Body>,
    asks_head: bool,
}

impl Connection {
    async fn run(&mut self, shared: &Shared) -> End {
        let mut buffer = vec![0; READ_LEN_MAX];
        let mut body_bytes = 0;
        loop {
            // The head is read whatever the player does with the body.
            let allowance = match self.body {
                None => Allowance::Bytes(usize::MAX),
                Some(_) => self.pace.allowance(body_bytes, Instant::now()),
            };
            let (most, after) = match allowance {
                Allowance::Bytes(most) => (most.min(buffer.len()), None),
                Allowance::After(instant) => (0, Some(instant)),
                Allowance::Never => (0, None),
            };
            tokio::select! {
                order = self.orders.recv(), if self.orders_open => match order {
                    Some(Order::Read(reading)) => self.pace = Pace::new(reading, Instant::now()),
                    Some(Order::Leave) => return self.leave(shared, &mut buffer).await,
                    Some(Order::Reset) => return self.reset(),
                    Some(Order::Vanish) => match self.vanish() {
                        Ok(()) => shared.update(|record, _| record.vanished = true),
                        Err(error) => return end_of(&error),
                    },
                    None => self.orders_open = false,
                },
                read = read(&self.stream, &mut buffer[..most]), if most > 0 => match read {
                    Ok(0) => return self.eof(),
                    Ok(length) => match self.take(shared, &buffer[..length]) {
                        Ok(payload) => {
                            self.pace.spend(payload);
                            body_bytes += payload as u64;
                            if self.body.as_ref().is_some_and(Body::is_complete) {
                                return End::Complete;
                            }
                        }
                        Err(fault) => return End::BadResponse(fault.to_string()),
                    },
                    Err(error) => return end_of(&error),
                },
                () = sleep_until(after.unwrap_or_else(Instant::now).into()), if after.is_some() => {}
                // Who does not read still learns of a reset.
                ready = self.stream.ready(Interest::ERROR), if most == 0 && after.is_none() => {
                    let error = ready.err().or_else(|| self.stream.take_error().ok().flatten());
                    return error.map_or(End::Reset, |error| end_of(&error));
                }
            }
        }
    }

    /// Sorts what was read into head and body; returns the payload bytes.
    fn take(&mut self, shared: &Shared, read: &[u8]) -> Result<usize, super::body::Fault> {
        let behind_head;
        let mut bytes = read;
        if self.body.is_none() {
            self.head.extend_from_slice(bytes);
            let Some((head, length)) = Head::parse(&self.head)? else { return Ok(0) };
            self.body = Some(Body::after(&head, self.asks_head)?);
            shared.update(|record, now| record.head(head, now));
            behind_head = self.head.split_off(length);
            bytes = &behind_head;
        }
        let Some(body) = self.body.as_mut().filter(|_| !bytes.is_empty()) else { return Ok(0) };
        let mut payload = 0;
        shared.update(|record, now| {
            let used = body.feed(bytes, |data| {
                payload += data.len();
                record.body(data, now);
            });
            if payload > 0 {
                record.gap(now);
            }
            used
        })?;
        Ok(payload)
    }

    fn eof(&self) -> End {
        match &self.body {
            Some(body) if body.is_until_close() => End::Eof,
            Some(_) => End::Truncated,
            None if self.head.is_empty() => End::Eof,
            None => End::Truncated,
        }
    }

    /// FIN now; reads on, uncounted, until the server closes. Closing a socket with unread bytes would send RST.
    async fn leave(&mut self, shared: &Shared, buffer: &mut [u8]) -> End {
        // Told at once: to its owner the player has left when its FIN is out.
        let shut = self.stream.shutdown().await;
        shared.update(|record, now| record.end(End::Left, now));
        if shut.is_ok() {
            let drained = async { while matches!(read(&self.stream, buffer).await, Ok(1..)) {} };
            // A server that does not close in time is closed on; that is its test's finding, not this player's.
            let _timed_out = timeout(LEAVE_TIMEOUT, drained).await;
        }
        End::Left
    }

    fn reset(&self) -> End {
        match SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)) {
            Ok(()) => End::LeftAbruptly,
            Err(error) => end_of(&error),
        }
    }

    /// A socket filter that keeps nothing drops each incoming segment before TCP sees it: no acknowledgement, no FIN.
    fn vanish(&mut self) -> io::Result<()> {
        const RETURN_NOTHING: SockFilter = SockFilter::new(0x06, 0, 0, 0);
        self.pace = Pace::new(Reading::Stalled(0), Instant::now());
        SockRef::from(&self.stream).attach_filter(&[RETURN_NOTHING])
    }
}
