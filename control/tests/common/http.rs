//! Reading answers byte for byte, as a strict client does.

use std::io::{ErrorKind, Read};

/// One response.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }
}

/// Reads one response with a `Content-Length`, and not a byte more. Of an answer to HEAD only the head comes.
pub fn read_answer(reader: &mut impl Read, is_head: bool) -> Answer {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        match reader.read(&mut byte) {
            Ok(0) => panic!("the connection ended inside a head: {:?}", String::from_utf8_lossy(&head)),
            Ok(_) => head.push(byte[0]),
            Err(error) => panic!("{error} inside a head: {:?}", String::from_utf8_lossy(&head)),
        }
    }
    let head = String::from_utf8(head).unwrap();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    let mut answer = Answer { status, head, body: Vec::new() };
    if !is_head {
        let length = answer.header("content-length").map_or(0, |length| length.parse().unwrap());
        answer.body = vec![0; length];
        reader.read_exact(&mut answer.body).expect("a whole body");
    }
    answer
}

/// Whether the peer ended the connection in order, as opposed to being silent; a reset fails the test.
pub fn is_ended(reader: &mut impl Read) -> bool {
    match reader.read(&mut [0]) {
        Ok(0) => true,
        Ok(_) => panic!("unexpected bytes"),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => false,
        Err(error) => panic!("{error} instead of an orderly end"),
    }
}
