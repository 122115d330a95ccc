//! What stands beside the weights in words: the model card and the recipe.

use std::fmt::Write as _;

use super::{FileReport, MergeReport};
use crate::alignment::{Models, VectorPair};
use crate::checkpoint::{CheckpointKind, TensorInfo, dtype_label};
use crate::recipe::{Combination, Recipe};
use crate::scaling::ScalingSpec;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The model card.
pub(crate) const CARD_FILE: &str = "README.md";

/// `mergescope.toml`: the recipe, and how to run it again.
pub(super) fn recipe_file(recipe: &Recipe) -> String {
    format!(
        "# Written by Mergescope {VERSION}. To make the same weights again:\n\
         # mergescope merge --recipe mergescope.toml --out NEW_FOLDER\n\n{}",
        recipe.to_toml()
    )
}

/// `README.md` with the front matter that the Hub reads.
pub(super) fn model_card(models: &Models, report: &MergeReport) -> String {
    let target = models.target.label();
    let total = report.total();
    let moved = report.tensors.iter().filter(|tensor| tensor.change.updates > 0).count();
    let mut dtypes: Vec<String> = report.tensors.iter().map(|tensor| dtype_label(tensor.dtype)).collect();
    dtypes.sort();
    dtypes.dedup();
    let (title, sentence, mut rows) =
        if report.recipe.is_plain() { plain(models, report, moved) } else { combined(models, report) };

    let mut names = vec![target.clone()];
    for VectorPair { pre, post } in &models.vectors {
        let both = [post, pre].into_iter().filter(|model| model.kind() != CheckpointKind::Zeros);
        names.extend(both.map(|model| model.label()));
    }
    let mut card = String::from("---\nbase_model:\n");
    for (position, name) in names.iter().enumerate() {
        if !names[..position].contains(name) {
            // As JSON, a name is a quoted YAML scalar whatever it holds.
            let _ = writeln!(card, "  - {}", serde_json::Value::from(name.as_str()));
        }
    }
    let tag = report.recipe.method.name.label().replace('_', "-");
    let _ = write!(
        card,
        "library_name: transformers\ntags:\n  - mergescope\n  - merge\n  - {tag}\n---\n\n\
         # {title}\n\n\
         {sentence} Everything\n\
         else, tokenizer and configuration included, is {target}'s. Merged with Mergescope {VERSION}; `mergescope.toml` is the recipe.\n\n",
    );
    if !report.recipe.is_plain() {
        card.push_str(&vectors_table(models, &report.recipe));
    }
    rows.extend([
        ("Updates lost to rounding", percent(total.lost_share())),
        ("Cosine of intended and written change", number(total.cosine(), 6)),
        ("Tensors moved", format!("{moved} of {}", report.tensors.len())),
        ("Parameters", models.target.tensors().iter().map(TensorInfo::elements).sum::<u64>().to_string()),
        ("Dtype", dtypes.join(", ")),
        ("Rounding", report.recipe.output.rounding.label().to_owned()),
    ]);
    card.push_str("| | |\n|---|---|\n");
    for (name, value) in rows {
        let _ = writeln!(card, "| {name} | {} |", cell(&value));
    }
    if total.overflowed + total.clipped > 0 {
        let _ = writeln!(
            card,
            "\n{} values became infinite and {} were held at the largest value of the dtype.",
            total.overflowed, total.clipped
        );
    }
    card.push_str(&files_table(&report.files));
    card.push_str(
        "\nThese numbers say what was written, not how well the model answers. The licences of all models apply.\n",
    );
    card
}

/// The files of a folder with their hashes; nothing where there are none.
pub(crate) fn files_table(files: &[FileReport]) -> String {
    let mut table = String::new();
    if !files.is_empty() {
        table.push_str("\n| File | Bytes | BLAKE3 |\n|---|---|---|\n");
    }
    for file in files {
        let _ = writeln!(table, "| {} | {} | `{}` |", cell(&file.name), file.bytes, file.blake3);
    }
    table
}

type Rows = Vec<(&'static str, String)>;

/// Title, first sentence and first rows for target + w·v.
fn plain(models: &Models, report: &MergeReport, moved: usize) -> (String, String, Rows) {
    let (times, sentence, asked) = times(report, moved);
    let (target, v) = (models.target.label(), vector_name(&models.vectors[0]));
    let mut rows = vec![
        ("Scaling coefficient w", report.recipe.vector.w.to_string()),
        ("Spread of w over the tensors", report.recipe.vector.scaling.to_string()),
    ];
    rows.extend(control_row(&report.recipe));
    rows.extend(asked.map(|asked| ("w asked for, in the mean weighted by ‖v‖²", asked)));
    rows.push(("Effective w, as written", number(report.total().effective_w(), 4)));
    match report.recipe.vector.control {
        None => {
            let sentence = format!("The weights are those of {target} plus {sentence} the task vector {v}.");
            (format!("{target} + {times}·({v})"), sentence, rows)
        }
        Some(control) => {
            let kind = control.kind.label();
            let sentence = format!(
                "A control: the weights are those of {target} plus {sentence} what stands in the place of the task vector {v} ({kind})."
            );
            (format!("Control of {target} + {times}·({v}): {kind}"), sentence, rows)
        }
    }
}

/// The same for several vectors, or for a method.
fn combined(models: &Models, report: &MergeReport) -> (String, String, Rows) {
    let (target, method) = (models.target.label(), &report.recipe.method);
    let names: Vec<String> = models.vectors.iter().map(vector_name).collect();
    let list = names.join(", ");
    let (title, sentence) = match method.name.combination() {
        Combination::Average => {
            (format!("{} of {list}", method.name), format!("The weights are an average of {list}."))
        }
        Combination::Slerp => (
            format!("{} from {target} to {list}", method.name),
            format!("The weights lie on the great circle from {target} to {list}."),
        ),
        _ => (
            format!("{target} + {}({list})", method.name),
            format!("The weights are those of {target} plus what `{}` makes of the vectors below.", method.name),
        ),
    };
    let rows = vec![
        ("Method", method.to_string()),
        ("Share of the intended change that was written", number(report.total().effective_w(), 4)),
    ];
    (title, sentence, rows)
}

/// A row for each vector.
fn vectors_table(models: &Models, recipe: &Recipe) -> String {
    let mut table = String::from("| | w | Spread of w over the tensors | Kept | Control |\n|---|---|---|---|---|\n");
    for (spec, pair) in recipe.vectors().zip(&models.vectors) {
        let control =
            spec.control.map_or("–".to_owned(), |control| format!("{}, seed {}", control.kind.label(), control.seed));
        let w = if recipe.method.name.uses_w() { spec.w.to_string() } else { "–".to_owned() };
        let [name, spread, kept] =
            [vector_name(pair), spec.scaling.to_string(), recipe.method.rule_of(spec).to_string()]
                .map(|text| cell(&text));
        let _ = writeln!(table, "| {name} | {w} | {spread} | {kept} | {control} |");
    }
    table.push('\n');
    table
}

fn control_row(recipe: &Recipe) -> Option<(&'static str, String)> {
    let control = recipe.vector.control?;
    Some(("Control in the vector's place", format!("{}, seed {}", control.kind.label(), control.seed)))
}

/// `post − pre`, or the name of what stands alone.
fn vector_name(pair: &VectorPair) -> String {
    match pair.pre.kind() {
        CheckpointKind::Zeros => pair.post.label(),
        _ => format!("{} − {}", pair.post.label(), pair.pre.label()),
    }
}

/// A bar would end the cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

/// What the vector was multiplied by: as a factor, in a sentence, and what the effective w is held against.
fn times(report: &MergeReport, moved: usize) -> (String, String, Option<String>) {
    let w = report.recipe.vector.w;
    let of = format!("{moved} of {} tensors", report.tensors.len());
    match report.asked() {
        Some(asked) if asked.differs() => (
            "c".to_owned(),
            format!("c times, with a c from {} to {} in each of {of},", asked.least, asked.most),
            Some(number(asked.mean, 4)),
        ),
        Some(asked) if report.recipe.vector.scaling != ScalingSpec::default() => {
            (asked.least.to_string(), format!("{} times, in {of},", asked.least), None)
        }
        _ => (w.to_string(), format!("{w} times"), None),
    }
}

fn number(value: f64, digits: usize) -> String {
    if value.is_finite() { format!("{value:.digits$}") } else { "–".to_owned() }
}

fn percent(share: f64) -> String {
    if share.is_finite() { format!("{:.2} %", share * 100.0) } else { "–".to_owned() }
}
