//! The query part of a target as name and value pairs. What a name means is not decided here.

use std::borrow::Cow;

/// The decoded pairs of a query, in order, empty parts left out: `+` is a space, percent escapes are decoded, a name
/// without `=` has an empty value, and bytes that are not UTF-8 become replacement characters.
pub fn pairs(query: &str) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    form_urlencoded::parse(query.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_decoded_in_order_with_empty_parts_left_out() {
        let found: Vec<_> = pairs("id=a%2Bb+c&&flag&=x&id=%zz&bad=%ff&a=b=c").collect();
        let expected =
            [("id", "a+b c"), ("flag", ""), ("", "x"), ("id", "%zz"), ("bad", "\u{fffd}"), ("a", "b=c")];
        assert_eq!(found, expected.map(|(name, value)| (Cow::from(name), Cow::from(value))));
    }
}
