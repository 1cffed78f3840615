//! Reads Rust sources well enough to see what they name: comments, texts and test modules are blanked, `use` trees
//! are spread out, `crate::`, `self::` and `super::` are resolved. No macro is expanded and no type is known.

/// A path some code names, spread out of its `use` tree.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Named {
    /// Counts from 1.
    pub(crate) line: usize,
    /// Segments joined by `::`.
    pub(crate) path: String,
}

/// The source with comments and the insides of texts and characters replaced by blanks; line breaks stay.
pub(crate) fn code_only(source: &str) -> String {
    let chars: Vec<char> = source.chars().collect();
    let mut out = String::with_capacity(source.len());
    let mut at = 0;
    while at < chars.len() {
        let end = match chars[at] {
            '/' if chars.get(at + 1) == Some(&'/') => find(&chars, at, |c| c == '\n'),
            '/' if chars.get(at + 1) == Some(&'*') => end_of_comment(&chars, at),
            'r' | 'b' if !is_word_before(&chars, at) => raw_text_end(&chars, at).unwrap_or(at),
            '"' => end_of_text(&chars, at),
            '\'' => end_of_character(&chars, at),
            _ => at,
        };
        if end == at {
            out.push(chars[at]);
            at += 1;
        } else {
            out.extend(chars[at..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    out
}

fn find(chars: &[char], from: usize, is_end: impl Fn(char) -> bool) -> usize {
    chars[from..].iter().position(|c| is_end(*c)).map_or(chars.len(), |offset| from + offset)
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn is_word_before(chars: &[char], at: usize) -> bool {
    at > 0 && is_word(chars[at - 1])
}

fn end_of_comment(chars: &[char], start: usize) -> usize {
    let (mut depth, mut at) = (0, start);
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => (depth, at) = (depth + 1, at + 2),
            ('*', Some('/')) => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at.min(chars.len())
}

/// End of `r"…"`, `r#"…"#`, `br"…"`; `None` when it is something else.
fn raw_text_end(chars: &[char], start: usize) -> Option<usize> {
    let mut at = start + usize::from(chars[start] == 'b');
    (chars.get(at) == Some(&'r')).then_some(())?;
    at += 1;
    let hashes = chars[at..].iter().take_while(|c| **c == '#').count();
    at += hashes;
    (chars.get(at) == Some(&'"')).then_some(())?;
    loop {
        at = find(chars, at + 1, |c| c == '"');
        if at >= chars.len() {
            return Some(at);
        }
        if chars[at + 1..].iter().take_while(|c| **c == '#').count() >= hashes {
            return Some(at + 1 + hashes);
        }
    }
}

fn end_of_text(chars: &[char], start: usize) -> usize {
    let mut at = start + 1;
    while at < chars.len() && chars[at] != '"' {
        at += 1 + usize::from(chars[at] == '\\');
    }
    (at + 1).min(chars.len())
}

/// End of a character literal; the start itself when the quote begins a lifetime.
fn end_of_character(chars: &[char], start: usize) -> usize {
    match (chars.get(start + 1), chars.get(start + 2)) {
        (Some('\\'), _) => (find(chars, start + 3, |c| c == '\'') + 1).min(chars.len()),
        (Some(_), Some('\'')) => start + 3,
        _ => start,
    }
}

/// Code without the modules that exist in tests only; expects what [`code_only`] returns.
pub(crate) fn without_tests(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut out = code.to_owned();
    let mut from = 0;
    while let Some(start) = out[from..].find(MARK).map(|at| from + at) {
        let item = &out[start..];
        let body = item.find('{').filter(|brace| !item[..*brace].contains(';'));
        let end = match body {
            Some(brace) => start + closing(item, brace),
            None => start + item.find(';').map_or(item.len(), |at| at + 1),
        };
        let blank: String = out[start..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
        out.replace_range(start..end, &blank);
        from = start + blank.len();
    }
    out
}

fn closing(text: &str, brace: usize) -> usize {
    let mut depth = 0;
    for (at, c) in text.char_indices().skip_while(|(at, _)| *at < brace) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
    }
    text.len()
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    Colons,
    Other(char),
}

fn tokens(code: &str) -> Vec<(usize, Token)> {
    let mut out = Vec::new();
    for (line, text) in code.lines().enumerate() {
        let chars: Vec<char> = text.chars().collect();
        let mut at = 0;
        while at < chars.len() {
            let end = find(&chars, at, |c| !is_word(c));
            if end > at {
                out.push((line + 1, Token::Word(chars[at..end].iter().collect())));
                at = end;
            } else if chars[at] == ':' && chars.get(at + 1) == Some(&':') {
                out.push((line + 1, Token::Colons));
                at += 2;
            } else {
                if !chars[at].is_whitespace() {
                    out.push((line + 1, Token::Other(chars[at])));
                }
                at += 1;
            }
        }
    }
    out
}

/// Every path the code names, as it is written; expects what [`code_only`] returns.
pub(crate) fn paths(code: &str) -> Vec<Named> {
    let tokens = tokens(code);
    let mut named = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let (_, token) = &tokens[at];
        at = match token {
            Token::Word(word) if word == "use" => tree(&tokens, at + 1, &[], &mut named),
            Token::Word(_) => plain_path(&tokens, at, &mut named),
            _ => at + 1,
        };
    }
    named
}

fn plain_path(tokens: &[(usize, Token)], start: usize, named: &mut Vec<Named>) -> usize {
    let mut segments = Vec::new();
    let mut at = start;
    while let Some((_, Token::Word(word))) = tokens.get(at) {
        segments.push(word.clone());
        at += 1;
        if !matches!(tokens.get(at), Some((_, Token::Colons))) {
            break;
        }
        at += 1;
    }
    named.push(Named { line: tokens[start].0, path: segments.join("::") });
    at
}

/// Spreads one branch of a `use` tree; returns where it ends.
fn tree(tokens: &[(usize, Token)], start: usize, prefix: &[String], named: &mut Vec<Named>) -> usize {
    let mut path = prefix.to_vec();
    let mut at = start;
    let line = tokens.get(start).map_or(0, |(line, _)| *line);
    while let Some((_, token)) = tokens.get(at) {
        match token {
            Token::Word(word) if word == "as" => at += 2,
            Token::Word(word) => {
                path.push(word.clone());
                at += 1;
            }
            Token::Colons => at += 1,
            Token::Other('*') => {
                path.push("*".to_owned());
                at += 1;
            }
            Token::Other('{') => {
                at += 1;
                while !matches!(tokens.get(at), None | Some((_, Token::Other('}')))) {
                    at = tree(tokens, at, &path, named);
                    at += usize::from(matches!(tokens.get(at), Some((_, Token::Other(',')))));
                }
                return at + 1;
            }
            Token::Other(_) => break,
        }
    }
    named.push(Named { line, path: path.join("::") });
    // A branch that could not be read must not be read again.
    at.max(
        start
            + usize::from(
                matches!(tokens.get(start), Some((_, Token::Other(c))) if !matches!(c, ';' | ',' | '}')),
            ),
    )
}

/// A path seen from the crate's root, for a file at `file` below `src/`; `None` when it leads outside of the crate.
pub(crate) fn resolved(file: &str, path: &str) -> Option<String> {
    let mut module: Vec<&str> = file.trim_end_matches(".rs").split('/').collect();
    if matches!(module.last(), Some(&"mod" | &"lib" | &"main")) {
        module.pop();
    }
    let mut segments = path.split("::").peekable();
    match segments.peek() {
        Some(&"crate") => {
            segments.next();
            module.clear();
        }
        Some(&"self") => {
            segments.next();
        }
        Some(&"super") => {}
        _ => return None,
    }
    while segments.next_if_eq(&"super").is_some() {
        module.pop();
    }
    module.extend(segments);
    Some(module.join("::"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(source: &str) -> Vec<String> {
        paths(&without_tests(&code_only(source))).into_iter().map(|named| named.path).collect()
    }

    #[test]
    fn comments_texts_and_tests_name_nothing() {
        let source = "// std::fs\n/* a /* std::env */ b */ let x = \"std::net\"; let c = '\"'; r#\"std::io \" \"#;\n\
                      fn f<'a>(x: &'a str) {}\n#[cfg(test)]\nmod tests { use std::process; }\nuse std::fmt;";
        let named = named(source);
        assert!(named.contains(&"std::fmt".to_owned()));
        for hidden in ["std::fs", "std::env", "std::net", "std::io", "std::process"] {
            assert!(!named.iter().any(|path| path == hidden), "{hidden} was seen in {named:?}");
        }
    }

    #[test]
    fn trees_are_spread_out_with_their_lines() {
        let code = "use std::{\n    fs,\n    net::{TcpStream as S, UdpSocket},\n};\nuse a::*;\nb::c::<D>();";
        let paths = paths(code);
        let found: Vec<(usize, &str)> = paths.iter().map(|named| (named.line, named.path.as_str())).collect();
        for expected in
            [(2, "std::fs"), (3, "std::net::TcpStream"), (3, "std::net::UdpSocket"), (5, "a::*"), (6, "b::c")]
        {
            assert!(found.contains(&expected), "{expected:?} is not in {found:?}");
        }
    }

    #[test]
    fn relative_paths_are_seen_from_the_root() {
        for (file, path, expected) in [
            ("media/ts/packet.rs", "super::pid::Pid", Some("media::ts::pid::Pid")),
            ("media/ts/mod.rs", "super::hls", Some("media::hls")),
            ("media/ts/packet.rs", "super::super::super::engine", Some("engine")),
            ("media/mod.rs", "self::ts", Some("media::ts")),
            ("media/mod.rs", "crate::http::Head", Some("http::Head")),
            ("media/mod.rs", "http::Uri", None),
        ] {
            assert_eq!(resolved(file, path).as_deref(), expected, "{file} {path}");
        }
    }
}
