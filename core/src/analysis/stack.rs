//! Stacks of experts: the matrices of all experts of a layer, stored as one tensor [experts, rows, columns].
//!
//! An expert is what acts, so each is measured and decomposed by itself, as if it were stored apart. Expert 3 of the tensor
//! `NAME` is called `NAME[3]`.

use crate::alignment::{Aligned, Alignment, Participation, Triple};
use crate::checkpoint::{Checkpoint, TensorInfo};
use crate::layout::{Part, Place};

/// Experts of all stacks together that are measured one by one, at most: about twice as many as any model has. A header
/// of a few bytes may claim any number of them.
const MAX_MATRICES: u64 = 1 << 17;

/// How a tensor of experts is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stack {
    /// Matrices, one for each expert.
    pub experts: u64,
    /// Rows of each.
    pub rows: u64,
    /// Columns of each.
    pub cols: u64,
}

impl Stack {
    /// `None` for a tensor that is no stack of experts, or one of which anything is missing.
    pub fn of(aligned: &Aligned, tensor: &TensorInfo) -> Option<Self> {
        let Participation::Moves { shared_elements, .. } = aligned.participation else { return None };
        let Place { part: Part::Expert, expert: None, .. } = aligned.place else { return None };
        let &[experts, rows, cols] = tensor.shape.as_slice() else { return None };
        (shared_elements == tensor.elements() && shared_elements > 0).then_some(Self { experts, rows, cols })
    }

    /// Elements of each matrix.
    pub fn elements(&self) -> u64 {
        self.rows * self.cols
    }
}

/// What the analysis has one entry for: a tensor that moves, or one expert of a stack of them.
pub(super) struct Entry<'a> {
    pub name: String,
    pub place: Place,
    /// In the target.
    pub shape: Vec<u64>,
    /// In pre, post and target.
    pub tensors: [&'a TensorInfo; 3],
    /// The element of the stored tensor at which it begins.
    pub first: u64,
    pub elements: u64,
}

/// Everything that v moves, in the order of the target; the experts of a stack in theirs.
///
/// When a model claims more experts than could be looked at, none is told apart. A stack stays whole when one of its
/// experts would be called what another tensor is called, so that every name is the name of one thing.
pub(super) fn entries<'a>(triple: &'a Triple, alignment: &Alignment) -> Vec<Entry<'a>> {
    let stack = |aligned: &Aligned| Stack::of(aligned, &triple.target.tensors()[aligned.target]);
    let matrices = alignment.tensors.iter().filter_map(stack).fold(0_u64, |sum, s| sum.saturating_add(s.experts));
    let names_are_free = |stack: &str, experts: u64| {
        (0..experts).all(|expert| triple.target.position(&expert_name(stack, expert)).is_none())
    };
    let mut entries = Vec::new();
    for aligned in &alignment.tensors {
        let Participation::Moves { pre, post, shared_elements } = aligned.participation else { continue };
        let target = &triple.target.tensors()[aligned.target];
        let tensors = [&triple.pre.tensors()[pre], &triple.post.tensors()[post], target];
        let divided = stack(aligned).filter(|_| matrices <= MAX_MATRICES);
        match divided.filter(|stack| names_are_free(&target.name, stack.experts)) {
            // MAX_MATRICES fits in a u32.
            Some(stack) => entries.extend((0..stack.experts as u32).map(|expert| Entry {
                name: expert_name(&target.name, expert.into()),
                place: Place { expert: Some(expert), ..aligned.place },
                shape: vec![stack.rows, stack.cols],
                tensors,
                first: u64::from(expert) * stack.elements(),
                elements: stack.elements(),
            })),
            None => entries.push(Entry {
                name: target.name.clone(),
                place: aligned.place,
                shape: target.shape.clone(),
                tensors,
                first: 0,
                elements: shared_elements,
            }),
        }
    }
    entries
}

/// The tensor that a name means, by its position, and the expert where it names one: a tensor of just that name, else
/// `NAME[3]`. `None` when there is neither.
pub(super) fn resolve(checkpoint: &Checkpoint, name: &str) -> Option<(usize, Option<u64>)> {
    let expert = || {
        let (stack, expert) = split(name)?;
        Some((checkpoint.position(stack)?, Some(expert)))
    };
    checkpoint.position(name).map(|position| (position, None)).or_else(expert)
}

/// `NAME` and 3 as `NAME[3]`.
pub(super) fn expert_name(stack: &str, expert: u64) -> String {
    format!("{stack}[{expert}]")
}

/// `NAME[3]` as `NAME` and 3.
pub(super) fn split(name: &str) -> Option<(&str, u64)> {
    let (stack, expert) = name.strip_suffix(']')?.rsplit_once('[')?;
    // `parse` alone would take a sign.
    let digits = expert.bytes().all(|byte| byte.is_ascii_digit());
    Some((stack, expert.parse().ok().filter(|_| digits)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expert_is_the_number_in_brackets_at_the_end() {
        assert_eq!(split("a.experts.down_proj[3]"), Some(("a.experts.down_proj", 3)));
        assert_eq!(split("a[1][20]"), Some(("a[1]", 20)));
        for name in ["a", "a[]", "a[+3]", "a[-1]", "a[3", "a[3].weight", "[x]", "a[99999999999999999999]"] {
            assert_eq!(split(name), None, "{name}");
        }
    }
}
