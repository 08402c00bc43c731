//! Strict PEM (RFC 7468): a text is read in one way or refused.
//!
//! Readers of PEM differ about headers, text between blocks, sloppy base64 and second blocks. All of that is
//! refused, so that a request followed by a private key is never half understood.

use data_encoding::BASE64;

pub const CERTIFICATE: &str = "CERTIFICATE";
pub const PRIVATE_KEY: &str = "PRIVATE KEY";
/// A certificate revocation list (RFC 7468 section 6).
pub const CRL: &str = "X509 CRL";

/// More text than any request or chain of ours needs.
pub const LENGTH_MAX: usize = 16 * 1024;

/// Octets in a full line, which become 64 characters.
const LINE: usize = 48;

/// Why a text is not the PEM that was asked for. The texts hold nothing of the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PemError {
    #[error("it is longer than 16 KiB")]
    TooLong,
    #[error("it does not begin with a PEM block labelled {expected}")]
    NoBlock { expected: &'static str },
    #[error("the block is not closed by the line that matches its beginning")]
    NotClosed,
    #[error("the block has headers")]
    Headers,
    #[error("the block is not canonical base64")]
    Base64,
    #[error("there is something besides white space after the last block")]
    TextAfter,
    #[error("there are more blocks than there may be")]
    TooManyBlocks,
}

/// The content of a text that is exactly one block with one of these labels.
pub fn single(text: &str, labels: &[&'static str]) -> Result<Vec<u8>, PemError> {
    let (content, rest) = first_block(bounded(text)?, labels)?;
    if rest.is_empty() {
        return Ok(content);
    }
    Err(if rest.starts_with("-----BEGIN") { PemError::TooManyBlocks } else { PemError::TextAfter })
}

/// The contents of a text that is one or more, but no more than `count_max`, blocks with this label.
pub fn sequence(text: &str, label: &'static str, count_max: usize) -> Result<Vec<Vec<u8>>, PemError> {
    let mut rest = bounded(text)?;
    let mut contents = Vec::new();
    loop {
        let (content, after) = first_block(rest, &[label])?;
        contents.push(content);
        rest = after;
        if rest.is_empty() {
            return Ok(contents);
        }
        if !rest.starts_with("-----BEGIN") {
            return Err(PemError::TextAfter);
        }
        if contents.len() == count_max {
            return Err(PemError::TooManyBlocks);
        }
    }
}

/// One block. The buffer never grows while it is filled, so a caller who wipes it wipes every copy.
pub fn encode(label: &str, content: &[u8]) -> String {
    let armor = "-----BEGIN -----\n-----END -----\n".len() + 2 * label.len();
    let lines = content.len().div_ceil(LINE);
    let mut text = String::with_capacity(armor + BASE64.encode_len(content.len()) + lines);
    text.extend(["-----BEGIN ", label, "-----\n"]);
    for line in content.chunks(LINE) {
        BASE64.encode_append(line, &mut text);
        text.push('\n');
    }
    text.extend(["-----END ", label, "-----\n"]);
    text
}

/// A certificate as PEM.
pub fn certificate(der: &[u8]) -> String {
    encode(CERTIFICATE, der)
}

fn bounded(text: &str) -> Result<&str, PemError> {
    if text.len() > LENGTH_MAX { Err(PemError::TooLong) } else { Ok(text.trim_ascii()) }
}

/// The first block's content, and what stands behind it.
fn first_block<'t>(text: &'t str, labels: &[&'static str]) -> Result<(Vec<u8>, &'t str), PemError> {
    let expected = labels.first().copied().unwrap_or_default();
    let after_begin = text.strip_prefix("-----BEGIN ").ok_or(PemError::NoBlock { expected })?;
    let (label, after_label) = after_begin.split_once("-----").ok_or(PemError::NoBlock { expected })?;
    if !labels.contains(&label) {
        return Err(PemError::NoBlock { expected });
    }
    let (body, after_body) = after_label.split_once("-----").ok_or(PemError::NotClosed)?;
    let after_block = after_body
        .strip_prefix("END ")
        .and_then(|rest| rest.strip_prefix(label))
        .and_then(|rest| rest.strip_prefix("-----"))
        .ok_or(PemError::NotClosed)?;
    let on_lines_of_its_own = body.trim_start_matches([' ', '\t']).starts_with(['\r', '\n'])
        && body.ends_with('\n')
        && after_block.chars().next().is_none_or(|next| next.is_ascii_whitespace());
    if !on_lines_of_its_own {
        return Err(PemError::NotClosed);
    }
    if body.contains(':') {
        return Err(PemError::Headers);
    }
    Ok((decode(body)?, after_block.trim_ascii_start()))
}

/// Encoding again and comparing leaves exactly one text per content, white space aside.
fn decode(body: &str) -> Result<Vec<u8>, PemError> {
    let symbols: Vec<u8> = body.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let content = BASE64.decode(&symbols).map_err(|_| PemError::Base64)?;
    if content.is_empty() || BASE64.encode(&content).as_bytes() != symbols {
        return Err(PemError::Base64);
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<u8>, PemError> {
        single(text, &["A", "NEW A"])
    }

    #[test]
    fn what_is_written_is_read() {
        for length in [1, 47, 48, 49, 96, 1000] {
            let content = vec![0xa5; length];
            let text = encode("A", &content);
            assert_eq!(text.capacity(), text.len());
            assert!(text.lines().all(|line| line.len() <= 64));
            assert_eq!(read(&text), Ok(content.clone()));
            assert_eq!(read(&format!("\n {text}\r\n\n")), Ok(content.clone()));
            assert_eq!(read(&text.replace('\n', "\r\n")), Ok(content));
        }
        assert_eq!(read("-----BEGIN NEW A-----\nAQ==\n-----END NEW A-----"), Ok(vec![1]));
    }

    #[test]
    fn everything_else_is_refused() {
        let no_block = PemError::NoBlock { expected: "A" };
        let good = "-----BEGIN A-----\nAQ==\n-----END A-----\n";
        for (text, error) in [
            ("", no_block),
            ("AQ==", no_block),
            ("-----BEGIN A", no_block),
            ("x-----BEGIN A-----\nAQ==\n-----END A-----\n", no_block),
            ("\u{feff}-----BEGIN A-----\nAQ==\n-----END A-----\n", no_block),
            ("-----BEGIN B-----\nAQ==\n-----END B-----\n", no_block),
            ("-----BEGIN  A-----\nAQ==\n-----END A-----\n", no_block),
            ("-----BEGIN A-----\nAQ==\n", PemError::NotClosed),
            ("-----BEGIN A-----\nAQ==\n-----END B-----\n", PemError::NotClosed),
            ("-----BEGIN A-----\nAQ==\n-----END A----\n", PemError::NotClosed),
            ("-----BEGIN A-----\nAQ==\n-----BEGIN A-----\n", PemError::NotClosed),
            ("-----BEGIN A-----AQ==\n-----END A-----\n", PemError::NotClosed),
            ("-----BEGIN A-----\nAQ==-----END A-----\n", PemError::NotClosed),
            ("-----BEGIN A-----\nAQ==\n-----END A-----x", PemError::NotClosed),
            ("-----BEGIN A-----\nProc-Type: 4,ENCRYPTED\n\nAQ==\n-----END A-----\n", PemError::Headers),
            ("-----BEGIN A-----\n-----END A-----\n", PemError::Base64),
            ("-----BEGIN A-----\nAR==\n-----END A-----\n", PemError::Base64),
            ("-----BEGIN A-----\nAQ\n-----END A-----\n", PemError::Base64),
            ("-----BEGIN A-----\nAQ==AQ==\n-----END A-----\n", PemError::Base64),
            ("-----BEGIN A-----\n_-8=\n-----END A-----\n", PemError::Base64),
            ("-----BEGIN A-----\nAQ==\0\n-----END A-----\n", PemError::Base64),
            ("-----BEGIN A-----\nAQ==\n-----END A-----\nx", PemError::TextAfter),
            (&good.repeat(2), PemError::TooManyBlocks),
            (&"\n".repeat(LENGTH_MAX + 1), PemError::TooLong),
            (&"-----BEGIN A-----\n".repeat(900), PemError::NotClosed),
        ] {
            assert_eq!(read(text), Err(error), "{text:.80}");
        }
    }

    #[test]
    fn sequences_are_counted() {
        let block = encode("A", &[1, 2, 3]);
        assert_eq!(sequence(&block.repeat(2), "A", 2).map(|blocks| blocks.len()), Ok(2));
        assert_eq!(sequence(&block.repeat(3), "A", 2), Err(PemError::TooManyBlocks));
        assert_eq!(sequence(&format!("{block}text\n{block}"), "A", 2), Err(PemError::TextAfter));
        let other = encode("B", &[1]);
        let error = PemError::NoBlock { expected: "A" };
        assert_eq!(sequence(&format!("{block}{other}"), "A", 2), Err(error));
    }
}
