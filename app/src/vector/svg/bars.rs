//! Bars by layer.

use super::{LEFT, RIGHT, WIDTH, axis_number, nice_step, slots};
use crate::format;
use crate::report::svg::Drawing;
use crate::vector::{Metric, View};

const TOP: f64 = 64.0;
const PLOT: f64 = 260.0;
const BOTTOM: f64 = 36.0;
/// Part of its slot that a bar takes.
const BAR: f64 = 0.82;

/// How far each layer moved: a bar as high as its own ‖v‖ ∕ ‖pre‖, divided by each part's share of ‖v‖².
pub fn layers(view: &View<'_>) -> Drawing {
    let reference = view.analysis.reference();
    let description = format!(
        "How far fine-tuning moved each layer: a bar is as high as the layer's own ‖v‖ ∕ {reference}. Norms do not add up, \
         squares do: the colours divide a bar by each part's share of ‖v‖². Embeddings, head and final norm stand apart."
    );
    let title = "How far each layer moved";
    let size = [WIDTH, TOP + PLOT + BOTTOM];
    let mut drawing = Drawing::new("layers".to_owned(), title.to_owned(), description, size);
    drawing.text("title", [16.0, 24.0], title);
    drawing.text("weak", [196.0, 24.0], &format!("‖v‖ ∕ {reference} in %; colours: share of ‖v‖²"));
    legend(&mut drawing, view);

    let groups = &view.overview.groups;
    let heights = groups.iter().map(|group| group.all.gram.relative_norm()).filter(|height| height.is_finite());
    let highest = heights.fold(0.0, f64::max) * 100.0;
    let top = if highest > 0.0 { highest * 1.04 } else { 1.0 };
    let y = |percent: f64| TOP + PLOT * (1.0 - percent / top);
    let step = nice_step(top, 5.0);
    for line in 0..=(top / step) as u32 {
        let value = f64::from(line) * step;
        drawing.line("grid", [LEFT, y(value)], [WIDTH - RIGHT, y(value)]);
        drawing.text("weak end", [LEFT - 8.0, y(value) + 4.0], &axis_number(value, step));
    }
    for slot in slots(view) {
        let group = &groups[slot.group];
        let relative = group.all.gram.relative_norm();
        let (left, width) = (slot.left + slot.width * (1.0 - BAR) / 2.0, slot.width * BAR);
        if let Some(label) = &slot.label {
            drawing.text("weak middle", [slot.left + slot.width / 2.0, TOP + PLOT + 18.0], label);
        }
        if relative.is_nan() {
            drawing.text("weak middle", [slot.left + slot.width / 2.0, TOP + PLOT - 4.0], format::NONE);
            continue;
        }
        let mut base = 0.0;
        for cell in &group.cells {
            let share = group.share(cell.row.part);
            let end = base + share * relative * 100.0;
            let tooltip = format!(
                "{}: {}. {}: {} of ‖v‖², {} by itself",
                slot.title,
                Metric::RelativeNorm.text(relative),
                cell.row.part,
                format::percent(share),
                Metric::RelativeNorm.text(cell.sums.gram.relative_norm()),
            );
            if end > base {
                drawing.rect(&format!("p-{}", cell.row.part), [left, y(end), width, y(base) - y(end)], &tooltip);
            }
            base = end;
        }
    }
    drawing
}

fn legend(drawing: &mut Drawing, view: &View<'_>) {
    let mut x = LEFT;
    for (part, sums) in &view.overview.parts {
        let share = format!("{part}: {} of all ‖v‖²", format::percent(sums.gram.v_v / view.overview.total.gram.v_v));
        drawing.rect(&format!("p-{part}"), [x, 38.0, 9.0, 9.0], &share);
        drawing.text("weak", [x + 14.0, 46.0], part.label());
        x += 30.0 + part.label().len() as f64 * 6.2;
    }
}
