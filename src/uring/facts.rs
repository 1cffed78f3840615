//! Facts of the runtime and the kernel that the data plane rests on, pinned under both drivers.
//!
//! A test here fails when a new runtime or kernel behaves differently: then a rule of this room has to be thought over.
//! Where the kernel refuses io_uring, that leg is skipped with a printed reason.

#![allow(
    clippy::disallowed_methods,
    reason = "the peers of these tests are threads of their own: they block"
)]

use super::*;
use futures_util::future::{Either, select};
use monoio::time::{sleep, timeout};
use sluice_contract::link::link;
use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};

/// How long anything may take that should be quick; generous, because the machine may be shared.
const SOON: Duration = Duration::from_secs(20);
const BLOCK_BYTES: usize = BLOCK as usize;

/// Runs a future to its end on io_uring and then on epoll.
fn on_each_driver<F: Future<Output = ()>>(body: impl Fn(Driver) -> F) {
    match run(Ladder::IoUring, &body) {
        Ok(()) => {}
        Err(error) => eprintln!("the io_uring leg is skipped: {error}"),
    }
    run(Ladder::Epoll, &body).expect("epoll is there");
}

/// A TCP connection over loopback: our end, non-blocking, and the peer's, blocking.
fn connection() -> (OwnedFd, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    peer.set_read_timeout(Some(SOON)).unwrap();
    peer.set_nodelay(true).unwrap();
    let (ours, _) = listener.accept().unwrap();
    ours.set_nonblocking(true).unwrap();
    ours.set_nodelay(true).unwrap();
    (ours.into(), peer)
}

/// Bytes of which every aligned eight differ from every other eight, and none is zero for long.
fn pattern(length: usize) -> Vec<u8> {
    (0..length as u64 / 8)
        .flat_map(|word| (word + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes())
        .collect()
}

/// Sends from a file until the socket takes no more; returns how much it took.
fn fill(memfd: &Memfd, socket: &OwnedFd, length: usize) -> usize {
    let mut sent = 0;
    while sent < length {
        match memfd.send(socket.as_fd(), sent as u64, length - sent) {
            Ok(count) => sent += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => panic!("{error}"),
        }
    }
    sent
}

/// What a busy task left the others: ticks of a 10 ms timer, messages heard from another thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Progress {
    ticks: u32,
    messages: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Yield {
    Park,
    WakeSelf,
}

/// Keeps a task runnable for at least this long and this many rounds, and counts what the others got done meanwhile.
async fn progress_beside(how: Yield, rounds_min: u32) -> Progress {
    const LENGTH: Duration = Duration::from_millis(300);
    let turns = Turns::start().unwrap();
    let over = Arc::new(AtomicBool::new(false));
    let (tx, mut rx) = link(1024);
    let sender = thread::spawn({
        let over = over.clone();
        move || {
            while !over.load(Ordering::Relaxed) {
                let _ = tx.send(());
                thread::sleep(Duration::from_millis(5));
            }
        }
    });
    let (ticks, messages) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
    let (ticked, heard) = (ticks.clone(), messages.clone());
    monoio::spawn(async move {
        loop {
            sleep(Duration::from_millis(10)).await;
            ticked.set(ticked.get() + 1);
        }
    });
    monoio::spawn(async move {
        while rx.recv().await.is_some() {
            heard.set(heard.get() + 1);
        }
    });
    // Both have begun to wait once a whole tick has passed; only what comes from now on counts.
    while ticks.get() == 0 || messages.get() == 0 {
        turns.park_once().await;
    }
    let busy = monoio::spawn(async move {
        let before = Progress { ticks: ticks.get(), messages: messages.get() };
        let began = Instant::now();
        let mut rounds = 0;
        while rounds < rounds_min || began.elapsed() < LENGTH {
            match how {
                Yield::Park => turns.park_once().await,
                Yield::WakeSelf => wake_self().await,
            }
            rounds += 1;
        }
        Progress { ticks: ticks.get() - before.ticks, messages: messages.get() - before.messages }
    });
    let progress = busy.await;
    over.store(true, Ordering::Relaxed);
    sender.join().unwrap();
    progress
}

async fn wake_self() {
    let mut woken = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut woken, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Guards: a task that ends its slices in `park_once` lets timers fire and messages of other threads arrive.
#[test]
fn park_once_lets_timers_and_other_threads_in() {
    on_each_driver(|driver| async move {
        let progress = progress_beside(Yield::Park, 100).await;
        // 30 of each would be full speed.
        assert!(progress.ticks >= 5 && progress.messages >= 5, "{driver:?}: {progress:?}");
    });
}

/// Guards the reason why `park_once` exists: a task that yields by waking itself starves timers under both drivers, and
/// under io_uring also the messages of other threads. Should this fail, slices may end more cheaply.
#[test]
fn a_task_that_only_wakes_itself_starves_the_others() {
    on_each_driver(|driver| async move {
        let progress = progress_beside(Yield::WakeSelf, 10_000).await;
        assert_eq!(progress.ticks, 0, "{driver:?}");
        if driver != Driver::Epoll {
            assert_eq!(progress.messages, 0, "{driver:?}");
        }
    });
}

/// Guards: a readiness wait that is given up, at whatever moment, loses none of the bytes that arrive around it.
#[test]
fn a_cancelled_wait_for_readiness_loses_no_byte() {
    const ROUNDS: usize = 2_000;
    on_each_driver(|driver| async move {
        let turns = Turns::start().unwrap();
        let (ours, peer) = connection();
        let socket = Socket::new(ours).unwrap();
        let mut received = Vec::new();
        let mut buffer = [0; 64];
        for round in 0..ROUNDS {
            {
                let readable = pin!(socket.readable());
                // In turn: the byte is there before the wait, during it, and after it was given up.
                let (before, during) = (round % 3 == 0, round % 3 == 1);
                if before {
                    (&peer).write_all(&[round as u8]).unwrap();
                }
                let other = pin!(async {
                    turns.park_once().await;
                    if during {
                        (&peer).write_all(&[round as u8]).unwrap();
                    }
                });
                // The side that is dropped here is the wait, unless the byte was faster.
                if let Either::Left((_, other)) = select(readable, other).await {
                    other.await;
                }
                if !before && !during {
                    (&peer).write_all(&[round as u8]).unwrap();
                }
            }
            let deadline = Instant::now() + SOON;
            while received.len() <= round {
                assert!(Instant::now() < deadline, "{driver:?}: byte {round} is lost");
                match socket.try_recv(&mut buffer) {
                    Ok(count) => received.extend_from_slice(&buffer[..count]),
                    Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "{driver:?}"),
                }
            }
            if round % 8 == 0 {
                // A timer that ends a wait leaves nothing behind either.
                assert!(timeout(Duration::from_millis(1), socket.readable()).await.is_err(), "{driver:?}");
            }
        }
        let expected: Vec<u8> = (0..ROUNDS).map(|round| round as u8).collect();
        assert!(received == expected, "{driver:?}: bytes came out of order");
    });
}

/// Guards: an accept that is given up loses neither a connection nor a descriptor. A leaked descriptor would keep its
/// connection open, so every peer must see the end of its own.
#[test]
fn a_cancelled_accept_loses_no_connection() {
    const PEERS: usize = 300;
    on_each_driver(|driver| async move {
        let mut listening = bind((Ipv4Addr::LOCALHOST, 0).into(), 1).unwrap();
        let fd = listening.pop().unwrap();
        let address = (Ipv4Addr::LOCALHOST, local_address(&fd).unwrap().port());
        let listener = Listener::new(fd).unwrap();
        let peers = thread::spawn(move || {
            let connect = |peer: usize| {
                let mut stream = TcpStream::connect(address).unwrap();
                stream.write_all(&(peer as u16).to_be_bytes()).unwrap();
                if peer.is_multiple_of(4) {
                    thread::sleep(Duration::from_micros(700));
                }
                stream
            };
            let mut streams: Vec<TcpStream> = (0..PEERS).map(connect).collect();
            for stream in &mut streams {
                stream.set_read_timeout(Some(SOON)).unwrap();
                assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0, "a connection did not end");
            }
        });
        let mut seen = vec![false; PEERS];
        let (mut accepted, mut given_up) = (0, 0);
        let deadline = Instant::now() + SOON;
        while accepted < PEERS {
            assert!(Instant::now() < deadline, "{driver:?}: {accepted} of {PEERS} accepted");
            let Ok(fd) = timeout(Duration::from_millis(1), listener.accept()).await else {
                given_up += 1;
                continue;
            };
            accepted += 1;
            let socket = Socket::new(fd.unwrap()).unwrap();
            let mut name = [0; 2];
            let mut filled = 0;
            while filled < name.len() {
                filled += socket.recv(&mut name[filled..]).await.unwrap();
            }
            let name = usize::from(u16::from_be_bytes(name));
            assert!(!std::mem::replace(&mut seen[name], true), "{driver:?}: {name} twice");
            finish(socket.into_fd());
        }
        // The driver lets go of cancelled waits when it next turns.
        let ended = async {
            while !peers.is_finished() {
                sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(SOON, ended).await.expect("a descriptor leaked");
        peers.join().unwrap();
        eprintln!("{}: {given_up} accepts were given up", driver.as_str());
    });
}

/// Guards the reason why nothing in a window is ever overwritten: what a socket holds of a file are references.
#[test]
fn bytes_on_their_way_change_when_the_file_is_overwritten() {
    const LENGTH: usize = 64 << 10;
    let memfd = Memfd::new().unwrap();
    memfd.append(0, &[b'a'; LENGTH]).unwrap();
    let (ours, mut peer) = connection();
    assert_eq!(fill(&memfd, &ours, LENGTH), LENGTH, "the socket took too little");
    memfd.append(0, &[b'b'; LENGTH]).unwrap();
    let mut received = vec![0; LENGTH];
    peer.read_exact(&mut received).unwrap();
    assert!(received.contains(&b'b'), "sendfile copies: windows could be overwritten in place");
}

/// Guards: bytes on their way survive what a window does to its file: appending to it, and releasing whole blocks.
#[test]
fn bytes_on_their_way_survive_appends_and_whole_block_releases() {
    let memfd = Memfd::new().unwrap();
    let sent = pattern(2 * BLOCK_BYTES);
    memfd.append(0, &sent).unwrap();
    let (ours, mut peer) = connection();
    let queued = fill(&memfd, &ours, 2 * BLOCK_BYTES);
    assert!(queued >= 256 << 10, "the socket took only {queued} bytes");
    memfd.append(2 * BLOCK, &vec![0xee; BLOCK_BYTES]).unwrap();
    memfd.release(0, 2 * BLOCK).unwrap();
    let mut gone = [1; 8];
    memfd.read(0, &mut gone).unwrap();
    assert_eq!(gone, [0; 8], "nothing was released");
    let mut received = vec![0; queued];
    peer.read_exact(&mut received).unwrap();
    assert!(received == sent[..queued], "queued bytes changed");
}

/// Guards the size of a block where shared memory uses huge pages: whole blocks leave queued bytes alone. Huge pages
/// are had from a tmpfs in a mount namespace of a child, which changes nothing for anybody else; it needs root.
#[test]
fn whole_blocks_of_huge_pages_can_be_released_under_queued_bytes() {
    const PLACE: &str = "SLUICE_FACTS_HUGE_PAGES";
    if let Ok(directory) = std::env::var(PLACE) {
        return release_huge_pages(std::path::Path::new(&directory));
    }
    let directory = std::env::temp_dir().join(format!("sluice-facts-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let name = "uring::facts::whole_blocks_of_huge_pages_can_be_released_under_queued_bytes";
    let script = "mount -t tmpfs -o huge=always,size=64m none \"$0\" || exit 99; exec \"$1\" --exact \"$2\" --nocapture";
    let output = std::process::Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", script])
        .args([directory.as_os_str(), std::env::current_exe().unwrap().as_os_str(), name.as_ref()])
        .env(PLACE, &directory)
        .output();
    let _ = std::fs::remove_dir(&directory);
    match output {
        Ok(output) if output.status.success() => {}
        Ok(output) if String::from_utf8_lossy(&output.stdout).contains("running 1 test") => {
            panic!("{}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(output) => {
            let reason = String::from_utf8_lossy(&output.stderr);
            eprintln!("skipped: no private tmpfs with huge pages: {}", reason.trim());
        }
        Err(error) => eprintln!("skipped: no mount namespace: {error}"),
    }
}

fn release_huge_pages(directory: &std::path::Path) {
    let sent = pattern(2 * BLOCK_BYTES);
    // Fills a socket from a new file, punches a hole into it, and counts the bytes that changed on their way.
    let changed = |name: &str, from: u64, to: u64| {
        let path = directory.join(name);
        let file = std::fs::File::options().create_new(true).read(true).write(true).open(path).unwrap();
        let memfd = Memfd::of(file.try_clone().unwrap());
        memfd.append(0, &sent).unwrap();
        let (ours, mut peer) = connection();
        let queued = fill(&memfd, &ours, 2 * BLOCK_BYTES);
        assert!(queued >= 256 << 10, "the socket took only {queued} bytes");
        sys::punch_hole(&file, from, to - from).unwrap();
        let mut received = vec![0; queued];
        peer.read_exact(&mut received).unwrap();
        received.iter().zip(&sent).filter(|(received, sent)| received != sent).count()
    };
    assert_eq!(changed("whole", 0, 2 * BLOCK), 0, "queued bytes changed under whole blocks");
    // The reason for whole blocks. Where the host has no huge page to give, this finds nothing.
    eprintln!("a hole of half a block changed {} queued bytes", changed("half", 0, BLOCK / 2));
}

/// Guards: a send past the end of the file is nothing, never zeros; and one up to the end stops there.
#[test]
fn nothing_is_sent_past_the_end_of_a_file() {
    let memfd = Memfd::new().unwrap();
    let (ours, mut peer) = connection();
    assert_eq!(memfd.send(ours.as_fd(), 0, 4096).unwrap(), 0);
    memfd.append(0, &[7; 1000]).unwrap();
    assert_eq!(memfd.send(ours.as_fd(), 0, 4096).unwrap(), 1000);
    assert_eq!(memfd.send(ours.as_fd(), 1000, 4096).unwrap(), 0);
    assert_eq!(memfd.send(ours.as_fd(), BLOCK, 4096).unwrap(), 0);
    finish(ours);
    let mut received = Vec::new();
    peer.read_to_end(&mut received).unwrap();
    assert_eq!(received, [7; 1000]);
}

/// Guards: a socket can be taken from one shard to another while a cancelled wait of the first is still pending in its
/// driver. The connection keeps working, whatever the first driver does with its duplicate, and ends when it is told to.
#[test]
fn a_socket_moves_between_shards_with_a_cancelled_wait_pending() {
    const MESSAGES: usize = 200;
    for ladder in [Ladder::IoUring, Ladder::Epoll] {
        let (ours, mut peer) = connection();
        let (hand_over, arrival) = std::sync::mpsc::sync_channel::<OwnedFd>(1);
        let over = Arc::new(AtomicBool::new(false));
        let first = thread::spawn({
            let over = over.clone();
            move || {
                run(ladder, |_| async move {
                    let socket = Socket::new(ours).unwrap();
                    let waited = timeout(Duration::from_millis(5), socket.readable()).await;
                    assert!(waited.is_err(), "the peer has not sent anything yet");
                    hand_over.send(socket.into_fd()).unwrap();
                    while !over.load(Ordering::Relaxed) {
                        sleep(Duration::from_millis(1)).await;
                    }
                })
            }
        });
        let Ok(fd) = arrival.recv() else {
            let refused = first.join().unwrap();
            assert_eq!(ladder, Ladder::IoUring, "{refused:?}");
            eprintln!("the io_uring leg is skipped: {refused:?}");
            continue;
        };
        let second = thread::spawn(move || {
            run(ladder, |_| async move {
                let socket = Socket::new(fd).unwrap();
                let mut buffer = [0; 4];
                for _ in 0..MESSAGES {
                    let mut filled = 0;
                    while filled < buffer.len() {
                        let count = socket.recv(&mut buffer[filled..]).await.unwrap();
                        assert!(count > 0, "the connection was closed");
                        filled += count;
                    }
                    socket.send_all(&buffer).await.unwrap();
                }
                finish(socket.into_fd());
            })
        });
        for message in 0..MESSAGES as u32 {
            let mut answer = [0; 4];
            peer.write_all(&message.to_be_bytes()).unwrap();
            peer.read_exact(&mut answer)
                .unwrap_or_else(|error| panic!("{ladder:?}, message {message}: {error}"));
            assert_eq!(answer, message.to_be_bytes());
        }
        assert_eq!(peer.read(&mut [0; 1]).unwrap(), 0, "{ladder:?}: it does not end with FIN");
        over.store(true, Ordering::Relaxed);
        first.join().unwrap().unwrap();
        second.join().unwrap().unwrap();
    }
}

/// Guards: a connection is ended with FIN, and what was sent arrives, although the peer sent bytes nobody read.
#[test]
fn an_end_over_unread_bytes_is_fin_and_not_reset() {
    let (ours, mut peer) = connection();
    peer.write_all(&[1; 10_000]).unwrap();
    let deadline = Instant::now() + SOON;
    while socket2::SockRef::from(&ours).peek(&mut [std::mem::MaybeUninit::uninit(); 10_000]).ok()
        != Some(10_000)
    {
        assert!(Instant::now() < deadline, "the peer's bytes did not arrive");
        thread::sleep(Duration::from_millis(1));
    }
    send_now(ours.as_fd(), b"answer", false).unwrap();
    finish(ours);
    let mut received = Vec::new();
    peer.read_to_end(&mut received).expect("the connection ends with FIN");
    assert_eq!(received, b"answer");
}

/// Guards: the set of leavers tells of a peer that closed and of one that reset, once each, and of nobody else.
#[test]
fn leavers_are_reported_once_however_they_leave() {
    let mut set = LeaverSet::new().unwrap();
    let mut sockets = Vec::new();
    let mut peers = Vec::new();
    for token in 0..4 {
        let (ours, peer) = connection();
        set.watch(ours.as_fd(), token).unwrap();
        sockets.push(ours);
        peers.push(peer);
    }
    let mut staying = peers.split_off(2);
    staying[0].write_all(b"bytes of one who stays are no farewell").unwrap();
    let reset = peers.pop().unwrap();
    socket2::SockRef::from(&reset).set_linger(Some(Duration::ZERO)).unwrap();
    drop(reset);
    drop(peers);
    let mut left = Vec::new();
    let deadline = Instant::now() + SOON;
    while left.len() < 2 {
        assert!(Instant::now() < deadline, "only {left:?} were reported");
        set.collect(|token| left.push(token));
    }
    left.sort_unstable();
    assert_eq!(left, [0, 1]);
    for _ in 0..100 {
        set.collect(|token| panic!("{token} was reported again, or never left"));
    }
}

/// Guards: a task that panics ends alone, its failure is told with its text, and its neighbours go on.
#[test]
fn a_panicking_task_does_not_end_its_neighbours() {
    on_each_driver(|driver| async move {
        let rounds = Rc::new(Cell::new(0));
        let told = Rc::new(RefCell::new(String::new()));
        let (counted, text) = (rounds.clone(), told.clone());
        spawn(
            async move {
                loop {
                    sleep(Duration::from_millis(1)).await;
                    counted.set(counted.get() + 1);
                }
            },
            |panic| unreachable!("{panic}"),
        );
        spawn(
            async {
                sleep(Duration::from_millis(2)).await;
                panic!("deliberate, {} of one", 1);
            },
            move |panic| panic.clone_into(&mut text.borrow_mut()),
        );
        let waited = async {
            while told.borrow().is_empty() {
                sleep(Duration::from_millis(1)).await;
            }
            let before = rounds.get();
            while rounds.get() < before + 10 {
                sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(SOON, waited).await.unwrap_or_else(|_| panic!("{driver:?}: the neighbour stopped"));
        assert_eq!(*told.borrow(), "deliberate, 1 of one");
    });
}

/// Guards: errors of a connection attempt are told, and a readable end of the stream is one.
#[test]
fn a_refused_connection_is_an_error_and_a_closed_one_an_end() {
    on_each_driver(|driver| async move {
        let unused = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        let refused: io::Result<Socket> = timeout(SOON, Socket::connect(unused)).await.expect("an answer");
        assert_eq!(refused.err().map(|error| error.kind()), Some(ErrorKind::ConnectionRefused), "{driver:?}");
        let (ours, peer) = connection();
        let socket = Socket::new(ours).unwrap();
        drop(peer);
        let end = timeout(SOON, socket.recv(&mut [0; 16])).await.expect("an end").unwrap();
        assert_eq!(end, 0, "{driver:?}");
    });
}
