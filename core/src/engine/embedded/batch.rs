//! Many requests at once: as answers end, others begin, so that every pass over the weights serves as many as it can.

use std::collections::VecDeque;
use std::time::Instant;

use candle_core::{DType, Tensor};

use super::answer::AnswerText;
use super::sampler::Sampler;
use super::text::{THINK, TextModel};
use crate::engine::decoder::{Decoder, Sequence, Step, Wanted};
use crate::engine::{Completion, EngineError, Event, Finish, Request, RequestError};
use crate::progress::Control;

/// Most tokens that go through the weights in one pass before an answer begins.
const PASS_TOKENS: usize = 512;
/// Most scores that attention makes at once, over all heads.
const PASS_SCORES: usize = 16 << 20;
/// A beginning that all prompts share is computed once from so many tokens on.
const LEAST_SHARED: usize = 16;

/// What answers may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Answers that are made together.
    pub batch: usize,
    /// Bytes for the keys and values of all of them.
    pub cache_bytes: u64,
}

/// An answer on its way.
struct Running<'t> {
    request: usize,
    prompt: Vec<u32>,
    sequence: Sequence,
    sampler: Sampler,
    text: AnswerText<'t>,
    most: usize,
    began: Instant,
}

struct Batch<'a> {
    decoder: &'a Decoder,
    text: &'a TextModel,
    requests: &'a [Request],
    control: &'a Control,
    on_event: &'a mut dyn FnMut(Event),
    /// Requests that have not begun, with the tokens of their prompts.
    waiting: VecDeque<(usize, Vec<u32>)>,
    /// What all prompts begin with.
    shared: Option<Sequence>,
}

/// Answers all requests.
pub(super) fn answer(
    decoder: &Decoder,
    text: &TextModel,
    requests: &[Request],
    limits: Limits,
    control: &Control,
    on_event: &mut dyn FnMut(Event),
) -> Result<(), EngineError> {
    let mut batch = Batch { decoder, text, requests, control, on_event, waiting: VecDeque::new(), shared: None };
    batch.tokenise()?;
    batch.share_beginning()?;
    let mut running: Vec<Running<'_>> = Vec::new();
    loop {
        let begun = batch.begin(&running, limits)?;
        running.extend(begun);
        if running.is_empty() {
            return Ok(());
        }
        batch.advance(&mut running)?;
    }
}

impl<'a> Batch<'a> {
    fn refuse(&mut self, request: usize, message: String) {
        (self.on_event)(Event::Finished { request, result: Err(RequestError::lasting(message)) });
    }

    fn tokenise(&mut self) -> Result<(), EngineError> {
        let context = self.decoder.config().context;
        for (index, request) in self.requests.iter().enumerate() {
            self.control.check()?;
            match self.text.tokens(&request.prompt, request.day, "") {
                Err(error) => self.refuse(index, error.to_string()),
                Ok(tokens) if tokens.is_empty() => {
                    self.refuse(index, "the prompt has no tokens; write something to continue".to_owned());
                }
                Ok(tokens) if tokens.len() >= context => {
                    let found = tokens.len();
                    self.refuse(
                        index,
                        format!("the prompt has {found} tokens and the model's context {context}; shorten it"),
                    );
                }
                Ok(tokens) if tokens.iter().any(|&token| token as usize >= self.decoder.config().vocab) => {
                    self.refuse(
                        index,
                        "the tokenizer makes tokens that the model does not have; they do not belong together"
                            .to_owned(),
                    );
                }
                Ok(tokens) => self.waiting.push_back((index, tokens)),
            }
        }
        // Those of like length pack well, and the order of answers is nobody's.
        self.waiting.make_contiguous().sort_by_key(|(_, tokens)| tokens.len());
        Ok(())
    }

    /// Computes what all prompts begin with, such as the examples before each question.
    fn share_beginning(&mut self) -> Result<(), EngineError> {
        let Some((_, first)) = self.waiting.front() else { return Ok(()) };
        if self.waiting.len() < 2 {
            return Ok(());
        }
        let common = |a: &[u32], b: &[u32]| a.iter().zip(b).take_while(|(a, b)| a == b).count();
        // A prompt's last token stays its own: its logits are those that begin the answer.
        let least = self.waiting.iter().map(|(_, tokens)| common(first, &tokens[..tokens.len() - 1])).min();
        let Some(length) = least.filter(|length| *length >= LEAST_SHARED) else { return Ok(()) };
        let tokens = first[..length].to_vec();
        let mut sequence = self.decoder.sequence(length).map_err(failed)?;
        self.read(&mut sequence, &tokens)?;
        self.shared = Some(sequence);
        Ok(())
    }

    /// Reads tokens into a sequence in passes that are small enough; gives the logits behind the last, (1, vocabulary).
    fn read(&self, sequence: &mut Sequence, tokens: &[u32]) -> Result<Option<Tensor>, EngineError> {
        let mut rest = tokens;
        let mut logits = None;
        while !rest.is_empty() {
            self.control.check()?;
            let heads = self.decoder.config().heads;
            let by_scores = PASS_SCORES / (heads * (sequence.length() + PASS_TOKENS)).max(1);
            let (pass, behind) = rest.split_at(by_scores.clamp(1, PASS_TOKENS).min(rest.len()));
            let mut steps = [Step { sequence: &mut *sequence, tokens: pass }];
            logits = Some(self.decoder.forward(&mut steps, Wanted::Last).map_err(failed)?);
            rest = behind;
        }
        Ok(logits)
    }

    /// Begins as many answers as there is room for.
    fn begin(&mut self, running: &[Running<'a>], limits: Limits) -> Result<Vec<Running<'a>>, EngineError> {
        let config = self.decoder.config();
        let bytes = |running: &Running<'_>| Sequence::bytes(config, running.prompt.len() + running.most);
        let mut used: u64 = running.iter().map(bytes).sum();
        let mut begun: Vec<Running<'a>> = Vec::new();
        while running.len() + begun.len() < limits.batch.max(1) {
            self.control.check()?;
            let Some((request, prompt)) = self.waiting.front() else { break };
            let asked = &self.requests[*request];
            let most = asked.max_tokens.min(config.context - prompt.len());
            let needed = Sequence::bytes(config, prompt.len() + most);
            if used + needed > limits.cache_bytes && !(running.is_empty() && begun.is_empty()) {
                break;
            }
            used += needed;
            let whole = prompt.len() + most;
            let sequence = match &self.shared {
                Some(shared) => shared.fork(whole),
                None => self.decoder.sequence(whole),
            };
            // Whoever reads the answer should see that it thinks, also where it is cut off before the end of that.
            let opening =
                if self.text.opens_thinking(&asked.prompt, asked.day) { format!("{THINK}\n") } else { String::new() };
            let (sampler, text) = (Sampler::new(asked.sampling), AnswerText::new(self.text, &asked.stop, &opening));
            let (sequence, began) = (sequence.map_err(failed)?, Instant::now());
            let Some((request, prompt)) = self.waiting.pop_front() else { break };
            begun.push(Running { request, prompt, sequence, sampler, text, most, began });
        }
        self.prefill(begun)
    }

    /// Reads the prompts of new answers, short ones together, and takes their first tokens.
    fn prefill(&mut self, mut begun: Vec<Running<'a>>) -> Result<Vec<Running<'a>>, EngineError> {
        let mut alive = Vec::with_capacity(begun.len());
        while !begun.is_empty() {
            let mut tokens = 0;
            let together = begun.iter().take_while(|running| {
                tokens += running.prompt.len() - running.sequence.length();
                tokens <= PASS_TOKENS
            });
            let count = together.count();
            let mut pack: Vec<Running<'a>> = begun.drain(..count.max(1)).collect();
            let logits = if count == 0 {
                let Running { prompt, sequence, .. } = &mut pack[0];
                let first = sequence.length();
                self.read(sequence, &prompt[first..])?
            } else {
                self.control.check()?;
                let mut steps: Vec<Step<'_>> = pack
                    .iter_mut()
                    .map(|running| {
                        let first = running.sequence.length();
                        Step { sequence: &mut running.sequence, tokens: &running.prompt[first..] }
                    })
                    .collect();
                Some(self.decoder.forward(&mut steps, Wanted::Last).map_err(failed)?)
            };
            if let Some(logits) = logits {
                self.take(&mut pack, &logits)?;
            }
            alive.extend(pack);
        }
        Ok(alive)
    }

    /// One more token for every answer.
    fn advance(&mut self, running: &mut Vec<Running<'a>>) -> Result<(), EngineError> {
        self.control.check()?;
        let lasts: Vec<u32> = running.iter().filter_map(|running| running.text.tokens().last().copied()).collect();
        let mut steps: Vec<Step<'_>> = running
            .iter_mut()
            .zip(&lasts)
            .map(|(running, last)| Step { sequence: &mut running.sequence, tokens: std::slice::from_ref(last) })
            .collect();
        let logits = self.decoder.forward(&mut steps, Wanted::Last).map_err(failed)?;
        self.take(running, &logits)
    }

    /// Takes the next token of each answer from its row of `logits`; those that end are told and removed.
    fn take(&mut self, running: &mut Vec<Running<'a>>, logits: &Tensor) -> Result<(), EngineError> {
        let rows = logits.to_dtype(DType::F32).and_then(|logits| logits.to_vec2::<f32>()).map_err(failed)?;
        let mut rows = rows.into_iter();
        running.retain_mut(|running| rows.next().is_some_and(|row| self.goes_on(running, &row)));
        Ok(())
    }

    /// Gives one answer its next token; whether it goes on.
    fn goes_on(&mut self, running: &mut Running<'a>, logits: &[f32]) -> bool {
        if running.most == 0 {
            self.finish(running, Finish::Length, 0);
            return false;
        }
        let context = running.prompt.iter().chain(running.text.tokens()).copied();
        let Some(token) = running.sampler.next(logits, context) else {
            let message = "the model gives no number for any next token (NaN or infinity): its weights are damaged, or w is far too large";
            self.refuse(running.request, message.to_owned());
            return false;
        };
        let tokens = running.text.tokens().len() + 1;
        if self.text.end_tokens.contains(&token) {
            self.finish(running, Finish::Stop, tokens);
            return false;
        }
        let stopped = running.text.push(token);
        if stopped || tokens >= running.most {
            self.finish(running, if stopped { Finish::Stop } else { Finish::Length }, tokens);
            return false;
        }
        let news = running.text.news();
        if !news.is_empty() {
            let text = news.to_owned();
            (self.on_event)(Event::Text { request: running.request, text, tokens });
        }
        true
    }

    fn finish(&mut self, running: &mut Running<'a>, finish: Finish, tokens: usize) {
        let request = running.request;
        let rest = running.text.finish().to_owned();
        if !rest.is_empty() {
            (self.on_event)(Event::Text { request, text: rest, tokens });
        }
        let text = std::mem::replace(&mut running.text, AnswerText::new(self.text, &[], "")).into_text();
        let (prompt_tokens, elapsed) = (running.prompt.len(), running.began.elapsed());
        let completion = Completion { text, tokens, prompt_tokens, finish, elapsed };
        (self.on_event)(Event::Finished { request, result: Ok(completion) });
    }
}

/// What candle says of a pass.
pub(super) fn failed(error: candle_core::Error) -> EngineError {
    EngineError::caused("the model cannot be run", error)
}
