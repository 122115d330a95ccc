//! The analysis for machines.
//!
//! One document; fields are added, never renamed or removed. Numbers are in full precision; `null` stands where there is
//! none (the cosine of a zero vector). Shares run from 0 to 1, cosines from −1 to 1. The same models and flags give the
//! same bytes: there are no times in it.
//!
//! Every entry that speaks of a set of tensors has these *figures*:
//!
//! | field | meaning |
//! |---|---|
//! | `elements` | elements that take part |
//! | `norm`, `norm_pre`, `relative_norm` | ‖v‖, ‖pre‖, ‖v‖ ∕ ‖pre‖; of a saved vector, which has no pre, the target's norm |
//! | `rms`, `mean`, `max_abs` | of an element of v |
//! | `zero_share` | share of elements in which v is exactly zero |
//! | `nonfinite` | elements that are NaN or infinite in any model; left out of all else |
//! | `cos_pre_post`, `cos_vector_target` | cos(pre, post), cos(v, target − pre) |
//! | `sign_agreement` | of the elements that v and target − pre both move, the share moved the same way |
//! | `rounding_survival`, `…_margin` | share of non-zero updates that survive rounding at w; half its 95 % interval, 0 where counted |
//! | `effective_w`, `…_margin` | ⟨v, written⟩ ∕ ‖v‖², and the same |
//! | `overflow_share`, `…_margin` | share of the updates written as infinity or NaN, or held at the largest value; and the same |
//! | `cos_intended_written` | cosine of w·v and what is written of it, over the elements that v moves; an estimate |
//! | `change_norm`, `change_relative` | ‖merged − target‖ before rounding, and divided by ‖target‖ |
//! | `cos_merged_target` | cos(merged, target) before rounding |
//!
//! And the document:
//!
//! - `provenance`: `version` of Mergescope; `pre`, `post`, `target` as they were given; their `fingerprints`; `w`, `dtype`
//!   and `rounding` of the output.
//! - `summary`: `[{text, figures: [{text, chart}]}]`, where `chart` is the name of an SVG file without its extension.
//! - `warnings`: preflight's, as `mergescope preflight --json` has them.
//! - `total`: the figures of the whole vector.
//! - `layers`: `[{layer, figures…, parts: [{part, share, figures…}]}]`, `share` being that of the layer's ‖v‖².
//! - `beside`: the same for embeddings, head, final norm and others outside all layers, with `part` for `layer`.
//! - `parts`: `[{part, share, figures…}]` over all layers and beside them; `share` of all ‖v‖². Every share of a zero ‖v‖²
//!   is 0.
//! - `experts`: `[{layer, part, expert, figures…}]`, over the projections of each expert of a mixture.
//! - `layer_cosine`: `{layers: […], all: [[…]], attention: [[…]], mlp: [[…]], q: [[…]], …}`: a matrix for all parts together,
//!   for q, k, v and o together, for gate, up, down and experts together (each where there are several of them), and for
//!   each part; rows and columns in the order of `layers`. `null` for a
//!   model of one layer, of none, or of more than can be compared with one another.
//! - `tensors`: `[{name, layer, part, expert, shape, dtype, figures…, histograms: {vector, pre}}]`, `dtype` being the
//!   target's. Of a stack of experts `NAME` [experts, a, b] each expert has an entry, `NAME[0]`, `NAME[1]`, …, of the
//!   shape [a, b].
//!   A histogram of |v| and of |pre| is `{exponent, counts}`: with e = `exponent`, counts 0 and 1 are of 2ᵉ to 1.5·2ᵉ and
//!   of 1.5·2ᵉ to 2ᵉ⁺¹, 2 and 3 of the next octave, and so on. Zeros are in none. Octave −127 holds what is below 2⁻¹²⁶,
//!   divided at 2⁻¹²⁷, and 128 all from 2¹²⁸ on; `exponent` is `null` where nothing was counted.
//! - `spectra`: for each matrix given with `--spectrum`, once, `{tensor, rows, cols, complete, singular_values, error, effective_rank: {low, high},
//!   stable_rank, energy, energy_kept: […], overlap}`, `overlap` being `{k, left, right, left_chance, right_chance}`.
//! - `vectors`: with `--other`, `{vectors: [{pre, post}], pairs: [{a, b, cosine, sign_conflict_share, support_overlap,
//!   parts: [{part, …}], layers: [{layer, …}]}], left_out: [name…]}`, `a` and `b` being positions in `vectors`, of which 0
//!   is v, and … the same three numbers over the tensors of that part or layer.

use mergescope_core::analysis::{Group, LogHistogram, PairSums, Spectrum, expert_cells};
use mergescope_core::checkpoint::dtype_label;
use serde_json::{Map, Value, json};

use super::report::{Report, Vectors};
use crate::report::Figure;
use crate::vector::{Figures, Piece, Sentence, View, pairs, summary, tensors_of};

/// The document.
pub fn document(report: &Report) -> Value {
    let view = report.view();
    let (layers, beside): (Vec<_>, Vec<_>) =
        groups(&view).into_iter().partition(|(group, _)| matches!(group, Group::Layer(_)));
    let values = |groups: Vec<(Group, Value)>| groups.into_iter().map(|(_, value)| value).collect::<Vec<_>>();
    json!({
        "provenance": provenance(report),
        "summary": summary(&view, report.cosine_of_all()).iter().map(sentence).collect::<Vec<_>>(),
        "warnings": report.warnings,
        "total": with(Map::new(), &view.total_figures()),
        "layers": values(layers),
        "beside": values(beside),
        "parts": parts(&view),
        "experts": experts(&view),
        "layer_cosine": layer_cosine(report),
        "tensors": tensors(&view),
        "spectra": report.spectra().map(spectrum).collect::<Vec<_>>(),
        "vectors": report.vectors.as_ref().map(vectors),
    })
}

/// What the numbers were made from; `w` and the output as a merge would have them.
pub fn provenance(report: &Report) -> Value {
    let recipe = &report.recipe;
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "pre": recipe.vector.pre,
        "post": recipe.vector.post,
        "target": recipe.target,
        "fingerprints": report.fingerprints,
        "measured_against": if report.analysis.against_target { "target" } else { "pre" },
        "w": recipe.vector.w,
        "dtype": recipe.output.dtype.label(),
        "rounding": recipe.output.rounding.label(),
    })
}

fn sentence(sentence: &Sentence) -> Value {
    let figures = sentence.pieces.iter().filter_map(|piece| match piece {
        Piece::Text(_) => None,
        Piece::Figure { text, chart } => Some(json!({ "text": text, "chart": chart.key() })),
    });
    json!({ "text": sentence.text(), "figures": figures.collect::<Vec<_>>() })
}

/// An entry with all figures after what it is.
fn with(mut entry: Map<String, Value>, figures: &Figures) -> Value {
    for &(key, _, figure) in figures.fields() {
        let value = match figure {
            Figure::Count(count) => json!(count),
            other => json!(other.value()),
        };
        entry.insert(key.to_owned(), value);
    }
    Value::Object(entry)
}

fn entry<const N: usize>(fields: [(&str, Value); N]) -> Map<String, Value> {
    fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

fn groups(view: &View<'_>) -> Vec<(Group, Value)> {
    let groups = view.overview.groups.iter().map(|group| {
        let name = match group.group {
            Group::Layer(layer) => ("layer", json!(layer)),
            Group::Beside(part) => ("part", json!(part)),
        };
        let mut value = with(entry([name]), &view.figures(&group.all, &tensors_of(&group.cells)));
        let parts = group.cells.iter().map(|cell| {
            let part = cell.row.part;
            let start = entry([("part", json!(part)), ("share", json!(group.share(part)))]);
            with(start, &view.figures(&cell.sums, &cell.tensors))
        });
        value["parts"] = parts.collect();
        (group.group, value)
    });
    groups.collect()
}

fn parts(view: &View<'_>) -> Vec<Value> {
    let parts = view.overview.parts.iter().map(|(part, sums)| {
        let start = entry([("part", json!(part)), ("share", json!(view.share(sums)))]);
        with(start, &view.figures(sums, &view.tensors_of_part(*part)))
    });
    parts.collect()
}

fn experts(view: &View<'_>) -> Vec<Value> {
    let experts = expert_cells(view.analysis).into_iter().map(|cell| {
        let layer = match cell.group {
            Group::Layer(layer) => Some(layer),
            Group::Beside(_) => None,
        };
        let start =
            entry([("layer", json!(layer)), ("part", json!(cell.row.part)), ("expert", json!(cell.row.expert))]);
        with(start, &view.figures(&cell.sums, &cell.tensors))
    });
    experts.collect()
}

fn layer_cosine(report: &Report) -> Value {
    let Some(all) = report.cosine_of_all() else { return Value::Null };
    let mut document = entry([("layers", json!(all.layers))]);
    for (parts, cosine) in &report.cosines {
        let rows = cosine.values.chunks(cosine.layers.len().max(1)).collect::<Vec<_>>();
        document.insert(parts.key().to_owned(), json!(rows));
    }
    Value::Object(document)
}

fn tensors(view: &View<'_>) -> Vec<Value> {
    let tensors = view.analysis.tensors.iter().enumerate().map(|(position, tensor)| {
        let start = entry([
            ("name", json!(tensor.name)),
            ("layer", json!(tensor.place.layer)),
            ("part", json!(tensor.place.part)),
            ("expert", json!(tensor.place.expert)),
            ("shape", json!(tensor.shape)),
            ("dtype", json!(dtype_label(tensor.dtype))),
        ]);
        let mut value = with(start, &view.figures(&tensor.sums, &[position]));
        value["histograms"] = json!({
            "vector": histogram(&tensor.vector_histogram),
            "pre": histogram(&tensor.pre_histogram),
        });
        value
    });
    tensors.collect()
}

fn histogram(histogram: &LogHistogram) -> Value {
    let (exponent, counts) = histogram.octaves().unzip();
    json!({ "exponent": exponent, "counts": counts.unwrap_or_default() })
}

fn spectrum(spectrum: &Spectrum) -> Value {
    let kept = (1..=spectrum.singular_values.len()).map(|rank| spectrum.energy_kept(rank));
    json!({
        "tensor": spectrum.name,
        "rows": spectrum.rows,
        "cols": spectrum.cols,
        "complete": spectrum.complete,
        "singular_values": spectrum.singular_values,
        "error": spectrum.error,
        "effective_rank": { "low": spectrum.effective_rank.low, "high": spectrum.effective_rank.high },
        "stable_rank": spectrum.stable_rank,
        "energy": spectrum.energy,
        "energy_kept": kept.collect::<Vec<_>>(),
        "overlap": spectrum.overlap.as_ref().map(|overlap| json!({
            "k": overlap.k,
            "left": overlap.left,
            "right": overlap.right,
            "left_chance": overlap.left_chance,
            "right_chance": overlap.right_chance,
        })),
    })
}

fn vectors(vectors: &Vectors) -> Value {
    let figures = |mut entry: Map<String, Value>, sums: &PairSums| {
        let figures = pairs::figures(sums).into_iter().map(|(key, _, figure)| (key.to_owned(), json!(figure.value())));
        entry.extend(figures);
        Value::Object(entry)
    };
    let pairs = vectors.pairs.iter().map(|pair| {
        let mut value = figures(entry([("a", json!(pair.a)), ("b", json!(pair.b))]), &pair.all);
        value["parts"] = pair.parts.iter().map(|(part, sums)| figures(entry([("part", json!(part))]), sums)).collect();
        value["layers"] =
            pair.layers.iter().map(|(layer, sums)| figures(entry([("layer", json!(layer))]), sums)).collect();
        value
    });
    json!({
        "vectors": vectors.models.iter().map(|[pre, post]| json!({ "pre": pre, "post": post })).collect::<Vec<_>>(),
        "pairs": pairs.collect::<Vec<_>>(),
        "left_out": vectors.left_out.iter().map(|tensor| &tensor.name).collect::<Vec<_>>(),
    })
}
