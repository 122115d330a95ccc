//! What stands beside the weights in words: the model card and the recipe.

use std::fmt::Write as _;

use super::MergeReport;
use crate::alignment::Triple;
use crate::checkpoint::{TensorInfo, dtype_label};
use crate::recipe::Recipe;
use crate::scaling::ScalingSpec;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// `mergescope.toml`: the recipe, and how to run it again.
pub(super) fn recipe_file(recipe: &Recipe) -> String {
    format!(
        "# Written by Mergescope {VERSION}. To make the same weights again:\n\
         # mergescope merge --recipe mergescope.toml --out NEW_FOLDER\n\n{}",
        recipe.to_toml()
    )
}

/// `README.md` with the front matter that the Hub reads.
pub(super) fn model_card(triple: &Triple, report: &MergeReport) -> String {
    let [pre, post, target] = [&triple.pre, &triple.post, &triple.target].map(|model| model.label());
    let w = report.recipe.vector.w;
    let total = report.total();
    let moved = report.tensors.iter().filter(|tensor| tensor.change.updates > 0).count();
    let mut dtypes: Vec<String> = report.tensors.iter().map(|tensor| dtype_label(tensor.dtype)).collect();
    dtypes.sort();
    dtypes.dedup();

    let (times, sentence, asked) = times(report, moved);

    let mut card = String::from("---\nbase_model:\n");
    for name in [&target, &post, &pre] {
        // As JSON, a name is a quoted YAML scalar whatever it holds.
        let _ = writeln!(card, "  - {}", serde_json::Value::from(name.as_str()));
    }
    let _ = write!(
        card,
        "library_name: transformers\ntags:\n  - mergescope\n  - merge\n  - task-arithmetic\n---\n\n\
         # {target} + {times}·({post} − {pre})\n\n\
         The weights are those of {target} plus {sentence} the task vector {post} − {pre}. Everything\n\
         else, tokenizer and configuration included, is {target}'s. Merged with Mergescope {VERSION}; `mergescope.toml` is the recipe.\n\n\
         | | |\n|---|---|\n\
         | Scaling coefficient w | {w} |\n\
         | Spread of w over the tensors | {} |\n\
         {asked}| Effective w, as written | {} |\n\
         | Updates lost to rounding | {} |\n\
         | Cosine of intended and written change | {} |\n\
         | Tensors moved | {moved} of {} |\n\
         | Parameters | {} |\n\
         | Dtype | {} |\n\
         | Rounding | {} |\n",
        // A bar would end the cell.
        report.recipe.vector.scaling.to_string().replace('|', "\\|"),
        number(total.effective_w(), 4),
        percent(total.lost_share()),
        number(total.cosine(), 6),
        report.tensors.len(),
        triple.target.tensors().iter().map(TensorInfo::elements).sum::<u64>(),
        dtypes.join(", "),
        report.recipe.output.rounding.label(),
    );
    if total.overflowed + total.clipped > 0 {
        let _ = writeln!(
            card,
            "\n{} values became infinite and {} were held at the largest value of the dtype.",
            total.overflowed, total.clipped
        );
    }
    card.push_str(
        "\nThese numbers say what was written, not how well the model answers. The licences of all three models apply.\n",
    );
    card
}

/// What the vector was multiplied by: as a factor, in a sentence, and as a row of what the effective w is held against.
fn times(report: &MergeReport, moved: usize) -> (String, String, String) {
    let w = report.recipe.vector.w;
    let of = format!("{moved} of {} tensors", report.tensors.len());
    match report.asked() {
        Some(asked) if asked.differs() => (
            "c".to_owned(),
            format!("c times, with a c from {} to {} in each of {of},", asked.least, asked.most),
            format!("| w asked for, in the mean weighted by ‖v‖² | {} |\n", number(asked.mean, 4)),
        ),
        Some(asked) if report.recipe.vector.scaling != ScalingSpec::default() => {
            (asked.least.to_string(), format!("{} times, in {of},", asked.least), String::new())
        }
        _ => (w.to_string(), format!("{w} times"), String::new()),
    }
}

fn number(value: f64, digits: usize) -> String {
    if value.is_finite() { format!("{value:.digits$}") } else { "–".to_owned() }
}

fn percent(share: f64) -> String {
    if share.is_finite() { format!("{:.2} %", share * 100.0) } else { "–".to_owned() }
}
