//! What each command does, and when it can be given.

use std::path::{Path, PathBuf};

use eframe::egui::{self, Context};

use super::answerer::AnswererDialog;
use super::app::{App, Tab};
use super::command::Command;
use super::dialogs::Dialog;
use super::merge_file_dialog::MergeFileDialog;
use super::palette::PaletteState;
use super::past_dialog::PastDialog;
use super::picker::PickFor;
use super::session::{End, Product};
use super::{results_tab, scaling_tab, try_tab, vector_tab};
use crate::{demo, format};

impl App {
    /// Why a command that writes or asks something cannot be given now; `None` when it can.
    pub(super) fn obstacle(&self, command: Command) -> Option<String> {
        match command {
            Command::Merge => self.session.merge_obstacle(),
            Command::ExportAdapter => self.session.adapter_obstacle(),
            Command::SaveVector => self.session.vector_obstacle(),
            Command::RunSweep => self.sweep_obstacle(),
            Command::RunBoth => self.asking_obstacle(),
            Command::RunStrip => self.strip_obstacle(),
            _ => None,
        }
    }

    /// Whether a command can be given now.
    pub(super) fn is_enabled(&self, command: Command) -> bool {
        match command {
            Command::Undo => self.session.history.can_undo(),
            Command::Redo => self.session.history.can_redo(),
            Command::Merge
            | Command::ExportAdapter
            | Command::SaveVector
            | Command::RunSweep
            | Command::RunBoth
            | Command::RunStrip => self.obstacle(command).is_none(),
            Command::StopSweep => self.evaluation.run.as_ref().is_some_and(|run| !run.stopping),
            Command::OpenQuestions | Command::OpenExamples | Command::ImportResults => !self.evaluation.is_running(),
            Command::SaveReport => self.evaluation.table().is_some() && self.evaluation.prepared.is_some(),
            Command::OpenAnswers => self.evaluation.folder().is_some_and(|folder| folder.is_dir()),
            Command::ForgetAnswers => {
                !self.evaluation.is_running()
                    && self.evaluation.progress().is_some_and(|progress| progress.answered > 0)
            }
            Command::CancelWriting => self.session.writing.is_some(),
            Command::StopAnswers => self.try_view.is_under_way(),
            Command::ChooseAnswerer => !self.try_view.is_under_way() && !self.evaluation.is_running(),
            Command::SaveTranscript => !self.try_view.transcript.entries().is_empty(),
            Command::RemoveVector => self.session.count() > 1,
            Command::NextVector | Command::MoveVectorDown => self.session.shown() + 1 < self.session.count(),
            Command::PreviousVector | Command::MoveVectorUp => self.session.shown() > 0,
            Command::UseDemo => self.demo.is_some(),
            // A saved vector has its table, and no chart in its place.
            Command::ToggleTable => self.has_numbers() && !self.shows_saved_vector(),
            Command::CopyCsv => self.has_numbers(),
            Command::SavePng => self.has_numbers() && self.chart_rect.is_some(),
            Command::OpenOutput => self.session.end.as_ref().is_some_and(|end| end.output().is_some()),
            _ => true,
        }
    }

    fn shows_saved_vector(&self) -> bool {
        self.tab == Tab::Results && matches!(self.session.end, Some(End::Saved(_)))
    }

    /// Whether the tab in view has numbers.
    fn has_numbers(&self) -> bool {
        match self.tab {
            Tab::Vector => {
                let is_whole = self.session.is_whole_model(self.session.shown());
                self.session.vector().done().is_some() && !is_whole
            }
            Tab::Scaling => scaling_tab::has_values(&self.session),
            Tab::Results => self.session.end.as_ref().is_some_and(|end| end.output().is_some()),
            Tab::Evaluate => self.evaluation.table().is_some(),
            Tab::Try => self.try_view.run.is_some(),
        }
    }

    /// Does what a command says, if it can be given now.
    pub(super) fn carry_out(&mut self, command: Command, ctx: &Context) {
        if !self.is_enabled(command) {
            return;
        }
        // What the last one led to is no news any more.
        self.session.notice = None;
        match command {
            Command::OpenRecipe => self.pick(PickFor::OpenRecipe, self.recipe_folder(), String::new()),
            Command::SaveRecipe => match self.session.file.clone() {
                Some(file) => self.session.save_recipe(&file),
                None => self.carry_out(Command::SaveRecipeAs, ctx),
            },
            Command::SaveRecipeAs => {
                let name = self.session.file.as_deref().and_then(Path::file_name);
                let name = name.map_or("recipe.toml".into(), |name| name.to_string_lossy().into_owned());
                self.pick(PickFor::SaveRecipe, self.recipe_folder(), name);
            }
            Command::Browse(role) => {
                let start = self.session.slot(role).checkpoint().and_then(|model| model.root().parent());
                self.pick(PickFor::Model(role), start.map(Path::to_owned), String::new());
            }
            Command::UseDemo => {
                if let Some(recipe) = self.demo.as_deref().map(demo::recipe) {
                    self.session.set_recipe(recipe);
                }
            }
            Command::Quit => ctx.send_viewport_cmd(egui::ViewportCommand::Close),
            Command::Undo => self.session.undo(),
            Command::Redo => self.session.redo(),
            Command::Merge => self.ask_about(Product::Merge),
            Command::ExportAdapter => self.ask_about(Product::Adapter),
            Command::SaveVector => self.ask_about(Product::Vector),
            Command::ExportMergeFile => {
                self.dialog = Some(Dialog::MergeFile(Box::new(MergeFileDialog::export(&self.session))));
            }
            Command::CancelWriting => self.session.cancel_writing(),
            Command::AddVector => self.session.add_vector(),
            Command::RemoveVector => self.session.remove_vector(self.session.shown()),
            Command::NextVector => self.session.show(self.session.shown() + 1),
            Command::PreviousVector => self.session.show(self.session.shown().saturating_sub(1)),
            Command::MoveVectorUp => self.session.move_vector(true),
            Command::MoveVectorDown => self.session.move_vector(false),
            Command::Method(method) => self.session.set_method(method),
            Command::Control(kind) => self.session.set_control(kind),
            Command::ShowVector => self.tab = Tab::Vector,
            Command::ShowScaling => self.tab = Tab::Scaling,
            Command::ShowResults => self.tab = Tab::Results,
            Command::ShowEvaluate => self.tab = Tab::Evaluate,
            Command::RunSweep => self.run_sweep(),
            Command::StopSweep => self.evaluation.stop(&self.session.jobs),
            Command::OpenQuestions => self.pick(PickFor::Questions, self.recipe_folder(), String::new()),
            Command::OpenExamples => self.pick(PickFor::Examples, self.recipe_folder(), String::new()),
            Command::ImportResults => self.pick(PickFor::Results, self.recipe_folder(), String::new()),
            Command::SaveReport => {
                if let Some((text, name)) = self.sweep_report() {
                    self.pick(PickFor::SaveReport(text), self.last_parent.clone(), name);
                }
            }
            Command::OpenAnswers => {
                if let Some(folder) = self.evaluation.folder().cloned() {
                    self.open_folder(&folder);
                }
            }
            Command::ForgetAnswers => self.dialog = Some(Dialog::ForgetAnswers),
            Command::ShowTry => self.tab = Tab::Try,
            Command::RunBoth => self.run_both(),
            Command::RunStrip => self.run_strip(),
            Command::StopAnswers => self.stop_answers(),
            Command::ChooseAnswerer => {
                self.dialog = Some(Dialog::Answerer(Box::new(AnswererDialog::new(self))));
            }
            Command::SaveTranscript => {
                let lines = self.try_view.transcript.json_lines();
                self.pick(PickFor::SaveTranscript(lines), self.recipe_folder(), "transcript.jsonl".to_owned());
            }
            Command::OpenValues => self.pick(PickFor::OpenValues, self.recipe_folder(), String::new()),
            Command::ToggleTable => match self.tab {
                Tab::Vector => self.vector_view.table = !self.vector_view.table,
                Tab::Scaling => self.scaling_view.table = !self.scaling_view.table,
                Tab::Results => self.results_view.table = !self.results_view.table,
                Tab::Evaluate => self.evaluate_view.toggle_table(),
                Tab::Try => self.try_view.table = !self.try_view.table,
            },
            Command::CopyCsv => self.copy_csv(ctx),
            Command::SavePng => {
                let stem = match self.tab {
                    Tab::Vector => self.vector_view.chart.file_stem(),
                    Tab::Scaling => "scaling",
                    Tab::Results => "results",
                    Tab::Evaluate => "sweep",
                    Tab::Try => "answers",
                };
                self.pick(PickFor::SavePicture, self.last_parent.clone(), format!("{stem}.png"));
            }
            Command::OpenOutput => {
                if let Some(folder) = self.session.end.as_ref().and_then(End::output).map(Path::to_owned) {
                    self.open_folder(&folder);
                }
            }
            Command::PastMerges => {
                let past = self.session.jobs.engine().past();
                self.dialog = Some(Dialog::Past(Box::new(PastDialog::new(past.as_ref()))));
            }
            Command::ToggleTheme => {
                let dark = ctx.theme() == egui::Theme::Light;
                self.theme_chosen = Some(dark);
                ctx.set_theme(if dark { egui::Theme::Dark } else { egui::Theme::Light });
            }
            Command::Palette => self.palette = Some(PaletteState::default()),
            Command::FirstSteps => {
                self.tab = Tab::Vector;
                self.first_steps = true;
            }
            Command::About => self.dialog = Some(Dialog::About),
        }
    }

    /// Asks how to write something, and where.
    fn ask_about(&mut self, product: Product) {
        let parent = self.output_parent();
        self.dialog = Some(Dialog::write(product, &self.session, &parent));
    }

    /// The folder of the recipe's file.
    pub(super) fn recipe_folder(&self) -> Option<PathBuf> {
        self.session.file.as_deref().and_then(Path::parent).map(Path::to_owned)
    }

    fn copy_csv(&mut self, ctx: &Context) {
        let csv = match (self.tab, &self.session.end) {
            (Tab::Vector, _) => match vector_tab::chosen_table(self) {
                Some(table) => table.to_csv(),
                None => {
                    let chart = self.vector_view.chart.title();
                    return self.session.fail(format!("“{chart}” has no numbers yet"));
                }
            },
            (Tab::Scaling, _) => match scaling_tab::values_table(self) {
                Some(table) => table.to_csv(),
                None => return,
            },
            (Tab::Results, Some(end)) => match results_tab::csv(end) {
                Some(csv) => csv,
                None => return,
            },
            (Tab::Results, None) => return,
            (Tab::Evaluate, _) => match self.sweep_csv() {
                Some(csv) => csv,
                None => return,
            },
            (Tab::Try, _) => match &self.try_view.run {
                Some(run) => try_tab::table(run).to_csv(),
                None => return,
            },
        };
        // The header is no row of numbers.
        let rows = csv.lines().count().saturating_sub(1);
        ctx.copy_text(csv);
        self.session.say(format!("Copied {}", format::plural(rows, "row")));
    }
}
