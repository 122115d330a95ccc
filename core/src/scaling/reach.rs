//! Which tensors the name patterns and layer ranges of a scaling reach, and what is said of those that reach none.

use glob::Pattern as Glob;

use super::{LayerRange, ScalingSpec};
use crate::alignment::{Alignment, Participation};
use crate::checkpoint::Checkpoint;
use crate::layout::Place;
use crate::preflight::Finding;

/// What a pattern does among the tensors of a model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Matches {
    /// Tensors whose name matches.
    pub matching: u64,
    /// Of these, tensors that no pattern before it matches.
    pub deciding: u64,
}

/// How many tensors each pattern and each range of a [`ScalingSpec`] reaches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// Of [`ScalingSpec::patterns`]; `None` for what cannot be read.
    pub patterns: Vec<Option<Matches>>,
    /// Of the patterns of [`Keep::tensors`](super::Keep::tensors).
    pub kept: Vec<Option<Matches>>,
    /// Tensors in any of [`Keep::layers`](super::Keep::layers).
    pub in_layers: u64,
}

/// Names and places of the tensors that v can move: what a scaling is about.
pub fn moving_tensors<'a>(
    alignment: &'a Alignment,
    target: &'a Checkpoint,
) -> impl Iterator<Item = (&'a str, Place)> + Clone {
    let moving =
        alignment.tensors.iter().filter(|aligned| matches!(aligned.participation, Participation::Moves { .. }));
    moving.filter_map(|aligned| Some((target.tensors().get(aligned.target)?.name.as_str(), aligned.place)))
}

impl ScalingSpec {
    /// What its patterns and ranges reach among these tensors.
    pub fn reach<'a>(&self, tensors: impl Iterator<Item = (&'a str, Place)> + Clone) -> Reach {
        let in_range = |layer| self.keep.layers.iter().any(|range: &LayerRange| range.contains(layer));
        let in_layers = tensors.clone().filter(|(_, place)| place.layer.is_some_and(in_range)).count() as u64;
        let names = tensors.map(|(name, _)| name);
        let patterns = self.patterns.iter().map(|pattern| pattern.tensors.as_str());
        Reach {
            patterns: matches(patterns, names.clone()),
            kept: matches(self.keep.tensors.iter().map(String::as_str), names),
            in_layers,
        }
    }

    /// A warning for each pattern that decides on none of these tensors.
    pub fn findings<'a>(&self, tensors: impl Iterator<Item = (&'a str, Place)> + Clone) -> Vec<Finding> {
        let Some((example, _)) = tensors.clone().next() else { return Vec::new() };
        let Reach { patterns, kept, .. } = self.reach(tensors);
        let factors = self.patterns.iter().map(|pattern| &pattern.tensors).zip(patterns);
        let kept = self.keep.tensors.iter().zip(kept);
        let of = |where_: &str, position: usize, pattern: &String, found: Option<Matches>| match found? {
            Matches { matching: 0, .. } => Some(
                Finding::warning("pattern-matches-nothing", format!("`{pattern}` matches no tensor"))
                    .detail(format!("Pattern {} of `{where_}`; a name here is {example}", position + 1))
                    .action("Correct it, with * for what may differ: it must match the whole name; or take it out"),
            ),
            Matches { matching, deciding: 0 } => Some(
                Finding::warning(
                    "pattern-decides-nothing",
                    format!("`{pattern}` comes too late to decide on a tensor"),
                )
                .detail(format!(
                    "Pattern {} of `{where_}`; what it matches ({matching}), patterns before it match too, and the \
                         first wins",
                    position + 1
                ))
                .action("Move it up, or take it out"),
            ),
            _ => None,
        };
        let factors =
            (0..).zip(factors).filter_map(|(at, (pattern, found))| of("scaling.patterns", at, pattern, found));
        let kept = (0..).zip(kept).filter_map(|(at, (pattern, found))| match found? {
            // All of them keep, so that none comes too late.
            Matches { matching: 0, .. } => of("scaling.keep.tensors", at, pattern, found),
            _ => None,
        });
        factors.chain(kept).collect()
    }
}

/// What each pattern matches, and what is left to it.
fn matches<'a>(patterns: impl Iterator<Item = &'a str>, names: impl Iterator<Item = &'a str>) -> Vec<Option<Matches>> {
    let globs: Vec<Option<Glob>> = patterns.map(|pattern| Glob::new(pattern).ok()).collect();
    let mut found: Vec<Option<Matches>> = globs.iter().map(|glob| glob.as_ref().map(|_| Matches::default())).collect();
    for name in names {
        let mut is_first = true;
        for (glob, found) in globs.iter().zip(&mut found) {
            if let (Some(glob), Some(found)) = (glob, found)
                && glob.matches(name)
            {
                found.matching += 1;
                found.deciding += u64::from(is_first);
                is_first = false;
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::{Keep, Pattern};
    use super::*;
    use crate::layout::place;

    const NAMES: [&str; 4] = [
        "model.embed_tokens.weight",
        "model.layers.0.mlp.down_proj.weight",
        "model.layers.1.mlp.down_proj.weight",
        "model.layers.1.mlp.up_proj.weight",
    ];

    fn tensors() -> impl Iterator<Item = (&'static str, Place)> + Clone {
        NAMES.into_iter().map(|name| (name, place(name)))
    }

    fn spec() -> ScalingSpec {
        let pattern = |tensors: &str| Pattern { tensors: tensors.into(), factor: 0.5 };
        ScalingSpec {
            patterns: ["*.down_proj.*", "*.layers.0.*", "*.[", "*.layers.1.*", "down_proj"].map(pattern).into(),
            keep: Keep {
                tensors: vec!["*.layers.1.*".into(), "*.up_proj.*".into(), "*.router.*".into()],
                layers: vec![[1, 1].into(), [1, 4].into()],
                ..Keep::default()
            },
            ..ScalingSpec::default()
        }
    }

    #[test]
    fn a_tensor_counts_for_every_pattern_and_is_decided_by_the_first() {
        let found = |matching, deciding| Some(Matches { matching, deciding });
        let reach = spec().reach(tensors());
        assert_eq!(reach.patterns, [found(2, 2), found(1, 0), None, found(2, 1), found(0, 0)]);
        assert_eq!(reach.kept, [found(2, 2), found(1, 0), found(0, 0)]);
        assert_eq!(reach.in_layers, 2);
    }

    #[test]
    fn a_pattern_without_tensors_is_warned_of_with_what_to_do() {
        let findings = spec().findings(tensors());
        let titles: Vec<&str> = findings.iter().map(|finding| finding.title.as_str()).collect();
        assert_eq!(
            titles,
            [
                "`*.layers.0.*` comes too late to decide on a tensor",
                "`down_proj` matches no tensor",
                "`*.router.*` matches no tensor"
            ]
        );
        assert_eq!(findings[1].detail, "Pattern 5 of `scaling.patterns`; a name here is model.embed_tokens.weight");
        assert!(findings[2].detail.starts_with("Pattern 3 of `scaling.keep.tensors`"), "{}", findings[2].detail);
        assert!(findings[1].action.contains("must match the whole name"), "{}", findings[1].action);
        assert_eq!(spec().findings(std::iter::empty()), [], "no model, nothing to match");
    }
}
