//! A request as JSON, for all servers alike.
//!
//! vLLM and SGLang fill in what is left out from the model's generation_config.json, llama.cpp from defaults of its own (top-k
//! 40, min-p 0.05), so that everything is said, neutral values too. Servers pass over names that they do not know. Ollama's
//! `/v1` passes over top_k, min_p and repetition penalties.

use serde_json::{Map, Value, json};

use crate::engine::{Prompt, Request, RequestError, Sampling};
use crate::numeric::StochasticKey;

/// Tokens that llama.cpp looks back on for repetitions, where others look at all. It reserves memory for them.
const REPETITION_WINDOW: u32 = 1 << 17;

/// What answers requests at present.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Served {
    /// Its name on the server.
    pub model: String,
    /// What else every request says.
    pub extra: Map<String, Value>,
}

/// A request and where it goes.
#[derive(Debug, PartialEq)]
pub(super) struct Wire {
    pub path: &'static str,
    pub body: Value,
    /// Tokens that are asked for at most.
    pub max_tokens: usize,
}

/// What is sent for `request`.
pub(super) fn wire(request: &Request, served: &Served) -> Result<Wire, RequestError> {
    let Sampling { temperature, top_p, top_k, repetition_penalty, seed } = request.sampling;
    for (name, value) in [("temperature", temperature), ("top_p", top_p), ("repetition_penalty", repetition_penalty)] {
        if !value.is_finite() {
            return Err(RequestError::lasting(format!("{name} is {value}; it must be a number")));
        }
    }
    let mut body = Map::new();
    body.insert("model".to_owned(), json!(served.model));
    let path = match &request.prompt {
        Prompt::Raw(text) => {
            body.insert("prompt".to_owned(), json!(text));
            "/v1/completions"
        }
        Prompt::Chat(messages) => {
            body.insert("messages".to_owned(), json!(messages));
            "/v1/chat/completions"
        }
    };
    let all = i64::try_from(top_k).ok().filter(|top_k| *top_k > 0).unwrap_or(-1);
    let mut say = |name: &str, value: Value| body.insert(name.to_owned(), value);
    say("max_tokens", json!(request.max_tokens));
    say("temperature", json!(temperature));
    say("top_p", json!(top_p));
    // 0 is refused by SGLang; every server takes −1 for all.
    say("top_k", json!(all));
    say("min_p", json!(0.0));
    say("repetition_penalty", json!(repetition_penalty));
    say("repeat_penalty", json!(repetition_penalty));
    if repetition_penalty != 1.0 {
        say("repeat_last_n", json!(REPETITION_WINDOW));
    }
    // llama.cpp would else apply top-k and top-p before the temperature.
    say("samplers", json!(["penalties", "temperature", "top_k", "top_p"]));
    say("seed", json!(seed_31(seed)));
    if !request.stop.is_empty() {
        say("stop", json!(request.stop));
    }
    say("stream", json!(true));
    say("stream_options", json!({ "include_usage": true }));
    body.extend(served.extra.clone());
    Ok(Wire { path, body: Value::Object(body), max_tokens: request.max_tokens })
}

/// Servers keep a seed in 32 or 64 bits, some with a sign. Those of 31 bits go as they are, others as a hash of theirs.
fn seed_31(seed: u64) -> u32 {
    match u32::try_from(seed) {
        Ok(small) if small >> 31 == 0 => small,
        _ => (StochasticKey::new(seed, "seed of a server").bits(0) >> 33) as u32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{ChatRole, Message};

    fn served() -> Served {
        Served { model: "m".to_owned(), extra: Map::new() }
    }

    fn request(prompt: Prompt) -> Request {
        Request { prompt, sampling: Sampling::default(), max_tokens: 5, stop: Vec::new(), day: None }
    }

    #[test]
    fn a_text_is_sent_with_every_choice_said() {
        let wire = wire(&request(Prompt::Raw("1+1=".to_owned())), &served()).unwrap();
        assert_eq!(wire.path, "/v1/completions");
        let expected = json!({
            "model": "m", "prompt": "1+1=", "max_tokens": 5, "temperature": 0.0, "top_p": 1.0, "top_k": -1, "min_p": 0.0,
            "repetition_penalty": 1.0, "repeat_penalty": 1.0, "samplers": ["penalties", "temperature", "top_k", "top_p"],
            "seed": 0, "stream": true, "stream_options": { "include_usage": true },
        });
        assert_eq!(wire.body, expected);
    }

    #[test]
    fn a_conversation_is_sent_with_its_sampling_and_what_the_delivery_adds() {
        let messages = vec![Message { role: ChatRole::User, content: "こんにちは".to_owned() }];
        let mut request = request(Prompt::Chat(messages));
        request.sampling = Sampling { temperature: 0.7, top_p: 0.9, top_k: 20, repetition_penalty: 1.1, seed: 7 };
        request.stop = vec!["\n\n".to_owned()];
        let mut served = served();
        served.extra.insert("cache_prompt".to_owned(), json!(false));
        let wire = wire(&request, &served).unwrap();
        assert_eq!(wire.path, "/v1/chat/completions");
        let expected = json!({
            "model": "m", "messages": [{ "role": "user", "content": "こんにちは" }], "max_tokens": 5, "temperature": 0.7,
            "top_p": 0.9, "top_k": 20, "min_p": 0.0, "repetition_penalty": 1.1, "repeat_penalty": 1.1,
            "repeat_last_n": 131_072, "samplers": ["penalties", "temperature", "top_k", "top_p"], "seed": 7,
            "stop": ["\n\n"], "stream": true, "stream_options": { "include_usage": true }, "cache_prompt": false,
        });
        assert_eq!(wire.body, expected);
    }

    #[test]
    fn seeds_fit_every_server_and_stay_apart() {
        assert_eq!(seed_31(0x7fff_ffff), 0x7fff_ffff);
        let large: Vec<u32> = [0x8000_0000, u64::MAX, u64::MAX - 1].map(seed_31).to_vec();
        assert!(large.iter().all(|seed| seed >> 31 == 0));
        assert!(large[0] != large[1] && large[1] != large[2]);
    }

    #[test]
    fn a_number_that_json_cannot_hold_is_refused() {
        let mut request = request(Prompt::Raw(String::new()));
        request.sampling.temperature = f64::NAN;
        assert_eq!(wire(&request, &served()).unwrap_err().message, "temperature is NaN; it must be a number");
    }
}
