//! How the three models are related, judged from the sample: identical, unrelated, swapped, or tuned twice.

use std::path::{Path, PathBuf};

use super::sample::Sample;
use super::words::{count, examples};
use super::{Finding, Lineage};
use crate::alignment::{Role, Triple};
use crate::checkpoint::{Checkpoint, CheckpointKind};

/// ‖v‖ ∕ ‖pre‖ above which post was hardly made from pre. Base and instruct models differ by under 0.02
/// (arXiv 2310.04799, 2505.12716), independently trained ones by about √2.
const UNRELATED_NORM: f64 = 0.5;

/// cos(pre, target) below which target was hardly made from pre. Independently trained models have about 0.
const UNRELATED_COS: f64 = 0.5;

/// cos(v, target − pre) above which target already has much of v. Vectors of different trainings from one base are
/// nearly orthogonal (arXiv 2212.04089, fig. 5; 2602.22538).
const DOUBLE_COS: f64 = 0.5;

/// cos(v, target − pre) above which a target nearer to post than to pre is no accident. Lower than [`DOUBLE_COS`]:
/// with pre and post swapped, a target that went far from pre has v as a small part of the way.
const SWAPPED_COS: f64 = 0.25;

/// What the sample and the paths say about the three.
pub(super) fn judge(triple: &Triple, sample: &Sample) -> Vec<Finding> {
    let mut findings = Vec::from_iter(nonfinite(sample));
    if triple.pre.kind() == CheckpointKind::Zeros {
        return findings;
    }
    let lineage = sample.lineage();
    let no_vector = sample.elements > 0 && sample.post_not_pre == 0;
    let target_is_pre = sample.elements > 0 && sample.target_not_pre == 0;
    let target_is_post = sample.elements > 0 && sample.target_not_post == 0;
    let basis = format!("in all {} compared", count(sample.elements, "element"));

    if no_vector {
        let title = match same_place(&triple.pre, &triple.post) {
            true => "pre and post are the same model, so the vector is zero",
            false => "pre and post have the same weights, so the vector is zero",
        };
        findings.push(
            Finding::warning("zero-vector", title)
                .detail(format!("They agree {basis}; a merge would only copy target"))
                .action("Choose as post the model that was tuned from pre"),
        );
    }
    if target_is_pre {
        let what = if same_place(&triple.pre, &triple.target) { "model" } else { "weights" };
        findings.push(
            Finding::note("target-is-pre", format!("target and pre are the same {what}"))
                .detail(format!("They agree {basis}; w scales between pre (0) and post (1)")),
        );
    }
    if no_vector || target_is_pre {
        return findings;
    }
    findings.extend(unrelated(sample, &lineage));
    if target_is_post {
        let what = if same_place(&triple.post, &triple.target) { "model" } else { "weights" };
        findings.push(
            Finding::warning(
                "target-is-post",
                format!("target and post are the same {what}: it has the vector already"),
            )
            .detail(format!("They agree {basis}; w = 0.5 would add half the vector once more"))
            .action("Choose another target, or use this to amplify (w > 0) or weaken (w < 0) what post learned"),
        );
    } else {
        findings.extend(shared_change(sample, &lineage));
    }
    findings
}

fn nonfinite(sample: &Sample) -> Option<Finding> {
    if sample.nonfinite.is_empty() {
        return None;
    }
    let each = Role::ALL.into_iter().filter_map(|role| {
        let names: Vec<&str> =
            sample.nonfinite.iter().filter(|(found, _)| *found == role).map(|(_, name)| name.as_str()).collect();
        (!names.is_empty()).then(|| format!("{}: {}", role.label(), examples(&names)))
    });
    let detail = each.collect::<Vec<_>>().join("; ");
    let mut tensors: Vec<String> = Vec::new();
    for (_, name) in &sample.nonfinite {
        if !tensors.contains(name) {
            tensors.push(name.clone());
        }
    }
    Some(
        Finding::warning("nonfinite", "Some weights are NaN or infinite")
            .detail(detail)
            .action("The merge refuses them unless NaN and infinity are allowed; better download that model again")
            .tensors(tensors),
    )
}

fn unrelated(sample: &Sample, lineage: &Lineage) -> Vec<Finding> {
    let mut findings = Vec::new();
    if lineage.relative_norm > UNRELATED_NORM {
        findings.push(
            Finding::warning("unrelated-post", "pre and post look unrelated")
                .detail(format!(
                    "‖post − pre‖ is {:.2} of ‖pre‖ in the sample; a model and its tuned version differ by a few hundredths",
                    lineage.relative_norm
                ))
                .action("Choose as pre the very model that post was tuned from"),
        );
    }
    let cos = sample.cos_pre_target();
    if cos < UNRELATED_COS {
        findings.push(
            Finding::warning("unrelated-target", "target looks unrelated to pre")
                .detail(format!(
                    "cos(pre, target) is {} and ‖target − pre‖ is {:.2} of ‖pre‖ in the sample; models of one family have a cosine near 1",
                    cosine(cos),
                    lineage.target_distance
                ))
                .action("A vector works only on models tuned from the same base; choose a target from the family of pre"),
        );
    }
    findings
}

/// Target has moved from pre in the direction of post.
fn shared_change(sample: &Sample, lineage: &Lineage) -> Option<Finding> {
    let cos = lineage.cos_vector_target;
    // ‖target − post‖ < ‖target − pre‖, written with v and u.
    let nearer_post = sample.v_u > sample.v_v / 2.0;
    if nearer_post && cos > SWAPPED_COS {
        return Some(
            Finding::warning("swapped", "pre and post may be swapped: target is nearer to post")
                .detail(format!(
                    "‖target − post‖ is {:.2} of ‖target − pre‖ and cos(v, target − pre) is {} in the sample",
                    (1.0 + (sample.v_v - 2.0 * sample.v_u) / sample.u_u).max(0.0).sqrt(),
                    cosine(cos)
                ))
                .action("Swap pre and post if post is the older model. If target was tuned from post, it has the vector already"),
        );
    }
    (cos > DOUBLE_COS).then(|| {
        Finding::warning("counted-twice", "target already contains much of this vector")
            .detail(format!(
                "cos(v, target − pre) is {} in the sample; unrelated trainings from one base have about 0",
                cosine(cos)
            ))
            .action("Try a small w, or take as pre the model that target and post were both tuned from")
    })
}

/// A cosine to two digits, with a minus sign, and no minus before a zero.
fn cosine(value: f64) -> String {
    let text = format!("{value:.2}");
    if text == "-0.00" { "0.00".to_owned() } else { text.replace('-', "−") }
}

/// Whether two checkpoints are the same files.
fn same_place(a: &Checkpoint, b: &Checkpoint) -> bool {
    let place = |checkpoint: &Checkpoint| -> Option<PathBuf> {
        let weights: Option<&Path> = checkpoint.shard_paths().next();
        weights?.canonicalize().ok()
    };
    place(a).is_some() && place(a) == place(b)
}
