//! Which parts of the layers are compared together.

use mergescope_core::analysis::LayerProducts;
use mergescope_core::layout::Part;

/// One part, or several that work together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum PartSet {
    /// Every part.
    #[default]
    All,
    /// q, k, v and o.
    Attention,
    /// gate, up and down, and experts.
    Mlp,
    /// That part alone.
    One(Part),
}

impl PartSet {
    /// What there is to choose from: sets of several parts where they are several, then each part.
    pub fn of(products: &LayerProducts) -> Vec<Self> {
        let parts: Vec<Part> = products.parts.iter().map(|(part, _)| *part).collect();
        let members = |set: Self| parts.iter().filter(|part| set.contains(**part)).count();
        let several = [Self::Attention, Self::Mlp];
        // The same as all, or as its only part, is no choice.
        let several = several.into_iter().filter(|set| (2..parts.len()).contains(&members(*set)));
        std::iter::once(Self::All).chain(several).chain(parts.iter().copied().map(Self::One)).collect()
    }

    /// Whether a part belongs to it.
    pub fn contains(self, part: Part) -> bool {
        match self {
            Self::All => true,
            Self::Attention => matches!(part, Part::Q | Part::K | Part::V | Part::O),
            Self::Mlp => matches!(part, Part::Gate | Part::Up | Part::Down | Part::Expert),
            Self::One(only) => part == only,
        }
    }

    /// Its name in JSON, CSV and file names.
    pub fn key(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Attention => "attention",
            Self::Mlp => "mlp",
            Self::One(part) => part.label(),
        }
    }

    /// Its name for people.
    pub fn label(self) -> &'static str {
        match self {
            Self::All => "All",
            Self::Attention => "Attention",
            Self::Mlp => "MLP",
            Self::One(part) => part.label(),
        }
    }

    /// What it is, within a sentence: `all parts together`, `gate`.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::All => "all parts together",
            Self::Attention => "q, k, v and o together",
            Self::Mlp => "gate, up, down and experts together",
            Self::One(part) => part.label(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(parts: &[Part]) -> Vec<&'static str> {
        let parts = parts.iter().map(|&part| (part, Vec::new())).collect();
        PartSet::of(&LayerProducts { parts, ..LayerProducts::default() }).into_iter().map(PartSet::key).collect()
    }

    #[test]
    fn sets_are_offered_where_they_are_neither_one_part_nor_all() {
        assert_eq!(of(&[Part::Q, Part::O, Part::Up, Part::Norm]), ["all", "attention", "q", "o", "up", "norm"]);
        assert_eq!(of(&[Part::Q, Part::Gate, Part::Expert]), ["all", "mlp", "q", "gate", "expert"]);
        assert_eq!(of(&[Part::Q, Part::K]), ["all", "q", "k"]);
        assert_eq!(of(&[]), ["all"]);
    }

    #[test]
    fn each_part_is_in_one_of_attention_and_mlp_at_most() {
        for part in Part::ALL {
            assert!(!(PartSet::Attention.contains(part) && PartSet::Mlp.contains(part)));
            assert!(PartSet::All.contains(part) && PartSet::One(part).contains(part));
        }
    }
}
