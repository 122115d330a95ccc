//! Tables of coloured cells: layer × part and layer × layer.

use std::collections::BTreeMap;

use mergescope_core::layout::Part;

use super::{LEFT, RIGHT, WIDTH, label_every, sentence_case, slots};
use crate::format;
use crate::report::svg::{Drawing, LEVELS};
use crate::vector::{Amounts, ColourScale, LayerCosine, Metric, PartSet, Scale, View, extremes, labels};

const TOP: f64 = 44.0;
const BOTTOM: f64 = 32.0;
const ROW: f64 = 28.0;
/// Least width and height of a cell that its value is printed in.
const PRINTED: [f64; 2] = [40.0, 16.0];
/// Side of the layer × layer table.
const SIDE: f64 = 560.0;
const MAX_CELL: f64 = 40.0;
/// Between two cells, where there is room.
const SEAM: f64 = 0.5;
/// Layers up to which each two have a cell of their own that tells its number. Of 200 layers that would be megabytes of
/// cells of three pixels.
const MOST_SINGLE: usize = 64;

/// A scale as the classes of cells.
struct Colours(ColourScale);

impl Colours {
    /// The class of the cells at that step of the scale.
    fn step_class(&self, step: usize) -> String {
        format!("{}{step}", if self.0.kind == Scale::Cosine { 'c' } else { 'a' })
    }

    /// The class of a value's cell.
    fn class(&self, value: f64) -> String {
        match self.0.place(value) {
            None => "none".to_owned(),
            Some(place) => self.step_class((place * LEVELS as f64).round() as usize),
        }
    }

    /// The scale itself, ending at `right`.
    fn legend(&self, drawing: &mut Drawing, right: f64, text: impl Fn(f64) -> String) {
        const STEP: f64 = 4.0;
        let is_empty = self.0.ends[1] <= self.0.ends[0];
        let [low, high] = self.0.ends.map(text);
        let left = right - 10.0 - high.chars().count() as f64 * 6.2 - STEP * (LEVELS + 1) as f64;
        for level in 0..=LEVELS {
            let class = self.step_class(if is_empty { 0 } else { level });
            drawing.rect(&class, [left + STEP * level as f64, 16.0, STEP, 9.0], "");
        }
        drawing.text("weak end", [left - 6.0, 24.0], &low);
        drawing.text("weak end", [right, 24.0], &high);
    }
}

/// The layer × part grid in one metric; layers stand where they stand in [`layers`](super::layers).
pub fn grid(view: &View<'_>, metric: Metric, amounts: Amounts) -> Drawing {
    let parts: Vec<Part> = view.overview.parts.iter().map(|(part, _)| *part).collect();
    let slots = slots(view);
    let value = |group: usize, part: Part| {
        let cell = view.overview.groups[group].cell(part)?;
        Some((view.value(metric, &cell.sums, &cell.tensors), cell.tensors.as_slice()))
    };
    let mut note = metric.label().to_owned();
    let mut description = metric.meaning().to_owned();
    if metric == Metric::RoundingSurvival {
        match view.no_survival() {
            Some(why) => {
                note += &format!(": {why}");
                description = format!("{}, so there is no share that survives.", sentence_case(why));
            }
            None => note += &format!(" at w = {} in {}", format::w(view.w), view.written_dtype()),
        }
    }
    let cells = slots.iter().flat_map(|slot| parts.iter().map(move |&part| (slot.group, part)));
    let values = cells.filter_map(|(group, part)| value(group, part)).map(|(found, _)| found.value);
    let colours = Colours(ColourScale::new(metric, amounts, extremes(values)));
    if colours.0.is_log {
        note += ", colours by its logarithm";
        description += " Colours by the logarithm of the number, over at most four decades.";
    }
    let title = format!("Layer × part: {note}");
    let size = [WIDTH, TOP + ROW * parts.len() as f64 + BOTTOM];
    let mut drawing = Drawing::new(format!("grid-{}", metric.key()), title, description, size);
    drawing.text("title", [16.0, 24.0], "Layer × part");
    drawing.text("weak", [112.0, 24.0], &note);
    let text = |value: f64| if metric.scale() == Scale::Cosine { format::fixed(value, 0) } else { metric.text(value) };
    colours.legend(&mut drawing, WIDTH - RIGHT, text);
    for (row, &part) in parts.iter().enumerate() {
        let y = TOP + ROW * row as f64;
        drawing.text("weak end", [LEFT - 8.0, y + ROW / 2.0 + 4.0], part.label());
        for slot in &slots {
            let Some((found, tensors)) = value(slot.group, part) else { continue };
            let class = colours.class(found.value);
            let shown = metric.text(found.value);
            let mut tooltip = format!("{}, {part}: {} {shown}", slot.title, metric.label());
            if found.is_estimated() {
                tooltip += &format!(" ± {} (estimated)", format::percent(found.margin));
            }
            if tensors.len() > 1 {
                let places = tensors.iter().map(|&position| view.analysis.tensors[position].place);
                tooltip += &format!(", {}", labels::members(places));
            }
            let rect = [slot.left + SEAM, y + SEAM, (slot.width - 2.0 * SEAM).max(0.5), ROW - 2.0 * SEAM];
            drawing.rect(&class, rect, &tooltip);
            if slot.width >= PRINTED[0] && shown.chars().count() as f64 * 6.4 < slot.width {
                let at = [slot.left + slot.width / 2.0, y + ROW / 2.0 + 4.0];
                drawing.text(&format!("on-{class} middle"), at, &shown);
            }
        }
    }
    for slot in &slots {
        if let Some(label) = &slot.label {
            let at = [slot.left + slot.width / 2.0, TOP + ROW * parts.len() as f64 + 18.0];
            drawing.text("weak middle", at, label);
        }
    }
    drawing
}

/// The layer × layer cosine over `parts`.
pub fn layer_cosine(cosine: &LayerCosine, parts: PartSet) -> Drawing {
    let count = cosine.layers.len();
    let cell = (SIDE / count.max(1) as f64).min(MAX_CELL);
    let side = cell * count as f64;
    let of = parts.meaning();
    let mut description =
        "Cosine of v between each two layers: red, they move alike; blue, against each other; neutral, \
                           they have nothing to do with each other. Grey: a layer has no such part, or does not move."
            .to_owned();
    let name = format!("layer-cosine-{}", parts.key());
    if count > MOST_SINGLE {
        description += &format!(" The numbers of so many layers are in {name}.csv, which --csv writes.");
    }
    // Wide enough for its heading.
    let width = (LEFT + side + RIGHT).max(480.0);
    let size = [width, TOP + side + BOTTOM];
    let mut drawing = Drawing::new(name, format!("Do layers move alike? {of}"), description, size);
    drawing.text("title", [16.0, 24.0], "Do layers move alike?");
    drawing.text("weak", [172.0, 24.0], of);
    let colours = Colours(ColourScale::COSINE);
    colours.legend(&mut drawing, width - RIGHT, |value| format::fixed(value, 0));
    if count > MOST_SINGLE {
        areas(&mut drawing, cosine, &colours, cell);
    } else {
        cells(&mut drawing, cosine, &colours, cell);
    }
    for (position, layer) in cosine.layers.iter().enumerate().step_by(label_every(cell)) {
        let middle = cell * (position as f64 + 0.5);
        drawing.text("weak end", [LEFT - 8.0, TOP + middle + 4.0], &layer.to_string());
        drawing.text("weak middle", [LEFT + middle, TOP + side + 18.0], &layer.to_string());
    }
    drawing
}

/// A cell for each two layers, with its number where there is room, and under the pointer.
fn cells(drawing: &mut Drawing, cosine: &LayerCosine, colours: &Colours, cell: f64) {
    let seam = if cell >= 6.0 { SEAM } else { 0.0 };
    for (row, first) in cosine.layers.iter().enumerate() {
        for (column, second) in cosine.layers.iter().enumerate() {
            let value = cosine.at(row, column);
            let class = colours.class(value);
            let (x, y) = (LEFT + cell * column as f64, TOP + cell * row as f64);
            let tooltip = format!("Layers {first} and {second}: {}", format::fixed(value, 3));
            drawing.rect(&class, [x + seam, y + seam, cell - 2.0 * seam, cell - 2.0 * seam], &tooltip);
            if cell >= PRINTED[1] * 2.0 {
                let at = [x + cell / 2.0, y + cell / 2.0 + 4.0];
                drawing.text(&format!("on-{class} middle"), at, &format::fixed(value, 2));
            }
        }
    }
}

/// One shape for each colour, of rows of cells that have it.
fn areas(drawing: &mut Drawing, cosine: &LayerCosine, colours: &Colours, cell: f64) {
    let count = cosine.layers.len();
    let mut rows: BTreeMap<String, Vec<[usize; 3]>> = BTreeMap::new();
    for row in 0..count {
        let classes: Vec<String> = (0..count).map(|column| colours.class(cosine.at(row, column))).collect();
        let mut column = 0;
        for alike in classes.chunk_by(|a, b| a == b) {
            rows.entry(alike[0].clone()).or_default().push([column, row, alike.len()]);
            column += alike.len();
        }
    }
    for (class, rows) in rows {
        drawing.cells(&class, [LEFT, TOP], cell, &rows);
    }
}

#[cfg(test)]
mod tests {
    use mergescope_core::recipe::{OutputSpec, Rounding};

    use super::*;
    use crate::report::svg::Theme;
    use crate::vector::testing::{Measured, sample, tensor};

    /// Norms of 1, 10⁻², 10⁻⁴ and 0 in four layers.
    fn decades() -> Measured {
        let squares = (0..).zip([1.0, 1e-4, 1e-8, 0.0]);
        Measured::new(squares.map(|(layer, v_sq)| tensor(Some(layer), Part::Q, 1.0, v_sq)).collect())
    }

    /// The classes of the cells of four layers.
    fn classes(metric: Metric, amounts: Amounts) -> Vec<String> {
        let measured = decades();
        let svg = grid(&measured.view(0.5), metric, amounts).to_svg(Theme::Light);
        let cells = svg.lines().filter(|line| line.starts_with("<rect") && line.contains("Layer "));
        cells.map(|line| line.split('"').nth(1).unwrap().to_owned()).collect()
    }

    #[test]
    fn a_logarithm_tells_small_amounts_apart() {
        assert_eq!(classes(Metric::Norm, Amounts::Linear), ["a32", "a0", "a0", "a0"]);
        assert_eq!(classes(Metric::Norm, Amounts::Log), ["a32", "a16", "a0", "a0"]);
        let drawing = grid(&decades().view(0.5), Metric::Norm, Amounts::Log);
        assert!(drawing.description.contains("logarithm") && drawing.title.contains("logarithm"));
    }

    #[test]
    fn a_grid_without_survival_says_why() {
        let mut part = tensor(Some(0), Part::Q, 100.0, 1e-3);
        part.sample = sample(&[[1.0, 0.01]; 10], true);
        let about = |rounding, w| {
            let measured = Measured::written(vec![part.clone()], OutputSpec { rounding, ..OutputSpec::default() });
            let drawing = grid(&measured.view(w), Metric::RoundingSurvival, Amounts::Linear);
            (drawing.title, drawing.description)
        };
        let (title, description) = about(Rounding::Stochastic, 0.25);
        assert_eq!(
            description,
            "Stochastic rounding keeps every update in the mean, so there is no share that survives."
        );
        assert!(title.ends_with("Rounding survival: stochastic rounding keeps every update in the mean"), "{title}");
        assert!(about(Rounding::Nearest, 0.0).1.starts_with("At w = 0 nothing is added"));
        assert!(about(Rounding::Nearest, 0.25).0.ends_with("Rounding survival at w = 0.25 in bf16"));
    }

    #[test]
    fn shares_and_cosines_and_what_has_no_logarithm_look_the_same() {
        let pictures = |measured: &Measured, metric| {
            [Amounts::Linear, Amounts::Log].map(|amounts| grid(&measured.view(0.5), metric, amounts))
        };
        for metric in Metric::ALL.into_iter().filter(|metric| metric.scale() != Scale::Amount) {
            let [linear, log] = pictures(&decades(), metric);
            assert_eq!(linear, log);
        }
        for v_sq in [0.0, 4.0] {
            let [linear, log] = pictures(&Measured::new(vec![tensor(Some(0), Part::Q, 1.0, v_sq)]), Metric::Norm);
            assert_eq!(linear, log);
        }
    }

    #[test]
    fn hundreds_of_layers_are_areas_of_few_shapes() {
        let of = |count: usize| {
            let values = (0..count * count).map(|at| if at / count == at % count { 1.0 } else { 0.0 }).collect();
            let cosine = LayerCosine { layers: (0..count as u32).collect(), values };
            layer_cosine(&cosine, PartSet::All)
        };
        let few = of(64).to_svg(Theme::Light);
        assert_eq!(few.matches("<title>Layers ").count(), 64 * 64);
        let (many, svg) = (of(200), of(200).to_svg(Theme::Light));
        assert!(svg.len() < 40_000 && !svg.contains("<title>Layers "), "{} bytes", svg.len());
        assert!(many.description.ends_with(" are in layer-cosine-all.csv, which --csv writes."));
        // The diagonal, and what is left and right of it in each row.
        let cells = |class: &str| {
            let path = svg.lines().find(|line| line.starts_with(&format!("<path class=\"{class}\""))).unwrap();
            path.matches('M').count()
        };
        assert_eq!((cells("c32"), cells("c16")), (200, 2 * 199));
    }
}
