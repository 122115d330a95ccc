//! Numbers as people read them, in the window and without it: a unit on each, − for minus, a space before %.

use std::time::Duration;

/// A space that keeps a number and its unit on one line.
const NBSP: char = '\u{a0}';

/// What stands where there is no number.
pub const NONE: &str = "–";

/// Three significant digits, none lost before the point: `1.02`, `79.4`, `988`.
fn three_digits(value: f64) -> String {
    let decimals = match value.abs() {
        size if size >= 99.95 => 0,
        size if size >= 9.995 => 1,
        _ => 2,
    };
    format!("{value:.decimals$}")
}

fn with_minus(text: &str) -> String {
    text.replace('-', "−")
}

/// The unit of an amount of bytes: its size and name.
fn byte_unit(bytes: u64) -> (f64, &'static str) {
    // 999,500 bytes would show as 1000 kB.
    match bytes {
        0..1_000 => (1.0, "B"),
        1_000..999_500 => (1e3, "kB"),
        999_500..999_500_000 => (1e6, "MB"),
        999_500_000..999_500_000_000 => (1e9, "GB"),
        _ => (1e12, "TB"),
    }
}

/// Bytes: `988 MB`.
pub fn bytes(bytes: u64) -> String {
    let (size, unit) = byte_unit(bytes);
    let amount = bytes as f64 / size;
    let number = if bytes < 1_000 { bytes.to_string() } else { three_digits(amount) };
    format!("{number}{NBSP}{unit}")
}

/// Memory, which comes in powers of two: `256 MiB`.
pub fn memory(amount: u64) -> String {
    const MIB: u64 = 1 << 20;
    if amount >= MIB && amount.is_multiple_of(MIB) { format!("{}{NBSP}MiB", amount / MIB) } else { bytes(amount) }
}

/// Bytes done of bytes in all, in the unit of the latter: `702 of 988 MB`.
pub fn bytes_of(done: u64, total: u64) -> String {
    let (size, unit) = byte_unit(total);
    // As many decimals as the total has, so that the text does not jump.
    let total_text = if total < 1_000 { total.to_string() } else { three_digits(total as f64 / size) };
    let decimals = total_text.split_once('.').map_or(0, |(_, digits)| digits.len());
    format!("{:.decimals$} of {total_text}{NBSP}{unit}", done as f64 / size)
}

/// Bytes a second: `1.10 GB/s`.
pub fn speed(bytes_per_sec: f64) -> String {
    format!("{}/s", bytes(bytes_per_sec as u64))
}

/// A time: `12 ms`, `0.4 s`, `12 s`, `3 min 5 s`, `2 h 10 min`.
pub fn duration(time: Duration) -> String {
    let secs = time.as_secs_f64();
    let whole = secs.round() as u64;
    if secs < 0.0995 {
        format!("{:.0}{NBSP}ms", secs * 1000.0)
    } else if secs < 9.95 {
        format!("{secs:.1}{NBSP}s")
    } else if whole < 60 {
        format!("{whole}{NBSP}s")
    } else if whole < 3600 {
        format!("{}{NBSP}min {}{NBSP}s", whole / 60, whole % 60)
    } else {
        format!("{}{NBSP}h {}{NBSP}min", whole / 3600, whole % 3600 / 60)
    }
}

/// Words that begin a sentence: the first letter is large.
pub fn sentence(words: &str) -> String {
    let mut letters = words.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// A share of one as per cent: `3.1 %`, `0.72 %`, `58 %`, `99.7 %`.
///
/// 0 % and 100 % are exact: what is not quite nothing or not quite all says so, at the ends as `< 0.001 %` and `> 99.9 %`.
pub fn percent(share: f64) -> String {
    // Shares that add up to a whole need not do so to the last bit.
    const WHOLE: f64 = 1e-15;
    if share.is_nan() {
        return NONE.to_owned();
    }
    let value = share * 100.0;
    let text = match value.abs() {
        0.0 => "0".to_owned(),
        size if size < 0.001 => "< 0.001".to_owned(),
        _ if (share.abs() - 1.0).abs() < WHOLE => format!("{value:.0}"),
        size if (99.95..100.0).contains(&size) => "> 99.9".to_owned(),
        _ => per_cent(value),
    };
    format!("{}{NBSP}%", with_minus(&text))
}

/// A size beside another as per cent: as [`percent`], but with a power of ten where it is very small: `3.14·10⁻⁷ %`.
pub fn relative(size: f64) -> String {
    let value = size * 100.0;
    if value != 0.0 && value.abs() < 0.001 { format!("{}{NBSP}%", norm(value)) } else { percent(size) }
}

/// Per cent with two digits, more where those would make a hundred of what is none, a power of ten from 10⁵ up.
fn per_cent(value: f64) -> String {
    match value.abs() {
        size if size < 0.095 => format!("{value:.3}"),
        size if size < 0.995 => format!("{value:.2}"),
        size if size < 9.95 || (99.5..100.5).contains(&size) => format!("{value:.1}"),
        size if size < 99_999.5 => format!("{value:.0}"),
        _ => norm(value),
    }
}

/// A share of one as per cent with fixed decimals, for columns: `3.10 %`.
pub fn percent_fixed(share: f64, decimals: usize) -> String {
    if share.is_finite() { format!("{}{NBSP}%", fixed(share * 100.0, decimals)) } else { NONE.to_owned() }
}

/// A norm: four significant digits, or a power of ten when it is far from one.
pub fn norm(value: f64) -> String {
    digits(value, 4)
}

/// A number to three significant digits however small, as an effective w is read: `0.781`, `0.0312`, `1.20·10⁻⁴`.
pub fn significant(value: f64) -> String {
    digits(value, 3)
}

/// That many significant digits, or three and a power of ten when it is far from one.
fn digits(value: f64, count: usize) -> String {
    if !value.is_finite() {
        return NONE.to_owned();
    }
    if value == 0.0 {
        return "0".to_owned();
    }
    // Rounding may carry into the next power of ten, so it comes first.
    let (mantissa, exponent) = scientific(&format!("{value:.2e}"));
    if !(-3..5).contains(&exponent) {
        return in_powers(&mantissa, exponent);
    }
    let after_first = count.saturating_sub(1);
    let (_, exponent) = scientific(&format!("{value:.after_first$e}"));
    // What was rounded up to 10⁻³ reads as that does.
    let decimals = (after_first as i32 - exponent.max(-3)).max(0) as usize;
    with_minus(&format!("{value:.decimals$}"))
}

/// The mantissa and exponent of what `{:e}` wrote.
fn scientific(text: &str) -> (String, i32) {
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
    (mantissa.to_owned(), exponent.parse().unwrap_or(0))
}

/// A mantissa and its power of ten: `3.14·10⁻⁷`.
fn in_powers(mantissa: &str, exponent: i32) -> String {
    format!("{}·10{}", with_minus(mantissa), superscript(exponent))
}

/// A power of ten: `10⁻⁴`, and `1` for itself.
pub fn power_of_ten(exponent: i32) -> String {
    match exponent {
        0 => "1".to_owned(),
        1 => "10".to_owned(),
        _ => format!("10{}", superscript(exponent)),
    }
}

/// An exponent: `⁻⁷`.
pub fn superscript(number: i32) -> String {
    number
        .to_string()
        .chars()
        .map(|character| match character {
            '-' => '⁻',
            '0' => '⁰',
            '1' => '¹',
            '2' => '²',
            '3' => '³',
            '4' => '⁴',
            '5' => '⁵',
            '6' => '⁶',
            '7' => '⁷',
            '8' => '⁸',
            _ => '⁹',
        })
        .collect()
}

/// A number with fixed decimals: effective w, cosines.
pub fn fixed(value: f64, decimals: usize) -> String {
    if !value.is_finite() {
        return NONE.to_owned();
    }
    let text = format!("{value:.decimals$}");
    // What rounds to zero has no sign.
    let is_zero = text.bytes().all(|byte| matches!(byte, b'-' | b'0' | b'.'));
    with_minus(if is_zero { text.trim_start_matches('-') } else { &text })
}

/// w: two decimals or as many as it needs, `0.50`, `0.125`; from 10⁴ up and below 10⁻³ with a power of ten, `5·10⁻⁵`.
pub fn w(value: f64) -> String {
    match far_from_one(value) {
        true => {
            let (mantissa, exponent) = scientific(&format!("{value:e}"));
            in_powers(&mantissa, exponent)
        }
        false => with_minus(&plain_w(value)),
    }
}

/// w in the name of a file or folder, of characters that every keyboard has: `0.50`, `-0.50`, `5e-5`.
pub fn w_in_name(value: f64) -> String {
    if far_from_one(value) { format!("{value:e}") } else { plain_w(value) }
}

fn far_from_one(w: f64) -> bool {
    w.is_finite() && w != 0.0 && !(1e-3..1e4).contains(&w.abs())
}

fn plain_w(value: f64) -> String {
    let short = format!("{value:.2}");
    let exact = short.parse() == Ok(value);
    if exact { short } else { format!("{value}") }
}

/// 16 hex digits that tell texts apart in the names of folders: enough not to meet by chance, and short enough to read.
pub fn short_hash(text: &str) -> String {
    blake3::hash(text.as_bytes()).to_hex().chars().take(16).collect()
}

/// What a person typed for a number: −, a comma for the point, spaces and `5·10⁻⁵`, which [`w`] writes, are understood.
pub fn parse_number(text: &str) -> Option<f64> {
    let cleaned: String = text
        .replace("·10", "e")
        .chars()
        .filter(|character| !character.is_whitespace())
        .map(|character| match character {
            '−' | '–' | '⁻' => '-',
            ',' => '.',
            '⁰' => '0',
            '¹' => '1',
            '²' => '2',
            '³' => '3',
            '⁴' => '4',
            '⁵' => '5',
            '⁶' => '6',
            '⁷' => '7',
            '⁸' => '8',
            '⁹' => '9',
            other => other,
        })
        .collect();
    let number = cleaned.trim_start_matches("w=").parse::<f64>().ok()?;
    number.is_finite().then_some(number)
}

/// A parameter count: `494 M`, `7.62 B`.
pub fn parameters(count: u64) -> String {
    let (size, unit) = match count {
        0..1_000 => return count.to_string(),
        1_000..999_500 => (1e3, "k"),
        999_500..999_500_000 => (1e6, "M"),
        999_500_000..999_500_000_000 => (1e9, "B"),
        _ => (1e12, "T"),
    };
    format!("{}{NBSP}{unit}", three_digits(count as f64 / size))
}

/// A whole number with commas: `12,345`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 tensor`, `2 tensors`.
pub fn plural(number: usize, word: &str) -> String {
    let s = if number == 1 { "" } else { "s" };
    format!("{} {word}{s}", count(number as u64))
}

/// Words in a row: `q`, `gate and up`, `q, k and v`.
pub fn list<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let words: Vec<&str> = words.into_iter().collect();
    match words.as_slice() {
        [] => String::new(),
        [only] => (*only).to_owned(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}

/// Whether a character steers what shows it instead of being shown: controls, separators of lines, and what turns the
/// direction of writing. Names come from models, which may be anyone's.
pub fn steers(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A path with the home folder as ~.
pub fn path(path: &std::path::Path) -> String {
    let home = std::env::home_dir().filter(|home| home.components().count() > 1);
    match home.and_then(|home| path.strip_prefix(home).ok().map(|rest| rest.to_owned())) {
        Some(rest) if rest.as_os_str().is_empty() => "~".to_owned(),
        Some(rest) => format!("~/{}", rest.display()),
        None => path.display().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_three_digits_and_a_unit() {
        let shown = [0, 512, 2_048, 999_499, 999_500, 988_000_000, 2_963_000_000, 79_400_000_000].map(bytes);
        assert_eq!(
            shown.map(|text| text.replace(NBSP, " ")),
            ["0 B", "512 B", "2.05 kB", "999 kB", "1.00 MB", "988 MB", "2.96 GB", "79.4 GB"]
        );
        assert_eq!(bytes_of(702_000_000, 988_000_000).replace(NBSP, " "), "702 of 988 MB");
        assert_eq!(bytes_of(5_000_000, 2_000_000_000).replace(NBSP, " "), "0.01 of 2.00 GB");
    }

    #[test]
    fn shares_keep_two_digits() {
        let shown = [0.0, 0.000_001, 0.000_5, 0.007_2, 0.031, 0.58, 1.0, f64::NAN].map(percent);
        assert_eq!(
            shown.map(|text| text.replace(NBSP, " ")),
            ["0 %", "< 0.001 %", "0.050 %", "0.72 %", "3.1 %", "58 %", "100 %", "–"]
        );
    }

    #[test]
    fn a_hundred_per_cent_is_all_of_it() {
        let shares = [0.994, 0.995, 0.999_4, 0.999_5, 1.0 - 1e-12, 1.0 - f64::EPSILON, 1.002, 1.006, 12.5];
        assert_eq!(
            shares.map(percent).map(|text| text.replace(NBSP, " ")),
            ["99 %", "99.5 %", "99.9 %", "> 99.9 %", "> 99.9 %", "100 %", "100.2 %", "101 %", "1250 %"]
        );
    }

    #[test]
    fn sizes_far_from_one_have_a_power_of_ten() {
        let sizes = [0.0, 3.14e-9, -3.14e-9, 0.000_5, 0.021, 999.99, 2.038e31, f64::NAN];
        assert_eq!(
            sizes.map(relative).map(|text| text.replace(NBSP, " ")),
            ["0 %", "3.14·10⁻⁷ %", "−3.14·10⁻⁷ %", "0.050 %", "2.1 %", "99999 %", "2.04·10³³ %", "–"]
        );
        assert_eq!(percent(2.038e31).replace(NBSP, " "), "2.04·10³³ %");
    }

    #[test]
    fn norms_keep_four_digits() {
        assert_eq!([1.4234, 0.0312, 12.34567, 0.0, f64::NAN].map(norm), ["1.423", "0.03120", "12.35", "0", "–"]);
        assert_eq!([3.14e-7, -2.5e8].map(norm), ["3.14·10⁻⁷", "−2.50·10⁸"]);
        // What rounds to a power of ten reads as that power does.
        assert_eq!(
            [9.999e-4, 1e-3, 9.99e-4, 99_999.0, 9.99996].map(norm),
            ["0.001000", "0.001000", "9.99·10⁻⁴", "1.00·10⁵", "10.00"]
        );
    }

    #[test]
    fn small_numbers_keep_their_digits() {
        let values = [0.78125, 0.00012, -0.0312, 0.9999, 123.4, 0.0, f64::NAN];
        assert_eq!(values.map(significant), ["0.781", "1.20·10⁻⁴", "−0.0312", "1.00", "123", "0", "–"]);
    }

    #[test]
    fn w_is_short_however_large_or_small() {
        let values = [0.0, 0.001, 0.05, 9_999.5, 1e38, 5e-5, -12_345.0, f64::from(f32::MAX)];
        let shown = ["0.00", "0.001", "0.05", "9999.50", "1·10³⁸", "5·10⁻⁵", "−1.2345·10⁴", "3.4028234663852886·10³⁸"];
        assert_eq!(values.map(w), shown);
        // It stands in a field to be changed.
        assert_eq!(values.map(|value| parse_number(&w(value))), values.map(Some));
        assert_eq!([-0.5, 1e38, 5e-5].map(w_in_name), ["-0.50", "1e38", "5e-5"]);
    }

    #[test]
    fn minus_is_a_minus_both_ways() {
        assert_eq!(w(-0.5), "−0.50");
        assert_eq!(w(0.125), "0.125");
        assert_eq!(fixed(-0.25, 3), "−0.250");
        assert_eq!([fixed(-0.001, 2), fixed(-0.0, 0)], ["0.00", "0"]);
        assert_eq!(["−0,5", "w = 0.75", "1e400", "x"].map(parse_number), [Some(-0.5), Some(0.75), None, None]);
    }

    #[test]
    fn times_and_counts_read_naturally() {
        let shown =
            [0.012, 0.43, 12.2, 185.0, 7800.0].map(|secs| duration(Duration::from_secs_f64(secs)).replace(NBSP, " "));
        assert_eq!(shown, ["12 ms", "0.4 s", "12 s", "3 min 5 s", "2 h 10 min"]);
        assert_eq!([7, 1_234, 1_234_567].map(count), ["7", "1,234", "1,234,567"]);
        assert_eq!(
            [494_000_000, 1_020_000, 7_620_000_000].map(parameters).map(|t| t.replace(NBSP, " ")),
            ["494 M", "1.02 M", "7.62 B"]
        );
        assert_eq!(list(["q", "k", "v"]), "q, k and v");
        assert_eq!((plural(1, "tensor"), plural(2, "tensor")), ("1 tensor".into(), "2 tensors".into()));
    }
}
