//! What holds of every schedule: one coefficient for each tensor, and values that add up to what each kind's doc says.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot do its work has failed")]

use mergescope_core::layout::{Part, place};
use mergescope_core::scaling::{Between, Curve, Factors, Keep, LayerRange, Pattern, Point, Scaling, ScalingSpec};
use proptest::prelude::*;

/// The most layers of a made-up model.
const MOST: u32 = 40;

fn value() -> impl Strategy<Value = f64> {
    prop_oneof![Just(0.0), Just(1.0), -3.0..3.0]
}

/// A curve of any kind that suits `layers` layers.
fn curve(layers: u32) -> impl Strategy<Value = Curve> {
    let last = f64::from(layers - 1);
    let points = prop::collection::btree_map(0..layers, value(), 1..=layers.min(9) as usize);
    let points = points.prop_map(|map| map.into_iter().map(|(layer, value)| Point { layer, value }).collect());
    let between = prop_oneof![Just(Between::Linear), Just(Between::Smooth)];
    prop_oneof![
        Just(Curve::Flat),
        (value(), value()).prop_map(|(first, last)| Curve::Linear { first, last }),
        (value(), value()).prop_map(|(alpha, beta)| Curve::Lines { alpha, beta }),
        (-5.0..last + 5.0, 0.1..50.0, value(), value()).prop_map(|(centre, width, base, peak)| Curve::Bump {
            centre,
            width,
            base,
            peak
        }),
        (0..=layers + 3, value(), value()).prop_map(|(count, inside, outside)| Curve::First { count, inside, outside }),
        (0..=layers + 3, value(), value()).prop_map(|(count, inside, outside)| Curve::Last { count, inside, outside }),
        (0..=layers, value(), value()).prop_map(|(at, before, after)| Curve::Step { at, before, after }),
        (points, between).prop_map(|(points, between)| Curve::Points { points, between }),
        prop::collection::vec(value(), layers as usize).prop_map(|values| Curve::Layers { values }),
    ]
}

/// What may be in a pattern: with * to both sides these are found by looking for them in a name.
const WORDS: [&str; 6] = [".q_proj.", ".mlp.", "norm", ".layers.1.", "embed", ".experts."];

fn spec(layers: u32) -> impl Strategy<Value = ScalingSpec> {
    let factors = prop::array::uniform7(value()).prop_map(|[attention, mlp, norm, embed, head, router, other]| {
        Factors { attention, mlp, norm, embed, head, router, other }
    });
    let word = || prop::sample::select(&WORDS[..]).prop_map(|word| format!("*{word}*"));
    let pattern = (word(), value()).prop_map(|(tensors, factor)| Pattern { tensors, factor });
    let ranges = (0..layers).prop_flat_map(move |first| (Just(first), first..layers));
    let ranges = ranges.prop_map(|(first, last)| LayerRange { first, last });
    let keep = (prop::array::uniform4(prop::bool::weighted(0.2)), prop::collection::vec(ranges, 0..2));
    let keep = (keep, prop::collection::vec(word(), 0..2));
    let keep = keep.prop_map(|(([router, embed, head, norm], layers), tensors)| Keep {
        router,
        embed,
        head,
        norm,
        layers,
        tensors,
    });
    (curve(layers), factors, prop::collection::vec(pattern, 0..4), keep)
        .prop_map(|(curve, factors, patterns, keep)| ScalingSpec { curve, factors, patterns, keep })
}

/// The tensors of a mixture of experts of that depth.
fn names(layers: u32) -> Vec<String> {
    let parts = [
        "self_attn.q_proj.weight",
        "self_attn.q_proj.bias",
        "self_attn.o_proj.weight",
        "mlp.gate.weight",
        "mlp.experts.0.gate_proj.weight",
        "mlp.experts.1.down_proj.weight",
        "mlp.up_proj.weight",
        "input_layernorm.weight",
        "rotary.weight",
    ];
    let inside = (0..layers).flat_map(|layer| parts.map(|part| format!("model.layers.{layer}.{part}")));
    let beside = ["model.embed_tokens.weight", "model.norm.weight", "lm_head.weight", "unheard.of"];
    inside.chain(beside.map(str::to_owned)).collect()
}

/// The share of w that the documents promise a tensor, found without a glob.
fn promised(spec: &ScalingSpec, name: &str, layers: u32) -> f64 {
    let place = place(name);
    let has = |pattern: &str| name.contains(pattern.trim_matches('*'));
    let Keep { router, embed, head, norm, layers: ranges, tensors } = &spec.keep;
    let by_switch = match place.part {
        Part::Router => *router,
        Part::Embed => *embed,
        Part::Head => *head,
        Part::Norm => *norm,
        _ => false,
    };
    let by_range =
        place.layer.is_some_and(|layer| ranges.iter().any(|range| (range.first..=range.last).contains(&layer)));
    if by_switch || by_range || tensors.iter().any(|pattern| has(pattern)) {
        return 0.0;
    }
    let curve = place.layer.map_or(1.0, |layer| spec.curve.values(layers).expect("sound")[layer as usize]);
    let by_name = spec.patterns.iter().find(|pattern| has(&pattern.tensors)).map(|pattern| pattern.factor);
    curve * by_name.unwrap_or_else(|| spec.factors.of(place.part))
}

/// A depth and something made for it.
fn of_depth<S: Strategy>(made: impl Fn(u32) -> S + 'static) -> impl Strategy<Value = (u32, S::Value)>
where
    S::Value: Clone + std::fmt::Debug,
{
    (1..=MOST).prop_flat_map(move |layers| (Just(layers), made(layers)))
}

fn sum(curve: &Curve, layers: u32) -> f64 {
    curve.values(layers).expect("sound").iter().sum()
}

fn close(found: f64, expected: f64) -> bool {
    (found - expected).abs() <= 1e-9 * (1.0 + expected.abs())
}

proptest! {
    #[test]
    fn every_curve_has_one_finite_value_for_each_layer((layers, curve) in of_depth(curve)) {
        let values = curve.values(layers).expect("sound");
        prop_assert_eq!(values.len(), layers as usize);
        prop_assert!(values.iter().all(|value| value.is_finite()), "{:?}", values);
        // What is drawn passes through what is merged, and only there.
        for (position, value) in curve.trace(layers, 8) {
            prop_assert!(value.is_finite());
            if position.fract() == 0.0 {
                prop_assert_eq!(value, values[position as usize]);
            }
        }
    }

    #[test]
    fn every_tensor_has_the_one_coefficient_that_was_promised((layers, spec) in of_depth(spec), w in -2.0..2.0) {
        let scaling = Scaling::new(w, &spec, layers).expect("sound");
        for name in names(layers) {
            let coefficient = scaling.coefficient(&name, place(&name));
            prop_assert!(coefficient.is_finite());
            prop_assert_eq!(coefficient, (w * promised(&spec, &name, layers)) as f32, "{}", name);
        }
    }

    #[test]
    fn a_recipe_that_was_written_and_read_gives_the_same_coefficients((layers, spec) in of_depth(spec)) {
        let text = toml::to_string(&spec).expect("a table");
        let read: ScalingSpec = toml::from_str(&text).expect("the same table");
        let [before, after] = [&spec, &read].map(|spec| Scaling::new(0.7, spec, layers).expect("sound"));
        for name in names(layers) {
            prop_assert_eq!(before.coefficient(&name, place(&name)), after.coefficient(&name, place(&name)));
        }
    }

    #[test]
    fn values_add_up_to_what_the_kind_says(layers in 1..=MOST, first in value(), second in value(), count in 0..=MOST) {
        let l = f64::from(layers);
        prop_assert!(close(sum(&Curve::Flat, layers), l));
        if layers > 1 {
            let linear = Curve::Linear { first, last: second };
            prop_assert!(close(sum(&linear, layers), l * (first + second) / 2.0));
            let lines = Curve::Lines { alpha: first, beta: second };
            prop_assert!(close(sum(&lines, layers), l * (first + second / 2.0)));
        }
        let k = f64::from(count.min(layers));
        let of_two = k * first + (l - k) * second;
        let ends = [
            Curve::First { count, inside: first, outside: second },
            Curve::Last { count, inside: first, outside: second },
        ];
        prop_assert!(ends.iter().all(|curve| close(sum(curve, layers), of_two)));
        let step = Curve::Step { at: count.min(layers), before: first, after: second };
        prop_assert!(close(sum(&step, layers), of_two));
    }

    #[test]
    fn a_bump_within_the_layers_adds_its_height_times_its_width(
        (before, width, after) in (0_u32..10, 1_u32..12, 0_u32..10),
        base in value(),
        peak in value(),
    ) {
        let centre = before + width;
        let layers = centre + width + 1 + after;
        let bump = Curve::Bump { centre: centre.into(), width: width.into(), base, peak };
        prop_assert!(close(sum(&bump, layers), f64::from(layers) * base + (peak - base) * f64::from(width)));
        let values = bump.values(layers).expect("sound");
        prop_assert_eq!(values[centre as usize], peak);
        for distance in 0..=width {
            let sides = [centre - distance, centre + distance].map(|layer| values[layer as usize]);
            prop_assert!(close(sides[0], sides[1]), "a bump is the same to both sides");
        }
    }

    #[test]
    fn straight_lines_between_points_add_up_as_trapezoids_do((layers, curve) in of_depth(curve)) {
        if let Curve::Points { points, .. } = curve {
            let linear = Curve::Points { points: points.clone(), between: Between::Linear };
            let (first, last) = (points[0], points[points.len() - 1]);
            // Flat to both sides; of each stretch its first layer and those within.
            let mut expected = f64::from(first.layer) * first.value + f64::from(layers - last.layer) * last.value;
            for pair in points.windows(2) {
                let width = f64::from(pair[1].layer - pair[0].layer);
                expected += width * (pair[0].value + pair[1].value) / 2.0 + (pair[0].value - pair[1].value) / 2.0;
            }
            prop_assert!(close(sum(&linear, layers), expected));
        }
    }

    #[test]
    fn what_is_not_finite_is_refused_by_name((layers, curve) in of_depth(curve), bad in 0_usize..3) {
        let bad = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY][bad];
        let spoiled = match curve {
            Curve::Flat => return Ok(()),
            Curve::Linear { last, .. } => Curve::Linear { first: bad, last },
            Curve::Lines { alpha, .. } => Curve::Lines { alpha, beta: bad },
            Curve::Bump { centre, base, peak, .. } => Curve::Bump { centre, width: bad, base, peak },
            Curve::First { count, outside, .. } => Curve::First { count, inside: bad, outside },
            Curve::Last { count, inside, .. } => Curve::Last { count, inside, outside: bad },
            Curve::Step { at, before, .. } => Curve::Step { at, before, after: bad },
            Curve::Points { mut points, between } => {
                points[0].value = bad;
                Curve::Points { points, between }
            }
            Curve::Layers { mut values } => {
                values[0] = bad;
                Curve::Layers { values }
            }
        };
        let message = spoiled.values(layers).expect_err("not finite").to_string();
        prop_assert!(message.contains("must be a finite number"), "{}", message);
    }
}
