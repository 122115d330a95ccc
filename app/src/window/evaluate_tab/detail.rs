//! An answer as text, with what the grader found in it marked.

use eframe::egui::text::{LayoutJob, TextFormat};
use eframe::egui::{Color32, Label, TextStyle, Ui};
use mergescope_core::evaluate::grade::Outcome;

use crate::format;
use crate::window::evaluation::Answer;
use crate::window::fonts;
use crate::window::theme::{self, Palette};

/// Line height of answers: Japanese wants more than other text.
const ANSWER_LINE: f32 = 22.0;

/// Characters that tell how wide those of an answer are.
const MOST_MEASURED: usize = 400;
/// Room for the sign before an answer, and for dots where it is cut.
const SIGN_ROOM: f32 = 30.0;

/// A sign for what became of an answer, since colour alone says nothing to many.
pub fn sign(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Right => fonts::CHECK,
        Outcome::Wrong => fonts::CROSS,
        Outcome::NoAnswer => "–",
        Outcome::CutOff => "…",
        Outcome::Error => fonts::WARNING,
    }
}

/// Its colour.
pub fn colour(palette: &Palette, outcome: Outcome) -> Color32 {
    match outcome {
        Outcome::Right => palette.good,
        Outcome::Wrong => palette.bad,
        Outcome::NoAnswer => palette.weak,
        Outcome::CutOff | Outcome::Error => palette.warning,
    }
}

/// What of a text may be shown: what steers the text is spelled out.
fn shown(text: &str) -> String {
    let one = |letter: char| match letter {
        '\n' | '\t' => letter.to_string(),
        letter if format::steers(letter) => letter.escape_unicode().to_string(),
        letter => letter.to_string(),
    };
    text.chars().map(one).collect()
}

/// Draws an answer: at most so many characters of it, in one line or in as many as it needs.
pub fn answer_ui(ui: &mut Ui, answer: &Answer, most: usize, in_one_line: bool) {
    let palette = theme::palette(ui);
    let found = colour(palette, answer.outcome);
    let plain = TextFormat {
        line_height: Some(ANSWER_LINE),
        ..TextFormat::simple(TextStyle::Body.resolve(ui.style()), palette.text)
    };
    let marked = TextFormat { color: found, ..plain.clone() };
    let mut job = LayoutJob::default();
    let sign = TextFormat { color: found, ..plain.clone() };
    job.append(&format!("{} ", self::sign(answer.outcome)), 0.0, sign);
    let line = |text: &str| {
        let text = shown(text);
        if in_one_line { text.replace('\n', " ") } else { text }
    };
    let most = if in_one_line { most.min(fitting(ui, answer)) } else { most };
    let (text, span) = clipped(answer, most);
    match span {
        Some(span) => {
            job.append(&line(&text[..span.start]), 0.0, plain.clone());
            job.append(&line(&text[span.clone()]), 0.0, marked);
            job.append(&line(&text[span.end..]), 0.0, plain);
        }
        None => job.append(&line(&text), 0.0, plain),
    }
    let label = Label::new(job);
    let label = if in_one_line { label.truncate() } else { label.wrap().selectable(true) };
    let tooltip = format!("{}, {}", answer.outcome.label(), format::plural(answer.tokens, "token"));
    ui.add(label).on_hover_text(tooltip);
}

/// About as many characters as fit into one line, with the sign before them.
fn fitting(ui: &Ui, answer: &Answer) -> usize {
    let font = TextStyle::Body.resolve(ui.style());
    let sample: Vec<char> = answer.text.chars().take(MOST_MEASURED).collect();
    let width: f32 = ui.fonts_mut(|fonts| sample.iter().map(|letter| fonts.glyph_width(&font, *letter)).sum());
    let room = (ui.available_width() - SIGN_ROOM).max(0.0);
    if width <= room { usize::MAX } else { (sample.len() as f32 * room / width) as usize }
}

/// At most so many characters around what was found, and where that is in them.
fn clipped(answer: &Answer, most: usize) -> (String, Option<std::ops::Range<usize>>) {
    let text = &answer.text;
    if text.chars().count() <= most {
        return (text.clone(), answer.span.clone());
    }
    // The end matters more than the beginning where the match is far behind.
    let start = match &answer.span {
        Some(span) => {
            let (before, after) = (text[..span.end].chars().count(), text[span.end..].chars().count());
            // What comes behind the match has a quarter of the room, as far as there is so much of it.
            let skip = before.saturating_sub(most - after.min(most / 4));
            text.char_indices().nth(skip).map_or(0, |(at, _)| at).min(span.start)
        }
        None => 0,
    };
    let end = text[start..].char_indices().nth(most).map_or(text.len(), |(at, _)| start + at);
    let lead = if start > 0 { "…" } else { "" };
    let tail = if end < text.len() { "…" } else { "" };
    let shift = |at: usize| at - start + lead.len();
    let span = answer.span.clone().filter(|span| span.end <= end).map(|span| shift(span.start)..shift(span.end));
    (format!("{lead}{}{tail}", &text[start..end]), span)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_answer_is_cut_around_what_was_found() {
        let text = format!("{}よって84。", "あ".repeat(500));
        let at = text.find("84").unwrap();
        let answer = Answer { outcome: Outcome::Right, span: Some(at..at + 2), text, tokens: 3 };
        let (text, span) = clipped(&answer, 40);
        assert_eq!(&text[span.unwrap()], "84");
        assert!(text.starts_with('…') && text.chars().count() < 45, "{text}");
        assert!(text.ends_with("84。"), "{text}: nothing is left free behind it");
        assert_eq!(clipped(&answer, 1000).0, answer.text);
    }

    #[test]
    fn what_a_model_says_steers_nothing() {
        assert_eq!(shown("a\u{1b}[2J\n\u{202e}b"), "a\\u{1b}[2J\n\\u{202e}b");
    }
}
