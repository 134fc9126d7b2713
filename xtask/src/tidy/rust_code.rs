//! Rust source without what is not code.
//!
//! The checks look for words such as `unsafe`, and must not stumble over those in comments and strings. This
//! knows just as much of the language as it takes to find where those begin and end.

/// Replaces comments, and what strings and characters contain, by spaces. Lines and columns (in characters)
/// stay.
pub(super) fn code_only(source: &str) -> String {
    let mut rest = source;
    let mut code = String::with_capacity(source.len());
    while let Some(next) = rest.chars().next() {
        let length = match next {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => block_comment(rest),
            '"' => 1 + quoted(&rest[1..], '"'),
            '\'' => character(rest),
            _ if is_word(next) => {
                let word = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
                code.push_str(&rest[..word]);
                rest = &rest[word..];
                if code.ends_with('r') && is_prefix(&code) {
                    let raw = raw_string(rest);
                    blank(&rest[..raw], &mut code);
                    rest = &rest[raw..];
                }
                continue;
            }
            _ => 0,
        };
        if length == 0 {
            code.push(next);
            rest = &rest[next.len_utf8()..];
        } else {
            blank(&rest[..length], &mut code);
            rest = &rest[length..];
        }
    }
    code
}

/// The lines, from 1, on which `word` stands as a word of its own, each with what follows it.
pub(super) fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = (usize, &'a str)> {
    let whole = move |&(at, _): &(usize, &str)| {
        !code[..at].ends_with(is_word) && !code[at + word.len()..].starts_with(is_word)
    };
    let found = code.match_indices(word).filter(whole);
    found.map(move |(at, _)| (code[..at].matches('\n').count() + 1, &code[at + word.len()..]))
}

pub(super) fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn blank(text: &str, code: &mut String) {
    code.extend(text.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
}

/// The length of a comment that may hold others.
fn block_comment(text: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < text.len() {
        if text[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// The length up to and with the closing quote, where a backslash protects the character after it.
fn quoted(text: &str, quote: char) -> usize {
    let mut protected = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if protected => protected = false,
            '\\' => protected = true,
            _ if c == quote => return at + c.len_utf8(),
            _ => {}
        }
    }
    text.len()
}

/// The length of a character literal; 0 where a lifetime or a label begins.
fn character(text: &str) -> usize {
    let mut inner = text[1..].chars();
    match (inner.next(), inner.next()) {
        (Some('\\'), _) | (Some(_), Some('\'')) => 1 + quoted(&text[1..], '\''),
        _ => 0,
    }
}

/// Whether the code ends with the prefix of a raw string: `r`, `br` or `cr`, and no longer word.
fn is_prefix(code: &str) -> bool {
    let word = code.rsplit(|c| !is_word(c)).next().unwrap_or_default();
    ["r", "br", "cr"].contains(&word)
}

/// The length of the raw string that begins with its hashes; 0 where none does.
fn raw_string(text: &str) -> usize {
    let hashes = text.len() - text.trim_start_matches('#').len();
    if !text[hashes..].starts_with('"') {
        return 0;
    }
    let end = format!("\"{}", &text[..hashes]);
    let start = hashes + 1;
    text[start..].find(&end).map_or(text.len(), |at| start + at + end.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code_words(source: &str) -> Vec<String> {
        code_only(source).split_whitespace().map(String::from).collect()
    }

    #[test]
    fn comments_and_strings_are_not_code() {
        for (source, code) in [
            ("a // b\nc", vec!["a", "c"]),
            ("/// b\n//! b\nc", vec!["c"]),
            ("a /* b /* b */ b */ c", vec!["a", "c"]),
            ("a \"b // \\\" b\" c", vec!["a", "c"]),
            ("a \"b\\\\\" c \"b\"", vec!["a", "c"]),
            ("a r\"b\\\" c", vec!["a", "r", "c"]),
            ("a br#\"b \" b\"# c", vec!["a", "br", "c"]),
            ("a b\"b\" c\"b\" d", vec!["a", "b", "c", "d"]),
            ("a '\"' c '\\'' d '\\u{22}' e", vec!["a", "c", "d", "e"]),
            ("f<'a>(x: &'a str) 'b: loop", vec!["f<'a>(x:", "&'a", "str)", "'b:", "loop"]),
            ("for r in r#type { r }", vec!["for", "r", "in", "r#type", "{", "r", "}"]),
            ("a \"never ends", vec!["a"]),
            ("a /* never ends", vec!["a"]),
        ] {
            assert_eq!(code_words(source), code, "{source}");
        }
    }

    #[test]
    fn lines_stay_where_they_are() {
        let source = "a /* 1\n2 ü */ b\n\"3\n4\" c";
        let code = code_only(source);
        assert_eq!(code.chars().count(), source.chars().count());
        assert_eq!(words(&code, "c").map(|(line, _)| line).collect::<Vec<_>>(), [4]);
    }

    #[test]
    fn part_of_a_word_is_not_the_word() {
        let code = "unsafe_code is_unsafe unsafe { unsafes }";
        assert_eq!(words(code, "unsafe").collect::<Vec<_>>(), [(1, " { unsafes }")]);
    }
}
