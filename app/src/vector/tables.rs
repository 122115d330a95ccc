//! What each chart shows as a table: for people in the window and in the report, for machines as CSV.

use mergescope_core::analysis::{
    Absence, Group, LeftOut, LogHistogram, PairSums, Spectrum, TensorAnalysis, expert_cells,
};
use mergescope_core::checkpoint::dtype_label;
use mergescope_core::layout::Part;

use super::{LayerCosine, Metric, Pair, PartSet, View, labels, pairs, tensors_of};
use crate::report::csv;
use crate::report::{Cell, Column, Figure, Table};

fn metric_cell(metric: Metric, value: f64) -> Cell {
    Cell::Figure(metric.figure(value))
}

/// The number of a layer or an expert.
fn number(number: Option<u32>) -> Cell {
    number.map_or(Cell::Empty, |number| Cell::Text(number.to_string()))
}

/// Columns of [`Figures`](super::Figures), taken from one of them.
fn figure_columns(view: &View<'_>) -> Vec<Column> {
    let none = view.figures(&Default::default(), &[]);
    none.fields().iter().map(|(key, label, _)| Column::new(*key, *label)).collect()
}

fn figure_cells(figures: &super::Figures) -> impl Iterator<Item = Cell> {
    figures.fields().iter().map(|&(.., figure)| Cell::Figure(figure))
}

/// The bars: a row for each layer and for each thing beside the layers, with all numbers and the parts' shares of ‖v‖².
pub fn layers(view: &View<'_>) -> Table {
    let parts: Vec<Part> = view.overview.parts.iter().map(|(part, _)| *part).collect();
    let mut columns = vec![Column::new("layer", "Layer")];
    columns.extend(figure_columns(view));
    columns.extend(parts.iter().map(|part| Column::new(format!("share_{part}"), format!("{part}, of ‖v‖²"))));
    let rows = view.overview.groups.iter().map(|group| {
        let figures = view.figures(&group.all, &tensors_of(&group.cells));
        let mut row = vec![Cell::Text(labels::group_short(group.group))];
        row.extend(figure_cells(&figures));
        row.extend(parts.iter().map(|&part| match group.cell(part) {
            Some(_) => Cell::Figure(Figure::Share(group.share(part))),
            None => Cell::Empty,
        }));
        row
    });
    Table { name: "layers".to_owned(), columns, rows: rows.collect() }
}

/// The whole vector, in one row.
pub fn total(view: &View<'_>) -> Table {
    let rows = vec![figure_cells(&view.total_figures()).collect()];
    Table { name: "total".to_owned(), columns: figure_columns(view), rows }
}

/// Each kind of part over all layers and beside them, with its share of all ‖v‖² and all numbers.
pub fn parts(view: &View<'_>) -> Table {
    let mut columns = vec![Column::new("part", "Part"), Column::new("share", "of ‖v‖²")];
    columns.extend(figure_columns(view));
    let rows = view.overview.parts.iter().map(|(part, sums)| {
        let figures = view.figures(sums, &view.tensors_of_part(*part));
        let start = [Cell::Text(part.label().to_owned()), Cell::Figure(Figure::Share(view.share(sums)))];
        start.into_iter().chain(figure_cells(&figures)).collect()
    });
    Table { name: "parts".to_owned(), columns, rows: rows.collect() }
}

/// Each expert of each layer over its projections, with all numbers; `None` for a model without.
pub fn experts(view: &View<'_>) -> Option<Table> {
    let mut columns = vec![Column::new("layer", "Layer"), Column::new("part", "Part"), Column::new("expert", "Expert")];
    columns.extend(figure_columns(view));
    let rows: Vec<Vec<Cell>> = expert_cells(view.analysis)
        .iter()
        .map(|cell| {
            let layer = match cell.group {
                Group::Layer(layer) => Some(layer),
                Group::Beside(_) => None,
            };
            let start = [number(layer), Cell::Text(cell.row.part.label().to_owned()), number(cell.row.expert)];
            start.into_iter().chain(figure_cells(&view.figures(&cell.sums, &cell.tensors))).collect()
        })
        .collect();
    (!rows.is_empty()).then(|| Table { name: "experts".to_owned(), columns, rows })
}

/// The layer × part grid in one metric: a row for each layer, a column for each part.
pub fn grid(view: &View<'_>, metric: Metric) -> Table {
    let parts: Vec<Part> = view.overview.parts.iter().map(|(part, _)| *part).collect();
    let mut columns = vec![Column::new("layer", "Layer")];
    columns.extend(parts.iter().map(|part| Column::new(part.label(), part.label())));
    let rows = view.overview.groups.iter().map(|group| {
        let mut row = vec![Cell::Text(labels::group_short(group.group))];
        row.extend(parts.iter().map(|&part| match group.cell(part) {
            Some(cell) => metric_cell(metric, view.value(metric, &cell.sums, &cell.tensors).value),
            None => Cell::Empty,
        }));
        row
    });
    Table { name: format!("grid-{}", metric.key()), columns, rows: rows.collect() }
}

/// The layer × layer cosine over `parts`.
pub fn layer_cosine(cosine: &LayerCosine, parts: PartSet) -> Table {
    let mut columns = vec![Column::new("layer", "Layer")];
    columns.extend(cosine.layers.iter().map(|layer| Column::new(layer.to_string(), layer.to_string())));
    let rows = cosine.layers.iter().enumerate().map(|(row, layer)| {
        let cells = (0..cosine.layers.len()).map(|column| Cell::Figure(Figure::cosine(cosine.at(row, column))));
        std::iter::once(Cell::Text(layer.to_string())).chain(cells).collect()
    });
    let name = format!("layer-cosine-{}", parts.key());
    Table { name, columns, rows: rows.collect() }
}

/// Every tensor with all its numbers.
pub fn tensors(view: &View<'_>) -> Table {
    let words = ["tensor", "layer", "part", "expert", "dtype", "shape"];
    let names = ["Tensor", "Layer", "Part", "Expert", "dtype", "Shape"];
    let mut columns: Vec<Column> = words.iter().zip(names).map(|(key, label)| Column::new(*key, label)).collect();
    columns.extend(figure_columns(view));
    let rows = view.analysis.tensors.iter().enumerate().map(|(position, tensor)| {
        let figures = view.figures(&tensor.sums, &[position]);
        let mut row = vec![
            Cell::Text(tensor.name.clone()),
            number(tensor.place.layer),
            Cell::Text(tensor.place.part.label().to_owned()),
            number(tensor.place.expert),
            Cell::Text(dtype_label(tensor.dtype)),
            Cell::Text(csv::shape(&tensor.shape)),
        ];
        row.extend(figure_cells(&figures));
        row
    });
    Table { name: "tensors".to_owned(), columns, rows: rows.collect() }
}

/// Magnitudes of v and of pre in one tensor: a row for each half octave that holds any.
pub fn histogram(tensor: &TensorAnalysis) -> Table {
    let columns = [
        ("low", "From"),
        ("high", "To"),
        ("count_v", "|v|"),
        ("per_octave_v", "|v| per octave"),
        ("count_pre", "|pre|"),
        ("per_octave_pre", "|pre| per octave"),
    ];
    let columns = columns.into_iter().map(|(key, label)| Column::new(key, label)).collect();
    let mut both = tensor.vector_histogram.clone();
    both.add(&tensor.pre_histogram);
    let find = |histogram: &LogHistogram, low: f64| {
        let bin = histogram.bins().find(|bin| bin.low == low);
        bin.map_or((0, 0.0), |bin| (bin.count, bin.per_octave()))
    };
    let rows = both.bins().map(|bin| {
        let mut row = vec![Cell::Figure(Figure::Number(bin.low)), Cell::Figure(Figure::Number(bin.high))];
        for histogram in [&tensor.vector_histogram, &tensor.pre_histogram] {
            let (count, per_octave) = find(histogram, bin.low);
            row.extend([Cell::Figure(Figure::Count(count)), Cell::Figure(Figure::Number(per_octave))]);
        }
        row
    });
    Table { name: format!("histogram-{}", file_name(&tensor.name)), columns, rows: rows.collect() }
}

/// Singular values of v in one tensor, with the share of ‖v‖² that each and those before it keep.
pub fn spectrum(spectrum: &Spectrum) -> Table {
    let columns = [("rank", "Rank"), ("singular_value", "Singular value"), ("energy_kept", "of ‖v‖² kept")];
    let columns = columns.into_iter().map(|(key, label)| Column::new(key, label)).collect();
    let rows = (1..).zip(&spectrum.singular_values).map(|(rank, &value)| {
        let kept = spectrum.energy_kept(rank).unwrap_or(f64::NAN);
        vec![
            Cell::Figure(Figure::Count(rank as u64)),
            Cell::Figure(Figure::Number(value)),
            Cell::Figure(Figure::Share(kept)),
        ]
    });
    Table { name: format!("spectrum-{}", file_name(&spectrum.name)), columns, rows: rows.collect() }
}

/// What follows from the singular values of each matrix that was looked at; `None` when there is none.
///
/// Of a matrix of which not all are known the effective rank lies between two numbers.
pub fn spectra<'a>(spectra: impl IntoIterator<Item = &'a Spectrum>) -> Option<Table> {
    let columns = [
        ("tensor", "Tensor"),
        ("rows", "Rows"),
        ("cols", "Columns"),
        ("complete", "All singular values"),
        ("error", "± of each"),
        ("effective_rank_low", "Effective rank, at least"),
        ("effective_rank_high", "at most"),
        ("stable_rank", "Stable rank"),
        ("energy", "‖v‖²"),
        ("overlap_k", "Directions compared with pre"),
        ("overlap_left", "Overlap, outputs"),
        ("overlap_right", "Overlap, inputs"),
        ("overlap_left_chance", "by chance, outputs"),
        ("overlap_right_chance", "by chance, inputs"),
    ];
    let columns = columns.into_iter().map(|(key, label)| Column::new(key, label)).collect();
    let number = |value: f64| Cell::Figure(Figure::Number(value));
    let rows: Vec<Vec<Cell>> = spectra
        .into_iter()
        .map(|spectrum| {
            let mut row = vec![
                Cell::Text(spectrum.name.clone()),
                Cell::Figure(Figure::Count(spectrum.rows)),
                Cell::Figure(Figure::Count(spectrum.cols)),
                Cell::Text(spectrum.complete.to_string()),
                number(spectrum.error),
                number(spectrum.effective_rank.low),
                number(spectrum.effective_rank.high),
                number(spectrum.stable_rank),
                number(spectrum.energy),
            ];
            match &spectrum.overlap {
                None => row.extend(std::iter::repeat_n(Cell::Empty, 5)),
                Some(overlap) => {
                    row.push(Cell::Figure(Figure::Count(overlap.k as u64)));
                    let shares = [overlap.left, overlap.right, overlap.left_chance, overlap.right_chance];
                    row.extend(shares.map(|share| Cell::Figure(Figure::Share(share))));
                }
            }
            row
        })
        .collect();
    (!rows.is_empty()).then(|| Table { name: "spectra".to_owned(), columns, rows })
}

/// Which models each vector is the difference of, as they were given: pre, then post.
pub fn vector_models(models: &[[String; 2]]) -> Table {
    let columns = [("vector", "Vector"), ("pre", "Pre"), ("post", "Post")];
    let columns = columns.into_iter().map(|(key, label)| Column::new(key, label)).collect();
    let rows = models.iter().enumerate().map(|(vector, [pre, post])| {
        vec![Cell::Text(vector.to_string()), Cell::Text(pre.clone()), Cell::Text(post.clone())]
    });
    Table { name: "vectors-models".to_owned(), columns, rows: rows.collect() }
}

/// Tensors that are in no comparison, and the first model that is the reason; `None` when all are compared.
pub fn vectors_left_out(left_out: &[LeftOut]) -> Option<Table> {
    let columns = [("tensor", "Tensor"), ("vector", "Vector"), ("model", "Model"), ("reason", "Reason")];
    let columns = columns.into_iter().map(|(key, label)| Column::new(key, label)).collect();
    let rows = left_out.iter().map(|LeftOut { name, vector, role, absence }| {
        let reason = match absence {
            Absence::Missing => "missing".to_owned(),
            Absence::Shape { found, expected } => {
                format!("{} where others have {}", csv::shape(found), csv::shape(expected))
            }
            Absence::Dtype(dtype) => format!("{}, which is no float", dtype_label(*dtype)),
        };
        [name.clone(), vector.to_string(), role.label().to_owned(), reason].map(Cell::Text).to_vec()
    });
    let rows: Vec<Vec<Cell>> = rows.collect();
    (!rows.is_empty()).then(|| Table { name: "vectors-left-out".to_owned(), columns, rows })
}

/// Every two vectors over all tensors.
pub fn pairs(pairs: &[Pair]) -> Table {
    let mut columns = vec![Column::new("a", "a"), Column::new("b", "b")];
    columns.extend(pair_columns());
    let rows = pairs.iter().map(|pair| pair_cells(pair).into_iter().chain(pair_figures(&pair.all)).collect());
    Table { name: "pairs".to_owned(), columns, rows: rows.collect() }
}

/// Every two vectors: over all tensors, with neither part nor layer, then by part, then by layer.
pub fn vectors(pairs: &[Pair]) -> Table {
    let mut columns = vec![Column::new("a", "a"), Column::new("b", "b")];
    columns.extend([Column::new("part", "Part"), Column::new("layer", "Layer")]);
    columns.extend(pair_columns());
    let row = |pair: &Pair, part: Cell, layer: Cell, sums: &PairSums| -> Vec<Cell> {
        pair_cells(pair).into_iter().chain([part, layer]).chain(pair_figures(sums)).collect()
    };
    let rows = pairs.iter().flat_map(|pair| {
        let all = [row(pair, Cell::Empty, Cell::Empty, &pair.all)];
        let parts =
            pair.parts.iter().map(|(part, sums)| row(pair, Cell::Text(part.label().to_owned()), Cell::Empty, sums));
        let layers =
            pair.layers.iter().map(|(layer, sums)| row(pair, Cell::Empty, Cell::Text(layer.to_string()), sums));
        all.into_iter().chain(parts).chain(layers).collect::<Vec<_>>()
    });
    Table { name: "vectors".to_owned(), columns, rows: rows.collect() }
}

fn pair_columns() -> impl Iterator<Item = Column> {
    pairs::figures(&PairSums::default()).into_iter().map(|(key, label, _)| Column::new(key, label))
}

/// Which two they are.
fn pair_cells(pair: &Pair) -> [Cell; 2] {
    [pair.a, pair.b].map(|vector| Cell::Text(vector.to_string()))
}

fn pair_figures(sums: &PairSums) -> impl Iterator<Item = Cell> + use<> {
    pairs::figures(sums).into_iter().map(|(.., figure)| Cell::Figure(figure))
}

/// A tensor's name as part of a file's: letters, digits, `.`, `-` and `_` are kept, anything else becomes `_`.
///
/// A name is not trusted: what it becomes has no separators, and no more bytes than a file's name may have.
pub fn file_name(tensor: &str) -> String {
    const MAX_BYTES: usize = 160;
    let keep = |character: char| if character.is_alphanumeric() || ".-_".contains(character) { character } else { '_' };
    let mut name: String = tensor.chars().map(keep).collect();
    name.truncate(name.floor_char_boundary(MAX_BYTES));
    name
}

#[cfg(test)]
#[path = "tables_tests.rs"]
mod tests;
