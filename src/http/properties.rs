//! Properties that hold for any bytes and any split of them.

use proptest::prelude::*;

use super::{
    body::{BodyDecoder, BodyEvent, Framing},
    chunked::ChunkError,
    head::HEAD_BYTES_MAX,
    proxied::parse_proxy,
    request::{HeadReader, Parsed, parse},
    response::parse_response,
    url::path_and_query,
};

/// Bytes that look like a head often enough to reach deep.
fn headish() -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![
        Just("GET ".to_owned()),
        Just("/ace/getstream?id=".to_owned()),
        Just(" HTTP/1.1".to_owned()),
        Just("HTTP/1.1 200 OK".to_owned()),
        Just("\r\n".to_owned()),
        Just("\n".to_owned()),
        Just("\r".to_owned()),
        Just("Content-Length: 5".to_owned()),
        Just("Transfer-Encoding: chunked".to_owned()),
        "[ -~]{0,12}",
    ];
    prop_oneof![
        4 => proptest::collection::vec(word, 0..24).prop_map(|words| words.concat().into_bytes()),
        1 => proptest::collection::vec(any::<u8>(), 0..400),
    ]
}

/// Decodes a body whose bytes come in pieces: data, whether it ended, or the error.
fn decode(framing: Framing, body: &[u8], cuts: &[usize]) -> Result<(Vec<u8>, bool), ChunkError> {
    let (mut decoder, mut data, mut start) = (BodyDecoder::new(framing), Vec::new(), 0);
    let mut cuts = cuts.iter().cycle();
    while start < body.len() {
        let end = body.len().min(start + cuts.next().copied().unwrap_or(body.len()));
        let mut input = &body[start..end];
        start = end;
        loop {
            match decoder.next(&mut input)? {
                BodyEvent::Data(bytes) => data.extend_from_slice(bytes),
                BodyEvent::NeedMore => break,
                BodyEvent::End => return Ok((data, true)),
            }
        }
    }
    Ok((data, false))
}

/// The same, decoded where it was received.
fn decode_in_place(framing: Framing, body: &[u8], cuts: &[usize]) -> Result<(Vec<u8>, bool), ChunkError> {
    let (mut decoder, mut data, mut start) = (BodyDecoder::new(framing), Vec::new(), 0);
    let mut cuts = cuts.iter().cycle();
    while start < body.len() {
        let end = body.len().min(start + cuts.next().copied().unwrap_or(body.len()));
        let mut received = body[start..end].to_vec();
        start = end;
        let count = decoder.decode_in_place(&mut received)?;
        data.extend_from_slice(&received[..count]);
        if decoder.next(&mut &[][..])? == BodyEvent::End {
            return Ok((data, true));
        }
    }
    Ok((data, false))
}

fn chunked(chunks: &[(Vec<u8>, String)], trailers: &[String]) -> Vec<u8> {
    let mut body = Vec::new();
    for (data, extension) in chunks {
        body.extend_from_slice(format!("{:X}{extension}\r\n", data.len()).as_bytes());
        body.extend_from_slice(data);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"0\r\n");
    for trailer in trailers {
        body.extend_from_slice(format!("X: {trailer}\r\n").as_bytes());
    }
    [body, b"\r\n".to_vec()].concat()
}

proptest! {
    /// What a growing buffer gives at last is what it gives at once, and nothing is given or refused too early.
    #[test]
    fn request_heads_do_not_depend_on_where_reads_end(bytes in headish()) {
        let at_once = parse(&bytes);
        let mut reader = HeadReader::default();
        for length in 0..=bytes.len() {
            match reader.parse(&bytes[..length]) {
                Ok(Parsed::Partial) => {}
                Ok(Parsed::Complete { head, consumed }) => {
                    prop_assert_eq!(consumed, length);
                    prop_assert_eq!(at_once, Ok(Parsed::Complete { head, consumed }));
                    return Ok(());
                }
                Err(error) => {
                    prop_assert_eq!(at_once, Err(error));
                    return Ok(());
                }
            }
        }
        prop_assert_eq!(at_once, Ok(Parsed::Partial));
    }

    #[test]
    fn request_heads_are_written_and_read_alike(
        method in "[A-Z]{1,10}", path in "/[a-z0-9/._%-]{0,40}", query in proptest::option::of("[a-z0-9=&%?/]{0,40}"),
        fields in proptest::collection::vec(("[a-z][a-z0-9-]{0,20}", "[!-~]([ -~]{0,30}[!-~])?"), 0..20),
        minor_version in 0..2_u8,
    ) {
        let framing = ["content-length", "transfer-encoding"];
        let fields: Vec<_> = fields.into_iter().filter(|(name, _)| !framing.contains(&name.as_str())).collect();
        let target = query.as_ref().map_or(path.clone(), |query| format!("{path}?{query}"));
        let mut text = format!("{method} {target} HTTP/1.{minor_version}\r\n");
        for (name, value) in &fields {
            text.push_str(&format!("{}: {value}\r\n", name.to_uppercase()));
        }
        text.push_str("\r\n");
        let parsed = parse(text.as_bytes());
        let Ok(Parsed::Complete { head, consumed }) = parsed else {
            return Err(TestCaseError::fail(format!("{parsed:?}")));
        };
        prop_assert_eq!(consumed, text.len());
        prop_assert_eq!((head.method.as_str(), head.minor_version), (method.as_str(), minor_version));
        prop_assert_eq!((head.target, head.path, head.query), (target, path, query));
        prop_assert_eq!(head.headers, fields);
    }

    #[test]
    fn nothing_larger_than_the_cap_is_a_head(padding in HEAD_BYTES_MAX - 40..HEAD_BYTES_MAX + 40) {
        let text = format!("GET / HTTP/1.1\r\nA: {}\r\n\r\n", "x".repeat(padding));
        prop_assert_eq!(parse(text.as_bytes()).is_ok(), text.len() <= HEAD_BYTES_MAX);
        let text = text.replace("GET / HTTP/1.1", "HTTP/1.1 200 k");
        prop_assert_eq!(parse_response(text.as_bytes()).is_ok(), text.len() <= HEAD_BYTES_MAX);
    }

    #[test]
    fn no_bytes_make_the_head_readers_panic(bytes in headish()) {
        let _ = parse_response(&bytes);
        let _ = parse_proxy(&bytes);
        let _ = parse_response(&[b"HTTP/1.1 200 OK\r\n", &bytes[..], b"\r\n\r\n"].concat());
    }

    #[test]
    fn chunks_are_written_and_read_alike_however_they_are_cut(
        chunks in proptest::collection::vec((proptest::collection::vec(any::<u8>(), 1..300), "(;[ -~]{0,20})?"), 0..10),
        trailers in proptest::collection::vec("[ -~]{0,20}", 0..3),
        cuts in proptest::collection::vec(1..40_usize, 1..10),
    ) {
        let body = chunked(&chunks, &trailers);
        let expected: Vec<u8> = chunks.iter().flat_map(|(data, _)| data.clone()).collect();
        prop_assert_eq!(decode(Framing::Chunked, &body, &cuts), Ok((expected, true)));
    }

    #[test]
    fn any_body_is_decoded_alike_however_it_is_cut(
        body in proptest::collection::vec(
            prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'0'), Just(b'5'), Just(b';'), any::<u8>()], 0..300),
        cuts in proptest::collection::vec(1..40_usize, 1..10),
        length in 0..400_u64,
    ) {
        for framing in [Framing::None, Framing::Length(length), Framing::Chunked, Framing::UntilClose] {
            let at_once = decode(framing, &body, &[]);
            prop_assert_eq!(&decode(framing, &body, &cuts), &at_once);
            // An empty body that is over is asked before anything was received.
            if !body.is_empty() {
                prop_assert_eq!(&decode_in_place(framing, &body, &cuts), &at_once);
            }
        }
    }

    /// What is taken from an engine's URL can stand in a request line, and taking it again changes nothing.
    #[test]
    fn paths_taken_from_urls_fit_a_request_line(url in "(http:)?(//)?[ -~]{0,60}") {
        if let Ok((_, path)) = path_and_query(&url) {
            let head = parse(format!("GET {path} HTTP/1.1\r\n\r\n").as_bytes());
            let complete = matches!(head, Ok(Parsed::Complete { .. }));
            prop_assert!(complete, "{:?}", path);
            if !path.starts_with("//") {
                prop_assert_eq!(path_and_query(&path), Ok((None, path)));
            }
        }
    }
}
