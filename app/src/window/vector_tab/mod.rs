//! The Vector tab: what the vector looks like, in words, by layer and part, between layers, and tensor by tensor.

mod cell_numbers;
mod cosines;
mod grid;
mod layers;
mod names;
mod sizes;
mod spectrum;
mod summary;
mod table;
mod tensor;
mod view;

use eframe::egui::style::ScrollAnimation;
use eframe::egui::{self, Layout, RichText, ScrollArea, Ui, UiBuilder};
use mergescope_core::progress::Progress;

use super::app::App;
use super::live::Source;
use super::session::Stage;
use super::slot::SlotState;
use super::{fonts, method_words, theme, widgets};
use crate::format;
use crate::report::Table;

use tensor::SpectrumWish;
use view::Asked;
pub use view::VectorView;

/// Windows narrower than this have the right column below the left one.
const NARROW: f32 = 1000.0;
/// Space between the columns.
const COLUMN_GAP: f32 = 40.0;
/// Width of the right column, of the content, and its limits.
const RIGHT_SHARE: f32 = 0.335;
const RIGHT_LIMITS: std::ops::RangeInclusive<f32> = 300.0..=470.0;
/// Space between two charts above one another.
const CHART_GAP: f32 = 12.0;
/// Share of the height that the grid takes at most, with experts folded and unfolded.
const GRID_SHARES: [f32; 2] = [0.46, 0.66];
/// Share of the height that the cosines take at most.
const COSINE_SHARE: f32 = 0.54;
/// Heights of the charts in a narrow window, where the content scrolls.
const NARROW_BARS: f32 = 260.0;
const NARROW_GRID: [f32; 2] = [300.0, 420.0];
const NARROW_COSINES: f32 = 340.0;
const NARROW_PAGE: f32 = 340.0;

/// Draws the tab.
pub fn ui(app: &mut App, ui: &mut Ui) {
    if app.first_steps {
        first_steps_ui(app, ui);
    }
    if app.session.is_whole_model(app.session.shown()) && app.session.triple().is_some() {
        return whole_model_ui(app, ui);
    }
    match app.session.vector() {
        Stage::Done(_) => charts_ui(app, ui),
        Stage::Running(_, progress) => measuring_ui(ui, progress.as_ref()),
        Stage::Failed(message) => {
            let advice = format!("{message}. Mend the model and press Enter in its field to try again");
            widgets::empty_ui(ui, "The vector could not be measured", &advice);
        }
        Stage::Waiting => waiting_ui(app, ui),
    }
}

/// What was asked of the window while drawing.
#[derive(Default)]
struct Wishes {
    compare: bool,
    stop: bool,
    spectrum: SpectrumWish,
}

fn charts_ui(app: &mut App, ui: &mut Ui) {
    let Some(source) = Source::of(&app.session, &app.live) else { return };
    let view = &mut app.vector_view;
    view.fit(source.measured);
    view.begin_frame();
    let mut wishes = Wishes::default();
    if let Some(chart) = summary::ui(ui, &mut view.summary, app.live.sentences()) {
        view.lead_to(chart);
    }
    ui.add_space(8.0);
    if view.table {
        wishes.spectrum = table::ui(view, ui, &app.session, &source);
    } else if ui.ctx().content_rect().width() < NARROW {
        ScrollArea::vertical().id_salt("narrow vector").auto_shrink([false, false]).show(ui, |ui| {
            let grid = NARROW_GRID[usize::from(view.experts_open)];
            left_ui(view, ui, &source, NARROW_BARS, grid);
            ui.add_space(2.0 * CHART_GAP);
            cosines::controls_ui(view, ui, app.session.details().layer_products.done());
            wishes.note(cosines::ui(view, ui, &app.session, NARROW_COSINES));
            ui.add_space(CHART_GAP);
            wishes.spectrum = tensor::ui(view, ui, &app.session, &source, NARROW_PAGE);
            follow_lead(view, ui);
        });
    } else {
        columns_ui(app, ui, &mut wishes);
    }
    let view = &mut app.vector_view;
    (view.scroll_to, view.scroll_at_once) = (None, false);
    app.chart_rect = view.rect_of(view.chart);
    if wishes.compare {
        app.session.compare_layers();
    }
    if wishes.stop {
        app.session.stop_comparing();
    }
    match wishes.spectrum {
        Some((name, Asked::Start)) => app.session.measure_spectrum(&name),
        Some((name, Asked::Stop)) => app.session.stop_spectrum(&name),
        Some((_, Asked::Nothing)) | None => {}
    }
}

impl Wishes {
    fn note(&mut self, asked: Asked) {
        match asked {
            Asked::Nothing => {}
            Asked::Start => self.compare = true,
            Asked::Stop => self.stop = true,
        }
    }
}

/// The bars and the grid at the left, the cosines and the page of a cell at the right.
fn columns_ui(app: &mut App, ui: &mut Ui, wishes: &mut Wishes) {
    let Some(source) = Source::of(&app.session, &app.live) else { return };
    let view = &mut app.vector_view;
    let (_, whole) = ui.allocate_space(ui.available_size());
    let right_width = (whole.width() * RIGHT_SHARE).clamp(*RIGHT_LIMITS.start(), *RIGHT_LIMITS.end()).floor();
    let left = whole.with_max_x(whole.right() - right_width - COLUMN_GAP);
    let right = whole.with_min_x(whole.right() - right_width);
    ui.scope_builder(UiBuilder::new().max_rect(left), |ui| {
        let height = ui.available_height() - theme::CONTROL_HEIGHT - CHART_GAP;
        let rows = grid::rows(view, source.measured).len();
        let grid = grid::wanted_height(rows, height * GRID_SHARES[usize::from(view.experts_open)]);
        left_ui(view, ui, &source, height - grid, grid);
    });
    ui.scope_builder(UiBuilder::new().max_rect(right), |ui| {
        cosines::controls_ui(view, ui, app.session.details().layer_products.done());
        let height = ui.available_height();
        let cosines = (height * COSINE_SHARE).min(height - CHART_GAP - tensor::least_height()).max(200.0);
        ScrollArea::vertical().id_salt("right column").auto_shrink([false, false]).show(ui, |ui| {
            let top = ui.cursor().top();
            wishes.note(cosines::ui(view, ui, &app.session, cosines));
            ui.add_space(CHART_GAP);
            let left = (height - (ui.cursor().top() - top)).max(tensor::least_height());
            wishes.spectrum = tensor::ui(view, ui, &app.session, &source, left);
            follow_lead(view, ui);
        });
    });
}

/// The bars, and the grid over the same layers.
fn left_ui(view: &mut VectorView, ui: &mut Ui, source: &Source<'_>, bars: f32, grid: f32) {
    let ticks = layers::ticks(source.measured, ui.available_width() - theme::Y_AXIS_WIDTH);
    layers::controls_ui(view, ui, source.measured);
    let x = layers::ui(view, ui, source.measured, &ticks, bars);
    ui.add_space(CHART_GAP);
    grid::ui(view, ui, source, &ticks, &x, grid);
}

/// Brings the chart that a figure led to into view.
fn follow_lead(view: &VectorView, ui: &Ui) {
    if let Some(rect) = view.scroll_to.and_then(|chart| view.rect_of(chart)) {
        let animation = if view.scroll_at_once { ScrollAnimation::none() } else { ui.style().scroll_animation };
        ui.scroll_to_rect_animation(rect, None, animation);
    }
}

/// The table of the chosen chart, for CSV.
pub fn chosen_table(app: &App) -> Option<Table> {
    let source = Source::of(&app.session, &app.live)?;
    table::of(&app.vector_view, &app.session, &source)
}

fn whole_model_ui(app: &App, ui: &mut Ui) {
    let session = &app.session;
    let method = method_words::name(session.recipe.method.name);
    let title = format!("{} is a whole model", session.vector_name(session.shown()));
    let advice = format!(
        "{method} takes models as they are, so there is no vector to look at. Scaling shows what each tensor gets; give \
         this model a pre with another method to see what its training did"
    );
    widgets::empty_ui(ui, &title, &advice);
}

fn first_steps_ui(app: &mut App, ui: &mut Ui) {
    let palette = theme::palette(ui);
    let [models, vector] = match app.shows_demo() {
        true => [
            "The models at the left are a small demo: post is pre taught to work in steps, target answers at once.",
            "Choose with w how much of that habit, v = post − pre, is added to the target.",
        ],
        false => [
            "At the left, post is pre after fine-tuning: v = post − pre is what that taught it. Target is to get it too.",
            "Choose with w how much of v is added to the target.",
        ],
    };
    let steps = [
        models,
        vector,
        "Press Merge… to write the new model; Results then shows what was written against what was asked for.",
    ];
    ui.horizontal_top(|ui| {
        ui.vertical(|ui| {
            ui.set_max_width(ui.available_width() - 40.0);
            for (number, step) in steps.iter().enumerate() {
                ui.horizontal_top(|ui| {
                    ui.spacing_mut().item_spacing.x = 8.0;
                    ui.label(
                        RichText::new((number + 1).to_string())
                            .text_style(theme::strong())
                            .color(palette.link)
                            .line_height(Some(theme::TEXT_LINE)),
                    );
                    widgets::paragraph_ui(ui, step);
                });
            }
        });
        ui.with_layout(Layout::right_to_left(egui::Align::Min), |ui| {
            let close = egui::Button::new(RichText::new(fonts::CROSS).color(palette.weak)).frame_when_inactive(false);
            let close = ui.add(close).on_hover_text("Hide the first steps; Help shows them again");
            close.widget_info(|| egui::WidgetInfo::labeled(egui::Role::Button, true, "Hide the first steps"));
            if close.clicked() {
                app.first_steps = false;
            }
        });
    });
    ui.add_space(8.0);
    widgets::hairline_ui(ui);
    ui.add_space(10.0);
}

fn waiting_ui(app: &App, ui: &mut Ui) {
    let session = &app.session;
    let failed = session.slots.iter().any(|slot| matches!(slot.state, SlotState::Failed(_)));
    let preflight_fails = session.preflight().done().is_some_and(|preflight| !preflight.passes());
    let (title, advice) = if session.awaits_download() {
        ("Downloading a model…", "It is opened when all of it is here")
    } else if failed {
        ("A model could not be opened", "Its field at the left says why and what to do")
    } else if preflight_fails {
        ("These three models do not fit together", "The findings at the left say what differs and what to do about it")
    } else if let Stage::Failed(_) = session.preflight() {
        ("The models could not be compared", "The left column says why")
    } else if session.needed_roles().any(|role| matches!(session.slot(role).state, SlotState::Empty)) {
        (
            "No vector yet",
            "Choose three models at the left: one before fine-tuning, one after it, and the one that should get the skill. \
             Help › First steps has the demo",
        )
    } else {
        ("Reading the models…", "The vector is measured as soon as they have been compared")
    };
    widgets::empty_ui(ui, title, advice);
}

fn measuring_ui(ui: &mut Ui, progress: Option<&Progress>) {
    let palette = theme::palette(ui);
    ui.add_space((ui.available_height() * 0.32).floor());
    ui.vertical_centered(|ui| {
        ui.set_max_width(320.0);
        ui.label(RichText::new("Measuring the vector").text_style(theme::strong()));
        ui.add_space(6.0);
        widgets::bar_ui(ui, "Measuring progress", progress.map_or(0.0, Progress::fraction));
        ui.add_space(4.0);
        let text = progress.filter(|progress| progress.total_bytes > 0).map(|progress| {
            let speed = progress.bytes_per_sec().map(|speed| format!(" · {}", format::speed(speed)));
            let left = progress.remaining().map(|left| format!(" · {} left", format::duration(left)));
            let amount = format::bytes_of(progress.done_bytes, progress.total_bytes);
            amount + &speed.unwrap_or_default() + &left.unwrap_or_default()
        });
        ui.label(RichText::new(text.unwrap_or_default()).color(palette.weak));
    });
}
