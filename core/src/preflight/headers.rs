//! Findings from headers alone: names, shapes, dtypes, vocabulary rows.

use std::collections::BTreeSet;

use super::Finding;
use super::words::{called, count, examples, facts, grouped, named};
use crate::alignment::{Aligned, Alignment, Misfit, Participation, Role, Triple};
use crate::checkpoint::{Checkpoint, CheckpointKind, Dtype, TensorInfo, dtype_label, takes_part};
use crate::layout::{self, Part};

/// Compares what the three headers declare.
pub(super) fn compare(triple: &Triple, alignment: &Alignment) -> Vec<Finding> {
    if let Some(finding) = nothing_moves(triple, alignment) {
        // All else that could be said about names follows from this.
        return vec![finding];
    }
    let mut findings = misfits(triple, alignment);
    for role in named(triple).filter(|role| *role != Role::Target) {
        findings.extend(extra(triple, role));
    }
    findings.extend(target_only(triple, alignment));
    findings.extend(integers(triple, alignment));
    findings.extend(dtypes(triple, alignment));
    findings.extend(vocabulary(triple, alignment));
    findings
}

/// Tensors that two of the models have and the third lacks or has otherwise.
fn misfits(triple: &Triple, alignment: &Alignment) -> Vec<Finding> {
    let with = |wanted: Misfit| -> Vec<&TensorInfo> {
        alignment
            .tensors
            .iter()
            .filter(|aligned| aligned.participation == Participation::Misfit(wanted))
            .map(|aligned| target_tensor(triple, aligned))
            .collect()
    };
    let mut findings = Vec::new();
    for (role, other) in [(Role::Pre, Role::Post), (Role::Post, Role::Pre)] {
        let missing = with(Misfit::MissingIn(role));
        if !missing.is_empty() {
            // Of two models of which one is zeros, there is no third that has it too.
            let holders = match named(triple).count() {
                3 => format!("Target and {} have", called(triple, other)),
                _ => format!("{} has", called(triple, Role::Target)),
            };
            let role = called(triple, role);
            findings.push(
                Finding::error("missing-tensor", format!("{role} lacks {}", count(missing.len() as u64, "tensor")))
                    .detail(format!("{holders} {}; {role} does not", examples(&names(&missing))))
                    .action(format!(
                        "Choose a {} of the same architecture, or download it again if it is incomplete",
                        role.trim_start_matches("the ")
                    ))
                    .tensors(names(&missing)),
            );
        }
    }
    for role in [Role::Pre, Role::Post] {
        let shapes = with(Misfit::ShapeIn(role));
        if !shapes.is_empty() {
            let role_label = called(triple, role);
            let each: Vec<String> = shapes.iter().map(|tensor| all_three(triple, tensor, shape_of)).collect();
            let number = count(shapes.len() as u64, "tensor");
            findings.push(
                Finding::error(
                    "shape-mismatch",
                    format!("{role_label} has {number} of another shape than {}", called(triple, Role::Target)),
                )
                .detail(facts(&each))
                .action("Choose models of the same size and architecture")
                .tensors(names(&shapes)),
            );
        }
        let dtypes = with(Misfit::DtypeIn(role));
        if !dtypes.is_empty() {
            let each: Vec<String> = dtypes.iter().map(|tensor| all_three(triple, tensor, dtype_of)).collect();
            let (number, role) = (count(dtypes.len() as u64, "tensor"), called(triple, role));
            findings.push(
                Finding::error("dtype-mismatch", format!("{role} has {number} of integers where target has floats"))
                    .detail(facts(&each))
                    .action(format!(
                        "Choose a {} that is neither quantised nor packed",
                        role.trim_start_matches("the ")
                    ))
                    .tensors(names(&dtypes)),
            );
        }
    }
    findings
}

fn nothing_moves(triple: &Triple, alignment: &Alignment) -> Option<Finding> {
    let misfit = |aligned: &Aligned| matches!(aligned.participation, Participation::Misfit(_));
    if alignment.moving_elements() > 0 || alignment.tensors.iter().any(misfit) {
        return None;
    }
    let finding = Finding::error("nothing-moves", "No tensor of target takes part, so there is nothing to add")
        .action("Choose models of the same architecture whose tensors have the same names");
    let renamed = Role::ALL[..2].iter().find_map(|&role| renamed(triple, role));
    Some(finding.detail(renamed.unwrap_or_else(|| {
        let first =
            |checkpoint: &Checkpoint| checkpoint.tensors().first().map_or("none", |tensor| &tensor.name).to_owned();
        format!(
            "First names: pre `{}`, post `{}`, target `{}`",
            first(&triple.pre),
            first(&triple.post),
            first(&triple.target)
        )
    })))
}

/// Names that agree but for a prefix: the same weights saved by different classes of transformers.
fn renamed(triple: &Triple, role: Role) -> Option<String> {
    let sample = triple.target.tensors().iter().find(|tensor| layout::place(&tensor.name).layer.is_some())?;
    let ends = |longer: &str, shorter: &str| longer.strip_suffix(shorter).is_some_and(|prefix| prefix.ends_with('.'));
    let other = triple
        .get(role)
        .tensors()
        .iter()
        .find(|other| ends(&other.name, &sample.name) || ends(&sample.name, &other.name))?;
    let role = role.label();
    Some(format!("Names differ by a prefix: {role} has `{}` where target has `{}`", other.name, sample.name))
}

/// Tensors of pre or post that target has no place for.
fn extra(triple: &Triple, role: Role) -> Vec<Finding> {
    let extra: Vec<&TensorInfo> = triple
        .get(role)
        .tensors()
        .iter()
        .enumerate()
        // A head of its own beside a tied target is told with the ties.
        .filter(|(position, tensor)| {
            triple.target.position_near(*position, &tensor.name).is_none()
                && layout::place(&tensor.name).part != Part::Head
        })
        .map(|(_, tensor)| tensor)
        .collect();
    let (buffers, weights): (Vec<&TensorInfo>, Vec<&TensorInfo>) =
        extra.into_iter().partition(|tensor| is_buffer(&tensor.name));
    let role = called(triple, role);
    let mut findings = Vec::new();
    if !weights.is_empty() {
        findings.push(
            Finding::warning(
                "extra-tensor",
                format!("{role} has {} that target lacks", count(weights.len() as u64, "tensor")),
            )
            .detail(format!("Left out, since there is nothing to add it to: {}", examples(&names(&weights))))
            .action(format!("If target should have them, {role} and target are different architectures"))
            .tensors(names(&weights)),
        );
    }
    if !buffers.is_empty() {
        let number = count(buffers.len() as u64, "buffer");
        findings.push(
            Finding::note("extra-buffer", format!("{role} stores {number} that target computes"))
                .detail(format!("Buffers hold no trained weights: {}", examples(&names(&buffers))))
                .tensors(names(&buffers)),
        );
    }
    findings
}

/// Rotary frequencies and causal masks, which older versions of transformers stored.
fn is_buffer(name: &str) -> bool {
    [".inv_freq", ".attn.bias", ".attn.masked_bias", ".attention.bias", ".attention.masked_bias"]
        .iter()
        .any(|end| name.ends_with(end))
}

fn target_only(triple: &Triple, alignment: &Alignment) -> Option<Finding> {
    let only: Vec<&TensorInfo> = alignment
        .tensors
        .iter()
        .filter(|aligned| aligned.participation == Participation::TargetOnly)
        .map(|aligned| target_tensor(triple, aligned))
        .filter(|tensor| !is_buffer(&tensor.name))
        .collect();
    if only.is_empty() {
        return None;
    }
    let lacking = match triple.pre.kind() {
        CheckpointKind::Zeros => format!("{} lacks", called(triple, Role::Post)),
        _ => "neither pre nor post has".to_owned(),
    };
    let title = format!("target has {} that {lacking}", count(only.len() as u64, "tensor"));
    Some(
        Finding::warning("target-only", title)
            .detail(format!("Kept as in target: {}", examples(&names(&only))))
            .action("Check that the models are of the same architecture")
            .tensors(names(&only)),
    )
}

/// Integers of target that are floats elsewhere: the change between pre and post is not carried.
fn integers(triple: &Triple, alignment: &Alignment) -> Option<Finding> {
    let found: Vec<&TensorInfo> = alignment
        .tensors
        .iter()
        .filter(|aligned| aligned.participation == Participation::Carried)
        .map(|aligned| target_tensor(triple, aligned))
        .filter(|tensor| {
            [&triple.pre, &triple.post]
                .iter()
                .any(|other| other.tensor(&tensor.name).is_some_and(|other| takes_part(other.dtype)))
        })
        .collect();
    if found.is_empty() {
        return None;
    }
    let each: Vec<String> = found.iter().map(|tensor| all_three(triple, tensor, dtype_of)).collect();
    let title = format!("target has {} of integers where pre or post has floats", count(found.len() as u64, "tensor"));
    Some(
        Finding::warning("integer-target", title)
            .detail(format!("They are copied from target. {}", facts(&each)))
            .action("Check that target is not quantised")
            .tensors(names(&found)),
    )
}

fn dtypes(triple: &Triple, alignment: &Alignment) -> Vec<Finding> {
    let mut of_role: [BTreeSet<Dtype>; 3] = Default::default();
    let mut eight_bit = Vec::new();
    for aligned in &alignment.tensors {
        let Participation::Moves { pre, post, .. } = aligned.participation else { continue };
        let target = target_tensor(triple, aligned);
        of_role[0].insert(triple.pre.tensors()[pre].dtype);
        of_role[1].insert(triple.post.tensors()[post].dtype);
        of_role[2].insert(target.dtype);
        if matches!(target.dtype, Dtype::F8_E4M3 | Dtype::F8_E5M2) {
            eight_bit.push(target.name.clone());
        }
    }
    let mut findings = Vec::new();
    let all: BTreeSet<Dtype> = of_role.iter().flatten().copied().collect();
    let label = |dtypes: &BTreeSet<Dtype>| dtypes.iter().copied().map(dtype_label).collect::<Vec<_>>().join(" and ");
    let [pre, post, target] = of_role.each_ref().map(label);
    if all.len() > 1 {
        findings.push(
            Finding::note("mixed-dtypes", "The models are stored in different dtypes")
                .detail(format!(
                    "pre {pre}, post {post}, target {target}; every value is read exactly and the sum is rounded once"
                ))
                .action("The output has target's dtype unless another is chosen"),
        );
    }
    if !eight_bit.is_empty() {
        findings.push(
            Finding::warning("f8-target", "target is stored in 8-bit floats, in which most small changes vanish")
                .detail(format!("{} of target; 2 or 3 bits of mantissa", count(eight_bit.len() as u64, "tensor")))
                .action("Choose bf16 or f32 as the output dtype")
                .tensors(eight_bit),
        );
    }
    findings
}

/// Embeddings and heads of which only the common rows take part.
fn vocabulary(triple: &Triple, alignment: &Alignment) -> Option<Finding> {
    let mut tensors = Vec::new();
    let mut each = Vec::new();
    for aligned in &alignment.tensors {
        let Participation::Moves { pre, post, shared_elements } = aligned.participation else { continue };
        let target = target_tensor(triple, aligned);
        let rows = [&triple.pre.tensors()[pre], &triple.post.tensors()[post], target]
            .map(|tensor| tensor.shape.first().copied().unwrap_or(1));
        if rows[0] == rows[2] && rows[1] == rows[2] {
            continue;
        }
        let shared = shared_elements.checked_div(target.row_elements()).unwrap_or(0);
        let [pre, post, own] = rows.map(grouped);
        let rest = rows[2] - shared.min(rows[2]);
        each.push(format!(
            "`{}`: {} rows take part (pre {pre}, post {post}, target {own}); {} target's own",
            target.name,
            grouped(shared),
            if rest == 1 { "1 is".to_owned() } else { format!("{} are", grouped(rest)) },
        ));
        tensors.push(target.name.clone());
    }
    if tensors.is_empty() {
        return None;
    }
    Some(
        Finding::note("vocabulary-rows", "The vocabularies have different numbers of rows")
            .detail(facts(&each))
            .action("Usual where only the padding differs; see the tokenizer findings if there are any")
            .tensors(tensors),
    )
}

fn target_tensor<'a>(triple: &'a Triple, aligned: &Aligned) -> &'a TensorInfo {
    &triple.target.tensors()[aligned.target]
}

fn names(tensors: &[&TensorInfo]) -> Vec<String> {
    tensors.iter().map(|tensor| tensor.name.clone()).collect()
}

/// "`name`: pre [8, 4], post [8, 4], target [8, 5]".
fn all_three(triple: &Triple, tensor: &TensorInfo, show: fn(&TensorInfo) -> String) -> String {
    let each = named(triple).map(|role| {
        let shown = triple.get(role).tensor(&tensor.name).map_or_else(|| "none".to_owned(), show);
        format!("{} {shown}", called(triple, role))
    });
    format!("`{}`: {}", tensor.name, each.collect::<Vec<_>>().join(", "))
}

fn shape_of(tensor: &TensorInfo) -> String {
    format!("{:?}", tensor.shape)
}

fn dtype_of(tensor: &TensorInfo) -> String {
    dtype_label(tensor.dtype)
}
