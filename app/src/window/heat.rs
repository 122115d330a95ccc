//! What heatmaps share: cells drawn as one mesh, numbers in them, and a cell that the arrow keys move.

use eframe::egui::{
    self, Align2, Color32, Context, EventFilter, Id, Key, Mesh, Painter, Pos2, Rangef, Rect, Response, Stroke,
    StrokeKind, Ui, emath::GuiRounding as _,
};

use super::{chart, theme};

/// Cells smaller than this have no gap between them.
const LEAST_WITH_GAP: f32 = 7.0;
/// Cells smaller than this hold no number of the length of −0.12.
const LEAST_WITH_TEXT: egui::Vec2 = egui::Vec2::new(40.0, 15.0);
/// Room beside a number in its cell.
const TEXT_MARGIN: f32 = 4.0;

/// Cells of a heatmap, collected and drawn at once.
pub struct Cells {
    mesh: Mesh,
    pixels_per_point: f32,
}

impl Cells {
    /// No cells yet.
    pub fn new(ui: &Ui) -> Self {
        Self { mesh: Mesh::default(), pixels_per_point: ui.pixels_per_point() }
    }

    /// Adds a cell; gives the rectangle that it fills, with sharp edges.
    pub fn add(&mut self, x: Rangef, y: Rangef, colour: Color32) -> Rect {
        let rect = Rect::from_x_y_ranges(x, y).round_to_pixels(self.pixels_per_point);
        let gap = if rect.width().min(rect.height()) >= LEAST_WITH_GAP { 1.0 / self.pixels_per_point } else { 0.0 };
        let rect = Rect::from_min_max(rect.min, rect.max - egui::Vec2::splat(gap));
        self.mesh.add_colored_rect(rect, colour);
        rect
    }

    /// Draws what was added.
    pub fn paint(self, painter: &Painter) {
        painter.add(self.mesh);
    }
}

/// Whether cells of this size are large enough for numbers.
pub fn has_room_for_text(size: egui::Vec2) -> bool {
    size.x >= LEAST_WITH_TEXT.x && size.y >= LEAST_WITH_TEXT.y
}

/// Whether a number fits into a cell of this width.
pub fn fits(ui: &Ui, text: String, width: f32) -> bool {
    let galley = ui.painter().layout_no_wrap(text, chart::axis_font(), Color32::PLACEHOLDER);
    galley.size().x + 2.0 * TEXT_MARGIN <= width
}

/// Writes a number into a cell unless it is wider than the cell.
pub fn number_ui(ui: &Ui, rect: Rect, ground: Color32, text: String) {
    let galley = ui.painter().layout_no_wrap(text, chart::axis_font(), theme::text_on(ground));
    if galley.size().x + 2.0 * TEXT_MARGIN <= rect.width() {
        let at = Align2::CENTER_CENTER.anchor_size(rect.center(), galley.size()).min;
        ui.painter().galley(at, galley, Color32::PLACEHOLDER);
    }
}

/// Says whether rings are drawn: they belong to the window, not to a picture of a chart.
pub fn show_rings(ctx: &Context, shown: bool) {
    ctx.data_mut(|data| data.insert_temp(rings_id(), shown));
}

fn rings_id() -> Id {
    Id::unique("rings are shown")
}

/// Draws a ring within a cell's edge, where no neighbour and no end of the chart hides it.
pub fn ring_ui(ui: &Ui, rect: Rect, colour: Color32) {
    if ui.data(|data| data.get_temp(rings_id())) == Some(false) {
        return;
    }
    let width = 1.5;
    ui.painter().rect_stroke(rect, 1.0, Stroke::new(width, colour), StrokeKind::Inside);
    // A second ring, so that one of the two stands out from any cell.
    let inner = Stroke::new(width, theme::palette(ui).background);
    ui.painter().rect_stroke(rect.shrink(width), 0.0, inner, StrokeKind::Inside);
}

/// What the keyboard asks of a heatmap that has the focus.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keys {
    /// Columns to the right.
    pub right: isize,
    /// Rows down.
    pub down: isize,
    /// Enter or space.
    pub open: bool,
}

impl Keys {
    /// Reads the keyboard; arrow keys then move the cell instead of the focus.
    pub fn read(ui: &Ui, response: &Response) -> Self {
        if !response.has_focus() {
            return Self::default();
        }
        ui.memory_mut(|memory| {
            let filter = EventFilter { horizontal_arrows: true, vertical_arrows: true, ..EventFilter::default() };
            memory.set_focus_lock_filter(response.id, filter);
        });
        ui.input(|input| {
            let presses = |key| input.num_presses(key) as isize;
            Self {
                right: presses(Key::ArrowRight) - presses(Key::ArrowLeft),
                down: presses(Key::ArrowDown) - presses(Key::ArrowUp),
                open: presses(Key::Enter) + presses(Key::Space) > 0,
            }
        })
    }
}

/// `position` moved by `steps`, kept below `count`.
pub fn moved(position: usize, steps: isize, count: usize) -> usize {
    position.saturating_add_signed(steps).min(count.saturating_sub(1))
}

/// The position of the range that holds `at`.
pub fn hit(ranges: impl IntoIterator<Item = Rangef>, at: f32) -> Option<usize> {
    ranges.into_iter().position(|range| range.contains(at))
}

/// The pointer, when it is over a response.
pub fn pointer(response: &Response) -> Option<Pos2> {
    response.hover_pos().or_else(|| response.interact_pointer_pos())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cell_stays_within_its_chart() {
        assert_eq!([moved(0, -1, 5), moved(4, 1, 5), moved(2, 2, 5), moved(0, 1, 0)], [0, 4, 4, 0]);
    }
}
