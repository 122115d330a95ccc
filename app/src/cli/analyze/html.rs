//! The analysis as one page to share: charts, tables, summary and provenance, with nothing from anywhere else.

use std::fmt::Write as _;

use super::report::{Report, Vectors};
use crate::report::Table;
use crate::report::page::{details, document, section, table_html};
use crate::report::svg::{Drawing, Theme, escape};
use crate::vector::svg;
use crate::vector::tables;
use crate::vector::{Chart, Metric, PartSet, Piece, Sentence, spectra, summary};

/// Rows beyond which a table is left to CSV: a page is for reading.
const ROWS_SHOWN: usize = 1_000;

/// Layers beyond which the page compares them over sets of parts alone: every chart more has thousands of cells.
const LAYERS_BY_PART: usize = 64;

/// The page.
pub fn page(report: &Report, theme: Theme) -> String {
    let view = report.view();
    let all = report.cosine_of_all();
    let mut body = String::from("<h1>The vector v = post − pre</h1>\n<p class=\"summary\">");
    for sentence in summary(&view, all) {
        body += &sentence_html(&sentence, all.is_some());
        body.push(' ');
    }
    body += "</p>\n";
    provenance(&mut body, report);

    let tables = [tables::layers(&view), tables::total(&view)];
    section(&mut body, "How far each layer moved", &[svg::layers(&view)], &[], &tables);
    let grids = Metric::ALL.map(|metric| svg::grid(&view, metric, report.amounts));
    section(&mut body, "Layer × part", &grids, &[], &[tables::parts(&view)]);
    if let Some(all) = all {
        layers_alike(&mut body, report, all.layers.len());
    }
    for asked in &report.asked {
        let tensor = &report.analysis.tensors[asked.position];
        let mut notes = vec![spectra::sizes(tensor)];
        match &asked.spectrum {
            Some(spectrum) => notes.extend(spectra::directions(spectrum).into_iter().chain(spectra::overlap(spectrum))),
            None => notes.push(spectra::NONE.to_owned()),
        }
        let tables = asked.tables(&report.analysis);
        section(&mut body, &tensor.name, &asked.drawings(&view), &notes, &tables);
    }
    if let Some(table) = tables::spectra(report.spectra()) {
        section(&mut body, "Ranks", &[], &[], &[table]);
    }
    if let Some(vectors) = &report.vectors {
        against_others(&mut body, vectors);
    }
    if let Some(table) = tables::experts(&view) {
        rows(&mut body, "Experts", table);
    }
    rows(&mut body, "Tensors", tables::tensors(&view));
    document(&format!("Vector of {}", report.recipe.vector.post), &body, theme)
}

/// The layer × layer cosines, of `layers` layers.
fn layers_alike(body: &mut String, report: &Report, layers: usize) {
    let shown =
        report.cosines.iter().filter(|(parts, _)| layers <= LAYERS_BY_PART || !matches!(parts, PartSet::One(_)));
    let drawings: Vec<Drawing> = shown.map(|(parts, cosine)| svg::layer_cosine(cosine, *parts)).collect();
    let left_out = report.cosines.len() - drawings.len();
    let note = format!(
        "With more than {LAYERS_BY_PART} layers this page leaves out the charts of {}; --svg and --csv have them.",
        crate::format::plural(left_out, "single part"),
    );
    let notes = if left_out > 0 { vec![note] } else { Vec::new() };
    section(body, "Do layers move alike?", &drawings, &notes, &[]);
}

/// v against the vectors of `--other`, and what they do not share.
fn against_others(body: &mut String, vectors: &Vectors) {
    *body += "<section>\n<h2>Against other vectors</h2>\n<table class=\"facts\">\n";
    for (vector, label) in vectors.labels() {
        let v = if vector == 0 { " (v)" } else { "" };
        let _ = writeln!(body, "<tr><th>{vector}{v}</th><td>{}</td></tr>", escape(&label));
    }
    *body += "</table>\n";
    table_html(body, &tables::pairs(&vectors.pairs));
    details(body, &tables::vectors(&vectors.pairs));
    if let Some(table) = tables::vectors_left_out(&vectors.left_out) {
        let left_out = crate::format::plural(vectors.left_out.len(), "tensor");
        let _ = writeln!(body, "<p>{left_out} not in all of them and left out</p>");
        details(body, &table);
    }
    *body += "</section>\n";
}

/// A table that may be long, folded away.
fn rows(body: &mut String, heading: &str, table: Table) {
    if table.rows.len() <= ROWS_SHOWN {
        return section(body, heading, &[], &[], &[table]);
    }
    let count = crate::format::count(table.rows.len() as u64);
    section(body, heading, &[], &[format!("{count} rows are too many for a page; --csv has them.")], &[]);
}

/// A sentence whose figures lead to their charts.
fn sentence_html(sentence: &Sentence, has_cosine: bool) -> String {
    let mut html = String::new();
    for piece in &sentence.pieces {
        let _ = match piece {
            Piece::Figure { text, chart } if has_cosine || *chart != Chart::LayerCosine => {
                write!(html, "<a href=\"#{}\">{}</a>", chart.key(), escape(text))
            }
            Piece::Figure { text, .. } | Piece::Text(text) => write!(html, "{}", escape(text)),
        };
    }
    html
}

fn provenance(body: &mut String, report: &Report) {
    let recipe = &report.recipe;
    let models = [
        ("Pre", &recipe.vector.pre, &report.fingerprints.pre),
        ("Post", &recipe.vector.post, &report.fingerprints.post),
        ("Target", &recipe.target, &report.fingerprints.target),
    ];
    *body += "<table class=\"facts\">\n";
    for (role, model, fingerprint) in models {
        let short: String = fingerprint.chars().take(16).collect();
        let (model, full) = (escape(model), escape(fingerprint));
        let _ =
            writeln!(body, "<tr><th>{role}</th><td>{model}</td><td title=\"{full}\"><code>{short}</code></td></tr>");
    }
    let _ = writeln!(
        body,
        "<tr><th>Merge</th><td colspan=\"2\">target + {}·v, written in {} ({} rounding)</td></tr>\n\
         <tr><th>Made by</th><td colspan=\"2\">Mergescope {}</td></tr>\n</table>",
        escape(&crate::format::w(recipe.vector.w)),
        escape(&report.view().written_dtype()),
        escape(recipe.output.rounding.label()),
        env!("CARGO_PKG_VERSION"),
    );
}
