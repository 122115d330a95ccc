//! Server-sent events (WHATWG HTML, section 9.2): the form in which answers are streamed.
//!
//! Only data matters here; names, numbers and comments of events are passed over. Lines end with LF or CRLF; a lone CR, which
//! the standard also allows, is sent by no server.

use std::io::{self, BufRead, BufReader, Read};
use std::time::{Duration, Instant};

/// Longest line, in bytes.
const MAX_LINE_BYTES: usize = 1 << 20;

/// Most data of one event, in bytes.
const MAX_EVENT_BYTES: usize = 4 << 20;

/// Longest stream, in bytes: a token comes to a few hundred of them.
const MAX_STREAM_BYTES: u64 = 1 << 30;

/// Events as they come in.
pub(super) struct Events<R> {
    reader: BufReader<Patient<R>>,
    patience: Duration,
    read_bytes: u64,
    line: Vec<u8>,
    first: bool,
}

/// A reader that gives up at a time. The connection has a limit of its own for the next byte, but signs of life that carry no
/// data, such as comments, would let it begin anew for ever.
struct Patient<R> {
    reader: R,
    until: Option<Instant>,
}

impl<R: Read> Read for Patient<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.until.is_some_and(|until| Instant::now() > until) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.reader.read(out)
    }
}

/// Why no more events come.
#[derive(Debug, thiserror::Error)]
pub(super) enum SseError {
    /// The connection broke, or was closed from this side.
    #[error("the answer broke off: {}", reason(.0))]
    Broken(#[from] io::Error),
    /// It is no stream of events that could be read.
    #[error("{0}")]
    Malformed(&'static str),
}

/// What a person is told of a connection that broke.
fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::TimedOut => "no part of it came in time".to_owned(),
        _ => error.to_string(),
    }
}

impl<R: Read> Events<R> {
    /// Each event is waited for as long as `patience`, and for as long again as a single read takes.
    pub(super) fn new(reader: R, patience: Duration) -> Self {
        let reader = BufReader::new(Patient { reader, until: None });
        Self { reader, patience, read_bytes: 0, line: Vec::new(), first: true }
    }

    /// The data of the next event; `None` at the end. An event that the end cuts off is none.
    pub(super) fn next(&mut self) -> Result<Option<String>, SseError> {
        self.reader.get_mut().until = Instant::now().checked_add(self.patience);
        let mut data: Option<String> = None;
        while let Some(line) = self.next_line()? {
            if line.is_empty() {
                if let Some(data) = data.take() {
                    return Ok(Some(data));
                }
                continue;
            }
            let Some(value) = value_of_data(line) else { continue };
            match &mut data {
                None => data = Some(value.to_owned()),
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
            }
            if data.as_ref().is_some_and(|data| data.len() > MAX_EVENT_BYTES) {
                return Err(SseError::Malformed("an event of the answer is longer than 4 MiB, which none should be"));
            }
        }
        Ok(None)
    }

    /// The next whole line without its ending; `None` at the end.
    fn next_line(&mut self) -> Result<Option<&str>, SseError> {
        self.line.clear();
        let most = MAX_LINE_BYTES as u64 + 1;
        let read = self.reader.by_ref().take(most).read_until(b'\n', &mut self.line)?;
        self.read_bytes += read as u64;
        if self.read_bytes > MAX_STREAM_BYTES {
            return Err(SseError::Malformed("the answer is longer than 1 GiB, which none should be"));
        }
        if self.line.pop_if(|byte| *byte == b'\n').is_none() {
            if read as u64 == most {
                return Err(SseError::Malformed("a line of the answer is longer than 1 MiB, which none should be"));
            }
            return Ok(None);
        }
        self.line.pop_if(|byte| *byte == b'\r');
        // Whole lines only: a character may come in several pieces.
        let line =
            std::str::from_utf8(&self.line).map_err(|_| SseError::Malformed("the answer is not text in UTF-8"))?;
        let bom = std::mem::take(&mut self.first);
        Ok(Some(if bom { line.trim_start_matches('\u{feff}') } else { line }))
    }
}

/// What a line of data says; `None` for a line of anything else.
fn value_of_data(line: &str) -> Option<&str> {
    let (field, value) = line.split_once(':').unwrap_or((line, ""));
    (field == "data").then(|| value.strip_prefix(' ').unwrap_or(value))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Gives `pieces` one at a time, as a network does.
    struct Pieces<'a>(Vec<&'a [u8]>);

    impl Read for Pieces<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            if self.0.is_empty() {
                return Ok(0);
            }
            let piece = self.0[0];
            let count = piece.len().min(out.len());
            out[..count].copy_from_slice(&piece[..count]);
            self.0[0] = &piece[count..];
            self.0.retain(|piece| !piece.is_empty());
            Ok(count)
        }
    }

    fn events_of<R: Read>(reader: R) -> Events<R> {
        Events::new(reader, Duration::from_secs(60))
    }

    fn events(pieces: &[&[u8]]) -> Vec<String> {
        let mut events = events_of(Pieces(pieces.to_vec()));
        std::iter::from_fn(|| events.next().unwrap()).collect()
    }

    #[test]
    fn data_is_read_and_all_else_passed_over() {
        let stream = b"\xef\xbb\xbfdata: one\n\n: a comment\n\nevent: message\nid: 7\ndata:two\nretry: 10\n\ndata\n\n";
        assert_eq!(events(&[stream]), ["one", "two", ""]);
    }

    #[test]
    fn several_lines_of_data_are_one_event_and_lines_may_end_in_crlf() {
        assert_eq!(events(&[b"data: a\r\ndata:  b\r\n\r\ndata: c\n\n"]), ["a\n b", "c"]);
    }

    #[test]
    fn a_character_may_come_in_pieces() {
        let stream = "data: 答えは\n\n".as_bytes();
        let single: Vec<&[u8]> = stream.chunks(1).collect();
        assert_eq!(events(&single), ["答えは"]);
    }

    #[test]
    fn an_event_that_the_end_cuts_off_is_none() {
        assert_eq!(events(&[b"data: whole\n\ndata: ha"]), ["whole"]);
        assert_eq!(events(&[b"data: whole\n\ndata: half\n"]), ["whole"]);
    }

    #[test]
    fn signs_of_life_alone_are_not_waited_for_without_end() {
        /// A server that sends a comment whenever it is asked, and an event first.
        struct Alive(bool);

        impl Read for Alive {
            fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
                let piece: &[u8] = if std::mem::take(&mut self.0) { b"data: one\n\n" } else { b": ping\n" };
                std::thread::sleep(Duration::from_millis(1));
                out[..piece.len()].copy_from_slice(piece);
                Ok(piece.len())
            }
        }

        let mut events = Events::new(Alive(true), Duration::from_millis(50));
        assert_eq!(events.next().unwrap().as_deref(), Some("one"));
        let error = events.next().expect_err("nothing but comments").to_string();
        assert!(error.contains("no part of it came in time"), "{error}");
    }

    #[test]
    fn lines_without_end_and_bytes_that_are_no_text_are_refused() {
        let mut endless = events_of(io::repeat(b'a'));
        assert!(matches!(endless.next(), Err(SseError::Malformed(why)) if why.contains("1 MiB")));
        let many = b"data: 0123456789\n".repeat(1 << 19);
        assert!(matches!(events_of(&many[..]).next(), Err(SseError::Malformed(why)) if why.contains("4 MiB")));
        assert!(
            matches!(events_of(&b"data: \xff\n\n"[..]).next(), Err(SseError::Malformed(why)) if why.contains("UTF-8"))
        );
    }

    proptest! {
        #[test]
        fn how_a_stream_is_cut_up_makes_no_difference(
            stream in "(data: ?[aあ:\\n\\r]{0,6}(\r?\n){1,2}|: x\n|\n){0,12}",
            cut in 1_usize..9,
        ) {
            let pieces: Vec<&[u8]> = stream.as_bytes().chunks(cut).collect();
            prop_assert_eq!(events(&pieces), events(&[stream.as_bytes()]));
        }

        #[test]
        fn bytes_of_any_kind_come_to_an_end(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let mut stream = events_of(&bytes[..]);
            let count = std::iter::from_fn(|| stream.next().ok().flatten()).count();
            prop_assert!(count <= bytes.len());
        }
    }
}
