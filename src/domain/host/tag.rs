//! What people say of a host: tags to find it by, and a note.

use std::collections::BTreeSet;
use std::str::FromStr;

use crate::domain::text::{held_text, serde_as_text};

/// Most tags of one host.
pub const TAGS_MAX: usize = 32;
/// Longest part of a tag.
const PART_MAX: usize = 63;
/// Longest note, in characters.
const NOTE_CHARS_MAX: usize = 1000;

/// `key` or `key:value`, each 1 to 63 of `a-z`, `0-9`, `.`, `_` and `-`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(String);

/// The text is no tag, or a host would have too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTag {
    /// It has another form.
    #[error("a tag is KEY or KEY:VALUE, each 1 to 63 of a-z, 0-9, '.', '_' and '-'")]
    Form,
    /// More than [`TAGS_MAX`].
    #[error("a host has at most 32 tags")]
    TooMany,
}

impl FromStr for Tag {
    type Err = InvalidTag;

    fn from_str(text: &str) -> Result<Self, InvalidTag> {
        let is_part = |part: &str| {
            (1..=PART_MAX).contains(&part.len())
                && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b))
        };
        let (key, value) = text.split_once(':').map_or((text, None), |(key, value)| (key, Some(value)));
        let good = is_part(key) && value.is_none_or(is_part);
        good.then(|| Self(text.to_owned())).ok_or(InvalidTag::Form)
    }
}

held_text! {
    /// As it is written.
    Tag,
    /// As it was given.
    HostNote,
}
serde_as_text!(Tag, HostNote);

/// 1 to 1,000 characters that somebody has written about a host; the only control character is the end of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostNote(String);

/// The note is empty, too long or holds control characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a note is 1 to 1000 characters, without control characters but ends of lines")]
pub struct InvalidNote;

impl FromStr for HostNote {
    type Err = InvalidNote;

    fn from_str(text: &str) -> Result<Self, InvalidNote> {
        let long = text.chars().nth(NOTE_CHARS_MAX).is_some();
        if long || text.trim().is_empty() || text.chars().any(|c| c.is_control() && c != '\n') {
            return Err(InvalidNote);
        }
        Ok(Self(text.to_owned()))
    }
}

/// What people say of a host. Nothing that a machine says gets in here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostMarks {
    /// At most [`TAGS_MAX`].
    pub tags: BTreeSet<Tag>,
    /// Of the last who wrote one.
    pub note: Option<HostNote>,
}

/// Tags in one text; none of none.
pub fn listed(tags: &BTreeSet<Tag>) -> Option<String> {
    let texts: Vec<_> = tags.iter().map(Tag::as_str).collect();
    (!texts.is_empty()).then(|| texts.join(" "))
}

/// These tags without some and with others, if a host may have so many.
pub fn changed_tags(
    tags: &BTreeSet<Tag>,
    add: &BTreeSet<Tag>,
    remove: &BTreeSet<Tag>,
) -> Result<BTreeSet<Tag>, InvalidTag> {
    let kept = tags.iter().filter(|tag| !remove.contains(tag));
    let changed: BTreeSet<Tag> = kept.chain(add).cloned().collect();
    if changed.len() > TAGS_MAX { Err(InvalidTag::TooMany) } else { Ok(changed) }
}

/// What a host is tagged with that comes with a credential: what it had, and what the credential gives as long as there is room.
pub fn given_tags(mut had: BTreeSet<Tag>, given: &BTreeSet<Tag>) -> BTreeSet<Tag> {
    for tag in given {
        if had.len() < TAGS_MAX {
            had.insert(tag.clone());
        }
    }
    had
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_a_key_and_perhaps_a_value() {
        let longest = "a".repeat(63);
        for good in ["a", "role:web", "eu-central-1", "v1.2_x:0", &format!("{longest}:{longest}")] {
            assert_eq!(good.parse::<Tag>().map(|tag| tag.to_string()), Ok(good.to_owned()));
        }
        let too_long = "a".repeat(64);
        for bad in ["", ":", "a:", ":b", "a:b:c", "A", "a b", "ä", "a\n", &too_long, &format!("a:{too_long}")]
        {
            assert_eq!(bad.parse::<Tag>(), Err(InvalidTag::Form), "{bad:?}");
        }
    }

    #[test]
    fn what_is_added_stays_and_a_host_has_at_most_32() {
        let set = |names: &[&str]| names.iter().map(|name| name.parse().unwrap()).collect::<BTreeSet<Tag>>();
        let (a, b) = (set(&["a", "b"]), set(&["b", "c"]));
        assert_eq!(changed_tags(&a, &set(&["c"]), &set(&["a", "x"])), Ok(b.clone()));
        assert_eq!(
            changed_tags(&b, &set(&["c"]), &set(&["c"])),
            Ok(b),
            "what is both added and taken is there"
        );
        let full: BTreeSet<Tag> = (0..32).map(|n| format!("t{n}").parse().unwrap()).collect();
        assert_eq!(changed_tags(&full, &set(&["t1"]), &set(&[])), Ok(full.clone()));
        assert_eq!(changed_tags(&full, &set(&["a"]), &set(&[])), Err(InvalidTag::TooMany));
        assert!(changed_tags(&full, &set(&["a"]), &set(&["t1"])).is_ok());
    }

    #[test]
    fn notes_have_lines_and_bounds() {
        let longest = "ä".repeat(1000);
        for good in ["a", "rack 4\nunit 7", longest.as_str()] {
            assert!(good.parse::<HostNote>().is_ok());
        }
        let too_long = "a".repeat(1001);
        for bad in ["", " \n", "a\r\nb", "\u{1b}[31m", too_long.as_str()] {
            assert_eq!(bad.parse::<HostNote>(), Err(InvalidNote), "{bad:?}");
        }
    }
}
