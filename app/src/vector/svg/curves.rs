//! One tensor: how large its elements are, and its singular values.

use mergescope_core::analysis::{Spectrum, TensorAnalysis};
use mergescope_core::checkpoint::dtype_label;
use mergescope_core::recipe::Rounding;

use super::{LEFT, RIGHT, axis_number, fitting, nice_step, sentence_case};
use crate::format;
use crate::report::svg::Drawing;
use crate::vector::magnitudes::{density, half_step, quantile};
use crate::vector::tables::file_name;
use crate::vector::{View, spectra};

const WIDTH: f64 = 640.0;
const TOP: f64 = 62.0;
const PLOT: f64 = 220.0;
const BOTTOM: f64 = 44.0;
/// Width of a character of a title, and a little more.
const TITLE_CHARACTER: f64 = 7.6;
/// So few singular values are marked one by one.
const MARKED: usize = 40;
/// Smallest magnitudes that are left out of the picture: a share of the elements too small to see.
const TAIL: f64 = 0.001;

/// Magnitudes of w·v and of pre in one tensor, and from which size on the output sees a change.
pub fn histogram(view: &View<'_>, position: usize) -> Drawing {
    let tensor = &view.analysis.tensors[position];
    let description = "Sizes of the elements of w·v and of pre on a logarithmic axis; an area's height is elements per \
                       octave. An update of less than the dashed line leaves a weight of median size as it was.";
    let name = format!("histogram-{}", file_name(&tensor.name));
    let mut drawing = Drawing::new(name, heading(tensor), description.to_owned(), [WIDTH, TOP + PLOT + BOTTOM]);
    drawing.text("title", [16.0, 24.0], &fitting(&tensor.name, WIDTH - 32.0, TITLE_CHARACTER));
    drawing.text("weak", [16.0, 42.0], &facts(tensor));

    let w = f64::from(view.coefficient(position).abs());
    let (vector, pre) = (&tensor.vector_histogram, &tensor.pre_histogram);
    let scaled = |size: f64| if w > 0.0 { size * w } else { size };
    let low = quantile(vector, TAIL).map(scaled).into_iter().chain(quantile(pre, TAIL)).fold(f64::INFINITY, f64::min);
    let high = quantile(vector, 1.0).map(scaled).into_iter().chain(quantile(pre, 1.0)).fold(0.0, f64::max);
    if !(low.is_finite() && high > 0.0) {
        drawing.text("weak middle", [WIDTH / 2.0, TOP + PLOT / 2.0], "Every element is zero");
        return drawing;
    }
    let (first, last) = (low.log10().floor(), high.log10().ceil().max(low.log10().floor() + 1.0));
    let x = |log: f64| LEFT + (WIDTH - LEFT - RIGHT) * (log - first) / (last - first);
    let curves = [
        ("reference", "|pre|", pre, density(pre), 0.0),
        ("accent", "|w·v|", vector, if w > 0.0 { density(vector) } else { Vec::new() }, w.log10()),
    ];
    let peak = curves.iter().flat_map(|(.., points, _)| points).map(|point| point.1).fold(0.0, f64::max);
    let y = |share: f64| TOP + PLOT * (1.0 - share / peak * 0.86);
    for (class, label, histogram, points, shift) in &curves {
        let Some(&highest) = points.iter().max_by(|a, b| a.1.total_cmp(&b.1)) else { continue };
        // From edge to edge, so that a single bin has a width too.
        let edges = histogram.bins().map(|bin| bin.low).next().zip(histogram.bins().map(|bin| bin.high).last());
        let Some(edges) = edges else { continue };
        let [start, end] = [edges.0, edges.1].map(|edge| [x((edge.log10() + shift).max(first)), y(0.0)]);
        let tops = points.iter().map(|(log, share)| (log + shift, *share)).filter(|(log, _)| *log >= first);
        let tops = tops.map(|(log, share)| [x(log), y(share)]);
        let outline: Vec<[f64; 2]> = std::iter::once(start).chain(tops).chain([end]).collect();
        let tooltip = format!("{label}: most are around {}", format::norm(10_f64.powf(highest.0 + shift)));
        drawing.path(class, &outline, true, &tooltip);
        drawing.text("weak middle", [x(highest.0 + shift), y(highest.1) - 6.0], label);
    }
    drawing.line("grid", [LEFT, y(0.0)], [WIDTH - RIGHT, y(0.0)]);
    let every = ((last - first) / 8.0).ceil().max(1.0) as usize;
    for log in (first as i32..=last as i32).step_by(every) {
        drawing.text("weak middle", [x(f64::from(log)), TOP + PLOT + 18.0], &format::power_of_ten(log));
    }
    let dtype = view.written(position);
    let step = quantile(pre, 0.5).and_then(|median| half_step(dtype, median));
    if let Some(step) = step.filter(|_| view.output.rounding != Rounding::Stochastic) {
        let at = x(step.log10());
        if (LEFT..=WIDTH - RIGHT).contains(&at) {
            drawing.line("dashed", [at, TOP - 10.0], [at, y(0.0)]);
            let (class, text) = if at < WIDTH * 0.6 { ("warn", at + 6.0) } else { ("warn end", at - 6.0) };
            drawing.text(class, [text, TOP - 2.0], &format!("{} sees w·v from here", dtype_label(dtype)));
        }
    }
    drawing.text("weak", [LEFT, TOP + PLOT + 36.0], &note(view, position));
    drawing
}

/// Singular values of v in one tensor, with the share of ‖v‖² that they keep.
pub fn spectrum(spectrum: &Spectrum) -> Drawing {
    let description = "Singular values of v, largest first: a line that falls steeply is a \
                       change of low rank. The effective rank is the exponential of the entropy of the values.";
    let name = format!("spectrum-{}", file_name(&spectrum.name));
    let title = format!("Spectrum of v: {}", spectrum.name);
    let mut drawing = Drawing::new(name, title, description.to_owned(), [WIDTH, TOP + PLOT + BOTTOM]);
    let about = "Spectrum of v: ";
    let shown = fitting(&spectrum.name, WIDTH - 32.0 - TITLE_CHARACTER * about.len() as f64, TITLE_CHARACTER);
    drawing.text("title", [16.0, 24.0], &format!("{about}{shown}"));
    let shape = format!("{} × {}", format::count(spectrum.rows), format::count(spectrum.cols));
    drawing.text("weak", [16.0, 42.0], &format!("{shape}; {}", spectra::ranks(spectrum)));
    let values = &spectrum.singular_values;
    let Some(&largest) = values.first().filter(|value| **value > 0.0) else {
        drawing.text("weak middle", [WIDTH / 2.0, TOP + PLOT / 2.0], "v is zero here");
        return drawing;
    };
    let ranks = values.len() as f64;
    let room = WIDTH - LEFT - RIGHT;
    // One alone stands in the middle.
    let x = |rank: f64| LEFT + room * if ranks > 1.0 { (rank - 1.0) / (ranks - 1.0) } else { 0.5 };
    let y = |value: f64| TOP + PLOT * (1.0 - value / largest);
    let step = nice_step(largest, 5.0);
    for line in 0..=(largest / step) as u32 {
        let value = f64::from(line) * step;
        drawing.line("grid", [LEFT, y(value)], [WIDTH - RIGHT, y(value)]);
        drawing.text("weak end", [LEFT - 8.0, y(value) + 4.0], &axis_number(value, step));
    }
    let points: Vec<[f64; 2]> = (1..).zip(values).map(|(rank, &value)| [x(f64::from(rank)), y(value)]).collect();
    drawing.path("line", &points, false, &spectra::ranks(spectrum));
    if points.len() <= MARKED {
        for ((rank, at), value) in (1..).zip(&points).zip(values) {
            drawing.circle("accent", *at, 2.5, &format!("Singular value {rank}: {}", format::norm(*value)));
        }
    }
    let step = nice_step(ranks, 8.0).max(1.0);
    let mut ticks = vec![1.0];
    ticks.extend((1..=(ranks / step) as u32).map(|tick| f64::from(tick) * step).filter(|rank| *rank > 1.0));
    for rank in ticks {
        drawing.text("weak middle", [x(rank), TOP + PLOT + 18.0], &axis_number(rank, 1.0));
    }
    drawing.text("weak", [LEFT, TOP + PLOT + 36.0], &spectra::kept(spectrum));
    drawing
}

fn heading(tensor: &TensorAnalysis) -> String {
    format!("Sizes in {}", tensor.name)
}

fn facts(tensor: &TensorAnalysis) -> String {
    let shape: Vec<String> = tensor.shape.iter().map(u64::to_string).collect();
    format!("{}, {}", shape.join(" × "), dtype_label(tensor.dtype))
}

fn note(view: &View<'_>, position: usize) -> String {
    let survival = view.survival([position]);
    if !survival.value.is_nan() {
        let lost = format::percent(1.0 - survival.value);
        let estimated = if survival.is_estimated() { " (estimated)" } else { "" };
        return format!("{lost} of the updates lost at w = {}{estimated}", format::w(view.w));
    }
    let moves = view.analysis.tensors[position].sums.updates() > 0;
    match view.no_survival().filter(|_| moves) {
        Some(why) => sentence_case(why),
        None => "Nothing is added here".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use mergescope_core::analysis::LogHistogram;
    use mergescope_core::layout::Part;
    use mergescope_core::recipe::OutputSpec;

    use super::*;
    use crate::report::svg::Theme;
    use crate::vector::testing::{Measured, sample, spectrum_of, tensor};

    /// Hundred elements of one size.
    fn one_bin() -> LogHistogram {
        serde_json::from_value(serde_json::json!({ "first": 240, "counts": [100] })).unwrap()
    }

    /// A tensor of updates of 0.01 beside 1, all of them known or ten, and what is written below its histogram.
    fn note_of(rounding: Rounding, w: f64, is_complete: bool) -> String {
        let mut part = tensor(Some(0), Part::Q, 100.0, 1e-3);
        part.vector_histogram = one_bin();
        part.sample = sample(&[[1.0, 0.01]; 10], is_complete);
        part.sums.elements = if is_complete { 10 } else { 1_000 };
        let measured = Measured::written(vec![part], OutputSpec { rounding, ..OutputSpec::default() });
        let svg = histogram(&measured.view(w), 0).to_svg(Theme::Light);
        let note = svg.lines().rfind(|line| line.starts_with("<text")).unwrap();
        note.split(['<', '>']).nth(2).unwrap().replace('\u{a0}', " ")
    }

    #[test]
    fn what_is_lost_is_said_below_the_sizes() {
        assert_eq!(note_of(Rounding::Nearest, 0.25, false), "100 % of the updates lost at w = 0.25 (estimated)");
        assert_eq!(note_of(Rounding::Nearest, 0.5, true), "0 % of the updates lost at w = 0.50");
        assert_eq!(note_of(Rounding::Stochastic, 0.25, true), "Stochastic rounding keeps every update in the mean");
        assert_eq!(note_of(Rounding::Stochastic, 0.0, true), "At w = 0 nothing is added");
        assert_eq!(note_of(Rounding::Nearest, 0.0, true), "At w = 0 nothing is added");
    }

    #[test]
    fn elements_of_one_size_can_be_seen() {
        let mut part = tensor(Some(0), Part::Q, 100.0, 1e-3);
        part.vector_histogram = one_bin();
        let svg = histogram(&Measured::new(vec![part]).view(1.0), 0).to_svg(Theme::Light);
        let path = svg.lines().find(|line| line.starts_with("<path")).unwrap();
        let data = path.split("d=\"").nth(1).unwrap().split('"').next().unwrap();
        let x: Vec<f64> =
            data.split(['M', 'L', 'Z']).filter_map(|point| point.split(' ').next()?.parse().ok()).collect();
        assert!(x.len() == 3 && x[0] + 10.0 < x[1] && x[1] + 10.0 < x[2], "{data}");
    }

    #[test]
    fn one_singular_value_is_one_dot() {
        let svg = spectrum(&spectrum_of(&[2.0])).to_svg(Theme::Light);
        assert_eq!(svg.matches("<circle").count(), 1);
        assert!(svg.contains(">rank 1 keeps 100\u{a0}% of ‖v‖²<"), "{svg}");
        assert!(svg.contains(">1</text>") && !svg.contains("y=\"300\">2</text>"), "{svg}");
    }

    #[test]
    fn a_long_name_stays_within_its_picture() {
        let mut part = tensor(Some(0), Part::Q, 100.0, 1e-3);
        part.name = format!("{}.end", "a".repeat(400));
        let svg = histogram(&Measured::new(vec![part]).view(1.0), 0).to_svg(Theme::Light);
        let title = svg.lines().find(|line| line.contains("class=\"title\"")).unwrap();
        assert!(title.contains(">…aaa") && title.contains("a.end<") && title.len() < 200, "{title}");
    }
}
