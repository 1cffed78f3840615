//! Reads the text of a `.env` file: `NAME=value` lines, comments, quotes. Pure.
//!
//! It follows what Compose makes of such a file, because the same file is given to both: an unquoted value ends before
//! ` #`, single quotes keep everything, double quotes know `\"`, `\\`, `\n`, `\r` and `\t`, `export ` in front is
//! skipped, and the last of two assignments counts. References to other variables are not expanded.

use super::Error;
use std::collections::BTreeMap;

/// Assignments of the file, or every line that is none.
pub(super) fn parse(text: &str) -> (BTreeMap<String, String>, Vec<Error>) {
    let (mut values, mut errors) = (BTreeMap::new(), Vec::new());
    for (at, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        match assignment(line) {
            Ok(Some((name, value))) => {
                values.insert(name.to_owned(), value);
            }
            Ok(None) => {}
            Err(fault) => errors.push(Error::DotenvLine { line: at + 1, fault }),
        }
    }
    (values, errors)
}

fn assignment(line: &str) -> Result<Option<(&str, String)>, &'static str> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let line = line.strip_prefix("export ").unwrap_or(line);
    let (name, value) = line.split_once('=').ok_or("there is no =")?;
    let name = name.trim();
    let is_name = |(at, byte): (usize, u8)| {
        byte == b'_' || byte.is_ascii_alphabetic() || at > 0 && byte.is_ascii_digit()
    };
    if name.is_empty() || !name.bytes().enumerate().all(is_name) {
        return Err("what stands before = is not a variable name");
    }
    // "NAME= # why" has an empty value: the blank before # is lost to trimming unless it is looked at first.
    let value =
        if value.starts_with([' ', '\t']) && value.trim_start().starts_with('#') { "" } else { value };
    plain(value.trim()).map(|value| Some((name, value)))
}

/// Strips what people write around a value: surrounding quotes, an inline ` # comment`, outer blanks.
pub(super) fn plain(value: &str) -> Result<String, &'static str> {
    let value = value.trim();
    let (inner, rest) = match value.chars().next() {
        Some('\'') => value[1..].split_once('\'').map(|(inner, rest)| (inner.to_owned(), rest)),
        Some('"') => double_quoted(&value[1..]),
        _ => {
            let comment = value.find(" #").or_else(|| value.find("\t#"));
            return Ok(value[..comment.unwrap_or(value.len())].trim_end().to_owned());
        }
    }
    .ok_or("the closing quote is missing")?;
    let rest = rest.trim_start();
    if rest.is_empty() || rest.starts_with('#') { Ok(inner) } else { Err("text follows the closing quote") }
}

/// The text up to the closing quote, unescaped, and what follows it.
fn double_quoted(text: &str) -> Option<(String, &str)> {
    let mut inner = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((inner, &text[at + 1..])),
            '\\' => match chars.next()?.1 {
                'n' => inner.push('\n'),
                'r' => inner.push('\r'),
                't' => inner.push('\t'),
                quoted @ ('"' | '\\' | '$') => inner.push(quoted),
                other => inner.extend(['\\', other]),
            },
            other => inner.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_quotes_and_blanks_are_stripped() {
        let text = "\u{feff}# head\nA=1 # why\nB=\"two # not\" # yes\nC='three\\n'\r\n export D = 4\nE=\nF= # empty\n\
                    G=#sharp\nH=\"a\\\"b\\\\c\\nd\"\nI=x#y\nA=last\nJ=\"\"\nK=v\t# tab\n";
        let (values, errors) = parse(text);
        assert!(errors.is_empty(), "{errors:?}");
        for (name, value) in [
            ("A", "last"),
            ("B", "two # not"),
            ("C", "three\\n"),
            ("D", "4"),
            ("E", ""),
            ("F", ""),
            ("G", "#sharp"),
            ("H", "a\"b\\c\nd"),
            ("I", "x#y"),
            ("J", ""),
            ("K", "v"),
        ] {
            assert_eq!(values[name], value, "{name}");
        }
        assert_eq!(values.len(), 11);
    }

    #[test]
    fn every_bad_line_is_named_and_none_is_repeated() {
        let (_, errors) = parse("A=1\nAPI_KEY hunter2\n1X=2\nB=\"open\nC='x' y\n=\n");
        let shown: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(shown.len(), 5);
        for (line, text) in [2, 3, 4, 5, 6].iter().zip(&shown) {
            assert!(text.starts_with(&format!(".env line {line}: ")), "{text}");
            assert!(!text.contains("hunter2"));
        }
    }
}
