//! The analysis for people: the summary, then a table by layer and by part.

use std::fmt::{Display, Write as _};

use mergescope_core::analysis::{PairSums, TensorAnalysis};

use super::report::{Asked, Report};
use crate::cli::print;
use crate::cli::table::{Align, Table, bar};
use crate::format;
use crate::vector::pairs::cosine_range;
use crate::vector::{Metric, View, labels, spectra, summary, tensors_of};

/// Characters of the longest bar.
const BAR_CELLS: usize = 24;

/// Summary, layers, parts, and what else was asked for.
pub fn text(report: &Report) -> String {
    let view = report.view();
    let sentences = summary(&view, report.cosine_of_all());
    let mut text: String = sentences.iter().map(|sentence| sentence.text() + "\n").collect();

    let groups = &view.overview.groups;
    let relative = groups.iter().map(|group| group.all.gram.relative_norm());
    let longest = relative.filter(|norm| norm.is_finite()).fold(0.0, f64::max);
    let size = format!("‖v‖ ∕ {}", view.analysis.reference());
    let mut columns = vec![("layer", Align::Right), (size.as_str(), Align::Right), ("", Align::Left)];
    columns.extend(NUMBERS.map(|(heading, _)| (heading, Align::Right)));
    let mut table = Table::new(&columns);
    for group in groups {
        let tensors = tensors_of(&group.cells);
        let norm = group.all.gram.relative_norm();
        let bar = if longest > 0.0 { bar(norm / longest, BAR_CELLS) } else { String::new() };
        let mut row = vec![labels::group_short(group.group), relative_norm(norm), bar];
        row.extend(NUMBERS.map(|(_, metric)| metric.text(view.value(metric, &group.all, &tensors).value)));
        table.row(row);
    }
    let _ = write!(text, "\n{}", table.render());

    let mut columns = vec![("part", Align::Left), ("of ‖v‖²", Align::Right), (size.as_str(), Align::Right)];
    columns.extend(NUMBERS.map(|(heading, _)| (heading, Align::Right)));
    let mut table = Table::new(&columns);
    for (part, sums) in &view.overview.parts {
        let tensors = view.tensors_of_part(*part);
        let share = view.share(sums);
        let mut row = vec![part.label().to_owned(), format::percent(share), relative_norm(sums.gram.relative_norm())];
        row.extend(NUMBERS.map(|(_, metric)| metric.text(view.value(metric, sums, &tensors).value)));
        table.row(row);
    }
    let _ = write!(text, "\n{}", table.render());
    text += &legend(&view);

    for asked in &report.asked {
        text += &about_tensor(asked, &report.analysis.tensors[asked.position]);
    }
    if let Some(vectors) = &report.vectors {
        text += "\nVectors\n";
        for (vector, label) in vectors.labels() {
            let v = if vector == 0 { " (v)" } else { "" };
            let _ = writeln!(text, "  {vector}  {}{v}", print::line(&label));
        }
        let columns = ["a", "b", "cosine", "sign conflicts", "support overlap"].map(|name| (name, Align::Right));
        let ranges = ["cosine by part", "cosine by layer"].map(|name| (name, Align::Left));
        let mut table = Table::new(&[&columns[..], &ranges].concat());
        for pair in &vectors.pairs {
            table.row([
                pair.a.to_string(),
                pair.b.to_string(),
                format::fixed(pair.all.cosine(), 4),
                format::percent(pair.all.sign_conflict_share()),
                format::percent(pair.all.support_overlap()),
                range(&pair.parts),
                range(&pair.layers),
            ]);
        }
        let _ = write!(text, "\n{}", table.render());
        let left_out = vectors.left_out.len();
        if left_out > 0 {
            let _ = writeln!(text, "  {} not in all of them and left out", format::plural(left_out, "tensor"));
        }
    }
    text
}

/// A tensor that was asked for: its sizes, and its spectrum where it is a matrix.
fn about_tensor(asked: &Asked, tensor: &TensorAnalysis) -> String {
    let mut lines = vec![spectra::sizes(tensor)];
    let heading = match &asked.spectrum {
        Some(spectrum) => {
            lines.push(spectra::ranks(spectrum));
            lines.push("Effective rank: exp of the entropy of the singular values, as shares of their sum.".to_owned());
            lines.extend(spectra::directions(spectrum).into_iter().chain(spectra::overlap(spectrum)));
            let shape = format!("{} × {}", format::count(spectrum.rows), format::count(spectrum.cols));
            format!("Spectrum of {} ({shape})", print::name(&tensor.name))
        }
        None => {
            lines.push(spectra::NONE.to_owned());
            format!("Sizes in {}", print::name(&tensor.name))
        }
    };
    let lines: String = lines.into_iter().map(|line| format!("  {line}\n")).collect();
    format!("\n{heading}\n{lines}")
}

/// A relative norm for a column: two decimals, but where those say nothing or too much.
fn relative_norm(norm: f64) -> String {
    if norm == 0.0 || (1e-4..1e3).contains(&norm) {
        format::percent_fixed(norm, 2)
    } else {
        Metric::RelativeNorm.text(norm)
    }
}

/// What the columns are of.
fn legend(view: &View<'_>) -> String {
    let mut text = "\nRMS: root mean square of the entries of v\n\
                    Zeros: of all entries, those that v leaves exactly as they are\n\
                    Same sign: of the entries that v and target − pre both move, those moved the same way\n"
        .to_owned();
    if view.analysis.against_target {
        text.push_str("No pre is at hand for a saved vector: the target stands for it\n");
    }
    let survival = view.survival(0..view.analysis.tensors.len());
    if !survival.value.is_nan() {
        let (w, dtype) = (format::w(view.w), view.written_dtype());
        let estimated = if survival.is_estimated() { "; estimated in large tensors" } else { "" };
        let _ = writeln!(
            text,
            "Survive: of the non-zero updates w·v, those left by rounding to {dtype} at w = {w}{estimated}"
        );
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

/// Between which cosines the parts or layers of two vectors lie: `−0.02 (down) to 0.31 (q)`.
fn range<T: Copy + Display>(of: &[(T, PairSums)]) -> String {
    let end = |(what, cosine): (T, f64)| format!("{} ({what})", format::fixed(cosine, 2));
    cosine_range(of).map_or_else(|| format::NONE.to_owned(), |[low, high]| format!("{} to {}", end(low), end(high)))
}
