//! How much of the vector each tensor gets: w × layer curve × factor.

mod curve;
mod reach;
mod spec;
mod spread;

use std::fmt;

use glob::Pattern as Glob;

use crate::layout::Place;

pub use curve::{Between, Curve, CurveError, Point};
pub use reach::{Matches, Reach, moving_tensors};
pub use spec::{Factors, Keep, LayerRange, PartKind, Pattern, ScalingSpec};
pub use spread::Spread;

/// The scaling of one model: from the name and place of a tensor to its coefficient.
#[derive(Clone, Debug)]
pub struct Scaling {
    w: f64,
    /// By layer.
    curve: Vec<f64>,
    factors: Factors,
    patterns: Vec<(Glob, f64)>,
    keep: Keep,
    kept: Vec<Glob>,
}

/// Why there are no coefficients.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ScalingError {
    /// w is no number that can scale anything.
    #[error("{}", message_for_w(*.w))]
    W {
        /// What was given.
        w: f64,
    },
    /// The curve does not suit the model.
    #[error(transparent)]
    Curve(#[from] CurveError),
    /// A factor that is no number.
    #[error("the factor of {of} is {factor}; it must be a finite number")]
    Factor {
        /// The part or pattern.
        of: String,
        /// What was given.
        factor: f64,
    },
    /// A pattern that cannot be read.
    #[error("`{pattern}` is no pattern: {reason}. * stands for any characters, ? for one, [0-9] for one of a range")]
    Pattern {
        /// What was given.
        pattern: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A range of layers the wrong way round, or beyond the last layer.
    #[error("layers {first} to {last} cannot be kept: {reason}")]
    Layers {
        /// The range's first.
        first: u32,
        /// The range's last.
        last: u32,
        /// What is wrong with it.
        reason: String,
    },
    /// Numbers whose product f32 cannot hold.
    #[error("w × curve × factor comes to {product:.1e} in some tensor; it must be within ±3.4e38, the range of f32")]
    Overflow {
        /// The largest of them.
        product: f64,
    },
}

fn message_for_w(w: f64) -> String {
    match w.is_finite() {
        // As a power of ten: spelled out it may have 300 digits.
        true => format!("w is {w:e}; it must be within ±3.4e38, the range of f32, for example 0.5"),
        false => format!("w is {w}; it must be a finite number, for example 0.5"),
    }
}

/// The coefficient of a tensor that gets this share of w.
pub fn scaled(w: f64, share: f64) -> f32 {
    (w * share) as f32
}

/// Whether arithmetic, which is done in f32, can use it.
fn fits(value: f64) -> bool {
    (value as f32).is_finite()
}

/// A number as people read it: with − for minus.
#[derive(Clone, Copy)]
struct Plain(f64);

impl fmt::Display for Plain {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0.to_string().replace('-', "−"))
    }
}

/// Why a pattern cannot be read. The library's own words are about paths, of which it takes patterns to be.
fn why_no_pattern(pattern: &str) -> String {
    match pattern.contains("**") {
        true => "two * side by side; one stands for any characters, dots too".to_owned(),
        false => "a [ without its ]; the character itself is written [[]".to_owned(),
    }
}

impl Scaling {
    /// The same w everywhere.
    pub fn flat(w: f64) -> Result<Self, ScalingError> {
        Self::new(w, &ScalingSpec::default(), 0)
    }

    /// The scaling that `spec` says, for a model of `layers` layers.
    pub fn new(w: f64, spec: &ScalingSpec, layers: u32) -> Result<Self, ScalingError> {
        if !fits(w) {
            return Err(ScalingError::W { w });
        }
        let glob = |pattern: &String| {
            Glob::new(pattern)
                .map_err(|_| ScalingError::Pattern { pattern: pattern.clone(), reason: why_no_pattern(pattern) })
        };
        let mut patterns = Vec::with_capacity(spec.patterns.len());
        for Pattern { tensors, factor } in &spec.patterns {
            if !factor.is_finite() {
                return Err(ScalingError::Factor { of: format!("`{tensors}`"), factor: *factor });
            }
            patterns.push((glob(tensors)?, *factor));
        }
        if let Some((of, factor)) = spec.factors.named().into_iter().find(|(_, factor)| !factor.is_finite()) {
            return Err(ScalingError::Factor { of: of.to_owned(), factor });
        }
        for &LayerRange { first, last } in &spec.keep.layers {
            let reason = if first > last {
                "the first comes after the last".to_owned()
            } else if layers > 0 && last >= layers {
                format!("the last layer is {}", layers - 1)
            } else {
                continue;
            };
            return Err(ScalingError::Layers { first, last, reason });
        }
        let kept = spec.keep.tensors.iter().map(glob).collect::<Result<_, _>>()?;
        let curve = spec.curve.values(layers)?;
        let scaling = Self { w, curve, factors: spec.factors, patterns, keep: spec.keep.clone(), kept };
        let product = w.abs() * scaling.largest_share();
        if fits(product) { Ok(scaling) } else { Err(ScalingError::Overflow { product }) }
    }

    /// The largest |coefficient ∕ w| that any tensor could have.
    fn largest_share(&self) -> f64 {
        let largest = |values: &mut dyn Iterator<Item = f64>| values.map(f64::abs).fold(1.0, f64::max);
        let factors = self.factors.named().into_iter().map(|(_, factor)| factor);
        let factor = largest(&mut factors.chain(self.patterns.iter().map(|(_, factor)| *factor)));
        factor * largest(&mut self.curve.iter().copied())
    }

    /// w as it was chosen.
    pub fn w(&self) -> f64 {
        self.w
    }

    /// The coefficient of a tensor, rounded once to f32, in which the merge computes.
    pub fn coefficient(&self, name: &str, place: Place) -> f32 {
        scaled(self.w, self.share(name, place))
    }

    /// What w is multiplied by for a tensor.
    pub fn share(&self, name: &str, place: Place) -> f64 {
        // A layer beyond those of the curve exists only where there is no curve to speak of.
        let curve = place.layer.and_then(|layer| self.curve.get(layer as usize)).copied().unwrap_or(1.0);
        curve * self.factor(name, place)
    }

    fn factor(&self, name: &str, place: Place) -> f64 {
        if self.is_kept(name, place) {
            return 0.0;
        }
        self.pattern_of(name).map_or_else(|| self.factors.of(place.part), |position| self.patterns[position].1)
    }

    /// Whether a tensor is to stay the target's.
    fn is_kept(&self, name: &str, place: Place) -> bool {
        let by_part = self.keep.get(PartKind::of(place.part));
        let by_layer = |layer| self.keep.layers.iter().any(|range| range.contains(layer));
        by_part || place.layer.is_some_and(by_layer) || self.kept.iter().any(|glob| glob.matches(name))
    }

    /// The position of the pattern that decides on a tensor; `None` when its part does.
    fn pattern_of(&self, name: &str) -> Option<usize> {
        self.patterns.iter().position(|(glob, _)| glob.matches(name))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::layout::place;

    const Q: &str = "model.layers.3.self_attn.q_proj.weight";
    const UP: &str = "model.layers.1.mlp.up_proj.weight";
    const EMBED: &str = "model.embed_tokens.weight";
    const NORM: &str = "model.layers.0.input_layernorm.weight";

    fn coefficient(scaling: &Scaling, name: &str) -> f32 {
        scaling.coefficient(name, place(name))
    }

    fn scaled(w: f64, spec: &ScalingSpec) -> Scaling {
        Scaling::new(w, spec, 4).expect("a sound scaling")
    }

    #[test]
    fn w_must_be_finite_in_f32() {
        for w in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let message = Scaling::flat(w).expect_err("not finite").to_string();
            assert!(message.contains("must be a finite number"), "{message}");
        }
        let message = Scaling::flat(-1e300).expect_err("beyond f32").to_string();
        assert_eq!(message, "w is -1e300; it must be within ±3.4e38, the range of f32, for example 0.5");
        assert!(Scaling::flat(-1.0).is_ok() && Scaling::flat(3.4e38).is_ok());
    }

    #[test]
    fn nothing_said_is_w_everywhere() {
        for scaling in [Scaling::flat(0.3).expect("finite"), scaled(0.3, &ScalingSpec::default())] {
            assert!([Q, UP, EMBED, NORM].iter().all(|name| coefficient(&scaling, name) == 0.3_f32));
        }
    }

    #[test]
    fn a_coefficient_is_w_times_curve_times_factor() {
        let spec = ScalingSpec {
            curve: Curve::Linear { first: 1.0, last: 4.0 },
            factors: Factors { attention: 0.5, embed: 0.25, ..Factors::default() },
            ..ScalingSpec::default()
        };
        let scaling = scaled(2.0, &spec);
        assert_eq!(coefficient(&scaling, Q), 2.0 * 4.0 * 0.5);
        assert_eq!(coefficient(&scaling, UP), 2.0 * 2.0);
        assert_eq!(coefficient(&scaling, EMBED), 2.0 * 0.25, "the curve is over layers alone");
    }

    #[test]
    fn the_first_pattern_that_matches_wins_over_the_next_and_over_the_part() {
        let pattern = |tensors: &str, factor| Pattern { tensors: tensors.into(), factor };
        let spec = ScalingSpec {
            factors: Factors { attention: 9.0, mlp: 0.5, ..Factors::default() },
            patterns: vec![
                pattern("*.layers.[0-3].self_attn.*", 2.0),
                pattern("*.q_proj.*", 3.0),
                pattern("lm_?ead*", 4.0),
            ],
            ..ScalingSpec::default()
        };
        let scaling = scaled(1.0, &spec);
        assert_eq!([Q, UP, EMBED].map(|name| coefficient(&scaling, name)), [2.0, 0.5, 1.0]);
        assert_eq!(coefficient(&scaling, "lm_head.weight"), 4.0);
    }

    #[test]
    fn what_is_kept_gets_nothing_whatever_else_is_said() {
        let spec = ScalingSpec {
            patterns: vec![Pattern { tensors: "*".into(), factor: 5.0 }],
            keep: Keep {
                norm: true,
                layers: vec![[3, 3].into()],
                tensors: vec!["*up_proj*".into()],
                ..Keep::default()
            },
            ..ScalingSpec::default()
        };
        let scaling = scaled(1.0, &spec);
        assert_eq!([Q, UP, EMBED, NORM].map(|name| coefficient(&scaling, name)), [0.0, 0.0, 5.0, 0.0]);
    }

    #[test]
    fn what_is_wrong_is_said_with_what_to_do() {
        let message = |spec: &ScalingSpec| Scaling::new(1.0, spec, 4).expect_err("unsound").to_string();
        let spec = ScalingSpec::default;
        let pattern = |tensors: &str, factor| ScalingSpec {
            patterns: vec![Pattern { tensors: tensors.into(), factor }],
            ..spec()
        };
        assert!(message(&pattern("a[", 1.0)).starts_with("`a[` is no pattern: a [ without its ]"));
        assert!(message(&pattern("**q_proj**", 1.0)).contains("two * side by side; one stands for any characters"));
        assert_eq!(message(&pattern("*", f64::NAN)), "the factor of `*` is NaN; it must be a finite number");
        let factors = ScalingSpec { factors: Factors { mlp: f64::INFINITY, ..Factors::default() }, ..spec() };
        assert_eq!(message(&factors), "the factor of mlp is inf; it must be a finite number");
        let keep = |first, last| ScalingSpec {
            keep: Keep { layers: vec![LayerRange { first, last }], ..Keep::default() },
            ..spec()
        };
        assert_eq!(message(&keep(2, 1)), "layers 2 to 1 cannot be kept: the first comes after the last");
        assert_eq!(message(&keep(2, 4)), "layers 2 to 4 cannot be kept: the last layer is 3");
        let huge = ScalingSpec { curve: Curve::Linear { first: 1e30, last: 1e30 }, ..pattern("*", 1e30) };
        assert!(message(&huge).contains("w × curve × factor comes to 1.0e60"));
    }

    proptest! {
        #[test]
        fn every_tensor_has_the_coefficient_that_its_place_and_name_give(
            w in -2.0_f64..2.0,
            first in -1.0_f64..2.0,
            last in -1.0_f64..2.0,
            attention in 0.0_f64..2.0,
            mlp in 0.0_f64..2.0,
            layer in 0_u32..12,
            with_pattern in any::<bool>(),
        ) {
            let patterns = if with_pattern { vec![Pattern { tensors: "*.q_proj.*".into(), factor: 0.125 }] } else { vec![] };
            let spec = ScalingSpec {
                curve: Curve::Linear { first, last },
                factors: Factors { attention, mlp, ..Factors::default() },
                patterns,
                ..ScalingSpec::default()
            };
            let scaling = Scaling::new(w, &spec, 12).expect("sound");
            let curve = spec.curve.values(12).expect("sound")[layer as usize];
            for (part, factor) in [
                ("self_attn.q_proj", if with_pattern { 0.125 } else { attention }),
                ("self_attn.o_proj", attention),
                ("mlp.down_proj", mlp),
                ("input_layernorm", 1.0),
            ] {
                let name = format!("model.layers.{layer}.{part}.weight");
                prop_assert_eq!(coefficient(&scaling, &name), (w * (curve * factor)) as f32);
            }
        }
    }
}
