//! Sizes as people type them.

/// Names of units and their bytes, in lower case.
const UNITS: [(&str, f64); 9] = [
    ("b", 1.0),
    ("kb", 1e3),
    ("mb", 1e6),
    ("gb", 1e9),
    ("tb", 1e12),
    ("kib", 1024.0),
    ("mib", 1_048_576.0),
    ("gib", 1_073_741_824.0),
    ("tib", 1_099_511_627_776.0),
];

/// Bytes from `5GB`, `1.5 GiB`, `500MB`, `5e9` or `4096`.
pub fn parse(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let number = text.trim_end_matches(|character: char| character.is_ascii_alphabetic());
    let unit = text[number.len()..].to_ascii_lowercase();
    let factor = match unit.as_str() {
        "" => Some(1.0),
        unit => UNITS.iter().find(|(name, _)| *name == unit).map(|&(_, factor)| factor),
    };
    let bytes = number.trim().parse::<f64>().ok().zip(factor).map(|(number, factor)| (number * factor).round());
    match bytes {
        // Every f64 below 2⁶³ that is a whole number is a u64 too.
        Some(bytes) if (1.0..9.2e18).contains(&bytes) => Ok(bytes as u64),
        Some(_) => Err("a size is at least 1 byte and less than 9.2e18".to_owned()),
        None => Err("a size is a number with a unit, such as 5GB, 500MB, 2GiB or 5e9".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_understood_as_people_write_them() {
        for (text, bytes) in [
            ("5GB", 5_000_000_000),
            ("5e9", 5_000_000_000),
            ("500MB", 500_000_000),
            ("2GiB", 2 << 30),
            ("256MiB", 256 << 20),
            ("1.5 gb", 1_500_000_000),
            ("64kb", 64_000),
            ("4096", 4096),
            ("1B", 1),
        ] {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_told_what_one_looks_like() {
        for text in ["", "GB", "5 gigs", "five", "5GB5", "NaN", "1e", "-1e"] {
            assert!(parse(text).is_err_and(|message| message.contains("such as 5GB")), "{text}");
        }
        for text in ["0", "-5GB", "0.1", "1e30", "inf"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
