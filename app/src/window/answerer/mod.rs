//! What answers prompts and questions: the decoder that is part of this program, or a server. One choice for the Try and the
//! Evaluate tab.
//!
//! `settings` is the choice, and holds no secret; `draft` is what a person types for it, which may hold anything; `dialog`
//! draws the draft. No server is contacted before the person asks for its models or runs something.

mod dialog;
mod draft;
mod line;
mod settings;

pub use dialog::{AnswererDialog, AnswererEnd, ui as dialog_ui};
pub use line::{setting_ui, ui as line_ui};
pub use settings::{AnswererSettings, By, ServerSettings};
