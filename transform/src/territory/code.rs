//! KATO codes: nine digits AB·CD·EF·HIJ, and what sources make of them.

use std::fmt;

/// A code of nine digits. Whether there is such a territory is another question.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kato([u8; 9]);

/// Where the levels of the hierarchy end: region, district, rural district, place.
const LEVEL_ENDS: [usize; 4] = [2, 4, 6, 9];

impl Kato {
    /// A code from exactly nine digits.
    pub fn new(text: &str) -> Option<Self> {
        let digits: [u8; 9] = text.as_bytes().try_into().ok()?;
        digits.iter().all(u8::is_ascii_digit).then_some(Self(digits))
    }

    /// The nine digits.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The codes above this one, nearest first. Which of them exist the classifier knows.
    pub fn above(self) -> impl Iterator<Item = Self> {
        let mut below = self;
        LEVEL_ENDS.into_iter().rev().filter_map(move |end| {
            let above = self.cut(end);
            (above != std::mem::replace(&mut below, above)).then_some(above)
        })
    }

    /// How deep it lies: 0 is a region, 3 a place.
    pub(super) fn depth(self) -> usize {
        LEVEL_ENDS.iter().position(|end| *end == self.significant()).unwrap_or(3)
    }

    /// How many of its digits are its own; the zeros after them only fill up.
    fn significant(self) -> usize {
        let last = self.0.iter().rposition(|digit| *digit != b'0').map_or(0, |index| index + 1);
        LEVEL_ENDS.into_iter().find(|end| *end >= last).unwrap_or(9)
    }

    fn cut(self, end: usize) -> Self {
        let mut digits = self.0;
        digits[end..].fill(b'0');
        Self(digits)
    }

    /// This code, which lies below `from`, as it would read below `to`: the digits of
    /// `to`, and then its own as before.
    pub(super) fn below(self, from: Self, to: Self) -> Self {
        let kept = from.significant();
        let mut digits = self.0;
        digits[..kept].copy_from_slice(&to.0[..kept]);
        Self(digits)
    }
}

impl fmt::Debug for Kato {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kato({})", self.as_str())
    }
}

impl fmt::Display for Kato {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a code was written, where nothing of it was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spelling {
    /// Nine digits.
    Exact,
    /// With spaces, dots, dashes or a quote.
    Spaced,
    /// As a number: `351011100.0`, `3.51011100E8`.
    Number,
}

/// What a text says, read as a code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Written {
    /// A code, whole.
    Code(Kato, Spelling),
    /// Nothing at all.
    Missing,
    /// Digits, but not nine: all of them.
    OtherLength(String),
    /// A number that was rounded, so that digits are gone.
    Rounded,
    /// No digits.
    NotDigits,
}

/// Reads a text as a code. Only what loses nothing is read: spaces and separators are
/// left out, a number without a fraction is its digits. Zeros are never added here.
pub fn read(text: &str) -> Written {
    let text = text.trim();
    if text.is_empty() {
        return Written::Missing;
    }
    if let Some(kato) = Kato::new(text) {
        return Written::Code(kato, Spelling::Exact);
    }
    if let Some(number) = whole_number(text) {
        return match number {
            Some(digits) => sized(digits, Spelling::Number),
            None => Written::Rounded,
        };
    }
    let bare: String = text
        .chars()
        .filter(|c| !(c.is_whitespace() || ['.', '-', '–', '·', '/', '_', '\'', '’'].contains(c)))
        .collect();
    if bare.is_empty() || !bare.bytes().all(|b| b.is_ascii_digit()) {
        return Written::NotDigits;
    }
    let spelling = if bare == text { Spelling::Exact } else { Spelling::Spaced };
    sized(bare, spelling)
}

fn sized(digits: String, spelling: Spelling) -> Written {
    match Kato::new(&digits) {
        Some(kato) => Written::Code(kato, spelling),
        None => Written::OtherLength(digits),
    }
}

/// The digits of `351011100.0` or `3.51011100E+08`: none where it is no such number,
/// `Some(None)` where it is one and digits were lost.
fn whole_number(text: &str) -> Option<Option<String>> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.trim_start_matches('+').parse::<usize>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once(['.', ',']).unwrap_or((mantissa, ""));
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) || exponent > 9 {
        return None;
    }
    if exponent == 0 {
        let zeros = !fraction.is_empty() && fraction.bytes().all(|b| b == b'0');
        // Without a zero fraction it is no number but a code with a dot in it.
        return zeros.then(|| Some(whole.to_owned()));
    }
    let mut all = String::from(whole);
    all.push_str(fraction);
    let length = whole.len() + exponent;
    if all.len() < length {
        // 3.51011E+08: what stood after the sixth digit nobody knows.
        return Some(None);
    }
    let rest = all.split_off(length);
    rest.bytes().all(|b| b == b'0').then_some(Some(all))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> Kato {
        Kato::new(text).unwrap()
    }

    #[test]
    fn what_loses_nothing_is_read() {
        let bokeikhan = code("351011100");
        for (text, spelling) in [
            ("351011100", Spelling::Exact),
            (" 351011100\u{a0}", Spelling::Exact),
            ("35 10 11 100", Spelling::Spaced),
            ("35.10.11.100", Spelling::Spaced),
            ("35·10·11·100", Spelling::Spaced),
            ("'351011100", Spelling::Spaced),
            ("351011100.0", Spelling::Number),
            ("351011100,00", Spelling::Number),
            ("3.51011100E+08", Spelling::Number),
            ("3.51011100e8", Spelling::Number),
        ] {
            assert_eq!(read(text), Written::Code(bokeikhan, spelling), "{text}");
        }
    }

    #[test]
    fn what_lost_digits_is_not_read_as_a_code() {
        assert_eq!(read("3.51011E+08"), Written::Rounded);
        assert_eq!(read("3510111"), Written::OtherLength("3510111".to_owned()));
        assert_eq!(read("3510111.0"), Written::OtherLength("3510111".to_owned()));
        assert_eq!(read("3510111000"), Written::OtherLength("3510111000".to_owned()));
        assert_eq!(read("35 10"), Written::OtherLength("3510".to_owned()));
        for text in ["", "  ", "\u{a0}"] {
            assert_eq!(read(text), Written::Missing, "{text:?}");
        }
        for text in ["Қарағанды", "35101110O", "-", "NULL", "351011100.5.E", "3.5E-08", "٣٥١٠١١١٠٠"] {
            assert_eq!(read(text), Written::NotDigits, "{text}");
        }
    }

    #[test]
    fn a_code_knows_what_may_lie_above_it() {
        let above = |text: &str| code(text).above().map(|k| k.to_string()).collect::<Vec<_>>();
        assert_eq!(above("351011100"), ["351011000", "351000000", "350000000"]);
        assert_eq!(above("351011000"), ["351000000", "350000000"]);
        assert_eq!(above("351000000"), ["350000000"]);
        assert!(above("350000000").is_empty());
        // A place straight below its district.
        assert_eq!(above("351600200"), ["351600000", "350000000"]);
        // Zeros at the end are not always filling.
        assert_eq!(above("751110000"), ["751100000", "750000000"]);
    }

    #[test]
    fn below_another_code_its_own_digits_stay() {
        let moved = code("354430100").below(code("354400000"), code("623600000"));
        assert_eq!(moved, code("623630100"));
    }
}
