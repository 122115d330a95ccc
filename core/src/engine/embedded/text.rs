//! A model's tokenizer and what comes with it: special tokens and the chat template.

use std::fs;
use std::path::{Path, PathBuf};

use jiff::civil::Date;
use serde_json::Value;
use tokenizers::Tokenizer;

use super::chat_template::{ChatTemplate, MAX_TEMPLATE_BYTES, TemplateError};
use crate::checkpoint::{Checkpoint, OpenError};
use crate::engine::Prompt;
use crate::engine::decoder::token_ids;

/// Largest tokenizer that is read, in bytes. Gemma's has 33 MB.
const MAX_TOKENIZER_BYTES: u64 = 256 << 20;
/// Largest other file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// What opens a block of thinking.
pub(super) const THINK: &str = "<think>";

/// Why text cannot become tokens.
#[derive(Debug, thiserror::Error)]
pub(super) enum TextError {
    #[error("{} has no tokenizer.json; convert its tokenizer (transformers: `AutoTokenizer.from_pretrained(…).save_pretrained(…)`)", folder.display())]
    NoTokenizer { folder: PathBuf },
    #[error("{} cannot be used as a tokenizer: {reason}", path.display())]
    Tokenizer { path: PathBuf, reason: String },
    #[error("{} has {bytes} bytes; at most {most} are read", path.display())]
    TooLarge { path: PathBuf, bytes: u64, most: u64 },
    #[error("{} cannot be read", path.display())]
    Io { path: PathBuf, source: std::io::Error },
    #[error("{} is not valid JSON", path.display())]
    Json { path: PathBuf, source: serde_json::Error },
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Template(#[from] TemplateError),
    #[error("the model has no chat template; send the prompt as raw text instead")]
    NoTemplate,
    #[error("the text cannot be tokenised: {0}")]
    Encode(String),
}

/// Turns prompts into tokens and tokens into text.
pub(super) struct TextModel {
    tokenizer: Tokenizer,
    template: Option<ChatTemplate>,
    /// Tokens that end an answer.
    pub end_tokens: Vec<u32>,
    today: Date,
}

impl TextModel {
    /// Reads what lies beside the weights of a model folder. `end_tokens` are those of its config.
    pub fn open(checkpoint: &Checkpoint, end_tokens: &[u32]) -> Result<Self, TextError> {
        let bytes = read(checkpoint, "tokenizer.json", MAX_TOKENIZER_BYTES)?;
        let bytes = bytes.ok_or_else(|| TextError::NoTokenizer { folder: checkpoint.root().to_owned() })?;
        let path = checkpoint.root().join("tokenizer.json");
        let failed =
            |reason: tokenizers::Error| TextError::Tokenizer { path: path.clone(), reason: reason.to_string() };
        let mut tokenizer = Tokenizer::from_bytes(&bytes).map_err(failed)?;
        // What training cut off or filled up is the text itself here.
        tokenizer.with_truncation(None).map_err(failed)?;
        tokenizer.with_padding(None);

        let config = json(checkpoint, "tokenizer_config.json")?.unwrap_or_default();
        let special = json(checkpoint, "special_tokens_map.json")?.unwrap_or_default();
        let token = |key: &str| {
            let text = |value: &Value| value.as_str().or_else(|| value.get("content")?.as_str()).map(str::to_owned);
            config.get(key).and_then(text).or_else(|| special.get(key).and_then(text))
        };
        let (bos, eos) = (token("bos_token").unwrap_or_default(), token("eos_token").unwrap_or_default());
        let template = match template_source(checkpoint)? {
            Some(source) => Some(ChatTemplate::new(&source, &bos, &eos)?),
            None => None,
        };

        let generation = json(checkpoint, "generation_config.json")?.unwrap_or_default();
        let mut ends = token_ids(generation.get("eos_token_id"));
        if ends.is_empty() {
            ends = end_tokens.to_vec();
        }
        if ends.is_empty() {
            ends.extend(tokenizer.token_to_id(&eos));
        }
        let today = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
        Ok(Self { tokenizer, template, end_tokens: ends, today })
    }

    /// Whether conversations can be had with it.
    pub fn chats(&self) -> bool {
        self.template.is_some()
    }

    /// The text that a prompt comes to on that day, or today.
    pub fn rendered(&self, prompt: &Prompt, day: Option<Date>) -> Result<String, TextError> {
        match prompt {
            Prompt::Raw(text) => Ok(text.clone()),
            Prompt::Chat(messages) => {
                let template = self.template.as_ref().ok_or(TextError::NoTemplate)?;
                Ok(template.render(messages, day.unwrap_or(self.today))?)
            }
        }
    }

    /// The tokens of a prompt on that day, or today, with `more` text behind it.
    pub fn tokens(&self, prompt: &Prompt, day: Option<Date>, more: &str) -> Result<Vec<u32>, TextError> {
        let text = self.rendered(prompt, day)? + more;
        // A template writes its special tokens itself.
        let adds_special = matches!(prompt, Prompt::Raw(_));
        let encoding = self.tokenizer.encode_fast(text, adds_special);
        Ok(encoding.map_err(|error| TextError::Encode(error.to_string()))?.get_ids().to_vec())
    }

    /// Whether a prompt ends where the model is already thinking: templates of reasoning models open the block themselves, so
    /// that the answer has its end alone.
    pub fn opens_thinking(&self, prompt: &Prompt, day: Option<Date>) -> bool {
        matches!(prompt, Prompt::Chat(_))
            && self.rendered(prompt, day).is_ok_and(|text| text.trim_end().ends_with(THINK))
    }

    /// The text of tokens, without special ones.
    pub fn text(&self, tokens: &[u32]) -> String {
        // Fails for no token: one that it does not know is left out.
        self.tokenizer.decode(tokens, true).unwrap_or_default()
    }
}

/// Whether a model folder has a chat template, told without opening its tokenizer or weights.
///
/// Files that cannot be read count as none: what is wrong with them is said when the model is loaded.
pub fn has_chat_template(checkpoint: &Checkpoint) -> bool {
    template_source(checkpoint).is_ok_and(|source| source.is_some())
}

/// What tells apart the files that turn prompts into tokens and tokens into text: 64 hex digits of blake3 over the tokenizer,
/// the chat template and the configs, those that are missing included.
///
/// A file that cannot be read counts as one that is different from all others: what is wrong with it is said when the model is
/// loaded.
pub fn text_fingerprint(checkpoint: &Checkpoint) -> String {
    const SMALL: [&str; 6] = [
        "chat_template.jinja",
        "chat_template.json",
        "config.json",
        "generation_config.json",
        "special_tokens_map.json",
        "tokenizer_config.json",
    ];
    let mut hasher = blake3::Hasher::new();
    let sizes = SMALL.into_iter().map(|name| (name, MAX_FILE_BYTES));
    for (name, most) in sizes.chain([("tokenizer.json", MAX_TOKENIZER_BYTES)]) {
        let found = match read(checkpoint, name, most) {
            Ok(None) => "none".to_owned(),
            Ok(Some(bytes)) => blake3::hash(&bytes).to_hex().to_string(),
            Err(error) => error.to_string(),
        };
        hasher.update(format!("{name} {found}\n").as_bytes());
    }
    hasher.finalize().to_hex().to_string()
}

/// The template in a file of its own, or in the tokenizer's config; of several, the default.
fn template_source(checkpoint: &Checkpoint) -> Result<Option<String>, TextError> {
    if let Some(bytes) = read(checkpoint, "chat_template.jinja", MAX_TEMPLATE_BYTES as u64)? {
        return Ok(Some(String::from_utf8_lossy(&bytes).into_owned()));
    }
    let own = json(checkpoint, "chat_template.json")?;
    let config = json(checkpoint, "tokenizer_config.json")?.unwrap_or_default();
    let found = own.as_ref().and_then(|own| own.get("chat_template")).or_else(|| config.get("chat_template"));
    let Some(Value::Array(several)) = found else {
        return Ok(found.and_then(Value::as_str).map(str::to_owned));
    };
    let named = |name: &str| several.iter().find(|entry| entry.get("name").and_then(Value::as_str) == Some(name));
    let entry = named("default").or(several.first());
    Ok(entry.and_then(|entry| entry.get("template")?.as_str()).map(str::to_owned))
}

/// A file of the folder, if it is there.
fn read(checkpoint: &Checkpoint, name: &str, most: u64) -> Result<Option<Vec<u8>>, TextError> {
    if checkpoint.is_single_file() || !checkpoint.root().join(name).exists() {
        return Ok(None);
    }
    let path = checkpoint.sidecar(name)?;
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| TextError::Io { path, source }
    };
    let metadata = fs::metadata(&path).map_err(io(&path))?;
    if !metadata.is_file() {
        // A pipe would never end.
        return Err(io(&path)(std::io::Error::other("it is not a regular file")));
    }
    if metadata.len() > most {
        return Err(TextError::TooLarge { path, bytes: metadata.len(), most });
    }
    fs::read(&path).map(Some).map_err(io(&path))
}

fn json(checkpoint: &Checkpoint, name: &str) -> Result<Option<Value>, TextError> {
    let Some(bytes) = read(checkpoint, name, MAX_FILE_BYTES)? else { return Ok(None) };
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|source| TextError::Json { path: checkpoint.root().join(name), source })
}
