//! Lines of a file that nobody vouches for, one at a time and none longer than there is room for.

use std::io::{self, BufRead, Read as _};

/// Longest line that is read or written, in bytes.
pub const MAX_LINE_BYTES: usize = 16 << 20;

/// A line that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// Its bytes in the file, its end included.
    pub(super) bytes: u64,
    /// Whether it ends as a line does; only the last may not.
    pub(super) is_whole: bool,
    /// Whether it is longer than [`MAX_LINE_BYTES`]; it was passed over, and the text is only its beginning.
    pub(super) is_too_long: bool,
}

/// Reads the next line into `text`, without its end; `None` at the end of the file.
pub(super) fn next_line(reader: &mut impl BufRead, text: &mut Vec<u8>) -> io::Result<Option<Line>> {
    text.clear();
    let limit = MAX_LINE_BYTES as u64 + 1;
    let mut bytes = reader.by_ref().take(limit).read_until(b'\n', text)? as u64;
    if bytes == 0 {
        return Ok(None);
    }
    let mut is_whole = text.last() == Some(&b'\n');
    let is_too_long = !is_whole && bytes == limit;
    if is_too_long {
        let (skipped, ended) = skip_line(reader)?;
        bytes += skipped;
        is_whole = ended;
    } else if is_whole {
        text.pop();
    }
    if text.last() == Some(&b'\r') {
        text.pop();
    }
    Ok(Some(Line { bytes, is_whole, is_too_long }))
}

/// Passes over the rest of a line: how many bytes it has, and whether it ends as a line does.
fn skip_line(reader: &mut impl BufRead) -> io::Result<(u64, bool)> {
    let mut skipped = 0;
    loop {
        let buffer = reader.fill_buf()?;
        if buffer.is_empty() {
            return Ok((skipped, false));
        }
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let count = end.map_or(buffer.len(), |at| at + 1);
        reader.consume(count);
        skipped += count as u64;
        if end.is_some() {
            return Ok((skipped, true));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_too_long_is_passed_over() {
        let long = "x".repeat(MAX_LINE_BYTES + 5);
        let content = format!("a\r\n{long}\nb");
        let (mut reader, mut text) = (io::Cursor::new(content.as_bytes()), Vec::new());
        let line = next_line(&mut reader, &mut text).unwrap().unwrap();
        assert_eq!((line, text.as_slice()), (Line { bytes: 3, is_whole: true, is_too_long: false }, &b"a"[..]));
        let line = next_line(&mut reader, &mut text).unwrap().unwrap();
        assert_eq!(line, Line { bytes: long.len() as u64 + 1, is_whole: true, is_too_long: true });
        let line = next_line(&mut reader, &mut text).unwrap().unwrap();
        assert_eq!((line, text.as_slice()), (Line { bytes: 1, is_whole: false, is_too_long: false }, &b"b"[..]));
        assert_eq!(next_line(&mut reader, &mut text).unwrap(), None);
    }

    #[test]
    fn the_longest_line_that_fits_is_read() {
        let content = format!("{}\n", "x".repeat(MAX_LINE_BYTES));
        let (mut reader, mut text) = (io::Cursor::new(content.as_bytes()), Vec::new());
        let line = next_line(&mut reader, &mut text).unwrap().unwrap();
        assert!(line.is_whole && !line.is_too_long && text.len() == MAX_LINE_BYTES);
    }
}
