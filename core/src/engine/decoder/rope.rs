//! Rotary position embedding (arXiv 2104.09864): by what angle each pair of dimensions turns at each position.
//!
//! Angles are computed in f64 from the f32 inverse frequencies that transformers has, and kept as f32: in bf16 position 259
//! would become 260.

use std::f64::consts::PI;

use candle_core::{Device, Tensor};
use serde_json::{Map, Value};

use crate::checkpoint::Config;

/// The base of the frequencies where a config does not say.
const DEFAULT_THETA: f64 = 10_000.0;

/// Why positions cannot be encoded.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(crate) enum RopeError {
    #[error(
        "config.json asks for rope scaling of the type `{0}`; default, linear, dynamic, llama3, yarn and longrope are known"
    )]
    Type(String),
    #[error("the rope scaling `{kind}` in config.json needs `{key}`, {expected}")]
    Key { kind: &'static str, key: &'static str, expected: &'static str },
    #[error("config.json rotates {0} dimensions of a head, which is none or an odd number of them")]
    Dimensions(f64),
}

/// How the positions of one kind of layer are encoded.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RopeSpec {
    /// Dimensions of a head that turn, from the first on; an even number.
    pub dimensions: usize,
    theta: f64,
    scaling: RopeScaling,
    /// Longest context that the model was trained for before it was stretched.
    original: usize,
}

/// How a context is stretched past what a model was trained for.
#[derive(Clone, Debug, PartialEq)]
enum RopeScaling {
    None,
    Linear { factor: f64 },
    Dynamic { factor: f64 },
    Llama3 { factor: f64, low: f64, high: f64 },
    Yarn { factor: f64, attention: f64, beta_fast: f64, beta_slow: f64, truncate: bool },
    Long { short: Vec<f64>, long: Vec<f64>, attention: f64, factor: f64 },
}

/// Inverse frequencies in radians per position, one for each pair of dimensions, and what cosine and sine are multiplied by.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Frequencies {
    pub inverse: Vec<f32>,
    pub attention: f64,
}

impl RopeSpec {
    /// Reads what config says of a kind of layer: `rope_parameters` of transformers v5, else `rope_theta` and
    /// `rope_scaling`.
    pub fn read(config: &Config, layer_type: &str, head_dim: usize, max_positions: usize) -> Result<Self, RopeError> {
        let empty = Map::new();
        let parameters = config.get("rope_parameters").and_then(Value::as_object);
        // Where layers differ, there is an entry for each type of them.
        let parameters = parameters.map(|all| all.get(layer_type).and_then(Value::as_object).unwrap_or(all));
        let scaling = parameters.or_else(|| config.get("rope_scaling").and_then(Value::as_object)).unwrap_or(&empty);
        let number = |key: &str| {
            let own = scaling.get(key).and_then(Value::as_f64);
            own.or_else(|| config.get(key).and_then(Value::as_f64)).filter(|value| value.is_finite() && *value > 0.0)
        };
        let dimensions = dimensions(head_dim, number("partial_rotary_factor").unwrap_or(1.0))?;
        // Phi has it beside the rest, and believes that one.
        let original = config.get("original_max_position_embeddings").and_then(Value::as_u64).map(|value| value as f64);
        let original = original.or_else(|| number("original_max_position_embeddings"));
        let original = original.map_or(max_positions, |value| (value as usize).max(1));
        Ok(Self {
            dimensions,
            theta: number("rope_theta").unwrap_or(DEFAULT_THETA),
            scaling: RopeScaling::read(scaling, dimensions, original, max_positions)?,
            original,
        })
    }

    /// Reads what config says of Gemma 3's sliding layers, which are never stretched.
    pub fn read_local(config: &Config, head_dim: usize) -> Result<Self, RopeError> {
        let parameters = config.get("rope_parameters").and_then(|all| all.get("sliding_attention"));
        let theta = parameters.and_then(|own| own.get("rope_theta")).or_else(|| config.get("rope_local_base_freq"));
        let theta = theta.and_then(Value::as_f64).filter(|theta| theta.is_finite() && *theta > 0.0);
        Ok(Self {
            dimensions: dimensions(head_dim, 1.0)?,
            theta: theta.unwrap_or(DEFAULT_THETA),
            scaling: RopeScaling::None,
            original: 0,
        })
    }

    /// The longest context, where the config itself gives `max_positions`.
    pub fn context(&self, max_positions: usize) -> usize {
        let factor = match self.scaling {
            RopeScaling::None => 1.0,
            RopeScaling::Linear { factor }
            | RopeScaling::Dynamic { factor }
            | RopeScaling::Llama3 { factor, .. }
            | RopeScaling::Yarn { factor, .. }
            | RopeScaling::Long { factor, .. } => factor,
        };
        max_positions.max((self.original as f64 * factor) as usize)
    }

    /// What decides the frequencies of a sequence of so many tokens: sequences with the same have the same frequencies.
    pub fn regime(&self, length: usize) -> usize {
        match self.scaling {
            RopeScaling::Dynamic { .. } => length.max(self.original),
            RopeScaling::Long { .. } => usize::from(length > self.original),
            _ => 0,
        }
    }

    /// The frequencies for a sequence of `length` tokens, as `ROPE_INIT_FUNCTIONS` of transformers has them.
    pub fn frequencies(&self, length: usize) -> Frequencies {
        let plain = |theta: f64| -> Vec<f64> {
            (0..self.dimensions / 2).map(|pair| theta.powf(-2.0 * pair as f64 / self.dimensions as f64)).collect()
        };
        let (inverse, attention) = match &self.scaling {
            RopeScaling::None => (plain(self.theta), 1.0),
            RopeScaling::Linear { factor } => {
                (plain(self.theta).into_iter().map(|frequency| frequency / factor).collect(), 1.0)
            }
            RopeScaling::Dynamic { factor } => {
                let length = length.max(self.original) as f64;
                let stretch = factor * length / self.original as f64 - (factor - 1.0);
                let dimensions = self.dimensions as f64;
                (plain(self.theta * stretch.powf(dimensions / (dimensions - 2.0))), 1.0)
            }
            RopeScaling::Llama3 { factor, low, high } => {
                let original = self.original as f64;
                let scaled = |frequency: f64| {
                    let wavelength = 2.0 * PI / frequency;
                    if wavelength < original / high {
                        frequency
                    } else if wavelength > original / low {
                        frequency / factor
                    } else {
                        let smooth = (original / wavelength - low) / (high - low);
                        (1.0 - smooth) * frequency / factor + smooth * frequency
                    }
                };
                (plain(self.theta).into_iter().map(scaled).collect(), 1.0)
            }
            RopeScaling::Yarn { factor, attention, beta_fast, beta_slow, truncate } => {
                (self.yarn(&plain(self.theta), *factor, *beta_fast, *beta_slow, *truncate), *attention)
            }
            RopeScaling::Long { short, long, attention, .. } => {
                let factors = if length > self.original { long } else { short };
                (plain(self.theta).iter().zip(factors).map(|(frequency, by)| frequency / by).collect(), *attention)
            }
        };
        Frequencies { inverse: inverse.into_iter().map(|frequency| frequency as f32).collect(), attention }
    }

    /// Fast pairs stay, slow ones are interpolated, those between go over linearly (arXiv 2309.00071).
    fn yarn(&self, plain: &[f64], factor: f64, beta_fast: f64, beta_slow: f64, truncate: bool) -> Vec<f64> {
        let dimensions = self.dimensions as f64;
        // The pair that turns so many times in the original context.
        let pair_of =
            |turns: f64| dimensions * (self.original as f64 / (turns * 2.0 * PI)).ln() / (2.0 * self.theta.ln());
        let (low, high) = (pair_of(beta_fast), pair_of(beta_slow));
        let (low, high) = if truncate { (low.floor(), high.ceil()) } else { (low, high) };
        let (low, high) = (low.max(0.0), high.min(dimensions - 1.0));
        let high = if low == high { high + 0.001 } else { high };
        plain
            .iter()
            .enumerate()
            .map(|(pair, frequency)| {
                let interpolated = ((pair as f64 - low) / (high - low)).clamp(0.0, 1.0);
                frequency / factor * interpolated + frequency * (1.0 - interpolated)
            })
            .collect()
    }
}

fn dimensions(head_dim: usize, share: f64) -> Result<usize, RopeError> {
    let dimensions = head_dim as f64 * share;
    let whole = dimensions as usize;
    if whole == 0 || !whole.is_multiple_of(2) || whole > head_dim {
        return Err(RopeError::Dimensions(dimensions));
    }
    Ok(whole)
}

impl RopeScaling {
    fn read(
        map: &Map<String, Value>,
        dimensions: usize,
        original: usize,
        max_positions: usize,
    ) -> Result<Self, RopeError> {
        let kind = map.get("rope_type").or_else(|| map.get("type")).and_then(Value::as_str).unwrap_or("default");
        let number = |key: &str| map.get(key).and_then(Value::as_f64).filter(|value| value.is_finite());
        let positive = |kind, key| {
            let missing = RopeError::Key { kind, key, expected: "a number above 0" };
            number(key).filter(|value| *value > 0.0).ok_or(missing)
        };
        let stretch = |kind| {
            let missing = RopeError::Key { kind, key: "factor", expected: "a number from 1 on" };
            number("factor").filter(|value| *value >= 1.0).ok_or(missing)
        };
        match kind {
            "default" => Ok(Self::None),
            "linear" => Ok(Self::Linear { factor: stretch("linear")? }),
            "dynamic" => Ok(Self::Dynamic { factor: stretch("dynamic")? }),
            "llama3" => {
                let low = positive("llama3", "low_freq_factor")?;
                let high = positive("llama3", "high_freq_factor")?;
                if high <= low {
                    let expected = "a number above low_freq_factor";
                    return Err(RopeError::Key { kind: "llama3", key: "high_freq_factor", expected });
                }
                Ok(Self::Llama3 { factor: stretch("llama3")?, low, high })
            }
            "yarn" => {
                // The factor that counts is that of the contexts, where the config gives both.
                let factor = match map.get("original_max_position_embeddings") {
                    Some(_) if original < max_positions && number("factor").is_none() => {
                        max_positions as f64 / original as f64
                    }
                    _ => stretch("yarn")?,
                };
                let magnitude = |scale: f64| if factor <= 1.0 { 1.0 } else { 0.1 * scale * factor.ln() + 1.0 };
                let attention = match (number("attention_factor"), number("mscale"), number("mscale_all_dim")) {
                    (Some(given), ..) => given,
                    (None, Some(scale), Some(all)) if scale != 0.0 && all != 0.0 => magnitude(scale) / magnitude(all),
                    _ => magnitude(1.0),
                };
                Ok(Self::Yarn {
                    factor,
                    attention,
                    beta_fast: number("beta_fast").filter(|beta| *beta > 0.0).unwrap_or(32.0),
                    beta_slow: number("beta_slow").filter(|beta| *beta > 0.0).unwrap_or(1.0),
                    truncate: map.get("truncate").and_then(Value::as_bool).unwrap_or(true),
                })
            }
            "longrope" | "su" => {
                let factors = |key| {
                    let list = map.get(key).and_then(Value::as_array);
                    let numbers: Option<Vec<f64>> = list.and_then(|list| {
                        list.iter()
                            .map(|value| value.as_f64().filter(|value| value.is_finite() && *value > 0.0))
                            .collect()
                    });
                    let expected = "one number above 0 for each pair of rotated dimensions";
                    let missing = RopeError::Key { kind: "longrope", key, expected };
                    numbers.filter(|numbers| numbers.len() == dimensions / 2).ok_or(missing)
                };
                let factor = number("factor").unwrap_or(max_positions as f64 / original.max(1) as f64);
                let attention = number("attention_factor").unwrap_or_else(|| match factor {
                    factor if factor <= 1.0 => 1.0,
                    factor => (1.0 + factor.ln() / (original as f64).ln()).sqrt(),
                });
                Ok(Self::Long { short: factors("short_factor")?, long: factors("long_factor")?, attention, factor })
            }
            other => Err(RopeError::Type(other.to_owned())),
        }
    }
}

impl Frequencies {
    /// Cosines and sines of positions, each of shape (positions, pairs), in f32.
    pub fn turns(&self, positions: &[usize], device: &Device) -> candle_core::Result<(Tensor, Tensor)> {
        let pairs = self.inverse.len();
        let mut cos = Vec::with_capacity(positions.len() * pairs);
        let mut sin = Vec::with_capacity(positions.len() * pairs);
        for &position in positions {
            for &inverse in &self.inverse {
                // One multiplication in f32, as in transformers; its product decides the angle.
                let (s, c) = f64::from(position as f32 * inverse).sin_cos();
                cos.push((c * self.attention) as f32);
                sin.push((s * self.attention) as f32);
            }
        }
        let shape = (positions.len(), pairs);
        Ok((Tensor::from_vec(cos, shape, device)?, Tensor::from_vec(sin, shape, device)?))
    }
}
