//! How much of w each layer gets.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Plain;

/// The value of each layer, by which w is multiplied.
///
/// Layers count from zero. What lies outside the layers (embeddings, head, final norm) has no value: it gets w as it is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Curve {
    /// 1 everywhere; over L layers the values add up to L.
    #[default]
    Flat,
    /// A straight line over the layers; the values add up to L·(first + last) ∕ 2.
    Linear {
        /// In the first layer.
        first: f64,
        /// In the last layer.
        last: f64,
    },
    /// α + β·(ℓ − 1) ∕ (L − 1) for ℓ = 1…L: LiNeS (arXiv 2410.17146, eq. 4), which keeps what early layers know.
    ///
    /// The values add up to L·(α + β ∕ 2).
    Lines {
        /// α: in the first layer.
        alpha: f64,
        /// β: what the last layer has more.
        beta: f64,
    },
    /// Half a period of a cosine around a layer: `base` + (`peak` − `base`)·(1 + cos(π·d ∕ `width`)) ∕ 2 at a distance of
    /// d < `width` layers.
    ///
    /// Where centre and width are whole numbers and the bump lies within the layers, the values add up to
    /// L·`base` + (`peak` − `base`)·`width`.
    Bump {
        /// The layer of the peak; may lie between two.
        centre: f64,
        /// Layers from the peak to where the bump ends; above zero.
        width: f64,
        /// Far from the peak.
        base: f64,
        /// At the peak.
        peak: f64,
    },
    /// The first `count` layers against the rest.
    First {
        /// How many.
        count: u32,
        /// In these.
        inside: f64,
        /// In the rest.
        outside: f64,
    },
    /// The last `count` layers against the rest.
    Last {
        /// How many.
        count: u32,
        /// In these.
        inside: f64,
        /// In the rest.
        outside: f64,
    },
    /// One value before a layer and another from it on.
    Step {
        /// The first layer with the second value.
        at: u32,
        /// Before it.
        before: f64,
        /// From it on.
        after: f64,
    },
    /// Through points; before the first and behind the last as there.
    Points {
        /// By layer, ascending.
        points: Vec<Point>,
        /// Between two points.
        #[serde(default)]
        between: Between,
    },
    /// One value for each layer of the model.
    Layers {
        /// As many as there are layers.
        values: Vec<f64>,
    },
}

/// A point of a curve.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Point {
    /// The layer.
    pub layer: u32,
    /// Its value.
    pub value: f64,
}

/// What a curve does between two points.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Between {
    /// Straight lines.
    #[default]
    Linear,
    /// A smooth curve that never goes above or below both its neighbours (Fritsch and Carlson 1980, monotone cubic).
    Smooth,
}

/// Why a curve gives no values.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum CurveError {
    /// A number is NaN or infinite.
    #[error("the curve's {name} is {value}; it must be a finite number")]
    NotFinite {
        /// Which number.
        name: String,
        /// What it is.
        value: f64,
    },
    /// A bump without a width.
    #[error("the bump's width is {width} layers; it must be above 0")]
    Width {
        /// What it is.
        width: f64,
    },
    /// A list of values for a model of other depth.
    #[error("the curve has {values}, and the model has {layers} layers; give one value for each layer")]
    Count {
        /// How many it has, with the noun: `20 values`.
        values: String,
        /// The model's layers.
        layers: u32,
    },
    /// No point.
    #[error("the curve has no point; give at least one")]
    NoPoint,
    /// Points that do not follow each other.
    #[error(
        "the point at layer {layer} follows the one at layer {before}; points must ascend, one for each layer at most"
    )]
    Order {
        /// The second of the two.
        layer: u32,
        /// The first.
        before: u32,
    },
    /// A point, or a step, beyond the last layer.
    #[error("the curve speaks of layer {layer}, and the last layer is {last}")]
    Beyond {
        /// The layer spoken of.
        layer: u32,
        /// The model's last.
        last: u32,
    },
}

impl Curve {
    /// The value of each of `layers` layers.
    ///
    /// Gives no values for a model without layers, and an error for numbers that are not finite, a list of another length,
    /// and points that are out of order or beyond the last layer.
    pub fn values(&self, layers: u32) -> Result<Vec<f64>, CurveError> {
        self.check(layers)?;
        Ok((0..layers).map(|layer| self.at(f64::from(layer), layers)).collect())
    }

    /// The curve as it is drawn: (layer, value), where it is smooth also between the layers, `steps` for each.
    ///
    /// Only the values at layers are used in a merge. Empty for a curve that has none.
    pub fn trace(&self, layers: u32, steps: u32) -> Vec<(f64, f64)> {
        if self.check(layers).is_err() {
            return Vec::new();
        }
        let is_smooth = matches!(self, Self::Bump { .. } | Self::Points { between: Between::Smooth, .. });
        let steps = if is_smooth { steps.max(1) } else { 1 };
        let last = layers.saturating_sub(1) * steps;
        let positions = (0..=last).take(layers as usize * steps as usize);
        positions.map(|step| f64::from(step) / f64::from(steps)).map(|at| (at, self.at(at, layers))).collect()
    }

    fn check(&self, layers: u32) -> Result<(), CurveError> {
        for (name, value) in self.numbers() {
            if !value.is_finite() {
                return Err(CurveError::NotFinite { name, value });
            }
        }
        let within = |layer: u32| match layers.checked_sub(1) {
            Some(last) if layer > last => Err(CurveError::Beyond { layer, last }),
            _ => Ok(()),
        };
        match self {
            Self::Bump { width, .. } if *width <= 0.0 => Err(CurveError::Width { width: *width }),
            Self::Layers { values } if values.len() != layers as usize => {
                let noun = if values.len() == 1 { "value" } else { "values" };
                Err(CurveError::Count { values: format!("{} {noun}", values.len()), layers })
            }
            Self::Points { points, .. } => {
                for pair in points.windows(2) {
                    if pair[1].layer <= pair[0].layer {
                        return Err(CurveError::Order { layer: pair[1].layer, before: pair[0].layer });
                    }
                }
                points.last().map_or(Err(CurveError::NoPoint), |last| within(last.layer))
            }
            // All layers, or none, may be on one side.
            Self::Step { at, .. } if *at == layers => Ok(()),
            Self::Step { at, .. } => within(*at),
            _ => Ok(()),
        }
    }

    /// Every number of the curve, by name.
    fn numbers(&self) -> Vec<(String, f64)> {
        let named = |names: &[(&str, f64)]| names.iter().map(|&(name, value)| (name.to_owned(), value)).collect();
        match self {
            Self::Flat => Vec::new(),
            Self::Linear { first, last } => named(&[("first", *first), ("last", *last)]),
            Self::Lines { alpha, beta } => named(&[("alpha", *alpha), ("beta", *beta)]),
            Self::Bump { centre, width, base, peak } => {
                named(&[("centre", *centre), ("width", *width), ("base", *base), ("peak", *peak)])
            }
            Self::First { inside, outside, .. } | Self::Last { inside, outside, .. } => {
                named(&[("inside", *inside), ("outside", *outside)])
            }
            Self::Step { before, after, .. } => named(&[("before", *before), ("after", *after)]),
            Self::Points { points, .. } => {
                points.iter().map(|point| (format!("value at layer {}", point.layer), point.value)).collect()
            }
            Self::Layers { values } => {
                values.iter().enumerate().map(|(layer, value)| (format!("value of layer {layer}"), *value)).collect()
            }
        }
    }

    /// The value at a layer, or between two, of `layers`; the curve has been checked.
    fn at(&self, layer: f64, layers: u32) -> f64 {
        let depth = if layers > 1 { layer / f64::from(layers - 1) } else { 0.0 };
        match self {
            Self::Flat => 1.0,
            // Both ends to the bit.
            Self::Linear { first, last } => first * (1.0 - depth) + last * depth,
            Self::Lines { alpha, beta } => alpha + beta * depth,
            Self::Bump { centre, width, base, peak } => {
                let distance = (layer - centre).abs() / width;
                let share = if distance < 1.0 { (1.0 + (std::f64::consts::PI * distance).cos()) / 2.0 } else { 0.0 };
                base * (1.0 - share) + peak * share
            }
            Self::First { count, inside, outside } => *if layer < f64::from(*count) { inside } else { outside },
            Self::Last { count, inside, outside } => {
                *if layer >= f64::from(layers.saturating_sub(*count)) { inside } else { outside }
            }
            Self::Step { at, before, after } => *if layer < f64::from(*at) { before } else { after },
            Self::Points { points, between } => between_points(points, *between, layer),
            Self::Layers { values } => values[layer as usize],
        }
    }
}

impl fmt::Display for Curve {
    /// In a few words: `LiNeS, α 0.5, β 1`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flat => write!(formatter, "flat"),
            Self::Linear { first, last } => write!(formatter, "linear from {} to {}", Plain(*first), Plain(*last)),
            Self::Lines { alpha, beta } => write!(formatter, "LiNeS, α {}, β {}", Plain(*alpha), Plain(*beta)),
            Self::Bump { centre, width, base, peak } => {
                let [centre, width, base, peak] = [*centre, *width, *base, *peak].map(Plain);
                write!(formatter, "bump of {peak} around layer {centre}, {width} layers to each side, else {base}")
            }
            Self::First { count, inside, outside } | Self::Last { count, inside, outside } => {
                let which = if matches!(self, Self::First { .. }) { "first" } else { "last" };
                let layers = if *count == 1 { "layer".to_owned() } else { format!("{count} layers") };
                write!(formatter, "{} in the {which} {layers}, else {}", Plain(*inside), Plain(*outside))
            }
            Self::Step { at, before, after } => {
                write!(formatter, "{} before layer {at}, {} from it on", Plain(*before), Plain(*after))
            }
            Self::Points { points, between } => {
                let kind = if *between == Between::Smooth { "smooth" } else { "linear" };
                match points.len() {
                    1 => write!(formatter, "{kind} through 1 point"),
                    many => write!(formatter, "{kind} through {many} points"),
                }
            }
            Self::Layers { values } => write!(formatter, "one value for each of {} layers", values.len()),
        }
    }
}

/// The value at a layer of a curve through points, of which there is one at least.
fn between_points(points: &[Point], between: Between, layer: f64) -> f64 {
    let after = points.partition_point(|point| f64::from(point.layer) <= layer);
    let (Some(before), Some(next)) = (after.checked_sub(1), points.get(after)) else {
        // Before the first or behind the last.
        return points[after.min(points.len() - 1)].value;
    };
    let start = points[before];
    let width = f64::from(next.layer - start.layer);
    let t = (layer - f64::from(start.layer)) / width;
    match between {
        Between::Linear => start.value * (1.0 - t) + next.value * t,
        Between::Smooth => {
            let (from, to) = (slope(points, before) * width, slope(points, after) * width);
            let (t2, t3) = (t * t, t * t * t);
            (2.0 * t3 - 3.0 * t2 + 1.0) * start.value
                + (t3 - 2.0 * t2 + t) * from
                + (3.0 * t2 - 2.0 * t3) * next.value
                + (t3 - t2) * to
        }
    }
}

/// The slope of a smooth curve at a point: none at the ends and where it turns, else the weighted harmonic mean of the
/// slopes to both sides (Fritsch and Butland 1984).
fn slope(points: &[Point], at: usize) -> f64 {
    let chord = |from: Point, to: Point| {
        let width = f64::from(to.layer - from.layer);
        (width, (to.value - from.value) / width)
    };
    let (Some(before), Some(after)) = (at.checked_sub(1), points.get(at + 1)) else { return 0.0 };
    let ((width_a, a), (width_b, b)) = (chord(points[before], points[at]), chord(points[at], *after));
    if a * b <= 0.0 {
        return 0.0;
    }
    let (weight_a, weight_b) = (2.0 * width_b + width_a, width_b + 2.0 * width_a);
    (weight_a + weight_b) / (weight_a / a + weight_b / b)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn points(list: &[(u32, f64)], between: Between) -> Curve {
        Curve::Points { points: list.iter().map(|&(layer, value)| Point { layer, value }).collect(), between }
    }

    #[test]
    fn every_kind_is_what_its_formula_says() {
        let of = |curve: Curve| curve.values(5).expect("a sound curve");
        assert_eq!(of(Curve::Flat), [1.0; 5]);
        assert_eq!(of(Curve::Linear { first: 1.0, last: 0.0 }), [1.0, 0.75, 0.5, 0.25, 0.0]);
        assert_eq!(of(Curve::Lines { alpha: 0.2, beta: 0.8 })[4], 1.0);
        assert_eq!(of(Curve::Lines { alpha: 0.25, beta: 0.5 }), [0.25, 0.375, 0.5, 0.625, 0.75]);
        let bump = of(Curve::Bump { centre: 2.0, width: 2.0, base: 0.0, peak: 1.0 });
        assert!(bump.iter().zip([0.0, 0.5, 1.0, 0.5, 0.0]).all(|(value, expected)| (value - expected).abs() < 1e-15));
        assert_eq!(of(Curve::First { count: 2, inside: 0.0, outside: 1.0 }), [0.0, 0.0, 1.0, 1.0, 1.0]);
        assert_eq!(of(Curve::Last { count: 2, inside: 0.0, outside: 1.0 }), [1.0, 1.0, 1.0, 0.0, 0.0]);
        assert_eq!(of(Curve::Last { count: 9, inside: 0.5, outside: 1.0 }), [0.5; 5]);
        assert_eq!(of(Curve::Step { at: 3, before: 0.0, after: 1.0 }), [0.0, 0.0, 0.0, 1.0, 1.0]);
        assert_eq!(of(Curve::Layers { values: vec![5.0, 4.0, 3.0, 2.0, 1.0] }), [5.0, 4.0, 3.0, 2.0, 1.0]);
        assert_eq!(of(points(&[(1, 2.0), (3, 4.0)], Between::Linear)), [2.0, 2.0, 3.0, 4.0, 4.0]);
    }

    #[test]
    fn one_layer_is_the_first_and_none_has_no_values() {
        assert_eq!(Curve::Linear { first: 0.3, last: 0.9 }.values(1), Ok(vec![0.3]));
        assert_eq!(Curve::Lines { alpha: 0.3, beta: 0.9 }.values(1), Ok(vec![0.3]));
        assert_eq!(Curve::Flat.values(0), Ok(Vec::new()));
    }

    #[test]
    fn what_is_wrong_is_said_with_what_to_do() {
        let message = |curve: Curve| curve.values(24).expect_err("unsound").to_string();
        assert_eq!(
            message(Curve::Layers { values: vec![1.0; 20] }),
            "the curve has 20 values, and the model has 24 layers; give one value for each layer"
        );
        assert_eq!(
            message(points(&[(2, 1.0), (5, f64::NAN)], Between::Linear)),
            "the curve's value at layer 5 is NaN; it must be a finite number"
        );
        assert_eq!(
            message(points(&[(5, 1.0), (5, 2.0)], Between::Linear)),
            "the point at layer 5 follows the one at layer 5; points must ascend, one for each layer at most"
        );
        assert_eq!(message(points(&[], Between::Linear)), "the curve has no point; give at least one");
        assert_eq!(
            message(points(&[(24, 1.0)], Between::Linear)),
            "the curve speaks of layer 24, and the last layer is 23"
        );
        assert_eq!(
            message(Curve::Bump { centre: 1.0, width: 0.0, base: 0.0, peak: 1.0 }),
            "the bump's width is 0 layers; it must be above 0"
        );
    }

    #[test]
    fn curves_are_tables_with_a_kind() {
        let text = "kind = \"points\"\nbetween = \"smooth\"\npoints = [{ layer = 0, value = 0.5 }]\n";
        let curve: Curve = toml::from_str(text).expect("a curve");
        assert_eq!(curve, points(&[(0, 0.5)], Between::Smooth));
        let unknown = toml::from_str::<Curve>("kind = \"lines\"\nalpha = 1.0\nbeta = 0.0\ngamma = 1.0\n");
        assert!(unknown.expect_err("an unknown key").to_string().contains("gamma"));
    }

    proptest! {
        #[test]
        fn a_smooth_curve_passes_its_points_and_overshoots_none(
            gaps in prop::collection::vec(1_u32..6, 1..8),
            values in prop::collection::vec(-2.0_f64..2.0, 8),
        ) {
            let mut layer = 0;
            let mut list = Vec::new();
            for (gap, value) in gaps.iter().zip(&values) {
                list.push((layer, *value));
                layer += gap;
            }
            let found = points(&list, Between::Smooth).values(layer + 1).expect("sound");
            for &(layer, value) in &list {
                prop_assert!((found[layer as usize] - value).abs() < 1e-12);
            }
            for pair in list.windows(2) {
                let (low, high) = (pair[0].1.min(pair[1].1), pair[0].1.max(pair[1].1));
                for layer in pair[0].0..=pair[1].0 {
                    let value = found[layer as usize];
                    prop_assert!(value >= low - 1e-12 && value <= high + 1e-12, "{value} outside {low}…{high}");
                }
            }
        }
    }
}
