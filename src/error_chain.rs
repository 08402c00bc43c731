//! Error chain printer: an error and all its causes as one text, made where the error is handled.

use std::error::Error;

/// The error, then each cause behind a colon.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let said = cause.to_string();
        // Some libraries repeat their cause in their own text.
        if !text.ends_with(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Link {
        text: &'static str,
        source: Option<Box<Self>>,
    }

    fn linked(texts: &[&'static str]) -> Link {
        let [text, causes @ ..] = texts else { unreachable!("a chain has a first link") };
        let source = (!causes.is_empty()).then(|| Box::new(linked(causes)));
        Link { text, source }
    }

    #[test]
    fn each_cause_is_told_once() {
        for (texts, expected) in [
            (&["no answer"][..], "no answer"),
            (&["no answer", "refused", "by a firewall"], "no answer: refused: by a firewall"),
            (&["no answer: refused", "refused", "by a firewall"], "no answer: refused: by a firewall"),
        ] {
            assert_eq!(chain(&linked(texts)), expected);
        }
    }
}
