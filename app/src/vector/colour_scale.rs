//! From the values of a chart to places on its scale of colours.

use super::{Metric, Scale};

/// How amounts become colours; shares and cosines always do evenly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Amounts {
    /// Evenly, from zero to the most.
    #[default]
    Linear,
    /// By their logarithm, from the least above zero to the most, over four decades at most.
    Log,
}

/// A logarithmic scale spans at most this: what is smaller has the lowest colour.
const LOG_SPAN: f64 = 1e-4;

/// The scale of one chart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ColourScale {
    /// What the values run over, which decides the colours.
    pub kind: Scale,
    /// The values at both ends.
    pub ends: [f64; 2],
    /// Whether places go by the logarithm.
    pub is_log: bool,
}

impl ColourScale {
    /// For cosines.
    pub const COSINE: Self = Self { kind: Scale::Cosine, ends: [-1.0, 1.0], is_log: false };

    /// For a metric whose values above zero have these `extremes`, as [`extremes`] gives them.
    pub fn new(metric: Metric, amounts: Amounts, extremes: [f64; 2]) -> Self {
        let kind = metric.scale();
        match kind {
            Scale::Cosine => Self::COSINE,
            Scale::Share => Self { kind, ends: [0.0, 1.0], is_log: false },
            Scale::Amount => {
                let [least, most] = extremes;
                // Without two different numbers above zero there is nothing that a logarithm would spread.
                match amounts == Amounts::Log && least < most {
                    true => Self { kind, ends: [least.max(most * LOG_SPAN), most], is_log: true },
                    false => Self { kind, ends: [0.0, most], is_log: false },
                }
            }
        }
    }

    /// How far along the scale a value lies, 0 to 1; `None` for NaN.
    pub fn place(&self, value: f64) -> Option<f64> {
        let [low, high] = self.ends;
        let place = if value.is_nan() {
            return None;
        } else if high <= low {
            // All values are zero.
            0.0
        } else if self.is_log {
            (value.max(low) / low).ln() / (high / low).ln()
        } else {
            (value - low) / (high - low)
        };
        Some(place.clamp(0.0, 1.0))
    }
}

/// The smallest value above zero and the largest; infinity and zero when there is none.
pub fn extremes(values: impl Iterator<Item = f64>) -> [f64; 2] {
    let above_zero = values.filter(|value| value.is_finite() && *value > 0.0);
    above_zero.fold([f64::INFINITY, 0.0], |[least, most], value| [value.min(least), value.max(most)])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(scale: ColourScale, values: &[f64]) -> Vec<f64> {
        values.iter().map(|&value| scale.place(value).expect("a number")).collect()
    }

    #[test]
    fn amounts_are_placed_evenly_or_by_their_logarithm() {
        let scale = |amounts, values: &[f64]| ColourScale::new(Metric::Norm, amounts, extremes(values.iter().copied()));
        let values = [1.0, 1e-2, 1e-6, 0.0, f64::NAN];
        assert_eq!(places(scale(Amounts::Linear, &values), &values[..4]), [1.0, 0.01, 1e-6, 0.0]);
        let log = scale(Amounts::Log, &values);
        assert_eq!((log.ends, places(log, &values[..4])), ([1e-4, 1.0], vec![1.0, 0.5, 0.0, 0.0]));
        assert_eq!(log.place(f64::NAN), None);
        // Nothing to spread.
        assert!(!scale(Amounts::Log, &[4.0, 4.0]).is_log);
        assert_eq!(places(scale(Amounts::Log, &[0.0]), &[0.0]), [0.0]);
    }

    #[test]
    fn shares_and_cosines_have_the_same_ends_whatever_their_values() {
        for amounts in [Amounts::Linear, Amounts::Log] {
            let scale = |metric| ColourScale::new(metric, amounts, [0.2, 0.3]);
            assert_eq!(places(scale(Metric::ZeroShare), &[0.0, 0.25, 1.0]), [0.0, 0.25, 1.0]);
            assert_eq!(places(scale(Metric::CosPrePost), &[-1.0, 0.0, 1.0]), [0.0, 0.5, 1.0]);
        }
    }
}
