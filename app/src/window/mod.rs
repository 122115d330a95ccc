//! The window.
//!
//! `session` is what it knows and does, without drawing; `app` arranges the panels, which are one file each; `jobs` is
//! the only place with threads; `theme` is the only place with colours.

mod adapter_dialog;
pub mod answerer;
mod app;
mod asking;
mod carry_out;
mod chart;
mod command;
mod destination;
mod details;
mod dialog_ends;
mod dialog_parts;
mod dialogs;
mod download_dialog;
mod downloads;
mod drop;
pub mod engine;
mod engine_thread;
mod evaluate_tab;
pub mod evaluation;
mod export;
mod figures;
mod fonts;
mod heat;
mod history;
mod jobs;
mod left;
mod live;
mod measured;
mod menu_bar;
mod merge_area;
mod merge_dialog;
mod merge_file_dialog;
mod method_words;
mod model_field;
mod model_menu;
mod number_table;
mod output;
mod palette;
mod past_dialog;
mod persist;
pub mod picker;
mod plans;
mod pool;
mod results_tab;
mod scaling_tab;
pub mod session;
mod slot;
mod stage;
mod theme;
mod title;
pub mod try_tab;
mod vector_dialog;
mod vector_list;
mod vector_tab;
mod vector_work;
mod vectors;
mod verdict;
mod widgets;
mod work;
mod writing;

use std::path::PathBuf;
use std::sync::Arc;

use eframe::egui::ViewportBuilder;
use eframe::{NativeOptions, Renderer};
use mergescope_core::merge::MergeReport;
use mergescope_core::recipe::Recipe;

pub use app::{App, Setup, Tab};
use engine::CoreEngine;
use picker::SystemPicker;

/// What the window starts with.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The recipe to start with; otherwise the last one, otherwise the demo.
    pub recipe: Option<Recipe>,
    /// A merge that was just made, to be shown in Results.
    pub report: Option<MergeReport>,
    /// The folder with the demo's pre, post and target; see [`crate::demo::folder`].
    pub demo: Option<PathBuf>,
}

/// No window could be opened.
#[derive(Debug, thiserror::Error)]
#[error(
    "no window can be opened here ({reason}); without one, use `mergescope merge --help` or `mergescope demo --no-window`"
)]
pub struct RunError {
    /// What the system said, in one line.
    reason: String,
}

/// Opens the window and returns when it is closed.
///
/// It is drawn with wgpu, and with OpenGL where that does not work.
pub fn run(options: Options) -> Result<(), RunError> {
    let wgpu = show(Renderer::Wgpu, options.clone());
    let first = match wgpu {
        Ok(()) => return Ok(()),
        // Then there is nothing to draw on, however it is drawn.
        Err(eframe::Error::WinitEventLoop(_)) => {
            return Err(RunError { reason: "there is no display".to_owned() });
        }
        Err(error) => error,
    };
    show(Renderer::Glow, options)
        .map_err(|second| RunError { reason: format!("wgpu: {}; OpenGL: {}", one_line(&first), one_line(&second)) })
}

fn one_line(error: &eframe::Error) -> String {
    error.to_string().lines().next().unwrap_or("no reason given").to_owned()
}

fn show(renderer: Renderer, options: Options) -> eframe::Result {
    let mut viewport = ViewportBuilder::default();
    // A picture that cannot be read is no reason to have no window.
    if let Ok(icon) = eframe::icon_data::from_png_bytes(include_bytes!("../../../assets/icon/128.png")) {
        viewport = viewport.with_icon(icon);
    }
    let native = NativeOptions {
        renderer,
        viewport: viewport
            .with_title("Mergescope")
            .with_app_id("mergescope")
            .with_inner_size(theme::WINDOW_SIZE)
            .with_min_inner_size(theme::WINDOW_MIN_SIZE)
            .with_drag_and_drop(true),
        persist_window: true,
        ..NativeOptions::default()
    };
    let Options { recipe, report, demo } = options;
    let create = move |context: &eframe::CreationContext<'_>| {
        let setup = Setup { engine: Arc::new(CoreEngine), picker: Arc::new(SystemPicker), recipe, report, demo };
        Ok(Box::new(App::new(&context.egui_ctx, context.storage, setup)) as Box<dyn eframe::App>)
    };
    eframe::run_native("mergescope", native, Box::new(create))
}
