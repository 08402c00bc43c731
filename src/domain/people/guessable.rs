//! Passwords that whoever guesses tries first: short patterns, walks over the keyboard, and the words that leaked
//! passwords are made of, dressed up with digits and signs as most people do it.

use std::collections::HashSet;
use std::sync::LazyLock;

use zeroize::Zeroizing;

/// Words and phrases, in lower case, without digits and signs.
static WORDS: LazyLock<HashSet<&'static str>> = LazyLock::new(|| {
    let lines = include_str!("guessable.txt").lines();
    lines.filter(|line| !line.starts_with('#')).flat_map(str::split_whitespace).collect()
});

/// Fewer different characters than this make no password.
const DISTINCT_MIN: usize = 5;
/// A password that repeats a piece of up to this many characters is worth no more than the piece.
const PIECE_MAX: usize = 6;
/// Digits alone have to be this many.
const DIGITS_MIN: usize = 20;
/// So many digits and signs around words are guessed with them. More may be worth something by themselves.
const DRESSING_MAX: usize = 8;
/// What is longer than this is no two words.
const WORDS_MAX: usize = 80;

/// Whether a password, or one that differs from it as people make passwords differ, is among the first to be tried.
pub(crate) fn is_guessable(password: &str, username: &str) -> bool {
    let lower = Zeroizing::new(password.to_lowercase());
    let characters = Zeroizing::new(lower.chars().collect::<Vec<_>>());
    has_few_characters(&characters)
        || repeats_a_piece(&characters)
        || is_digits(&characters)
        || is_a_walk(&characters)
        || is_made_of_words(&characters, &username.to_lowercase())
}

fn has_few_characters(password: &[char]) -> bool {
    password.iter().collect::<HashSet<_>>().len() < DISTINCT_MIN
}

fn repeats_a_piece(password: &[char]) -> bool {
    (1..=PIECE_MAX.min(password.len() / 2))
        .any(|piece| password.iter().zip(&password[piece..]).all(|(a, b)| a == b))
}

/// Telephone numbers, dates and the like.
fn is_digits(password: &[char]) -> bool {
    password.len() < DIGITS_MIN && password.iter().all(|c| c.is_ascii_digit() || "+-./: ".contains(*c))
}

/// Whether most characters lie beside the one before them, on the keyboard or in the alphabet.
fn is_a_walk(password: &[char]) -> bool {
    let jumps = password.windows(2).filter(|pair| !are_neighbours(pair[0], pair[1])).count();
    3 * (jumps + 1) <= password.len()
}

/// The rows of a keyboard, each a little to the right of the one above, in eighths of a key.
const ROWS: [(&str, usize); 8] = [
    ("1234567890-=", 0),
    ("!@#$%^&*()_+", 0),
    ("qwertyuiop[]", 4),
    ("qwertzuiop[]", 4),
    ("asdfghjkl;'", 6),
    ("zxcvbnm,./", 10),
    ("yxcvbnm,.-", 10),
    ("azertyuiop", 4),
];

fn are_neighbours(one: char, other: char) -> bool {
    let succeeds = one.is_ascii_alphanumeric() && u32::from(one).abs_diff(u32::from(other)) <= 1;
    let beside =
        places(one).any(|(x, y)| places(other).any(|(u, v)| x.abs_diff(u) <= 8 && y.abs_diff(v) <= 8));
    succeeds || one == other || beside
}

/// Where a character is on keyboards.
fn places(character: char) -> impl Iterator<Item = (usize, usize)> {
    ROWS.iter().filter_map(move |(row, shift)| {
        let height = match shift {
            0 => 0,
            4 => 8,
            6 => 16,
            _ => 24,
        };
        row.chars().position(|c| c == character).map(|column| (8 * column + shift, height))
    })
}

/// Whether one or two common words, or the person's own name, are all there is, but for digits and signs.
fn is_made_of_words(password: &[char], username: &str) -> bool {
    if password.len() > WORDS_MAX {
        return false;
    }
    let own: Vec<String> = [username, username.split('@').next().unwrap_or_default()]
        .iter()
        .map(|name| name.chars().filter(char::is_ascii_lowercase).collect::<String>())
        .filter(|name| name.len() >= 4)
        .collect();
    let known = |word: &str| WORDS.contains(word) || own.iter().any(|name| name == word);
    let two_words = |text: &str| {
        known(text) || text.char_indices().skip(1).any(|(at, _)| known(&text[..at]) && known(&text[at..]))
    };
    readings(password).iter().any(|text| !text.is_empty() && two_words(text))
}

/// The letters of a password: as they stand, and with look-alikes read as what they look like.
fn readings(password: &[char]) -> Vec<Zeroizing<String>> {
    let letters =
        |text: &[char]| Zeroizing::new(text.iter().filter(|c| c.is_alphabetic()).collect::<String>());
    let mut readings = Vec::new();
    if password.iter().filter(|c| !c.is_alphabetic()).count() <= DRESSING_MAX {
        readings.push(letters(password));
    }
    // Digits and signs before and after are dressing before they are letters.
    let is_letter = |c: &char| c.is_alphabetic();
    if let (Some(first), Some(last)) =
        (password.iter().position(is_letter), password.iter().rposition(is_letter))
    {
        // A look-alike may be the first or the last letter, too.
        for (before, after) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
            let (first, last) = (first.saturating_sub(before), (last + after).min(password.len() - 1));
            let dressing = first + password.len() - 1 - last;
            if dressing <= DRESSING_MAX {
                for one in ['i', 'l'] {
                    let read: Zeroizing<Vec<char>> =
                        Zeroizing::new(password[first..=last].iter().map(|c| looks_like(*c, one)).collect());
                    readings.push(letters(&read));
                }
            }
        }
    }
    readings
}

fn looks_like(character: char, one: char) -> char {
    match character {
        '@' | '4' => 'a',
        '8' => 'b',
        '3' | '€' => 'e',
        '1' | '!' | '|' => one,
        '0' => 'o',
        '5' | '$' => 's',
        '7' | '+' => 't',
        '2' => 'z',
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_anybody_would_try_is_guessable() {
        let guessable = "aaaaaaaaaaaa abababababab abcabcabcabc 112233445566 123456789012 012345678910 1234567890abc \
            111111222222 198512251985 +49-170-1234567 qwertyuiop[] qwertyuiop123 qwertyuiopasdf 1qaz2wsx3edc \
            1q2w3e4r5t6y qazwsxedcrfv zaq12wsxcde3 asdfghjkl123 zxcvbnm12345 qwerty123456 abcdefghijkl abcdef123456 \
            Password123! Password1234 password2024! PASSWORD!!!! P@ssw0rd1234 P@$$w0rd2024 Pa55word!234 p455w0rd-2025 \
            passwordpassword PasswordPassword1 password-admin 1234password 123password123 pass1234word Password_2026 \
            Welcome2024! Welcome12345 W3lcome2025! WelcomeWelcome Summer2025!! Winter-2024-1 Sommer2024!! January2025! \
            administrator Administrator1 admin1234567 adminadmin123 Admin@123456 rootroot1234 letmein12345 \
            letmeinplease changeme1234 ChangeMe!2024 iloveyou1234 iloveyouforever iloveyousomuch1 loveyouforever \
            football1234 baseball2023 liverpool123! manchesterunited michaeljackson starwars2024 SpongebobSquarepants \
            trustno1trustno1 dragon123456 monkey!monkey princess2000 sunshine1234 superman12345 batman-joker-1 \
            qwertyqwerty hello123hello HelloWorld123 charlie12345 jessica.1990 elizabeth1999 muster-admin Muster2026!! \
            l3tm31nl3tm31n 4dm1n1str4t0r 0racle123456";
        for password in guessable.split_whitespace() {
            assert!(password.chars().count() >= 12, "{password} is too short anyway");
            assert!(is_guessable(password, "olga"), "{password}");
        }
    }

    #[test]
    fn a_name_is_no_password_of_its_own() {
        for password in ["alexandria.b", "Alexandria.B1!", "beckenbauer-2024", "2024!alexandria.b"] {
            let username = if password.starts_with('b') { "beckenbauer@acme" } else { "alexandria.b" };
            assert!(is_guessable(password, username), "{password}");
        }
        assert!(!is_guessable("beckenbauer-2024", "somebody"));
    }

    #[test]
    fn what_takes_luck_is_not() {
        let fine = [
            "correct horse",
            "another fine long password",
            "  leading space ok",
            "päßwörter sind ok",
            "q7-tv9x.w2mk",
            "mare-tulip-kiln-42",
            "Tq4#vLp9!xWz",
            "my dog ate 3 of them",
            "hqzkmdrw+uvbpxtya",
            "password4f9a1c7e0b",
            "31415926535897932384626433",
            "rainy streets of Hamm",
            "株式会社の長い合言葉です。",
        ];
        for password in fine {
            assert!(!is_guessable(password, "olga"), "{password}");
        }
        let long = "x7".repeat(3) + &"ab cdéf🦀".repeat(30);
        assert!(!is_guessable(&long, "olga"));
    }

    #[test]
    fn the_list_is_lower_case_words() {
        assert!(WORDS.len() > 1_000, "{}", WORDS.len());
        for word in WORDS.iter() {
            assert!(word.chars().all(|c| c.is_ascii_lowercase()), "{word}");
        }
    }
}
