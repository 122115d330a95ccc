//! The analysis for people: the summary, then a table by layer and by part.

use std::fmt::Write as _;

use super::Report;
use crate::cli::print;
use crate::cli::table::{Align, Table, bar};
use crate::format;
use crate::vector::svg::spectrum_note;
use crate::vector::{LayerCosine, Metric, labels, summary};

/// Characters of the longest bar.
const BAR_CELLS: usize = 24;

/// Summary, layers, parts, and what else was asked for.
pub fn text(report: &Report) -> String {
    let view = report.view();
    let cosine = report.products.as_ref().map(|products| LayerCosine::new(products, None));
    let sentences = summary(&view, cosine.as_ref());
    let mut text: String = sentences.iter().map(|sentence| sentence.text() + "\n").collect();

    let groups = &view.overview.groups;
    let relative = groups.iter().map(|group| group.all.gram.relative_norm());
    let longest = relative.filter(|norm| norm.is_finite()).fold(0.0, f64::max);
    let mut columns = vec![("layer", Align::Right), ("‖v‖ ∕ ‖pre‖", Align::Right), ("", Align::Left)];
    columns.extend(NUMBERS.map(|(heading, _)| (heading, Align::Right)));
    let mut table = Table::new(&columns);
    for group in groups {
        let tensors: Vec<usize> = group.cells.iter().flat_map(|cell| cell.tensors.iter().copied()).collect();
        let norm = group.all.gram.relative_norm();
        let bar = if longest > 0.0 { bar(norm / longest, BAR_CELLS) } else { String::new() };
        let mut row = vec![labels::group_short(group.group), format::percent_fixed(norm, 2), bar];
        row.extend(NUMBERS.map(|(_, metric)| metric.text(view.value(metric, &group.all, &tensors).value)));
        table.row(row);
    }
    let _ = write!(text, "\n{}", table.render());

    let mut columns = vec![("part", Align::Left), ("of ‖v‖²", Align::Right), ("‖v‖ ∕ ‖pre‖", Align::Right)];
    columns.extend(NUMBERS.map(|(heading, _)| (heading, Align::Right)));
    let mut table = Table::new(&columns);
    for (part, sums) in &view.overview.parts {
        let cells = groups.iter().filter_map(|group| group.cell(*part));
        let tensors: Vec<usize> = cells.flat_map(|cell| cell.tensors.iter().copied()).collect();
        let share = sums.gram.v_v / view.overview.total.gram.v_v;
        let mut row =
            vec![part.label().to_owned(), format::percent(share), format::percent_fixed(sums.gram.relative_norm(), 2)];
        row.extend(NUMBERS.map(|(_, metric)| metric.text(view.value(metric, sums, &tensors).value)));
        table.row(row);
    }
    let _ = write!(text, "\n{}", table.render());
    let w = format::w(view.w);
    let dtype = view.written_dtype();
    let _ =
        writeln!(text, "\nSurvive: updates w·v that rounding to {dtype} leaves at w = {w}, estimated in large tensors");

    for named in &report.spectra {
        let spectrum = &named.spectrum;
        let shape = format!("{} × {}", format::count(spectrum.rows), format::count(spectrum.cols));
        let _ = writeln!(text, "\nSpectrum of {} ({shape})\n  {}", print::name(&named.label), spectrum_note(spectrum));
        if let Some(overlap) = &spectrum.overlap {
            let _ = writeln!(
                text,
                "  overlap with the first {} directions of pre: left {} (chance {}), right {} (chance {})",
                overlap.k,
                format::percent(overlap.left),
                format::percent(overlap.left_chance),
                format::percent(overlap.right),
                format::percent(overlap.right_chance),
            );
        }
    }
    if let Some(vectors) = &report.vectors {
        let columns = ["a", "b", "cosine", "sign conflicts", "support overlap"];
        let align = |position| if position < 2 { Align::Left } else { Align::Right };
        let columns: Vec<(&str, Align)> =
            columns.iter().enumerate().map(|(position, name)| (*name, align(position))).collect();
        let mut table = Table::new(&columns);
        for (a, b) in vectors.pairs() {
            let sums = vectors.comparison.sums(a, b, |_| true);
            table.row([
                vectors.label(a),
                vectors.label(b),
                format::fixed(sums.cosine(), 4),
                format::percent(sums.sign_conflict_share()),
                format::percent(sums.support_overlap()),
            ]);
        }
        let _ = write!(text, "\n{}", table.render());
        let left_out = vectors.comparison.left_out.len();
        if left_out > 0 {
            let _ = writeln!(text, "  {} not in all of them and left out", format::plural(left_out, "tensor"));
        }
    }
    text
}

/// Columns that layers and parts have in common.
const NUMBERS: [(&str, Metric); 7] = [
    ("‖v‖", Metric::Norm),
    ("RMS", Metric::Rms),
    ("zeros", Metric::ZeroShare),
    ("cos(pre, post)", Metric::CosPrePost),
    ("cos(v, target − pre)", Metric::CosVectorTarget),
    ("same sign", Metric::SignAgreement),
    ("survive", Metric::RoundingSurvival),
];

impl super::Vectors {
    /// Every two of them.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (usize, usize)> {
        let count = self.models.len();
        (0..count).flat_map(move |a| (a + 1..count).map(move |b| (a, b)))
    }

    /// A vector by its models: `post − pre`.
    pub(super) fn label(&self, vector: usize) -> String {
        let [pre, post] = &self.models[vector];
        format!("{post} − {pre}")
    }
}
