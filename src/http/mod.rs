//! Bytes to request and response heads and back: what players send, what they are answered, what engines answer.
//!
//! Pure: no clock, no I/O, no runtime; a caller feeds bytes and gets values. Owned by whichever shard thread reads the
//! connection. It knows HTTP/1 syntax and framing, not what a path, parameter or status means to Sluice. Bodies are
//! never collected: [`BodyDecoder`] lends slices of the caller's buffer. Everything a peer can make large has a named
//! bound, and broken input is an error value that names the fault.

pub mod body;
pub mod chunked;
pub mod head;
pub mod proxied;
pub mod query;
pub mod range;
pub mod request;
pub mod response;
pub mod url;
pub mod write;

#[cfg(test)]
mod properties;

pub use body::{BodyDecoder, BodyEvent, Framing};
pub use head::{HEAD_BYTES_MAX, HEADERS_MAX, HeadError};
pub use request::{Method, Parsed, RequestHead};
pub use response::{ResponseHead, ResponseParsed, parse_response};
