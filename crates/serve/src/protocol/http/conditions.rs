//! Conditional requests and ranges (RFC 9110, 13 and 14): which answer a file gets.

use httparse::Header;

use super::date;
use super::range::Range;

/// The entity tag and the time of change that a file is known by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Validators {
    /// With its quotes. Made of the time of change in nanoseconds and the length, and taken as strong.
    pub(super) tag: String,
    /// Seconds since the epoch, never after the time of the answer.
    pub(super) modified: i64,
}

/// The conditions of one request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Conditions {
    match_tags: Option<Vec<u8>>,
    unmodified_since: Option<i64>,
    none_match_tags: Option<Vec<u8>>,
    modified_since: Option<i64>,
    /// What the `Range` field asks for; the inner None is one that is to be ignored.
    range: Option<Option<Range>>,
    if_range: Option<Vec<u8>>,
}

/// What the conditions make of a request for a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Whole,
    Part { offset: u64, len: u64 },
    NotModified,
    Failed,
    Unsatisfiable,
}

impl Conditions {
    /// Takes in one field, if it is a condition.
    pub(super) fn note(conditions: &mut Option<Box<Conditions>>, field: &Header<'_>) {
        type Set = fn(&mut Conditions, &[u8]);
        const FIELDS: [(&str, Set); 6] = [
            ("range", |conditions, value| {
                // Two such fields are a list of ranges, which is ignored as a whole.
                conditions.range = Some(if conditions.range.is_some() { None } else { Range::parse(value) });
            }),
            ("if-range", |conditions, value| conditions.if_range = Some(value.to_vec())),
            ("if-match", |conditions, value| append(&mut conditions.match_tags, value)),
            ("if-none-match", |conditions, value| append(&mut conditions.none_match_tags, value)),
            ("if-modified-since", |conditions, value| conditions.modified_since = date::parse(value)),
            ("if-unmodified-since", |conditions, value| conditions.unmodified_since = date::parse(value)),
        ];
        for (name, set) in FIELDS {
            if field.name.eq_ignore_ascii_case(name) {
                set(conditions.get_or_insert_default(), field.value);
                return;
            }
        }
    }

    /// The answer for a file of `len` bytes, in the order of precedence of RFC 9110, 13.2.2. `now` is the
    /// time of the answer, and ranges are for GET only.
    pub(super) fn outcome(&self, validators: &Validators, len: u64, now: i64, head_only: bool) -> Outcome {
        let Validators { tag, modified } = validators;
        let precondition = match (&self.match_tags, self.unmodified_since) {
            (Some(tags), _) => matches_any(tags, tag, Comparison::Strong),
            (None, Some(since)) => *modified <= since,
            (None, None) => true,
        };
        if !precondition {
            return Outcome::Failed;
        }
        let unchanged = match (&self.none_match_tags, self.modified_since) {
            (Some(tags), _) => matches_any(tags, tag, Comparison::Weak),
            (None, Some(since)) => *modified <= since,
            (None, None) => false,
        };
        if unchanged {
            return Outcome::NotModified;
        }
        match self.range {
            Some(Some(range)) if !head_only && self.range_still_applies(validators, now) => {
                range.of(len).map_or(Outcome::Unsatisfiable, |(offset, len)| Outcome::Part { offset, len })
            }
            _ => Outcome::Whole,
        }
    }

    fn range_still_applies(&self, validators: &Validators, now: i64) -> bool {
        match self.if_range.as_deref() {
            None => true,
            Some([b'"', ..] | [b'W', b'/', ..]) => {
                let tag = self.if_range.as_deref().unwrap_or_default();
                matches_any(tag, &validators.tag, Comparison::Strong)
            }
            // A date is no strong validator for a file that could still change within the same second.
            Some(text) => date::parse(text) == Some(validators.modified) && validators.modified < now,
        }
    }
}

fn append(tags: &mut Option<Vec<u8>>, value: &[u8]) {
    let tags = tags.get_or_insert_default();
    if !tags.is_empty() {
        tags.push(b',');
    }
    tags.extend_from_slice(value);
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Strong,
    Weak,
}

/// Whether `tag` is in a list of entity tags, or the list is `*`. What follows an error in the list is not
/// looked at.
fn matches_any(list: &[u8], tag: &str, comparison: Comparison) -> bool {
    let mut rest = list.trim_ascii();
    if rest == b"*" {
        return true;
    }
    loop {
        while let [b',' | b' ' | b'\t', after @ ..] = rest {
            rest = after;
        }
        let weak = rest.starts_with(b"W/");
        let quoted = if weak { &rest[2..] } else { rest };
        let Some(inner) = quoted.strip_prefix(b"\"") else { return false };
        let Some(end) = memchr::memchr(b'"', inner) else { return false };
        if &quoted[..end + 2] == tag.as_bytes() && (comparison == Comparison::Weak || !weak) {
            return true;
        }
        rest = &inner[end + 1..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_found_in_lists() {
        let weakly = |list: &str| matches_any(list.as_bytes(), "\"b,c\"", Comparison::Weak);
        let strongly = |list: &str| matches_any(list.as_bytes(), "\"b,c\"", Comparison::Strong);
        for list in ["*", "\"b,c\"", "\"a\", \"b,c\"", "W/\"a\",\"b,c\"", ",, \"b,c\" ,"] {
            assert!(weakly(list) && strongly(list), "{list}");
        }
        assert!(weakly("W/\"b,c\"") && !strongly("W/\"b,c\""));
        for list in ["", "b,c", "\"b\"", "\"b,c", "\"B,C\"", "x \"b,c\"", "W/"] {
            assert!(!weakly(list), "{list}");
        }
    }
}
