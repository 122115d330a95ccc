//! Merges of the past: what each was, its recipe to open again, and what differs between two.

use std::path::PathBuf;

use eframe::egui::{self, Button, Grid, Label, RichText, ScrollArea, TextStyle, Ui, Vec2, WidgetInfo};
use mergescope_core::merge::MergeReport;
use mergescope_core::recipe::{Recipe, Sparsify, differences};
use mergescope_core::scaling::ScalingSpec;

use super::{dialog_parts, method_words, theme, widgets};
use crate::format;
use crate::past::{PastMerge, PastMerges};

/// Width of the dialog: a path and its figures stand in one row.
pub const WIDTH: f32 = 700.0;
/// Height of the list, and of what is shown of the choice below it.
const LIST_HEIGHT: f32 = 200.0;
const DETAIL_HEIGHT: f32 = 190.0;
/// Characters of a value that are shown of each side of a comparison; the tooltip has all.
const VALUE_WIDTH: f32 = 210.0;

/// What was merged so far, and which of it is chosen.
pub struct PastDialog {
    merges: Vec<PastMerge>,
    /// Why there is no list.
    problem: Option<String>,
    /// Why the last report that was asked for is not shown.
    failure: Option<String>,
    /// Positions of those chosen, in the order of choice; two at most.
    chosen: Vec<usize>,
}

/// What the dialog asks for.
pub enum PastEnd {
    /// Nothing yet.
    Open,
    /// To be closed.
    Closed,
    /// That recipe, in place of the one at hand.
    Recipe(Box<Recipe>),
    /// What it wrote, tensor by tensor.
    Report(Box<MergeReport>),
    /// That folder, in the file manager.
    Folder(PathBuf),
}

impl PastDialog {
    /// The list as it is on the disk.
    pub fn new(past: Option<&PastMerges>) -> Self {
        let (merges, problem) = match past.map(PastMerges::load) {
            Some(Ok(merges)) => (merges, None),
            Some(Err(error)) => (Vec::new(), Some(format!("The list cannot be read: {error}"))),
            None => (Vec::new(), Some("This system names no folder for a program's data".to_owned())),
        };
        let chosen = if merges.is_empty() { Vec::new() } else { vec![0] };
        Self { merges, problem, failure: None, chosen }
    }

    /// Chooses a merge, or takes it back; of three the first goes.
    fn toggle(&mut self, at: usize) {
        if let Some(position) = self.chosen.iter().position(|chosen| *chosen == at) {
            self.chosen.remove(position);
            return;
        }
        self.chosen.push(at);
        if self.chosen.len() > 2 {
            self.chosen.remove(0);
        }
    }
}

/// Draws the dialog.
pub fn ui(ui: &mut Ui, dialog: &mut PastDialog) -> PastEnd {
    dialog_parts::title_ui(ui, "Merges of the past");
    if let Some(problem) = &dialog.problem {
        widgets::paragraph_ui(ui, problem);
    } else if dialog.merges.is_empty() {
        widgets::paragraph_ui(ui, "No merge was made yet. What is merged here or on the command line will be listed.");
    } else {
        widgets::note_ui(ui, "Tick one to see what it was, two to see what differs between them.");
        ui.add_space(6.0);
        list_ui(ui, dialog);
        ui.add_space(8.0);
        widgets::hairline_ui(ui);
        ui.add_space(8.0);
        ui.allocate_ui(Vec2::new(ui.available_width(), DETAIL_HEIGHT), |ui| {
            ui.set_min_height(DETAIL_HEIGHT);
            match *dialog.chosen.as_slice() {
                [one] => one_ui(ui, &dialog.merges[one]),
                [left, right] => compare_ui(ui, &dialog.merges[left], &dialog.merges[right]),
                _ => drop(widgets::note_ui(ui, "None is ticked.")),
            }
        });
    }
    buttons_ui(ui, dialog)
}

fn list_ui(ui: &mut Ui, dialog: &mut PastDialog) {
    let palette = theme::palette(ui);
    let mut toggled = None;
    ScrollArea::vertical().id_salt("past merges").max_height(LIST_HEIGHT).auto_shrink([false, true]).show(ui, |ui| {
        Grid::new("past merges").num_columns(5).spacing([14.0, 5.0]).show(ui, |ui| {
            for heading in ["", "Ended", "Method", "w", "Written to"] {
                ui.label(RichText::new(heading).text_style(TextStyle::Small).color(palette.weak));
            }
            ui.end_row();
            for (at, merge) in dialog.merges.iter().enumerate() {
                let mut ticked = dialog.chosen.contains(&at);
                let name = format!("Merge of {}, {}", merge.ended(), folder_name(merge));
                let check = ui.checkbox(&mut ticked, "").on_hover_text("Show it, or compare it with another");
                check.widget_info(|| WidgetInfo::selected(egui::Role::CheckBox, true, ticked, &name));
                if check.clicked() {
                    toggled = Some(at);
                }
                ui.label(merge.ended());
                let control = merge.recipe.vectors().any(|vector| vector.control.is_some());
                let method = merge.recipe.method.name.label();
                ui.label(if control { format!("{method}, control") } else { method.to_owned() });
                let w: Vec<String> = merge.recipe.vectors().map(|vector| format::w(vector.w)).collect();
                let w = if merge.recipe.method.name.uses_w() { w.join(", ") } else { format::NONE.to_owned() };
                ui.label(w);
                let path = format::path(&merge.output);
                let (text, colour) = if merge.is_there() {
                    (path.clone(), palette.text)
                } else {
                    (format!("{path} (gone)"), palette.weak)
                };
                let shown = widgets::elide_start(ui, &text, ui.available_width().max(240.0));
                ui.label(RichText::new(shown).color(colour)).on_hover_text(text);
                ui.end_row();
            }
        });
    });
    if let Some(at) = toggled {
        dialog.toggle(at);
    }
}

fn folder_name(merge: &PastMerge) -> String {
    let name = merge.output.file_name().unwrap_or(merge.output.as_os_str());
    format::path(std::path::Path::new(name))
}

/// What one merge was.
fn one_ui(ui: &mut Ui, merge: &PastMerge) {
    let palette = theme::palette(ui);
    let plain = merge.recipe.is_plain();
    let mut rows = vec![("Target", merge.recipe.target.clone())];
    for (index, vector) in merge.recipe.vectors().enumerate() {
        let label = if index == 0 { "Vector" } else { "" };
        let pre = if vector.stands_alone() { String::new() } else { format!(" − {}", vector.pre) };
        rows.push((label, format!("{}{pre}, w = {}", vector.post, format::w(vector.w))));
    }
    for (number, vector) in (1..).zip(merge.recipe.vectors()) {
        let of = if merge.recipe.others.is_empty() { String::new() } else { format!("vector {number}: ") };
        if vector.scaling != ScalingSpec::default() {
            rows.push(("Spread of w", format!("{of}{}", vector.scaling)));
        }
        let rule = merge.recipe.method.rule_of(vector);
        if rule.sparsify != Sparsify::None {
            rows.push(("Kept", format!("{of}{rule}")));
        }
        if let Some(control) = vector.control {
            rows.push(("Control", format!("{of}{}, seed {}", method_words::control_label(control.kind), control.seed)));
        }
    }
    rows.push(("Method", merge.recipe.method.to_string()));
    let effective = if plain { "Effective w" } else { "Share written" };
    rows.push((effective, format::fixed(merge.total.effective_w(), 4)));
    rows.push(("Lost updates", format::percent(merge.total.lost_share())));
    rows.push(("Size", format::bytes(merge.bytes_written)));
    for (index, (role, fingerprint)) in merge.fingerprints().into_iter().enumerate() {
        rows.push((if index == 0 { "Fingerprints" } else { "" }, format!("{role}: {fingerprint}")));
    }
    ScrollArea::vertical().id_salt("one past merge").max_height(DETAIL_HEIGHT).show(ui, |ui| {
        Grid::new("one past merge").num_columns(2).spacing([16.0, 5.0]).show(ui, |ui| {
            for (label, value) in rows {
                ui.label(RichText::new(label).color(palette.weak));
                let width = ui.available_width().max(WIDTH - 140.0);
                let shown = widgets::elide_start(ui, &value, width);
                ui.label(shown).on_hover_text(value);
                ui.end_row();
            }
        });
    });
}

/// In what the recipes of two merges differ.
fn compare_ui(ui: &mut Ui, left: &PastMerge, right: &PastMerge) {
    let palette = theme::palette(ui);
    let found = differences(&left.recipe, &right.recipe);
    if found.is_empty() {
        widgets::note_ui(ui, "Their recipes are the same: the same models, merged in the same way.");
        return;
    }
    ScrollArea::vertical().id_salt("comparison").max_height(DETAIL_HEIGHT).auto_shrink([false, true]).show(ui, |ui| {
        Grid::new("comparison").num_columns(3).min_col_width(150.0).spacing([16.0, 5.0]).show(ui, |ui| {
            let heading = |merge: &PastMerge| format!("{}, {}", folder_name(merge), merge.ended());
            for text in ["Differs in".to_owned(), heading(left), heading(right)] {
                let text = RichText::new(text).text_style(TextStyle::Small).color(palette.weak);
                ui.add(Label::new(text).truncate());
            }
            ui.end_row();
            for found in &found {
                ui.label(&found.key);
                for value in [&found.left, &found.right] {
                    let value = value.as_deref().unwrap_or("default");
                    let shown = widgets::elide_start(ui, value, VALUE_WIDTH);
                    ui.label(shown).on_hover_text(value);
                }
                ui.end_row();
            }
        });
    });
}

fn buttons_ui(ui: &mut Ui, dialog: &mut PastDialog) -> PastEnd {
    let one = match *dialog.chosen.as_slice() {
        [one] => dialog.merges.get(one),
        _ => None,
    };
    let (mut end, mut failure) = (PastEnd::Open, None);
    if let Some(problem) = &dialog.failure {
        widgets::note_ui(ui, problem);
    }
    ui.add_space(4.0);
    ui.horizontal(|ui| {
        let open = Button::new("Open its recipe").min_size(Vec2::new(120.0, 30.0));
        let tooltip = "Take its models, w and method in place of those at hand; Undo brings these back";
        let open = ui.add_enabled(one.is_some(), open).on_hover_text(tooltip);
        let open = open.on_disabled_hover_text("Tick the one whose recipe you want");
        let folder = Button::new("Open its folder").min_size(Vec2::new(120.0, 30.0));
        let there = one.filter(|merge| merge.is_there());
        let folder = ui.add_enabled(there.is_some(), folder).on_hover_text("Show what it wrote in the file manager");
        let folder = folder.on_disabled_hover_text("Tick one whose folder is still there");
        if let (true, Some(merge)) = (open.clicked(), one) {
            // Run again it would be checked against the very same weights; opened it is a start for something new.
            let recipe = Recipe { inputs: None, ..merge.recipe.clone() };
            end = PastEnd::Recipe(Box::new(recipe));
        }
        let results = Button::new("Show its results").min_size(Vec2::new(120.0, 30.0));
        let results = ui.add_enabled(there.is_some(), results);
        let results = results.on_hover_text("Show what it wrote, tensor by tensor, in Results");
        let results = results.on_disabled_hover_text("Tick one whose folder is still there");
        if let (true, Some(merge)) = (folder.clicked(), there) {
            end = PastEnd::Folder(merge.output.clone());
        }
        if let (true, Some(merge)) = (results.clicked(), there) {
            match merge.report() {
                Ok(report) => end = PastEnd::Report(Box::new(report)),
                Err(message) => failure = Some(message),
            }
        }
    });
    if failure.is_some() {
        dialog.failure = failure;
    }
    let (close, _) = dialog_parts::buttons_ui(ui, ("Close", "Back to the window"), None, None);
    if close { PastEnd::Closed } else { end }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_three_choices_the_last_two_stay() {
        let mut dialog = PastDialog { merges: Vec::new(), problem: None, failure: None, chosen: vec![0] };
        dialog.toggle(1);
        dialog.toggle(2);
        assert_eq!(dialog.chosen, [1, 2]);
        dialog.toggle(1);
        assert_eq!(dialog.chosen, [2]);
    }
}
