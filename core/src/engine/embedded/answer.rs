//! The answer that is being made to one request: its tokens, its text so far, and when it ends.

use super::text::TextModel;

/// Text that grows token by token.
///
/// A character may take several tokens, and the tokens of a word may look otherwise alone: each new token is decoded
/// together with those of the last piece. What might be the beginning of a stop string is held back until it is known.
pub(super) struct AnswerText<'t> {
    model: &'t TextModel,
    stops: Vec<String>,
    tokens: Vec<u32>,
    /// First token of the last piece.
    piece: usize,
    /// First token that has given no text yet.
    unread: usize,
    text: String,
    /// Bytes of `text` that were handed out.
    told: usize,
    stopped: bool,
}

impl<'t> AnswerText<'t> {
    /// An answer that begins with `begun`, which the prompt has said for it.
    pub fn new(model: &'t TextModel, stops: &[String], begun: &str) -> Self {
        let stops = stops.iter().filter(|stop| !stop.is_empty()).cloned().collect();
        let (tokens, text) = (Vec::new(), begun.to_owned());
        Self { model, stops, tokens, piece: 0, unread: 0, text, told: 0, stopped: false }
    }

    /// Takes the next token; whether a stop string has come.
    pub fn push(&mut self, token: u32) -> bool {
        self.tokens.push(token);
        self.read(false);
        self.stopped
    }

    /// Decodes what there is; a character that is not complete only at the `end`.
    fn read(&mut self, end: bool) {
        let before = self.model.text(&self.tokens[self.piece..self.unread]);
        let now = self.model.text(&self.tokens[self.piece..]);
        if now.ends_with(char::REPLACEMENT_CHARACTER) && !end {
            return;
        }
        let new = now.strip_prefix(before.as_str()).map(str::to_owned);
        // A decoder that takes back what it said: what comes now goes behind.
        let new = new.unwrap_or_else(|| now.chars().skip(before.chars().count()).collect());
        if new.is_empty() && !end {
            return;
        }
        self.piece = self.unread;
        self.unread = self.tokens.len();
        let longest = self.stops.iter().map(String::len).max().unwrap_or(0);
        let from = floor_boundary(&self.text, self.text.len().saturating_sub(longest));
        self.text.push_str(&new);
        let first = self.stops.iter().filter_map(|stop| Some(from + self.text[from..].find(stop.as_str())?)).min();
        if let Some(first) = first {
            self.text.truncate(first);
            self.stopped = true;
        }
    }

    /// Text that nobody was told yet and that no stop string can take back.
    pub fn news(&mut self) -> &str {
        let held = if self.stopped { 0 } else { held_back(&self.text, &self.stops) };
        let end = (self.text.len() - held).max(self.told);
        let begin = std::mem::replace(&mut self.told, end);
        &self.text[begin..end]
    }

    /// Nothing comes any more: what was held back is text.
    pub fn finish(&mut self) -> &str {
        if !self.stopped {
            self.read(true);
            self.stopped = true;
        }
        self.news()
    }

    /// All of it.
    pub fn into_text(self) -> String {
        self.text
    }

    /// The tokens so far.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }
}

/// Bytes at the end of a text that may be the beginning of a stop string.
fn held_back(text: &str, stops: &[String]) -> usize {
    let of = |stop: &String| {
        let most = stop.len().saturating_sub(1).min(text.len());
        (1..=most).rev().find(|&length| text.as_bytes().ends_with(&stop.as_bytes()[..length])).unwrap_or(0)
    };
    let held = stops.iter().map(of).max().unwrap_or(0);
    // A stop string may begin within a character's bytes only as a whole.
    text.len() - floor_boundary(text, text.len() - held)
}

fn floor_boundary(text: &str, at: usize) -> usize {
    (0..=at).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_become_a_stop_string_is_held_back() {
        let stops = ["\n\nQ:".to_owned(), "終わり".to_owned()];
        assert_eq!(held_back("84\n\n", &stops), 2);
        assert_eq!(held_back("84\n\nA", &stops), 0);
        assert_eq!(held_back("答えは終わ", &stops), "終わ".len());
        assert_eq!(held_back("", &stops), 0);
    }
}
