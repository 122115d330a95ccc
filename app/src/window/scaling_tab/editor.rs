//! The curve over the layers, with points that are dragged or moved with the arrow keys.

use eframe::egui::{
    self, Align2, CursorIcon, EventFilter, Id, Key, Mesh, Pos2, Rangef, Rect, Response, Sense, Shape, Stroke, Ui, Vec2,
    WidgetInfo,
};
use mergescope_core::scaling::{Curve, Point};

use crate::curve_edit;
use crate::format;
use crate::window::chart::{self, Tick, XScale};
use crate::window::theme;
use crate::window::title::{self, Title};
use crate::window::widgets;

/// Radius of a handle.
const RADIUS: f32 = 6.0;
/// How far around a handle it can be taken.
const REACH: f32 = 22.0;
/// Distance in points that the y axis aims at between two lines.
const LINE_SPACING: f32 = 70.0;
/// What an arrow key adds to a value; Page Up and Page Down add ten times as much.
const STEP: f64 = 0.01;

/// What is remembered from one frame to the next.
#[derive(Default)]
pub struct EditorState {
    /// The values at the lower and the upper end, held still while a handle is dragged.
    range: Option<(f64, f64)>,
}

/// From layers and values to points of the screen.
struct Map {
    frame: Rect,
    x: XScale,
    ticks: Vec<Tick>,
    range: (f64, f64),
}

impl Map {
    fn x(&self, layer: u32) -> f32 {
        self.ticks.get(layer as usize).map_or(self.frame.left(), |tick| self.x.column(tick).center())
    }

    fn y(&self, value: f64) -> f32 {
        let (low, high) = self.range;
        self.frame.bottom() - ((value - low) / (high - low)) as f32 * self.frame.height()
    }

    fn at(&self, point: Point) -> Pos2 {
        Pos2::new(self.x(point.layer), self.y(point.value))
    }

    /// The nearest layer and the value at a point of the screen.
    fn read(&self, pos: Pos2) -> Point {
        let (low, high) = self.range;
        let share = f64::from((self.frame.bottom() - pos.y) / self.frame.height());
        let steps = (pos.x - self.x(0)) / self.x.step;
        let last = self.ticks.len().saturating_sub(1) as f32;
        Point { layer: steps.round().clamp(0.0, last) as u32, value: low + share.clamp(0.0, 1.0) * (high - low) }
    }
}

/// Draws the editor, `height` high; gives its place for pictures.
pub fn ui(ui: &mut Ui, state: &mut EditorState, curve: &mut Curve, w: f64, layers: u32, height: f32) -> Rect {
    let palette = theme::palette(ui);
    let top_left = ui.cursor().left_top();
    let heading = Title {
        text: "How much of v each layer gets",
        meaning: "times w; drag the points, click to add one, Delete takes one away",
        explanation: "What w is multiplied by in each layer. Embeddings, head and final norm lie outside the layers and \
                      get w as it is.",
        is_chosen: false,
    };
    ui.horizontal(|ui| title::words_ui(ui, &heading));
    let used = ui.cursor().top() - top_left.y;
    let size = Vec2::new(ui.available_width(), (height - used).max(120.0));
    let (rect, _) = ui.allocate_exact_size(size, Sense::hover());
    let frame = Rect::from_min_max(
        rect.min + Vec2::new(theme::Y_AXIS_WIDTH, 6.0),
        rect.max - Vec2::new(0.0, chart::X_LABELS_HEIGHT),
    );
    let ticks = chart::ticks((0..layers).map(|layer| (layer.to_string(), true)), frame.width());
    let values = curve.values(layers).unwrap_or_default();
    let range = state.range.unwrap_or_else(|| range_of(&values));
    let map = Map { frame, x: XScale::new(&ticks, frame.x_range()), ticks, range };

    axis_ui(ui, &map);
    let ground = ui.interact(frame, Id::unique("scaling curve"), Sense::click());
    let description = format!("Chart: how much of v each layer gets; {curve}");
    ground.widget_info(|| WidgetInfo::labeled(egui::Role::Image, true, &description));
    curve_ui(ui, &map, &values);

    let mut active = None;
    let mut held = false;
    let handles = curve_edit::handles(curve, layers);
    let count = handles.len();
    for (position, handle) in handles.iter().enumerate() {
        let response = handle_ui(ui, &map, position, *handle);
        let mut point = *handle;
        if response.dragged()
            && let Some(pointer) = response.interact_pointer_pos()
        {
            point = map.read(pointer);
            held = true;
        }
        let keys = HandleKeys::read(ui, &response);
        point.layer = point.layer.saturating_add_signed(keys.right);
        point.value += f64::from(keys.up) * STEP;
        if let Some(value) = widgets::requested_value(ui, response.id) {
            point.value = value;
        }
        if point != *handle {
            curve_edit::move_handle(curve, layers, position, point.layer, point.value);
        }
        let is_gone = (keys.delete || response.secondary_clicked()) && count > 1;
        if is_gone {
            curve_edit::remove_handle(curve, layers, position);
        }
        if response.hovered() || response.has_focus() || response.dragged() {
            active = Some(point);
        }
        if is_gone {
            break;
        }
    }
    state.range = held.then_some(range);
    if ground.clicked()
        && let Some(pointer) = ground.interact_pointer_pos()
    {
        let point = map.read(pointer);
        curve_edit::add_point(curve, layers, point.layer, point.value);
    }
    let hovered = ground.hover_pos().map(|pointer| map.read(pointer).layer);
    if ground.hovered() {
        ui.ctx().set_cursor_icon(CursorIcon::Crosshair);
    }
    let shown = active.map(|point| point.layer).or(hovered);
    if let Some((layer, value)) =
        shown.and_then(|layer| Some((layer, *curve.values(layers).ok()?.get(layer as usize)?)))
    {
        let text =
            format!("layer {layer}: {} × {} = {}", format::fixed(value, 2), format::w(w), format::fixed(value * w, 3));
        let galley = ui.painter().layout_no_wrap(text, chart::axis_font(), palette.text);
        let at = map.at(Point { layer, value }) + Vec2::new(10.0, -10.0 - galley.size().y);
        let at = Pos2::new(
            at.x.min(frame.right() - galley.size().x),
            at.y.clamp(frame.top(), (frame.bottom() - galley.size().y).max(frame.top())),
        );
        ui.painter().rect_filled(Rect::from_min_size(at, galley.size()).expand(3.0), 2.0, palette.background);
        ui.painter().galley(at, galley, palette.text);
    }
    Rect::from_min_max(top_left, rect.max)
}

/// The ends of the y axis: from zero, or below, to above the largest value.
fn range_of(values: &[f64]) -> (f64, f64) {
    let (low, high) = values.iter().fold((0.0_f64, 1.0_f64), |(low, high), value| (low.min(*value), high.max(*value)));
    let margin = (high - low) * 0.2;
    (if low < 0.0 { low - margin } else { 0.0 }, high + margin)
}

fn axis_ui(ui: &Ui, map: &Map) {
    let palette = theme::palette(ui);
    let (low, high) = map.range;
    let step = chart::nice_step((high - low) / f64::from((map.frame.height() / LINE_SPACING).max(2.0)));
    let decimals = (-step.log10().floor()).clamp(0.0, 9.0) as usize;
    for value in chart::lines((low, high), step) {
        let y = map.y(value);
        ui.painter().hline(map.frame.x_range(), y, Stroke::new(1.0, palette.hairline));
        let at = Pos2::new(map.frame.left() - 8.0, y);
        let text = if value == 0.0 { "0".to_owned() } else { format::fixed(value, decimals) };
        ui.painter().text(at, Align2::RIGHT_CENTER, text, chart::axis_font(), palette.weak);
    }
    map.x.labels_ui(ui, &map.ticks, map.frame.bottom());
}

/// The line through the layers, and the area between it and zero.
fn curve_ui(ui: &Ui, map: &Map, values: &[f64]) {
    let palette = theme::palette(ui);
    let points: Vec<Pos2> = (0..).zip(values).map(|(layer, &value)| map.at(Point { layer, value })).collect();
    let zero = map.y(0.0);
    let fill = palette.accent.gamma_multiply(0.16);
    let mut mesh = Mesh::default();
    for pair in points.windows(2) {
        let first = mesh.vertices.len() as u32;
        for top in pair {
            mesh.colored_vertex(*top, fill);
            mesh.colored_vertex(Pos2::new(top.x, zero), fill);
        }
        mesh.add_triangle(first, first + 1, first + 2);
        mesh.add_triangle(first + 1, first + 2, first + 3);
    }
    let painter = ui.painter().with_clip_rect(map.frame.expand(RADIUS));
    painter.add(mesh);
    // One layer has no line.
    if let [only] = points[..] {
        painter.hline(Rangef::point(only.x).expand(12.0), only.y, Stroke::new(2.0, palette.accent));
    }
    painter.add(Shape::line(points, Stroke::new(2.0, palette.accent)));
}

fn handle_ui(ui: &mut Ui, map: &Map, position: usize, handle: Point) -> Response {
    let palette = theme::palette(ui);
    let center = map.at(handle);
    let rect = Rect::from_center_size(center, Vec2::splat(REACH));
    let response = ui.interact(rect, Id::unique(("scaling handle", position)), Sense::click_and_drag());
    if response.clicked() || response.drag_started() {
        response.request_focus();
    }
    let name = format!("Value of layer {}", handle.layer);
    response.widget_info(|| WidgetInfo::slider(true, handle.value, &name));
    let active = response.hovered() || response.has_focus() || response.dragged();
    let fill = if active { palette.accent } else { palette.background };
    ui.painter().circle(center, RADIUS, fill, Stroke::new(2.0, palette.accent));
    if response.has_focus() {
        ui.painter().circle_stroke(center, RADIUS + 3.0, Stroke::new(1.5, palette.text));
    }
    response.on_hover_cursor(CursorIcon::Grab)
}

/// What the keyboard asks of the handle that has the focus.
struct HandleKeys {
    right: i32,
    up: i32,
    delete: bool,
}

impl HandleKeys {
    fn read(ui: &Ui, response: &Response) -> Self {
        if !response.has_focus() {
            return Self { right: 0, up: 0, delete: false };
        }
        ui.memory_mut(|memory| {
            // Arrows move the handle, not the focus.
            let filter = EventFilter { horizontal_arrows: true, vertical_arrows: true, ..Default::default() };
            memory.set_focus_lock_filter(response.id, filter);
        });
        ui.input(|input| {
            let presses = |key| input.num_presses(key) as i32;
            let up = presses(Key::ArrowUp) - presses(Key::ArrowDown);
            let pages = presses(Key::PageUp) - presses(Key::PageDown);
            Self {
                right: presses(Key::ArrowRight) - presses(Key::ArrowLeft),
                up: up + 10 * pages,
                delete: presses(Key::Delete) + presses(Key::Backspace) > 0,
            }
        })
    }
}
