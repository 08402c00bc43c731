//! Strict DER (X.690 sections 8 to 11): one encoding per value, and nothing behind it.
//!
//! What a signature covers must mean the same to every reader, so whatever has a second reading is refused:
//! indefinite and padded lengths, constructed strings, padded integers, loose bits.

/// Deeper nesting than this has no use in a certificate request or a certificate.
const DEPTH_MAX: usize = 32;

pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const BIT_STRING: u8 = 0x03;
pub(crate) const OBJECT_IDENTIFIER: u8 = 0x06;
pub(crate) const SEQUENCE: u8 = 0x30;
pub(crate) const SET: u8 = 0x31;
/// `[0]`, constructed.
pub(crate) const CONTEXT_0: u8 = 0xa0;

/// Why some bytes are not the DER that was looked for. The texts hold nothing of the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("it is cut short, or a length claims more than there is")]
    Truncated,
    #[error("there are bytes after its end")]
    TrailingBytes,
    #[error("a length is indefinite, which BER allows and DER does not")]
    IndefiniteLength,
    #[error("a length is not encoded in the fewest octets")]
    LengthNotMinimal,
    #[error("it is nested too deeply")]
    TooDeep,
    #[error("a value is not encoded as DER asks")]
    Value,
    #[error("an element is missing or of another type than its place asks")]
    Unexpected,
}

/// One tag, length and value.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Element<'a> {
    /// The first identifier octet.
    pub tag: u8,
    pub content: &'a [u8],
    /// Identifier, length and content.
    pub whole: &'a [u8],
}

impl<'a> Element<'a> {
    /// What a constructed element holds.
    pub(crate) fn children(&self) -> DerReader<'a> {
        DerReader { rest: self.content }
    }

    /// The octets of a BIT STRING that is a whole number of octets long.
    pub(crate) fn octets(&self) -> Result<&'a [u8], Malformed> {
        match self.content {
            [0, octets @ ..] if self.tag == BIT_STRING => Ok(octets),
            _ => Err(Malformed::Unexpected),
        }
    }
}

/// Reads elements that stand one after the other.
#[derive(Debug, Clone)]
pub(crate) struct DerReader<'a> {
    rest: &'a [u8],
}

impl<'a> DerReader<'a> {
    pub(crate) fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next element, which must have this tag.
    pub(crate) fn expect(&mut self, tag: u8) -> Result<Element<'a>, Malformed> {
        let element = self.element().map_err(|error| match error {
            Malformed::Truncated if self.is_at_end() => Malformed::Unexpected,
            other => other,
        })?;
        if element.tag == tag { Ok(element) } else { Err(Malformed::Unexpected) }
    }

    pub(crate) fn element(&mut self) -> Result<Element<'a>, Malformed> {
        let start = self.rest;
        let tag = self.octet()?;
        if tag & 0x1f == 0x1f {
            self.high_tag_number()?;
        }
        let length = self.length()?;
        let (content, rest) = self.rest.split_at_checked(length).ok_or(Malformed::Truncated)?;
        self.rest = rest;
        let whole = start.get(..start.len() - rest.len()).unwrap_or(start);
        Ok(Element { tag, content, whole })
    }

    /// Nothing may follow.
    pub(crate) fn end(&self) -> Result<(), Malformed> {
        if self.is_at_end() { Ok(()) } else { Err(Malformed::Unexpected) }
    }

    fn octet(&mut self) -> Result<u8, Malformed> {
        let (first, rest) = self.rest.split_first().ok_or(Malformed::Truncated)?;
        self.rest = rest;
        Ok(*first)
    }

    /// The further identifier octets of tag numbers from 31 up (X.690 8.1.2.4).
    fn high_tag_number(&mut self) -> Result<(), Malformed> {
        let first = self.octet()?;
        let too_small = first < 0x1f;
        if first == 0x80 || too_small {
            return Err(Malformed::Value);
        }
        let mut octet = first;
        while octet & 0x80 != 0 {
            octet = self.octet()?;
        }
        Ok(())
    }

    fn length(&mut self) -> Result<usize, Malformed> {
        let first = self.octet()?;
        if first < 0x80 {
            return Ok(first.into());
        }
        if first == 0x80 {
            return Err(Malformed::IndefiniteLength);
        }
        let mut length = 0_usize;
        for position in 0..first & 0x7f {
            let octet = self.octet()?;
            if position == 0 && octet == 0 {
                return Err(Malformed::LengthNotMinimal);
            }
            length = length.checked_mul(256).ok_or(Malformed::Truncated)? | usize::from(octet);
        }
        if length < 0x80 { Err(Malformed::LengthNotMinimal) } else { Ok(length) }
    }
}

/// Reads an input that is exactly one element, strict all the way down.
pub(crate) fn document(input: &[u8]) -> Result<Element<'_>, Malformed> {
    let mut reader = DerReader { rest: input };
    let element = reader.element()?;
    if !reader.is_at_end() {
        return Err(Malformed::TrailingBytes);
    }
    check(&element, DEPTH_MAX)?;
    Ok(element)
}

fn check(element: &Element<'_>, depth_left: usize) -> Result<(), Malformed> {
    let universal = element.tag & 0xc0 == 0;
    let constructed = element.tag & 0x20 != 0;
    let number = element.tag & 0x1f;
    if universal && constructed != is_always_constructed(number) {
        return Err(Malformed::Value);
    }
    if constructed {
        let deeper = depth_left.checked_sub(1).ok_or(Malformed::TooDeep)?;
        let mut children = element.children();
        while !children.is_at_end() {
            check(&children.element()?, deeper)?;
        }
        return Ok(());
    }
    if universal && !is_well_encoded(number, element.content) {
        return Err(Malformed::Value);
    }
    Ok(())
}

/// EXTERNAL, EMBEDDED PDV, SEQUENCE, SET and CHARACTER STRING; DER constructs no other universal type.
const fn is_always_constructed(number: u8) -> bool {
    matches!(number, 8 | 11 | 16 | 17 | 29)
}

fn is_well_encoded(number: u8, content: &[u8]) -> bool {
    match number {
        // Reserved: the end-of-contents octets of indefinite lengths.
        0 => false,
        // BOOLEAN
        1 => matches!(content, [0x00 | 0xff]),
        // INTEGER and ENUMERATED
        2 | 10 => match content {
            [] => false,
            [0x00, second, ..] => second & 0x80 != 0,
            [0xff, second, ..] => second & 0x80 == 0,
            _ => true,
        },
        // BIT STRING: the unused bits are counted and zero.
        3 => match content {
            [unused @ 0..=7, .., last] => last.trailing_zeros() >= u32::from(*unused),
            only => only == [0],
        },
        // NULL
        5 => content.is_empty(),
        // OBJECT IDENTIFIER: no arc starts with a padding octet, and the last one ends.
        6 => {
            let mut at_start = true;
            for octet in content {
                if at_start && *octet == 0x80 {
                    return false;
                }
                at_start = octet & 0x80 == 0;
            }
            at_start && !content.is_empty()
        }
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(input: &[u8], expected: Result<(), Malformed>) {
        assert_eq!(document(input).map(|_| ()), expected, "{input:02x?}");
    }

    #[test]
    fn lengths() {
        check(&[0x04, 0x00], Ok(()));
        check(&[0x04, 0x01, 0xff], Ok(()));
        check(&[], Err(Malformed::Truncated));
        check(&[0x04], Err(Malformed::Truncated));
        check(&[0x04, 0x02, 0xff], Err(Malformed::Truncated));
        check(&[0x04, 0x00, 0x00], Err(Malformed::TrailingBytes));
        check(&[0x30, 0x80, 0x00, 0x00], Err(Malformed::IndefiniteLength));
        check(&[0x04, 0x81, 0x01, 0xff], Err(Malformed::LengthNotMinimal));
        check(&[0x04, 0x82, 0x00, 0x01, 0xff], Err(Malformed::LengthNotMinimal));
        check(&[0x04, 0x84, 0xff, 0xff, 0xff, 0xff], Err(Malformed::Truncated));
        check(&[0x04, 0xff], Err(Malformed::Truncated));
        check(&[&[0x04, 0xff][..], &[0xff; 127]].concat(), Err(Malformed::Truncated));
        let long = [&[0x04, 0x81, 0x80][..], &[7; 128]].concat();
        check(&long, Ok(()));
    }

    #[test]
    fn values() {
        for good in [
            &[0x01, 1, 0xff][..],
            &[0x02, 1, 0],
            &[0x02, 2, 0, 0x80],
            &[0x03, 1, 0],
            &[0x03, 2, 7, 0x80],
            &[0x05, 0],
            &[0x06, 3, 0x2a, 0x86, 0x48],
            &[0xa0, 2, 0x05, 0],
            &[0x9f, 0x1f, 0],
            &[0xbf, 0x81, 0x00, 0],
        ] {
            check(good, Ok(()));
        }
        for bad in [
            &[0x00, 0][..],
            &[0x01, 1, 1],
            &[0x01, 0],
            &[0x02, 0],
            &[0x02, 2, 0, 0x7f],
            &[0x02, 2, 0xff, 0x80],
            &[0x03, 0],
            &[0x03, 1, 1],
            &[0x03, 2, 8, 0],
            &[0x03, 2, 7, 0x81],
            &[0x05, 1, 0],
            &[0x06, 0],
            &[0x06, 2, 0x80, 1],
            &[0x06, 1, 0x86],
            &[0x24, 2, 0x04, 0],
            &[0x10, 0],
            &[0x9f, 0x1e, 0],
            &[0x9f, 0x80, 0x1f, 0],
        ] {
            check(bad, Err(Malformed::Value));
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |depth: usize| {
            let mut der = Vec::new();
            for _ in 0..depth {
                let length = u8::try_from(der.len()).unwrap();
                der = [&[0x30, length][..], &der].concat();
            }
            der
        };
        check(&nested(DEPTH_MAX), Ok(()));
        check(&nested(DEPTH_MAX + 1), Err(Malformed::TooDeep));
    }
}
