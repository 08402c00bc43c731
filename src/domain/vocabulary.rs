//! Vocabulary: enums whose variants are words on disk and on the wire, each word written once.

/// Declares such an enum: variant by variant, with its word.
///
/// With `wire` before it the words are also what serde writes and reads and what the API's document lists; every doc
/// comment in it then stands in that document, and a plain one does not.
macro_rules! vocabulary {
    ($(#[$attribute:meta])* wire pub enum $name:ident {
        $($(#[$word_attribute:meta])* $variant:ident = $word:literal,)*
    }) => {
        $crate::domain::vocabulary::vocabulary! {
            #[derive(serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
            $(#[$attribute])*
            pub enum $name { $($(#[$word_attribute])* #[serde(rename = $word)] $variant = $word,)* }
        }
    };
    ($(#[$attribute:meta])* pub enum $name:ident {
        $($(#[$word_attribute:meta])* $variant:ident = $word:expr,)*
    }) => {
        $(#[$attribute])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[allow(missing_docs, reason = "a variant is its word")]
        pub enum $name {
            $($(#[$word_attribute])* $variant,)*
        }

        impl $name {
            /// All of them, as they stand in the table.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The word on disk and on the wire.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::domain::vocabulary::UnknownWord;

            fn from_str(text: &str) -> Result<Self, $crate::domain::vocabulary::UnknownWord> {
                let found = Self::ALL.iter().copied().find(|word| word.as_str() == text);
                found.ok_or($crate::domain::vocabulary::UnknownWord)
            }
        }
    };
}

pub(crate) use vocabulary;

/// A word that this version does not know; whoever wrote it may be newer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an unknown word")]
pub struct UnknownWord;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fmt::Debug;
    use std::str::FromStr;

    use super::*;
    use crate::domain::insight::audit_action::AuditAction;
    use crate::domain::insight::audit_reason::AuditReason;
    use crate::domain::insight::timeline::TimelineKind;

    fn check<W: FromStr<Err = UnknownWord> + Debug + PartialEq + Copy>(
        all: &[W],
        as_str: fn(W) -> &'static str,
    ) {
        let words: BTreeSet<_> = all.iter().map(|word| as_str(*word)).collect();
        assert_eq!(words.len(), all.len(), "{words:?}");
        for word in all {
            assert_eq!(as_str(*word).parse(), Ok(*word));
        }
        assert_eq!("something_newer".parse::<W>(), Err(UnknownWord));
    }

    #[test]
    fn a_word_stands_for_one_thing() {
        check(AuditAction::ALL, AuditAction::as_str);
        check(AuditReason::ALL, AuditReason::as_str);
        check(TimelineKind::ALL, TimelineKind::as_str);
    }
}
