//! From a coefficient for each tensor to mergekit's filters and gradients.
//!
//! Tensors that differ only in their layer share a gradient with a point for each layer. Those outside the layers have its
//! first value. What most of them share is the entry without a filter; for the rest the coarsest parts of their names are
//! taken that no other tensor has, so that the order of filters does not matter.

use super::weights::{Weighted, Weights};
use crate::layout::{place, without_layer};

/// Entries for one model.
#[derive(Debug)]
pub(super) struct Filtered {
    /// First match wins; the last has no filter.
    pub(super) entries: Vec<Weighted>,
    /// Which of the tensors get another value, since no filter tells them from others.
    pub(super) differing: Vec<usize>,
}

/// Tensors that have a name in common but for the number of the layer.
struct Stem<'a> {
    /// The name with `*` for the layer.
    name: String,
    /// The names themselves.
    tensors: Vec<&'a str>,
    /// By layer; a tensor outside the layers stands at the first.
    values: Vec<Option<f64>>,
    is_layered: bool,
}

/// Stems whose values do not contradict each other.
struct Group {
    stems: Vec<usize>,
    values: Vec<Option<f64>>,
    layered: usize,
}

/// Parts of names that say more to a reader than whole words between dots.
const COARSE: [&str; 3] = ["layernorm", "norm", "experts"];

/// Entries that give each tensor its value. `layers` is at least one.
pub(super) fn filtered(tensors: &[(&str, f64)], layers: u32) -> Filtered {
    let stems = stems(tensors, layers);
    let groups = groups(&stems, layers);
    // Of equals the first.
    let general = (0..groups.len()).rev().max_by_key(|&group| (groups[group].layered, groups[group].stems.len()));
    let mut entries = Vec::new();
    for (position, group) in groups.iter().enumerate() {
        if Some(position) != general {
            let points = points(&group.values);
            entries.extend(
                filters(group, &stems)
                    .into_iter()
                    .map(|filter| Weighted { filter: Some(filter), points: points.clone() }),
            );
        }
    }
    let rest = general.map_or_else(|| vec![0.0], |group| points(&groups[group].values));
    entries.push(Weighted { filter: None, points: rest });
    let weights = Weights::whole(Some(layers), entries);
    let differs =
        |(name, value): &(&str, f64)| weights.of(name, place(name)).map(|found| found as f32) != Some(*value as f32);
    let differing = (0..tensors.len()).filter(|&index| differs(&tensors[index])).collect();
    let entries = weights.slices.into_iter().flat_map(|slice| slice.entries).collect();
    Filtered { entries, differing }
}

fn stems<'a>(tensors: &[(&'a str, f64)], layers: u32) -> Vec<Stem<'a>> {
    let mut stems: Vec<Stem<'_>> = Vec::new();
    let mut by_name = std::collections::HashMap::new();
    for &(name, value) in tensors {
        let layer = place(name).layer.filter(|layer| *layer < layers);
        let starred = layer.and_then(|_| without_layer(name)).unwrap_or_else(|| name.to_owned());
        let index = *by_name.entry(starred.clone()).or_insert_with(|| {
            let (values, is_layered) = (vec![None; layers as usize], layer.is_some());
            stems.push(Stem { name: starred, tensors: Vec::new(), values, is_layered });
            stems.len() - 1
        });
        stems[index].tensors.push(name);
        stems[index].values[layer.unwrap_or(0) as usize] = Some(value);
    }
    // What is in all layers decides first, and leaves the least open.
    stems.sort_by_key(|stem| (!stem.is_layered, stem.values.iter().filter(|value| value.is_none()).count()));
    stems
}

fn groups(stems: &[Stem<'_>], layers: u32) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for (index, stem) in stems.iter().enumerate() {
        let agrees = |group: &&mut Group| {
            let same = |(a, b): (&Option<f64>, &Option<f64>)| match (a, b) {
                (Some(a), Some(b)) => a == b,
                _ => true,
            };
            // A tensor of no layer may join where the first value is known, not set it for layers.
            let fits = group.values.iter().zip(&stem.values).all(same);
            fits && (stem.is_layered || group.values[0].is_some())
        };
        let group = match groups.iter_mut().find(agrees) {
            Some(group) => group,
            None => {
                groups.push(Group { stems: Vec::new(), values: vec![None; layers as usize], layered: 0 });
                let last = groups.len() - 1;
                &mut groups[last]
            }
        };
        group.stems.push(index);
        group.layered += usize::from(stem.is_layered);
        for (known, value) in group.values.iter_mut().zip(&stem.values) {
            *known = known.or(*value);
        }
    }
    groups
}

/// One value where all are the same, else one for each layer; a layer of which nothing is known has its neighbour's.
fn points(values: &[Option<f64>]) -> Vec<f64> {
    let mut last = values.iter().flatten().next().copied().unwrap_or_default();
    let filled: Vec<f64> = values
        .iter()
        .map(|value| {
            last = value.unwrap_or(last);
            last
        })
        .collect();
    if filled.iter().all(|value| *value == filled[0]) { vec![filled[0]] } else { filled }
}

/// The fewest and shortest parts of names that together every stem of the group has, and no other.
fn filters(group: &Group, stems: &[Stem<'_>]) -> Vec<String> {
    // By their real names: a number in a filter may be that of a layer in another's name.
    let others: Vec<&str> = (0..stems.len())
        .filter(|index| !group.stems.contains(index))
        .flat_map(|index| stems[index].tensors.iter().copied())
        .collect();
    let mut candidates: Vec<String> = COARSE.iter().map(|word| (*word).to_owned()).collect();
    for &index in &group.stems {
        let name = &stems[index].name;
        let own = name.rsplit_once("*.").map_or(name.as_str(), |(_, own)| own);
        let words: Vec<&str> = own.split('.').collect();
        for first in 0..words.len() {
            for end in first + 1..=words.len() {
                candidates.push(words[first..end].join("."));
            }
        }
    }
    candidates.sort_by(|a, b| (a.len(), a).cmp(&(b.len(), b)));
    candidates.dedup();
    // What begins with a number may be the end of a larger one.
    candidates.retain(|candidate| !candidate.starts_with(|first: char| first.is_ascii_digit()));
    candidates.retain(|candidate| !others.iter().any(|name| name.contains(candidate.as_str())));
    let mut open: Vec<&str> = group.stems.iter().map(|&index| stems[index].name.as_str()).collect();
    let mut chosen = Vec::new();
    while !open.is_empty() {
        let count = |candidate: &String| open.iter().filter(|name| name.contains(candidate.as_str())).count();
        // The first of the largest is the shortest of them.
        let best =
            candidates.iter().map(|candidate| (count(candidate), candidate)).rev().max_by_key(|(count, _)| *count);
        let Some((1.., filter)) = best else { break };
        open.retain(|name| !name.contains(filter.as_str()));
        chosen.push(filter.clone());
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARTS: [&str; 4] =
        ["self_attn.q_proj.weight", "self_attn.o_proj.weight", "mlp.up_proj.weight", "input_layernorm.weight"];

    fn entries(of: impl Fn(&str, Option<u32>) -> f64, layers: u32) -> Vec<(Option<String>, Vec<f64>)> {
        let mut names: Vec<String> =
            ["model.embed_tokens.weight", "lm_head.weight", "model.norm.weight"].map(str::to_owned).to_vec();
        names.extend((0..layers).flat_map(|layer| PARTS.map(|part| format!("model.layers.{layer}.{part}"))));
        let tensors: Vec<(&str, f64)> = names.iter().map(|name| (name.as_str(), of(name, place(name).layer))).collect();
        let found = filtered(&tensors, layers);
        assert!(found.differing.is_empty(), "{:?}", found.differing);
        found.entries.into_iter().map(|entry| (entry.filter, entry.points)).collect()
    }

    #[test]
    fn one_value_needs_no_filter() {
        assert_eq!(entries(|_, _| 0.5, 3), [(None, vec![0.5])]);
    }

    #[test]
    fn a_part_is_the_coarsest_filter_that_is_its_own() {
        let of = |name: &str, _| if name.contains("self_attn") { 0.25 } else { 0.5 };
        assert_eq!(entries(of, 3), [(Some("self_attn".to_owned()), vec![0.25]), (None, vec![0.5])]);
        let of = |name: &str, _| if name.contains("norm") { 0.0 } else { 0.5 };
        assert_eq!(entries(of, 3), [(Some("norm".to_owned()), vec![0.0]), (None, vec![0.5])]);
    }

    #[test]
    fn what_lies_outside_the_layers_has_filters_of_its_own() {
        let of = |_: &str, layer: Option<u32>| layer.map_or(0.5, |layer| f64::from(layer + 1) / 4.0);
        let found = entries(of, 3);
        assert_eq!(found.last(), Some(&(None, vec![0.25, 0.5, 0.75])));
        let filters: Vec<&str> = found.iter().filter_map(|(filter, _)| filter.as_deref()).collect();
        assert_eq!(filters, ["lm_head", "model.norm", "embed_tokens"]);
    }

    #[test]
    fn any_value_of_any_tensor_can_be_said() {
        let of = |name: &str, layer: Option<u32>| name.len() as f64 + f64::from(layer.unwrap_or(7)) / 8.0;
        entries(of, 5);
    }
}
