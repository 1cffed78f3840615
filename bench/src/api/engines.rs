//! Engines of which only the API matters: they answer checks and questions for figures. What else they are asked, such as to
//! play, goes to one simulated engine behind all of them.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

/// Longest request.
const REQUEST_BYTES_MAX: usize = 16 * 1024;
const VERSION: &str = r#"{"result":{"code":3021100,"platform":"linux","version":"3.2.11"},"error":null}"#;
const STAT: &str = r#"{"response":{"status":"dl","peers":17,"speed_down":1024,"speed_up":64,"downloaded":104857600,"uploaded":1048576,"livepos":{"pos":"1767629806","live_first":"1767628008","live_last":"1767629808","first_ts":"1767628008","last_ts":"1767629808","buffer_pieces":"15"}},"error":null}"#;

/// Running engines; dropping them closes their ports.
pub(super) struct Engines {
    addresses: Vec<SocketAddr>,
    _runtime: Runtime,
}

impl Engines {
    /// Starts so many on ports of the kernel's choice, in front of `behind`.
    pub(super) fn start(count: usize, behind: SocketAddr) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("engines")
            .enable_io()
            .build()?;
        let mut addresses = Vec::with_capacity(count);
        for _ in 0..count {
            let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
            addresses.push(listener.local_addr()?);
            runtime.spawn(async move {
                // An accept that fails is one connection less; the next may succeed.
                loop {
                    if let Ok((socket, _)) = listener.accept().await {
                        tokio::spawn(serve(socket, behind));
                    }
                }
            });
        }
        Ok(Self { addresses, _runtime: runtime })
    }

    pub(super) fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }
}

/// One request and one answer after the other. Whoever goes away early is not missed.
async fn serve(mut socket: TcpStream, behind: SocketAddr) -> Option<()> {
    let mut request = Vec::new();
    loop {
        request.clear();
        while !request.ends_with(b"\r\n\r\n") {
            let read = socket.read_buf(&mut request).await.ok()?;
            if read == 0 || request.len() > REQUEST_BYTES_MAX {
                return None;
            }
        }
        let is_about = |needle: &[u8]| request.windows(needle.len()).any(|found| found == needle);
        let body = match () {
            () if request.starts_with(b"GET /ace/stat/") => STAT,
            () if is_about(b"get_version") => VERSION,
            () => {
                let mut engine = TcpStream::connect(behind).await.ok()?;
                engine.write_all(&request).await.ok()?;
                copy_bidirectional(&mut socket, &mut engine).await.ok()?;
                return Some(());
            }
        };
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: ";
        let answer = format!("{head}{}\r\n\r\n{body}", body.len());
        socket.write_all(answer.as_bytes()).await.ok()?;
        if is_about(b"close\r\n") {
            return Some(());
        }
    }
}
