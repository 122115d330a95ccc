//! From mergekit's weights to w and a scaling.
//!
//! One value is w itself. Otherwise w is 1 and the scaling holds the file's own numbers: a filter becomes the pattern
//! `*filter*` (see [`Globs`]), a gradient the curve, and a gradient of a filter alone a pattern for each layer.

use glob::Pattern as Glob;

use super::ModelFacts;
use super::experts::value_of;
use super::globs::{Globs, is_of_usual_layer};
use super::weights::{SliceWeights, Weights, gradient};
use crate::layout::place;
use crate::scaling::{Between, Curve, Pattern, Point, Scaling, ScalingSpec};

/// Most patterns that filters may come to. Ten filters in each of 100 layers are 1,000.
const MAX_PATTERNS: usize = 10_000;

/// What a model's weights are in a recipe.
#[derive(Debug)]
pub(super) struct Compiled {
    /// Scaling coefficient.
    pub(super) w: f64,
    /// How it is spread.
    pub(super) scaling: ScalingSpec,
    /// Whether names of tensors were taken for granted.
    pub(super) guessed: bool,
    /// Tensors that would get another coefficient than mergekit gives them.
    pub(super) differing: Vec<String>,
}

/// A filter with its values over the whole model.
struct Row<'a> {
    filter: Option<&'a str>,
    values: Values,
}

/// Values of a filter.
enum Values {
    /// The same for all.
    One(f64),
    /// By layer.
    Layers(Vec<f64>),
    /// The points of a gradient over an unknown number of layers.
    Gradient(Vec<f64>),
}

/// Names that stand for what lies outside the layers of a model that is not at hand, with patterns that find them.
const OUTSIDE: [(&str, &str); 3] = [
    ("model.embed_tokens.weight", "*embed_tokens*"),
    ("lm_head.weight", "*lm_head*"),
    ("model.norm.weight", "*model.norm.*"),
];

/// Translates; an error says what is missing.
pub(super) fn compile(weights: &Weights, facts: Option<&ModelFacts>) -> Result<Compiled, String> {
    let tensors: &[String] = facts.map_or(&[], |facts| &facts.tensors);
    let filters: usize = weights.slices.iter().map(|slice| slice.entries.len()).sum();
    let patterns = filters.saturating_mul(weights.layers().unwrap_or(1) as usize);
    if filters > MAX_PATTERNS || (patterns > MAX_PATTERNS && filters > weights.slices.len()) {
        return Err(format!("its {filters} filters come to more than {MAX_PATTERNS} patterns; say it with fewer"));
    }
    check_coverage(weights, tensors)?;
    let rows = rows(weights);
    let globs = Globs::of(tensors);
    let (w, scaling, guessed) = match rows.as_deref() {
        Some([Row { values: Values::One(w), .. }]) => (*w, ScalingSpec::default(), false),
        rows => {
            let mut scaling = match rows {
                Some(rows) => match along_one_curve(rows, weights, &globs) {
                    Some(scaling) => scaling,
                    None => layer_by_layer(rows, &globs)?,
                },
                None => slice_by_slice(weights, &globs),
            };
            let guessed = put_outside(&mut scaling, weights, tensors);
            let guessed = guessed || (tensors.is_empty() && names_layers(&scaling));
            (1.0, scaling, guessed)
        }
    };
    let differing = differing(w, &scaling, weights, tensors);
    Ok(Compiled { w, scaling, guessed, differing })
}

/// The filters with their values; `None` where slices have different ones.
fn rows(weights: &Weights) -> Option<Vec<Row<'_>>> {
    let filters = |slice: usize| weights.slices[slice].entries.iter().map(|entry| entry.filter.as_deref());
    if (1..weights.slices.len()).any(|slice| !filters(slice).eq(filters(0))) {
        return None;
    }
    let row = |(position, filter): (usize, _)| {
        let points = || weights.slices.iter().map(|slice| (&slice.entries[position].points, slice.layers));
        let mut all = points().flat_map(|(points, _)| points.iter().copied());
        let first = all.next().unwrap_or_default();
        let values = if all.all(|value| value == first) {
            Values::One(first)
        } else if weights.layers().is_some() {
            let of_slice = |(points, layers): (&Vec<f64>, Option<u32>)| {
                let layers = layers.unwrap_or_default();
                (0..layers).map(|layer| gradient(points, layer, layers)).collect::<Vec<_>>()
            };
            Values::Layers(points().flat_map(of_slice).collect())
        } else {
            Values::Gradient(weights.slices[0].entries[position].points.clone())
        };
        Row { filter, values }
    };
    Some(filters(0).enumerate().map(row).collect())
}

/// mergekit fails at a tensor that nothing is said about.
fn check_coverage(weights: &Weights, tensors: &[String]) -> Result<(), String> {
    let is_covered = |slice: &SliceWeights| slice.entries.last().is_some_and(|entry| entry.filter.is_none());
    if weights.slices.iter().all(is_covered) {
        return Ok(());
    }
    let example = match tensors.iter().find(|name| value_of(weights, name).is_none()) {
        Some(name) => format!("`{name}`"),
        None if tensors.is_empty() => "some tensors".to_owned(),
        None => return Ok(()),
    };
    Err(format!("no filter matches {example}; add an entry without a filter at the end"))
}

/// One curve, where the gradients of all filters are multiples of the one without a filter.
fn along_one_curve(rows: &[Row<'_>], weights: &Weights, globs: &Globs<'_>) -> Option<ScalingSpec> {
    let (base, filtered) = rows.split_last()?;
    if base.filter.is_some() {
        return None;
    }
    let curve = match &base.values {
        // Then a factor is the value itself, and `*` that of all the rest.
        Values::One(_) => Curve::Flat,
        Values::Layers(values) => named_curve(values, weights),
        Values::Gradient(points) => match points.as_slice() {
            [first, last] => Curve::Linear { first: *first, last: *last },
            _ => return None,
        },
    };
    let mut patterns = Vec::new();
    for row in filtered {
        let factor = match (&row.values, &base.values) {
            (Values::One(value), Values::One(_)) => *value,
            (Values::One(0.0), _) => 0.0,
            (Values::Layers(values), Values::Layers(base)) | (Values::Gradient(values), Values::Gradient(base)) => {
                multiple(values, base)?
            }
            _ => return None,
        };
        patterns.extend(with_factor(globs.matching(row.filter), factor));
    }
    if let Values::One(rest) = base.values {
        patterns.push(Pattern { tensors: "*".to_owned(), factor: rest });
    }
    Some(ScalingSpec { curve, patterns, ..ScalingSpec::default() })
}

/// The number that makes one list of the other, to the bit of f32.
fn multiple(values: &[f64], of: &[f64]) -> Option<f64> {
    if values.len() != of.len() {
        return None;
    }
    let (largest, value) = of.iter().zip(values).max_by(|(a, _), (b, _)| a.abs().total_cmp(&b.abs()))?;
    let ratio = value / largest;
    // A number as somebody would write it, and if that is not it, the quotient.
    let rounded = format!("{ratio:.9}").parse().unwrap_or(ratio);
    let fits = |factor: f64| of.iter().zip(values).all(|(base, value)| (base * factor) as f32 == *value as f32);
    [rounded, ratio].into_iter().find(|factor| factor.is_finite() && fits(*factor))
}

/// The curve that says these values with the fewest numbers.
fn named_curve(values: &[f64], weights: &Weights) -> Curve {
    let layers = values.len() as u32;
    let mut choices = Vec::new();
    if let ([slice], Some(last)) = (weights.slices.as_slice(), layers.checked_sub(1))
        && let Some(entry) = slice.entries.last()
    {
        match entry.points.as_slice() {
            [first, last] => choices.push(Curve::Linear { first: *first, last: *last }),
            points if last > 0 && (last as usize).is_multiple_of(points.len() - 1) => {
                let step = last / (points.len() as u32 - 1);
                let point = |(at, value): (usize, &f64)| Point { layer: at as u32 * step, value: *value };
                let points = points.iter().enumerate().map(point).collect();
                choices.push(Curve::Points { points, between: Between::Linear });
            }
            _ => {}
        }
    }
    let says = |curve: &Curve| {
        let bits = |values: &[f64]| values.iter().map(|value| *value as f32).collect::<Vec<_>>();
        curve.values(layers).is_ok_and(|found| bits(&found) == bits(values))
    };
    let one_by_one = || Curve::Layers { values: values.to_vec() };
    // A gradient with a point for each layer is shorter as a list.
    choices.into_iter().find(|curve| curve_len(curve) < values.len() && says(curve)).unwrap_or_else(one_by_one)
}

fn curve_len(curve: &Curve) -> usize {
    if let Curve::Points { points, .. } = curve { points.len() } else { 2 }
}

/// Patterns that share a factor.
fn with_factor(globs: Vec<String>, factor: f64) -> impl Iterator<Item = Pattern> {
    globs.into_iter().map(move |tensors| Pattern { tensors, factor })
}

/// Patterns for each layer of each slice.
fn slice_by_slice(weights: &Weights, globs: &Globs<'_>) -> ScalingSpec {
    let mut patterns = Vec::new();
    let mut first = 0;
    for SliceWeights { layers, entries } in &weights.slices {
        // Slices say how many layers they have.
        let layers = layers.unwrap_or_default();
        for layer in 0..layers {
            for entry in entries {
                let factor = gradient(&entry.points, layer, layers);
                patterns.extend(with_factor(globs.in_layer(entry.filter.as_deref(), first + layer), factor));
            }
        }
        first += layers;
    }
    ScalingSpec { patterns, ..ScalingSpec::default() }
}

/// A pattern for each layer of each filter that has a gradient.
fn layer_by_layer(rows: &[Row<'_>], globs: &Globs<'_>) -> Result<ScalingSpec, String> {
    let mut patterns = Vec::new();
    for row in rows {
        match &row.values {
            Values::One(value) => patterns.extend(with_factor(globs.matching(row.filter), *value)),
            Values::Layers(values) => {
                for (layer, value) in (0..).zip(values) {
                    patterns.extend(with_factor(globs.in_layer(row.filter, layer), *value));
                }
            }
            Values::Gradient(points) => {
                return Err(format!(
                    "it is a gradient of {} points, and how many layers there are is not known, since the model is neither \
                     at hand nor in the Hub cache; download it, or say how many (--layers)",
                    points.len()
                ));
            }
        }
    }
    Ok(ScalingSpec { patterns, ..ScalingSpec::default() })
}

/// Gives what lies outside the layers, to which a curve does not apply, the value that mergekit gives it. Tells whether names
/// were taken for granted.
fn put_outside(scaling: &mut ScalingSpec, weights: &Weights, tensors: &[String]) -> bool {
    let mut patterns = Vec::new();
    let found = Scaling::new(1.0, scaling, weights.layers().unwrap_or(2)).ok();
    let mut put = |name: &str, pattern: String| {
        let Some(value) = value_of(weights, name) else { return };
        let found = found.as_ref().map(|scaling| scaling.coefficient(name, place(name)));
        if found != Some(value as f32) {
            patterns.push(Pattern { tensors: pattern, factor: value });
        }
    };
    if tensors.is_empty() {
        OUTSIDE.iter().for_each(|(name, pattern)| put(name, (*pattern).to_owned()));
    } else {
        let outside = tensors.iter().filter(|name| place(name).layer.is_none());
        outside.for_each(|name| put(name, Glob::escape(name)));
    }
    let guessed = tensors.is_empty() && !patterns.is_empty();
    patterns.append(&mut scaling.patterns);
    scaling.patterns = patterns;
    guessed
}

fn names_layers(scaling: &ScalingSpec) -> bool {
    scaling.patterns.iter().any(|pattern| is_of_usual_layer(&pattern.tensors))
}

fn differing(w: f64, scaling: &ScalingSpec, weights: &Weights, tensors: &[String]) -> Vec<String> {
    let layers = tensors.iter().filter_map(|name| place(name).layer).max().map_or(0, |last| last + 1);
    let Ok(scaling) = Scaling::new(w, scaling, layers) else { return tensors.to_vec() };
    let differs = |name: &&String| {
        let place = place(name);
        value_of(weights, name).is_none_or(|value| value as f32 != scaling.coefficient(name, place))
    };
    tensors.iter().filter(differs).cloned().collect()
}
