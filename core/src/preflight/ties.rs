//! Tied against untied embeddings: one model's output head is its embeddings, another's is a tensor of its own.

use super::Finding;
use super::sample::same_bytes;
use super::words::{called, examples, named};
use crate::alignment::{Alignment, Participation, Role, Triple, output_head, token_embeddings};
use crate::checkpoint::{Checkpoint, ReadError, TensorInfo};

/// Compares how the three models make their output head.
pub(super) fn compare(triple: &Triple, alignment: &Alignment) -> Result<Vec<Finding>, ReadError> {
    let mut findings = Vec::new();
    let target_head = output_head(&triple.target);
    for role in named(triple).filter(|role| *role != Role::Target) {
        let model = triple.get(role);
        match (output_head(model), target_head) {
            (Some(own), None) => findings.push(own_head(model, own, called(triple, role))?),
            (None, Some(stored)) => findings.extend(stand_in(triple, alignment, stored, role)),
            _ => {}
        }
    }
    findings.extend(ignored_head(triple));
    Ok(findings)
}

/// Pre or post stores a head that the tied target has no place for.
fn own_head(model: &Checkpoint, own: &TensorInfo, role: &str) -> Result<Finding, ReadError> {
    let copy = match token_embeddings(model) {
        Some(embeddings) => same_bytes(model, own, embeddings)?,
        None => false,
    };
    let tied = model.config().and_then(|config| config.ties_embeddings()) == Some(true);
    if copy || tied {
        let title = format!("{role} stores its output head although it is tied to the embeddings");
        return Ok(Finding::note("tied-copy", title)
            .detail(format!("`{}` repeats the embeddings; target stores them once", own.name))
            .tensors(vec![own.name.clone()]));
    }
    let title = format!("{role} has an output head of its own, target's is tied to its embeddings");
    Ok(Finding::warning("untied-head", title)
        .detail(format!("The change of `{}` is not carried over: target has no such tensor", own.name))
        .action("The embeddings still take part. If the head's change matters, choose a target with an untied head")
        .tensors(vec![own.name.clone()]))
}

/// Target stores a head; the embeddings of a tied pre or post stand in for theirs.
fn stand_in(triple: &Triple, alignment: &Alignment, stored: &TensorInfo, role: Role) -> Option<Finding> {
    // Without a counterpart the head is told as missing, or as target's own.
    let moves = alignment.tensors.iter().any(|aligned| {
        triple.target.tensors()[aligned.target].name == stored.name
            && matches!(aligned.participation, Participation::Moves { .. })
    });
    if !moves {
        return None;
    }
    let role = called(triple, role);
    Some(
        Finding::note("tied-stand-in", format!("{role} ties its output head to its embeddings, target does not"))
            .detail(format!("The embeddings of {role} stand in for its `{}`", stored.name))
            .tensors(vec![stored.name.clone()]),
    )
}

/// Target stores a head that its config says is not used.
fn ignored_head(triple: &Triple) -> Option<Finding> {
    let stored = output_head(&triple.target)?;
    let tied = |role| triple.get(role).config().and_then(|config| config.ties_embeddings());
    if tied(Role::Target) != Some(true) || tied(Role::Pre) != Some(false) && tied(Role::Post) != Some(false) {
        return None;
    }
    let names = [stored.name.as_str()];
    Some(
        Finding::warning("tied-head-unused", "target stores an output head that its config says is not used")
            .detail(format!(
                "target has tie_word_embeddings = true and {}; programs that read the config use the embeddings instead",
                examples(&names)
            ))
            .action("Set tie_word_embeddings to false in target's config.json if its head is meant to be used")
            .tensors(vec![stored.name.clone()]),
    )
}
