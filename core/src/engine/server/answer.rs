//! From what a server sends to an answer: pieces put together, thinking in its place, the end understood.
//!
//! One form serves all: whole answers carry `message` or `text`, pieces of a stream `delta` or `text`.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::client::Client;
use crate::engine::{Completion, Finish};
use crate::http::Failure;

/// Longest token, in bytes: the longest of real vocabularies are runs of spaces of a few hundred.
const MAX_TOKEN_BYTES: usize = 1 << 10;
/// Text that an answer may have beside its tokens.
const SPARE_BYTES: usize = 1 << 12;

/// A whole answer, or a piece of one.
#[derive(Debug, Deserialize)]
struct Chunk {
    choices: Option<Vec<Choice>>,
    usage: Option<Usage>,
    error: Option<Value>,
}

#[derive(Debug, Deserialize)]
struct Choice {
    #[serde(default)]
    index: u64,
    text: Option<String>,
    #[serde(alias = "message")]
    delta: Option<Said>,
    finish_reason: Option<String>,
}

/// What the model said. Servers with a reasoning parser take the thinking out of the content: `reasoning_content` in SGLang,
/// llama.cpp and older vLLM, `reasoning` in newer vLLM and Ollama, the same text under both names in vLLM between.
#[derive(Debug, Deserialize)]
struct Said {
    content: Option<String>,
    reasoning_content: Option<String>,
    reasoning: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
struct Usage {
    prompt_tokens: Option<usize>,
    completion_tokens: Option<usize>,
}

/// An answer as far as it has come.
#[derive(Debug, Default)]
pub(super) struct Answer {
    text: String,
    /// Whether what came last was thinking.
    thinking: bool,
    /// Pieces that held text.
    pieces: usize,
    finish: Option<Finish>,
    usage: Option<Usage>,
    /// Most bytes of text.
    most: Option<usize>,
}

impl Answer {
    /// One of at most so many tokens.
    pub(super) fn of_at_most(tokens: usize) -> Self {
        Self { most: Some(SPARE_BYTES.saturating_add(tokens.saturating_mul(MAX_TOKEN_BYTES))), ..Self::default() }
    }

    /// Takes the JSON of a piece, and gives what it adds to the text.
    ///
    /// Fails when it is not understood, or is the server's word that the answer came to nothing.
    pub(super) fn take(&mut self, json: &str, client: &Client) -> Result<String, Failure> {
        let chunk: Chunk = serde_json::from_str(json).map_err(|error| {
            let (error, shown) = (client.clean(&error.to_string()), client.shown(json));
            Failure::lasting(format!("the server's answer is not what was expected ({error}): {shown}"))
        })?;
        if let Some(error) = chunk.error.filter(|error| !error.is_null()) {
            return Err(failed_midway(&error, client, json));
        }
        if let Some(usage) = chunk.usage {
            self.usage = Some(usage);
        }
        let mut added = String::new();
        for choice in chunk.choices.unwrap_or_default().into_iter().filter(|choice| choice.index == 0) {
            let (thought, content) = match choice.delta {
                Some(said) => (said.reasoning_content.or(said.reasoning), said.content),
                None => (None, choice.text),
            };
            self.add(&thought.unwrap_or_default(), &content.unwrap_or_default(), &mut added);
            if let Some(reason) = choice.finish_reason {
                self.finish = Some(finish(&reason, client)?);
            }
        }
        if self.most.is_some_and(|most| self.text.len() + added.len() > most) {
            return Err(Failure::lasting(
                "the server goes on far beyond the tokens that were asked for; it does not heed `max_tokens`"
                    .to_owned(),
            ));
        }
        self.text.push_str(&added);
        Ok(added)
    }

    /// Puts thinking back between the tags that the server's parser took off, so that it is seen wherever it came from. What
    /// stops while it thinks stays open: nobody saw it end.
    fn add(&mut self, thought: &str, content: &str, added: &mut String) {
        if !thought.is_empty() {
            if !self.thinking {
                added.push_str("<think>");
            }
            self.thinking = true;
            added.push_str(thought);
        }
        if !content.is_empty() {
            if self.thinking {
                added.push_str("</think>");
            }
            self.thinking = false;
            added.push_str(content);
        }
        self.pieces += usize::from(!(thought.is_empty() && content.is_empty()));
    }

    /// Whether the server said how it ended: without that it is part of an answer at most.
    pub(super) fn is_finished(&self) -> bool {
        self.finish.is_some()
    }

    /// Tokens so far: what the server says, else the pieces that it sent.
    pub(super) fn tokens(&self) -> usize {
        self.usage.and_then(|usage| usage.completion_tokens).unwrap_or(self.pieces)
    }

    /// The answer, if it has come to its end.
    pub(super) fn complete(self, elapsed: Duration) -> Option<Completion> {
        let tokens = self.tokens();
        let prompt_tokens = self.usage.and_then(|usage| usage.prompt_tokens).unwrap_or(0);
        Some(Completion { text: self.text, tokens, prompt_tokens, finish: self.finish?, elapsed })
    }
}

/// How an answer ended. Ends that are neither the model's nor the limit's leave something that must not be graded.
fn finish(reason: &str, client: &Client) -> Result<Finish, Failure> {
    match reason {
        "stop" | "eos" | "eos_token" | "stop_sequence" => Ok(Finish::Stop),
        "length" => Ok(Finish::Length),
        "abort" | "error" => Err(Failure::passing(format!("the server gave the answer up (finish_reason {reason})"))),
        _ => Err(Failure::lasting(format!(
            "the server ended the answer for a reason that is neither the model's end nor the limit of tokens: {}",
            client.clean(reason)
        ))),
    }
}

/// The server failed after it had begun to answer with success.
fn failed_midway(error: &Value, client: &Client, json: &str) -> Failure {
    let message = format!("the server failed while it answered: {}", client.shown(json));
    match error.get("code").and_then(Value::as_u64) {
        Some(400..=407 | 409..=428 | 430..=499) => Failure::lasting(message),
        _ => Failure::passing(message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{Again, Limits, ServerUrl};

    fn client() -> Client {
        let second = Duration::from_secs(1);
        Client::new(ServerUrl::parse("host").unwrap(), None, Limits { connect: second, idle: second }).unwrap()
    }

    fn completed(pieces: &[&str]) -> Completion {
        let (client, mut answer) = (client(), Answer::default());
        let streamed: String = pieces.iter().map(|piece| answer.take(piece, &client).unwrap()).collect();
        let completion = answer.complete(Duration::ZERO).unwrap();
        assert_eq!(completion.text, streamed, "what is streamed is what is kept");
        completion
    }

    fn failure(piece: &str) -> Failure {
        Answer::default().take(piece, &client()).unwrap_err()
    }

    #[test]
    fn pieces_of_a_conversation_and_of_a_text_are_put_together() {
        let chat = completed(&[
            r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}"#,
            r#"{"choices":[{"index":0,"delta":{"content":"答え"},"finish_reason":null}],"usage":null}"#,
            r#"{"choices":[{"index":0,"delta":{"content":"は7"}},{"index":1,"delta":{"content":"another"}}]}"#,
            r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#,
            r#"{"choices":[],"usage":{"prompt_tokens":11,"completion_tokens":5,"total_tokens":16}}"#,
        ]);
        assert_eq!((chat.text.as_str(), chat.tokens, chat.prompt_tokens), ("答えは7", 5, 11));
        let text =
            completed(&[r#"{"choices":[{"text":"a b"}]}"#, r#"{"choices":[{"text":" c","finish_reason":"length"}]}"#]);
        assert_eq!((text.text.as_str(), text.finish), ("a b c", Finish::Length));
    }

    #[test]
    fn a_server_that_goes_on_for_ever_is_not_listened_to_for_ever() {
        let (client, mut answer) = (client(), Answer::of_at_most(2));
        let piece = format!(r#"{{"choices":[{{"text":"{}"}}]}}"#, "x".repeat(1 << 10));
        let taken = (0..100).take_while(|_| answer.take(&piece, &client).is_ok()).count();
        assert_eq!(taken, 6);
        assert!(answer.take(&piece, &client).unwrap_err().error.contains("max_tokens"));
    }

    #[test]
    fn without_usage_the_pieces_that_hold_text_are_counted() {
        let completion = completed(&[
            r#"{"choices":[{"delta":{"role":"assistant"}}]}"#,
            r#"{"choices":[{"delta":{"content":"a"}}]}"#,
            r#"{"choices":[{"delta":{"content":"b"},"finish_reason":"stop"}]}"#,
        ]);
        assert_eq!((completion.tokens, completion.prompt_tokens), (2, 0));
    }

    #[test]
    fn thinking_stands_between_its_tags_again() {
        let expected = "<think>1+1 is 2.</think>2";
        for name in ["reasoning_content", "reasoning"] {
            let piece = |text: &str| format!(r#"{{"choices":[{{"delta":{{"{name}":"{text}","content":null}}}}]}}"#);
            let content = r#"{"choices":[{"delta":{"content":"2"},"finish_reason":"stop"}]}"#;
            assert_eq!(completed(&[&piece("1+1"), &piece(" is 2."), content]).text, expected);
        }
        let both = r#"{"choices":[{"message":{"reasoning":"1+1 is 2.","reasoning_content":"1+1 is 2.","content":"2"},"finish_reason":"stop"}]}"#;
        assert_eq!(completed(&[both]).text, expected);
    }

    #[test]
    fn thinking_that_was_cut_off_stays_open() {
        let piece =
            r#"{"choices":[{"message":{"reasoning_content":"Well, ","content":null},"finish_reason":"length"}]}"#;
        assert_eq!(completed(&[piece]).text, "<think>Well, ");
    }

    #[test]
    fn an_end_that_is_none_of_the_models_is_a_failure() {
        let ended = |reason: &str| failure(&format!(r#"{{"choices":[{{"text":"a","finish_reason":"{reason}"}}]}}"#));
        assert_eq!(ended("abort").again, Again::Soon);
        let filtered = ended("content_filter");
        assert_eq!(filtered.again, Again::Never);
        assert!(filtered.error.contains("content_filter"), "{}", filtered.error);
    }

    #[test]
    fn an_error_within_a_stream_is_no_answer() {
        let failed = failure(r#"{"error":{"message":"out of memory","code":500}}"#);
        assert_eq!(
            (failed.error.as_str(), failed.again),
            ("the server failed while it answered: out of memory", Again::Soon)
        );
        assert_eq!(failure(r#"{"error":{"message":"too long","code":400}}"#).again, Again::Never);
        assert_eq!(failure(r#"{"error":"busy"}"#).again, Again::Soon);
    }

    #[test]
    fn what_is_not_understood_is_shown_and_no_answer() {
        let failed = failure(r#"{"choices":[{"delta":{"content":7}}]}"#);
        assert_eq!(failed.again, Again::Never);
        assert!(failed.error.contains("not what was expected"), "{}", failed.error);
        assert!(failure("<html><body>hello").error.ends_with("(a page in HTML, which no such server sends)"));
        let nothing = Answer::default();
        assert!(!nothing.is_finished() && nothing.complete(Duration::ZERO).is_none());
    }
}
