//! Printable text: what somebody else said, fit for a terminal and a log.

/// The text without control characters, cut at `chars_max`.
pub fn printable(text: &str, chars_max: usize) -> String {
    text.chars().filter(|c| !c.is_control()).take(chars_max).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_can_neither_steer_a_terminal_nor_fill_it() {
        assert_eq!(printable("a\u{1b}[31m\r\nb\u{85}c", 300), "a[31mbc");
        assert_eq!(printable(&"ä".repeat(301), 300), "ä".repeat(300));
    }
}
