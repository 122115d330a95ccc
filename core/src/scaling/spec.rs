//! What a recipe says about scaling.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Curve, Plain};
use crate::layout::Part;

/// How w is spread over the tensors: the coefficient of a tensor is w × the curve's value of its layer × its factor.
///
/// What is kept has the factor 0. Else the factor is that of the first pattern that matches the tensor's name, else that of
/// its part.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ScalingSpec {
    /// Over the layers.
    pub curve: Curve,
    /// By part.
    #[serde(skip_serializing_if = "is_default")]
    pub factors: Factors,
    /// By name; the first match wins.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub patterns: Vec<Pattern>,
    /// What stays the target's.
    #[serde(skip_serializing_if = "is_default")]
    pub keep: Keep,
}

/// The factor of each kind of part.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Factors {
    /// q, k, v and o.
    pub attention: f64,
    /// gate, up, down and experts.
    pub mlp: f64,
    /// Norms, within layers and after the last.
    pub norm: f64,
    /// Embeddings.
    pub embed: f64,
    /// Output head.
    pub head: f64,
    /// Routers of mixtures.
    pub router: f64,
    /// What has no known name.
    pub other: f64,
}

impl Default for Factors {
    fn default() -> Self {
        Self { attention: 1.0, mlp: 1.0, norm: 1.0, embed: 1.0, head: 1.0, router: 1.0, other: 1.0 }
    }
}

/// Parts that have one factor together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PartKind {
    /// q, k, v and o.
    Attention,
    /// gate, up and down, and experts.
    Mlp,
    /// Norms.
    Norm,
    /// Embeddings.
    Embed,
    /// Output head.
    Head,
    /// Routers.
    Router,
    /// What has no known name.
    Other,
}

impl PartKind {
    /// All, in the order in which they are shown.
    pub const ALL: [Self; 7] =
        [Self::Attention, Self::Mlp, Self::Norm, Self::Embed, Self::Head, Self::Router, Self::Other];

    /// The kind of a part.
    pub fn of(part: Part) -> Self {
        match part {
            Part::Q | Part::K | Part::V | Part::O => Self::Attention,
            Part::Gate | Part::Up | Part::Down | Part::Expert => Self::Mlp,
            Part::Norm => Self::Norm,
            Part::Embed => Self::Embed,
            Part::Head => Self::Head,
            Part::Router => Self::Router,
            Part::Other => Self::Other,
        }
    }

    /// As a recipe names it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Attention => "attention",
            Self::Mlp => "mlp",
            Self::Norm => "norm",
            Self::Embed => "embed",
            Self::Head => "head",
            Self::Router => "router",
            Self::Other => "other",
        }
    }
}

impl Factors {
    /// The factor of a part.
    pub fn of(&self, part: Part) -> f64 {
        self.get(PartKind::of(part))
    }

    /// The factor of a kind of parts.
    pub fn get(&self, kind: PartKind) -> f64 {
        *Self { ..*self }.get_mut(kind)
    }

    /// The factor of a kind of parts, to be changed.
    pub fn get_mut(&mut self, kind: PartKind) -> &mut f64 {
        match kind {
            PartKind::Attention => &mut self.attention,
            PartKind::Mlp => &mut self.mlp,
            PartKind::Norm => &mut self.norm,
            PartKind::Embed => &mut self.embed,
            PartKind::Head => &mut self.head,
            PartKind::Router => &mut self.router,
            PartKind::Other => &mut self.other,
        }
    }

    /// All of them, as a recipe names them.
    pub fn named(&self) -> [(&'static str, f64); 7] {
        PartKind::ALL.map(|kind| (kind.label(), self.get(kind)))
    }
}

impl Keep {
    /// Whether a kind of parts is kept, to be changed; `None` for those that no switch keeps.
    pub fn get_mut(&mut self, kind: PartKind) -> Option<&mut bool> {
        match kind {
            PartKind::Norm => Some(&mut self.norm),
            PartKind::Embed => Some(&mut self.embed),
            PartKind::Head => Some(&mut self.head),
            PartKind::Router => Some(&mut self.router),
            PartKind::Attention | PartKind::Mlp | PartKind::Other => None,
        }
    }

    /// Whether a kind of parts is kept.
    pub fn get(&self, kind: PartKind) -> bool {
        match kind {
            PartKind::Norm => self.norm,
            PartKind::Embed => self.embed,
            PartKind::Head => self.head,
            PartKind::Router => self.router,
            PartKind::Attention | PartKind::Mlp | PartKind::Other => false,
        }
    }
}

/// A factor for the tensors whose name matches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pattern {
    /// A glob over the whole name: `*` is any number of characters, `?` one, `[0-9]` one of a range.
    pub tensors: String,
    /// The factor.
    pub factor: f64,
}

/// Tensors that stay the target's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Keep {
    /// Routers of mixtures.
    pub router: bool,
    /// Embeddings.
    pub embed: bool,
    /// Output head.
    pub head: bool,
    /// Norms.
    pub norm: bool,
    /// Whole layers, as ranges.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<LayerRange>,
    /// Globs over names, as in [`Pattern::tensors`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tensors: Vec<String>,
}

/// Layers from `first` to `last`, both among them; counted from zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "[u32; 2]", into = "[u32; 2]")]
pub struct LayerRange {
    /// The first.
    pub first: u32,
    /// The last.
    pub last: u32,
}

impl From<[u32; 2]> for LayerRange {
    fn from([first, last]: [u32; 2]) -> Self {
        Self { first, last }
    }
}

impl From<LayerRange> for [u32; 2] {
    fn from(range: LayerRange) -> Self {
        [range.first, range.last]
    }
}

impl fmt::Display for ScalingSpec {
    /// In a few words: `LiNeS, α 0.5, β 1; mlp × 0.25; 2 patterns; keeps router`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.curve)?;
        let factors = self.factors.named().into_iter().filter(|(_, factor)| *factor != 1.0);
        let factors: Vec<String> = factors.map(|(of, factor)| format!("{of} × {}", Plain(factor))).collect();
        let Keep { router, embed, head, norm, layers, tensors } = &self.keep;
        let parts = [(*router, "router"), (*embed, "embed"), (*head, "head"), (*norm, "norm")];
        let mut kept: Vec<String> =
            parts.into_iter().filter(|(kept, _)| *kept).map(|(_, part)| part.to_owned()).collect();
        kept.extend(layers.iter().map(|range| match range.first == range.last {
            true => format!("layer {}", range.first),
            false => format!("layers {}–{}", range.first, range.last),
        }));
        kept.extend(tensors.iter().map(|glob| format!("`{glob}`")));
        if !factors.is_empty() {
            write!(formatter, "; {}", factors.join(", "))?;
        }
        match self.patterns.len() {
            0 => {}
            1 => write!(formatter, "; 1 pattern")?,
            many => write!(formatter, "; {many} patterns")?,
        }
        if !kept.is_empty() {
            write!(formatter, "; keeps {}", kept.join(", "))?;
        }
        Ok(())
    }
}

impl LayerRange {
    /// Whether a layer is among them.
    pub fn contains(&self, layer: u32) -> bool {
        (self.first..=self.last).contains(&layer)
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recipe_holds_what_differs_from_the_default() {
        let spec = ScalingSpec {
            curve: Curve::Lines { alpha: 0.5, beta: 1.0 },
            factors: Factors { norm: 0.0, ..Factors::default() },
            patterns: vec![Pattern { tensors: "*.q_proj.*".into(), factor: 0.5 }],
            keep: Keep { router: true, layers: vec![LayerRange { first: 0, last: 3 }], ..Keep::default() },
        };
        let text = toml::to_string(&spec).expect("a table");
        assert_eq!(toml::from_str::<ScalingSpec>(&text).expect("the same table"), spec);
        assert!(text.contains("layers = [[0, 3]]"), "{text}");
        let text = toml::to_string(&ScalingSpec::default()).expect("a table");
        assert_eq!(text, "[curve]\nkind = \"flat\"\n");
        assert_eq!(toml::from_str::<ScalingSpec>("").expect("nothing said"), ScalingSpec::default());
        let typo = toml::from_str::<ScalingSpec>("[factors]\natention = 0.5\n").expect_err("a typo").to_string();
        assert!(typo.contains("atention") && typo.contains("attention"), "{typo}");
    }

    #[test]
    fn every_part_has_one_factor() {
        let factors = Factors { attention: 1.0, mlp: 2.0, norm: 3.0, embed: 4.0, head: 5.0, router: 6.0, other: 7.0 };
        let mut seen: Vec<f64> = Part::ALL.iter().map(|&part| factors.of(part)).collect();
        seen.sort_by(f64::total_cmp);
        seen.dedup();
        assert_eq!(seen, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
        assert_eq!(factors.named().map(|(_, value)| value), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
    }
}
