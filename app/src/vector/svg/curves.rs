//! One tensor: how large its elements are, and its singular values.

use mergescope_core::analysis::{Spectrum, TensorAnalysis};
use mergescope_core::checkpoint::dtype_label;
use mergescope_core::recipe::Rounding;

use super::paper::Drawing;
use super::{LEFT, RIGHT, axis_number, nice_step};
use crate::format;
use crate::vector::View;
use crate::vector::magnitudes::{density, half_step, quantile};
use crate::vector::tables::file_name;

const WIDTH: f64 = 640.0;
const TOP: f64 = 62.0;
const PLOT: f64 = 220.0;
const BOTTOM: f64 = 44.0;
/// Smallest magnitudes that are left out of the picture: a share of the elements too small to see.
const TAIL: f64 = 0.001;

/// Magnitudes of w·v and of pre in one tensor, and from which size on the output sees a change.
pub fn histogram(view: &View<'_>, position: usize) -> Drawing {
    let tensor = &view.analysis.tensors[position];
    let description = "Sizes of the elements of w·v and of pre on a logarithmic axis; an area's height is elements per \
                       octave. An update of less than the dashed line leaves a weight of median size as it was.";
    let name = format!("histogram-{}", file_name(&tensor.name));
    let mut drawing = Drawing::new(name, heading(tensor), description.to_owned(), [WIDTH, TOP + PLOT + BOTTOM]);
    drawing.text("title", [16.0, 24.0], &tensor.name);
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
        ("reference", "|pre|", density(pre), 0.0),
        ("accent", "|w·v|", if w > 0.0 { density(vector) } else { Vec::new() }, w.log10()),
    ];
    let peak = curves.iter().flat_map(|(_, _, points, _)| points).map(|point| point.1).fold(0.0, f64::max);
    let y = |share: f64| TOP + PLOT * (1.0 - share / peak * 0.86);
    for (class, label, points, shift) in &curves {
        let Some(&highest) = points.iter().max_by(|a, b| a.1.total_cmp(&b.1)) else { continue };
        let tops = points.iter().map(|(log, share)| (log + shift, *share)).filter(|(log, _)| *log >= first);
        let mut outline: Vec<[f64; 2]> = tops.map(|(log, share)| [x(log), y(share)]).collect();
        let (Some(start), Some(end)) = (outline.first().copied(), outline.last().copied()) else { continue };
        outline.insert(0, [start[0], y(0.0)]);
        outline.push([end[0], y(0.0)]);
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
    drawing.text("title", [16.0, 24.0], &drawing.title.clone());
    let shape = format!("{} × {}", format::count(spectrum.rows), format::count(spectrum.cols));
    drawing.text("weak", [16.0, 42.0], &format!("{shape}; {}", spectrum_note(spectrum)));
    let values = &spectrum.singular_values;
    let Some(&largest) = values.first().filter(|value| **value > 0.0) else {
        drawing.text("weak middle", [WIDTH / 2.0, TOP + PLOT / 2.0], "v is zero here");
        return drawing;
    };
    let ranks = values.len().max(2) as f64;
    let x = |rank: f64| LEFT + (WIDTH - LEFT - RIGHT) * (rank - 1.0) / (ranks - 1.0);
    let y = |value: f64| TOP + PLOT * (1.0 - value / largest);
    let step = nice_step(largest, 5.0);
    for line in 0..=(largest / step) as u32 {
        let value = f64::from(line) * step;
        drawing.line("grid", [LEFT, y(value)], [WIDTH - RIGHT, y(value)]);
        drawing.text("weak end", [LEFT - 8.0, y(value) + 4.0], &axis_number(value, step));
    }
    let points: Vec<[f64; 2]> = (1..).zip(values).map(|(rank, &value)| [x(f64::from(rank)), y(value)]).collect();
    drawing.path("line", &points, false, &spectrum_note(spectrum));
    let step = nice_step(ranks, 8.0).max(1.0);
    let mut ticks = vec![1.0];
    ticks.extend((1..=(ranks / step) as u32).map(|tick| f64::from(tick) * step).filter(|rank| *rank > 1.0));
    for rank in ticks {
        drawing.text("weak middle", [x(rank), TOP + PLOT + 18.0], &axis_number(rank, 1.0));
    }
    let kept = [0.5, 0.9, 0.99].into_iter().filter_map(|share| Some((share, spectrum.rank_for(share)?)));
    let kept: Vec<String> = kept.map(|(share, rank)| format!("rank {rank} keeps {}", format::percent(share))).collect();
    let kept = if kept.is_empty() { String::new() } else { format!("{} of ‖v‖²", kept.join(", ")) };
    drawing.text("weak", [LEFT, TOP + PLOT + 36.0], &kept);
    drawing
}

/// Its ranks in words: `effective rank 212, stable rank 12.3`.
pub fn spectrum_note(spectrum: &Spectrum) -> String {
    let range = spectrum.effective_rank;
    let effective = match range.low == range.high {
        true => format::norm(range.low),
        false => format!("{} to {}", format::norm(range.low), format::norm(range.high)),
    };
    let values = match spectrum.complete {
        true => "all singular values".to_owned(),
        false => {
            let count = format::plural(spectrum.singular_values.len(), "singular value");
            format!("first {count}, each within {}", format::norm(spectrum.error))
        }
    };
    format!("effective rank {effective}, stable rank {}; {values}", format::norm(spectrum.stable_rank))
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
    if survival.value.is_nan() {
        return "Nothing is added here".to_owned();
    }
    let about = if survival.is_estimated() { "about " } else { "" };
    let lost = format::percent(1.0 - survival.value);
    let estimated = if survival.is_estimated() { " (estimated)" } else { "" };
    format!("{about}{lost} of the updates lost at w = {}{estimated}", format::w(view.w))
}
