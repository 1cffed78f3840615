//! Bytes to request and response heads and back.
