//! What this machine charges for an answer of so many bytes: a server that does nothing but send them from memory, asked in turn
//! with the appliance, under the same load. It says nothing of how long answers are in the making.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;

use crate::sys;

/// How much nicer than players the appliance's control plane is; a server as nice shows what that costs.
pub(super) const CONTROL_NICE: i32 = 10;
/// Longest answer.
const BYTES_MAX: usize = 64 << 20;

/// Starts a server with a priority of its own; it answers one connection, and ends with it.
pub(super) fn start(nice: i32) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let addr = listener.local_addr()?;
    thread::Builder::new().name("floor".to_owned()).spawn(move || {
        let lowered = if nice > 0 { sys::be_nicer(nice) } else { Ok(()) };
        // Whoever asks sees an answer that does not come.
        let _ = lowered.and_then(|()| serve(listener.accept()?.0));
    })?;
    Ok(addr)
}

/// The line that asks for so many bytes.
pub(super) fn question(bytes: usize) -> String {
    format!("GET /{bytes}")
}

fn serve(mut socket: TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let mut requests = BufReader::new(socket.try_clone()?);
    let (mut bytes, mut wanted, mut line) = (Vec::new(), 0, String::new());
    loop {
        line.clear();
        if requests.read_line(&mut line)? == 0 {
            return Ok(());
        }
        if let Some(rest) = line.strip_prefix("GET /") {
            let number = rest.split(' ').next().and_then(|number| number.parse().ok());
            wanted = number.filter(|bytes| *bytes <= BYTES_MAX).ok_or(io::ErrorKind::InvalidData)?;
        }
        if line == "\r\n" {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {wanted}\r\n\r\n");
            bytes.clear();
            bytes.extend_from_slice(head.as_bytes());
            bytes.resize(head.len() + wanted, b'x');
            socket.write_all(&bytes)?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::peer::Peer;

    /// Guards: as many bytes come as are asked for, one question after the other.
    #[test]
    fn as_many_come_as_are_asked_for() {
        let mut peer = Peer::connect(start(0).unwrap()).unwrap();
        for bytes in [3_000_000, 1, 0, 500_000] {
            assert_eq!(peer.ask(&question(bytes), "").unwrap().len(), bytes);
        }
    }
}
