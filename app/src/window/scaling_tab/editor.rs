//! The curve over the layers, with points that are dragged or moved with the arrow keys.

use eframe::egui::{
    self, Align2, CursorIcon, EventFilter, Id, Key, Mesh, Popup, Pos2, Rangef, Rect, Response, Sense, Shape, Stroke,
    Ui, Vec2, WidgetInfo,
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
/// Least radius, where layers are so close that handles would hide each other.
const LEAST_RADIUS: f32 = 2.5;
/// How far around a handle it can be taken; half as far as its neighbour at most.
const REACH: f32 = 28.0;
/// Steps from one layer to the next in which a smooth curve is drawn.
const TRACE_STEPS: u32 = 8;
/// How strong the colour below the curve is.
const FILL: f32 = 0.14;
/// Distance in points that the y axis aims at between two lines.
const LINE_SPACING: f32 = 55.0;
/// What an arrow key adds to a value; Page Up and Page Down add ten times as much.
const STEP: f64 = 0.01;

/// What is remembered from one frame to the next.
#[derive(Default)]
pub struct EditorState {
    /// The values at the lower and the upper end when the handle was taken that is dragged: what the pointer means stays
    /// the same while the axis makes room.
    held: Option<(f64, f64)>,
    /// Whether a menu was open.
    covered: bool,
}

/// From layers and values to points of the screen.
struct Map {
    frame: Rect,
    x: XScale,
    ticks: Vec<Tick>,
    range: (f64, f64),
}

impl Map {
    /// The place of a layer, or of one between two.
    fn x(&self, layer: f64) -> f32 {
        let first = self.ticks.first().map_or(self.frame.left(), |tick| self.x.column(tick).center());
        first + layer as f32 * self.x.step
    }

    fn y(&self, value: f64) -> f32 {
        let (low, high) = self.range;
        self.frame.bottom() - ((value - low) / (high - low)) as f32 * self.frame.height()
    }

    fn at(&self, layer: f64, value: f64) -> Pos2 {
        Pos2::new(self.x(layer), self.y(value))
    }

    /// The nearest layer and the value at a point of the screen, on an axis with these ends; the pointer may be beyond.
    fn read(&self, pos: Pos2, (low, high): (f64, f64)) -> Point {
        let share = f64::from((self.frame.bottom() - pos.y) / self.frame.height());
        let steps = (pos.x - self.x(0.0)) / self.x.step;
        let last = self.ticks.len().saturating_sub(1) as f32;
        Point { layer: steps.round().clamp(0.0, last) as u32, value: low + share * (high - low) }
    }

    /// The radius of a handle.
    fn radius(&self) -> f32 {
        (self.x.step * 0.45).clamp(LEAST_RADIUS, RADIUS)
    }

    /// Where a handle can be taken: around it, and not beyond the middle between it and its neighbours.
    fn reach(&self, handles: &[Point], position: usize) -> Rect {
        let at = |point: &Point| self.at(point.layer.into(), point.value);
        let center = at(&handles[position]);
        let rect = Rect::from_center_size(center, Vec2::splat(REACH));
        let middle = |neighbour: Option<&Point>| neighbour.map(|point| (at(point).x + center.x) / 2.0);
        let before = middle(position.checked_sub(1).and_then(|before| handles.get(before)));
        let after = middle(handles.get(position + 1));
        let left = before.map_or(rect.left(), |middle| rect.left().max(middle));
        let right = after.map_or(rect.right(), |middle| rect.right().min(middle));
        Rect::from_x_y_ranges(left..=right, rect.y_range())
    }
}

/// What is edited: the curve, for how many layers, and the w that it is multiplied by.
pub struct Edited<'a> {
    /// The curve.
    pub curve: &'a mut Curve,
    /// The layers of the models.
    pub layers: u32,
    /// The w of the recipe.
    pub w: f64,
    /// Room at the end of the title that something else takes.
    pub title_end: f32,
}

/// Draws the editor, `height` high; gives its place for pictures.
pub fn ui(ui: &mut Ui, state: &mut EditorState, edited: Edited<'_>, height: f32) -> Rect {
    let Edited { curve, layers, w, title_end } = edited;
    let top_left = ui.cursor().left_top();
    let heading = Title {
        text: "How much of v each layer gets",
        meaning: "times w; drag points, click to add",
        explanation: "What w is multiplied by in each layer. Embeddings, head and final norm lie outside the layers and \
                      get w as it is. Drag the points, or move the one in focus with the arrow keys, by 0.1 with Page Up \
                      and Page Down. Insert or a click adds a point, Delete or a right click takes one away, Home and End \
                      go to the first and the last.",
        is_chosen: false,
    };
    ui.horizontal(|ui| {
        ui.set_max_width(ui.available_width() - title_end);
        title::words_ui(ui, &heading);
    });
    let used = ui.cursor().top() - top_left.y;
    let size = Vec2::new(ui.available_width(), (height - used).max(120.0));
    let (rect, _) = ui.allocate_exact_size(size, Sense::hover());
    let frame = Rect::from_min_max(
        rect.min + Vec2::new(theme::Y_AXIS_WIDTH, 6.0),
        rect.max - Vec2::new(0.0, chart::X_LABELS_HEIGHT),
    );
    let ticks = chart::ticks((0..layers).map(|layer| (layer.to_string(), true)), frame.width());
    let values = curve.values(layers).unwrap_or_default();
    let step = line_step(&values, frame.height());
    let now = range_of(&values, step);
    let held = state.held.unwrap_or(now);
    let range = (held.0.min(now.0), held.1.max(now.1));
    let map = Map { frame, x: XScale::new(&ticks, frame.x_range()), ticks, range };

    axis_ui(ui, &map, step);
    let ground = ui.interact(frame, Id::unique("scaling curve"), Sense::click());
    let description = format!("Chart: how much of v each layer gets; {curve}");
    ground.widget_info(|| WidgetInfo::labeled(egui::Role::Image, true, &description));
    curve_ui(ui, &map, &curve.trace(layers, TRACE_STEPS));

    // A click beside a menu closes it, and means no more than that.
    let covers = Popup::is_any_open(ui.ctx());
    let covered = std::mem::replace(&mut state.covered, covers) || covers;
    let mut shown = None;
    let mut is_held = false;
    let handles = curve_edit::handles(curve, layers);
    for (position, handle) in handles.iter().enumerate() {
        let response = handle_ui(ui, &map, &handles, position);
        let mut point = *handle;
        if response.dragged()
            && !covered
            && let Some(pointer) = response.interact_pointer_pos()
        {
            point = map.read(pointer, held);
            is_held = true;
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
        if response.hovered() || response.has_focus() || response.dragged() {
            shown = curve_edit::handles(curve, layers).get(position).map(|moved| moved.layer);
        }
        let focused = match keys.act {
            Some(Act::First) => Some(0),
            Some(Act::Last) => Some(handles.len() - 1),
            Some(Act::Insert) => curve_edit::insert_beside(curve, layers, position),
            _ if handles.len() > 1 && (keys.act == Some(Act::Remove) || response.secondary_clicked()) => {
                curve_edit::remove_handle(curve, layers, position);
                Some(position.min(handles.len() - 2))
            }
            _ => None,
        };
        if let Some(focused) = focused {
            focus(ui, focused);
            break;
        }
    }
    state.held = is_held.then_some(held);
    if ground.clicked()
        && !covered
        && let Some(pointer) = ground.interact_pointer_pos()
    {
        let point = map.read(pointer, range);
        let added = curve_edit::add_point(curve, layers, point.layer, point.value);
        focus(ui, added);
    }
    if ground.hovered() {
        ui.ctx().set_cursor_icon(CursorIcon::Crosshair);
    }
    let under = ground.hover_pos().map(|pointer| map.read(pointer, range).layer);
    if let Some(layer) = shown.or(under)
        && let Some(&value) = curve.values(layers).unwrap_or_default().get(layer as usize)
    {
        value_ui(ui, &map, layer, value, w);
    }
    Rect::from_min_max(top_left, rect.max)
}

/// Says beside a layer of the curve what it comes to.
fn value_ui(ui: &Ui, map: &Map, layer: u32, value: f64, w: f64) {
    let palette = theme::palette(ui);
    let times = format!("{} × {} = {}", format::fixed(value, 2), format::w(w), format::fixed(value * w, 3));
    let galley = ui.painter().layout_no_wrap(format!("layer {layer}: {times}"), chart::axis_font(), palette.text);
    let (frame, size) = (map.frame, galley.size());
    let point = map.at(layer.into(), value);
    // Above the point, or below where there is no room.
    let above = point.y - 10.0 - size.y;
    let top = if above >= frame.top() { above } else { point.y + 10.0 };
    let at = Pos2::new((point.x + 10.0).min(frame.right() - size.x), top.min(frame.bottom() - size.y));
    ui.painter().circle_filled(point, 2.5, palette.accent);
    ui.painter().rect_filled(Rect::from_min_size(at, size).expand(3.0), 2.0, palette.background);
    ui.painter().galley(at, galley, palette.text);
}

/// The smallest and the largest value, zero and one among them.
fn ends(values: &[f64]) -> (f64, f64) {
    values.iter().fold((0.0_f64, 1.0_f64), |(low, high), value| (low.min(*value), high.max(*value)))
}

/// The distance from one line of the y axis to the next.
fn line_step(values: &[f64], height: f32) -> f64 {
    let (low, high) = ends(values);
    chart::nice_step((high - low) / f64::from((height / LINE_SPACING).max(2.0)))
}

/// The ends of the y axis: lines, with room above the largest value, and below the smallest unless that is zero.
fn range_of(values: &[f64], step: f64) -> (f64, f64) {
    let (low, high) = ends(values);
    let margin = (high - low) * 0.08;
    let low = if low < 0.0 { ((low - margin) / step).floor() * step } else { 0.0 };
    (low, ((high + margin) / step).ceil() * step)
}

fn axis_ui(ui: &Ui, map: &Map, step: f64) {
    let palette = theme::palette(ui);
    let decimals = (-step.log10().floor()).clamp(0.0, 9.0) as usize;
    for value in chart::lines(map.range, step) {
        let y = map.y(value);
        ui.painter().hline(map.frame.x_range(), y, Stroke::new(1.0, palette.hairline));
        let at = Pos2::new(map.frame.left() - 8.0, y);
        let text = if value == 0.0 { "0".to_owned() } else { format::fixed(value, decimals) };
        ui.painter().text(at, Align2::RIGHT_CENTER, text, chart::axis_font(), palette.weak);
    }
    map.x.labels_ui(ui, &map.ticks, map.frame.bottom());
}

/// The line through the layers, and the area between it and zero.
fn curve_ui(ui: &Ui, map: &Map, trace: &[(f64, f64)]) {
    let palette = theme::palette(ui);
    let points: Vec<Pos2> = trace.iter().map(|&(layer, value)| map.at(layer, value)).collect();
    let zero = map.y(0.0);
    let fill = palette.accent.gamma_multiply(FILL);
    let mut mesh = Mesh::default();
    let mut area = |from: Pos2, to: Pos2| {
        let first = mesh.vertices.len() as u32;
        for top in [from, to] {
            mesh.colored_vertex(top, fill);
            mesh.colored_vertex(Pos2::new(top.x, zero), fill);
        }
        mesh.add_triangle(first, first + 1, first + 2);
        mesh.add_triangle(first + 1, first + 2, first + 3);
    };
    for pair in points.windows(2) {
        let (from, to) = (pair[0], pair[1]);
        if (from.y - zero) * (to.y - zero) < 0.0 {
            let crossing = from + (to - from) * ((zero - from.y) / (to.y - from.y));
            area(from, crossing);
            area(crossing, to);
        } else {
            area(from, to);
        }
    }
    let painter = ui.painter().with_clip_rect(map.frame.expand(RADIUS));
    painter.add(mesh);
    // One layer has no line.
    if let [only] = points[..] {
        painter.hline(Rangef::point(only.x).expand(12.0), only.y, Stroke::new(2.0, palette.accent));
    }
    painter.add(Shape::line(points, Stroke::new(2.0, palette.accent)));
}

fn handle_id(position: usize) -> Id {
    Id::unique(("scaling handle", position))
}

/// Gives a handle the focus; there may be one more of them than before.
fn focus(ui: &Ui, position: usize) {
    ui.memory_mut(|memory| memory.request_focus(handle_id(position)));
    ui.ctx().request_repaint();
}

fn handle_ui(ui: &mut Ui, map: &Map, handles: &[Point], position: usize) -> Response {
    let palette = theme::palette(ui);
    let handle = handles[position];
    let center = map.at(handle.layer.into(), handle.value);
    let response = ui.interact(map.reach(handles, position), handle_id(position), Sense::click_and_drag());
    if response.clicked() || response.drag_started() {
        response.request_focus();
    }
    let name = format!("Value of layer {}", handle.layer);
    response.widget_info(|| WidgetInfo::slider(true, handle.value, &name));
    let active = response.hovered() || response.has_focus() || response.dragged();
    let fill = if active { palette.accent } else { palette.background };
    let radius = if active { map.radius().max(RADIUS - 1.0) } else { map.radius() };
    ui.painter().circle(center, radius, fill, Stroke::new(2.0_f32.min(radius * 0.5), palette.accent));
    if response.has_focus() {
        ui.painter().circle_stroke(center, radius + 3.0, Stroke::new(1.5, palette.text));
    }
    response.on_hover_cursor(CursorIcon::Grab)
}

/// What a key does to the handles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    /// Adds one.
    Insert,
    /// Takes one away.
    Remove,
    /// Goes to the first.
    First,
    /// Goes to the last.
    Last,
}

/// What the keyboard asks of the handle that has the focus.
#[derive(Default)]
struct HandleKeys {
    right: i32,
    up: i32,
    act: Option<Act>,
}

impl HandleKeys {
    fn read(ui: &Ui, response: &Response) -> Self {
        if !response.has_focus() {
            return Self::default();
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
            let acts = [
                (Key::Insert, Act::Insert),
                (Key::Delete, Act::Remove),
                (Key::Backspace, Act::Remove),
                (Key::Home, Act::First),
                (Key::End, Act::Last),
            ];
            Self {
                right: presses(Key::ArrowRight) - presses(Key::ArrowLeft),
                up: up + 10 * pages,
                act: acts.into_iter().find(|(key, _)| presses(*key) > 0).map(|(_, act)| act),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_axis_ends_at_lines_with_room_for_the_points() {
        let range = |values: &[f64]| range_of(values, line_step(values, 220.0));
        assert_eq!(range(&[1.0, 1.0]), (0.0, 1.5));
        assert_eq!(range(&[0.2, 1.1]), (0.0, 1.5));
        assert_eq!(range(&[-0.5, 1.0]), (-1.0, 1.5));
        assert_eq!(range(&[]), (0.0, 1.5));
        let (low, high) = range(&[-10.0, 10.0]);
        assert!(low < -10.0 && high > 10.0, "{low} to {high}");
    }

    #[test]
    fn handles_close_to_each_other_share_the_room_between_them() {
        let frame = Rect::from_min_size(Pos2::ZERO, Vec2::new(400.0, 200.0));
        let ticks = chart::ticks((0..100).map(|layer| (layer.to_string(), true)), frame.width());
        let map = Map { frame, x: XScale::new(&ticks, frame.x_range()), ticks, range: (0.0, 1.0) };
        let handles = [0, 1, 60].map(|layer| Point { layer, value: 0.5 });
        let [first, second, third] = [0, 1, 2].map(|position| map.reach(&handles, position));
        assert!(first.right() <= second.left() && second.width() < REACH, "{first:?} {second:?}");
        assert_eq!(third.width(), REACH);
    }
}
