//! Questions with known answers: read from a file, put into prompts, split, and changed to see what an answer rests on.
//!
//! A [`QuestionFile`] is the records as they stand. A [`Mapping`], guessed by [`Preset::of`] and open to change, says which
//! fields are the question and its label; both make a [`QuestionSet`]. A [`Template`] turns its questions into prompts.

mod draw;
mod error;
mod file;
mod format;
mod guess;
mod language;
mod mapping;
mod options;
pub mod perturb;

mod preset;
mod prompter;
mod set;
mod split;
mod template;
mod value;

pub use error::QuestionsError;
pub use file::{Field, MAX_FIELD_BYTES, MAX_FIELDS, MAX_FILE_BYTES, MAX_RECORDS, QuestionFile};
pub use format::FileFormat;
pub use language::Language;
pub use mapping::{AnswerForm, MAX_CHOICES, Mapping};
pub use preset::Preset;
pub use prompter::Prompter;
pub use set::{Question, QuestionSet, Skipped};
pub use split::{Split, SplitError, split};
pub use template::{PromptForm, Template, TemplateError};
