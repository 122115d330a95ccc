//! What stands beside the adapter in words: the model card and the recipe.

use std::fmt::Write as _;

use super::plan::Kind;
use super::report::{AdapterReport, AdapterTensor, Form};
use super::spec::Content;
use crate::alignment::Triple;
use crate::checkpoint::dtype_label;
use crate::layout::Part;
use crate::merge::card::files_table;
use crate::recipe::Recipe;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Ranks that vLLM's `--max-lora-rank` may be set to.
const VLLM_RANKS: [u32; 8] = [8, 16, 32, 64, 128, 256, 320, 512];

/// `mergescope.toml`: the recipe, and how to run it again.
pub(super) fn recipe_file(recipe: &Recipe) -> String {
    format!(
        "# Written by Mergescope {VERSION}. To make the same adapter again:\n\
         # mergescope lora --recipe mergescope.toml --out NEW_FOLDER\n\n{}",
        recipe.to_toml()
    )
}

/// `README.md` with the front matter that the Hub reads.
pub(super) fn model_card(triple: &Triple, report: &AdapterReport) -> String {
    let [pre, post, target] = [&triple.pre, &triple.post, &triple.target].map(|model| model.label());
    let spec = report.recipe.adapter.clone().unwrap_or_default();
    let is_scaled = spec.content == Content::Scaled;
    let w = report.recipe.vector.w;
    let what = if is_scaled { format!("{w}·({post} − {pre})") } else { format!("{post} − {pre}") };
    let total = report.total();
    let mut dtypes: Vec<String> = report.tensors.iter().map(|tensor| dtype_label(tensor.dtype)).collect();
    dtypes.sort();
    dtypes.dedup();
    let ranks = match report.ranks() {
        Some((low, high)) if low == high => low.to_string(),
        Some((low, high)) if report.is_uniform => format!("{low} to {high}, filled up with zeros to {}", report.rank),
        Some((low, high)) => format!("{low} to {high}"),
        None => "0".to_owned(),
    };

    let mut card = String::from("---\nlibrary_name: peft\nbase_model: ");
    // As JSON, a name is a quoted YAML scalar whatever it holds.
    let _ = write!(
        card,
        "{}\nbase_model_relation: adapter\ntags:\n  - lora\n  - mergescope\n  - task-arithmetic\n---\n\n\
         # {what} as LoRA for {target}\n\n\
         The task vector {post} − {pre} as a low-rank adapter for {target}, by singular value decomposition of each weight.\n\
         Made with Mergescope {VERSION}; `mergescope.toml` is the recipe, `adapter-report.json` has the numbers of every tensor.\n\n",
        serde_json::Value::from(target.as_str())
    );
    card.push_str("| | |\n|---|---|\n");
    if is_scaled {
        // A bar would end the cell.
        let spread = report.recipe.vector.scaling.to_string().replace('|', "\\|");
        let _ = writeln!(
            card,
            "| Scaling coefficient w, in the factors | {w} |\n| Spread of w over the tensors | {spread} |"
        );
    } else {
        card.push_str("| Scaling coefficient w | none: weight the adapter where it is loaded |\n");
    }
    let _ = write!(
        card,
        "| Energy kept, of all that v moves | {} |\n| Energy kept, of the tensors in the adapter | {} |\n\
         | Ranks | {ranks} |\n| Dtype | {} |\n\n\
         Energy is ‖w·v‖², the sum of the squares of all changes; what is kept is measured with the factors as they are written.\n\n",
        percent(total.share()),
        percent(total.of_those_in_it().share()),
        dtypes.join(", "),
    );
    if total.left_out > 0.0 || !report.left_out.is_empty() {
        card.push_str("## Left out\n\n| part | tensors | share of ‖w·v‖² | why |\n|---|---|---|---|\n");
        for (reason, part, count, energy) in report.omissions() {
            let share = (total.energy > 0.0).then(|| energy / total.energy);
            let _ = writeln!(card, "| {part} | {count} | {} | {} |", percent(share), reason.label());
        }
        card.push('\n');
    }
    for (title, rows) in [
        ("layer", report.layers().into_iter().map(|(layer, kept)| (layer_label(layer), kept)).collect::<Vec<_>>()),
        ("part", report.parts().into_iter().map(|(part, kept)| (part.to_string(), kept)).collect()),
    ] {
        let _ = write!(
            card,
            "## Energy kept by {title}\n\n| {title} | tensors | share of all ‖w·v‖² | kept |\n|---|---|---|---|\n"
        );
        for (name, kept) in rows {
            let share = (total.energy > 0.0).then(|| kept.energy / total.energy);
            let _ = writeln!(card, "| {name} | {} | {} | {} |", kept.tensors, percent(share), percent(kept.share()));
        }
        card.push('\n');
    }
    card.push_str(&usage(report));
    if !report.files.is_empty() {
        let _ = writeln!(card, "## Files\n{}", files_table(&report.files));
    }
    card.push_str("The licences of all three models apply.\n");
    card
}

fn layer_label(layer: Option<u32>) -> String {
    layer.map_or_else(|| "beside the layers".to_owned(), |layer| layer.to_string())
}

/// How to load it, with the programs that can.
fn usage(report: &AdapterReport) -> String {
    let mut text = "## Loading it\n\n\
        PEFT: `PeftModel.from_pretrained(target, \"THIS_FOLDER\")`, and `merge_and_unload()` for a whole model.\n\n"
        .to_owned();
    if let Some(warning) = report.warning() {
        let _ = writeln!(text, "{warning}\n");
    }
    let holds = |is: &dyn Fn(&AdapterTensor) -> bool| report.tensors.iter().any(is);
    let copies = holds(&|tensor| tensor.form == Form::Copied);
    let conv1d = holds(&|tensor| matches!(tensor.form, Form::Factored { kind: Kind::Conv1d, .. }));
    if copies || conv1d {
        let what = match (copies, conv1d) {
            (true, false) => "whole norms or biases, which vLLM refuses and llama.cpp refuses or passes over",
            (false, _) => "layers of the kind Conv1D, which vLLM does not adapt and llama.cpp does not load",
            (true, true) => "whole norms or biases and layers of the kind Conv1D, which vLLM and llama.cpp do not take",
        };
        let _ = writeln!(text, "For PEFT alone: it holds {what}.\n");
        return text;
    }
    let highest = VLLM_RANKS.into_iter().find(|&rank| rank >= report.rank);
    let _ = match highest {
        Some(rank) => writeln!(text, "vLLM: `--enable-lora --lora-modules v=THIS_FOLDER --max-lora-rank {rank}`.\n"),
        None => writeln!(text, "vLLM: rank {} is more than it takes.\n", report.rank),
    };
    if holds(&|tensor| matches!(tensor.place.part, Part::Embed | Part::Head)) {
        text.push_str(
            "Embeddings and head are in it: vLLM takes them for Llama, Mixtral, Qwen3 and Qwen3-MoE, and refuses the whole \
             adapter for Qwen2, Qwen2-MoE and Mistral.\n\n",
        );
    }
    text.push_str(match report.is_uniform {
        true => "llama.cpp: `convert_lora_to_gguf.py --base TARGET_FOLDER THIS_FOLDER`, then `--lora`.\n\n",
        false => "Not for llama.cpp, which would scale the lower of its ranks up; uniform ranks are.\n\n",
    });
    text
}

fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "–".to_owned(), |share| format!("{:.2} %", share * 100.0))
}
