use mergescope_core::analysis::TensorAnalysis;
use mergescope_core::layout::Part;
use mergescope_core::recipe::{OutputDtype, OutputSpec, Rounding};

use super::super::testing::{Measured, sample, tensor};
use super::*;

fn texts(sentences: &[Sentence]) -> Vec<String> {
    sentences.iter().map(|sentence| sentence.text().replace('\u{a0}', " ")).collect()
}

fn said(tensors: Vec<TensorAnalysis>) -> Vec<String> {
    texts(&about_vector(&Measured::new(tensors).view(0.5), None))
}

fn layers(v_sq: &[f64]) -> Vec<TensorAnalysis> {
    (0..).zip(v_sq).map(|(layer, &v_sq)| tensor(Some(layer), Part::Gate, 1e4, v_sq)).collect()
}

/// One tensor whose updates are `updates` times v beside a target of 1.
fn updates(v: f32, updates: u64, complete: bool) -> TensorAnalysis {
    let mut tensor = tensor(Some(0), Part::Q, 100.0, f64::from(v).powi(2) * updates as f64);
    tensor.sums.elements = updates;
    tensor.sample = sample(&vec![[1.0, v]; 100], complete);
    tensor
}

#[test]
fn it_begins_with_its_size_and_where_it_is() {
    let mut tensors = layers(&[1.0, 4.0]);
    tensors.extend([tensor(Some(1), Part::Up, 1e4, 3.0), tensor(Some(1), Part::Q, 1e4, 1.0)]);
    assert_eq!(
        said(tensors),
        [
            "The vector is 1.5 % of the weights.",
            "Layer 1 moved furthest; over all layers gate and up hold 89 % of ‖v‖²."
        ]
    );
    assert_eq!(said(layers(&[1e-16]))[0], "The vector is 1.00·10⁻⁸ % of the weights.");
}

#[test]
fn the_usual_case_takes_two_lines_of_the_window() {
    // 24 layers as most models have them, in bf16, before layers are compared.
    let mut tensors = Vec::new();
    for layer in 0..24 {
        let far = if (9..14).contains(&layer) { 2.0 } else { 1.0 };
        for (part, share) in [(Part::Q, 0.4), (Part::Gate, 1.0), (Part::Up, 1.0), (Part::Down, 0.9)] {
            let mut tensor = tensor(Some(layer), part, 1e4, share * far);
            tensor.sums.zeros = 35;
            // One of two updates is large enough to survive.
            tensor.sample = sample(&[[1.0, 0.02], [1.0, 1e-3]], true);
            tensors.push(tensor);
        }
    }
    let text = texts(&summary(&Measured::new(tensors).view(0.5), None)).join(" ");
    assert!(text.chars().count() <= 2 * 147, "{} characters: {text}", text.chars().count());
    assert!(text.contains("Layers 9–13 moved furthest") && text.contains("consider f32 output"), "{text}");
}

#[test]
fn a_vector_of_nothing_says_so_and_no_more() {
    let measured = Measured::new(layers(&[0.0, 0.0]));
    let text = texts(&summary(&measured.view(0.5), None));
    assert_eq!(text.len(), 1);
    assert!(text[0].starts_with("The vector is zero: pre and post hold the same weights (100 %"), "{}", text[0]);
    assert!(texts(&summary(&Measured::new(Vec::new()).view(0.5), None))[0].contains("no vector"));
}

#[test]
fn what_is_beyond_any_norm_says_so() {
    let mut small = tensor(Some(0), Part::Q, 1.0, 0.0);
    small.sums.zeros = 3;
    assert_eq!(
        said(vec![small]),
        ["The elements of the vector are so small that their squares are zero: it has no norm to see."]
    );
    let large = said(vec![tensor(Some(0), Part::Q, 1.0, f64::INFINITY)]);
    assert_eq!(large[0], "The elements of the vector are so large that it has no norm.");
}

#[test]
fn no_sentence_ever_holds_a_nan() {
    let cases = [layers(&[0.0]), vec![tensor(Some(0), Part::Q, 0.0, 1.0)], vec![updates(1e-6, 100, true)]];
    for tensors in cases {
        let measured = Measured::new(tensors);
        let nan = LayerCosine { layers: vec![0], values: vec![f64::NAN] };
        for w in [-1.0, 0.0, 0.5, 1e30] {
            for text in texts(&summary(&measured.view(w), Some(&nan))) {
                assert!(!text.contains("NaN ") && !text.contains('–'), "{text}");
            }
        }
    }
}

#[test]
fn zeros_and_values_that_are_no_numbers_are_counted() {
    let mut part = tensor(Some(0), Part::Q, 1.0, 1.0);
    part.sums.zeros = 64;
    assert_eq!(said(vec![part.clone()])[2], "64 % of its entries are zero.");
    part.sums.zeros = 0;
    (part.sums.left_out, part.sums.nonfinite) = (1, [0, 1, 1]);
    assert_eq!(
        said(vec![part.clone()])[2],
        "1 entry is NaN or infinite: 1 in post and 1 in target; it is left out of sums and counts."
    );
    (part.sums.left_out, part.sums.nonfinite, part.sums.gram.v_v) = (100, [0, 100, 0], 0.0);
    assert_eq!(
        said(vec![part]),
        [
            "No element is finite in all three models, so nothing can be said of the vector.",
            "100 entries are NaN or infinite: 100 in post; they are left out of sums and counts."
        ]
    );
}

#[test]
fn lineage_is_pointed_at_only_where_it_is_notable() {
    let with_cos = |cos: f64| {
        let mut part = tensor(Some(0), Part::Q, 100.0, 1.0);
        (part.sums.gram.u_u, part.sums.gram.v_u) = (1.0, cos);
        said(vec![part]).into_iter().find(|text| text.contains("cos(v"))
    };
    assert_eq!(with_cos(0.2), None);
    assert!(
        with_cos(0.62)
            .unwrap()
            .starts_with("The target already holds part of this vector: cos(v, target − pre) is 0.62")
    );
    // As far as post: it is post.
    assert!(
        with_cos(1.0).unwrap().starts_with("The target already holds all of this vector: cos(v, target − pre) is 1.00")
    );
    let mut half = tensor(Some(0), Part::Q, 100.0, 1.0);
    (half.sums.gram.u_u, half.sums.gram.v_u) = (0.25, 0.5);
    assert!(said(vec![half]).join("").contains("holds part of this vector: cos(v, target − pre) is 1.00"));
    assert!(with_cos(-0.5).unwrap().contains("is −0.50. Adding it undoes"));
}

fn planted(count: usize, chance: f64, value: fn(usize, usize) -> f64) -> Vec<String> {
    let cell = |at: usize| if at / count == at % count { 1.0 } else { value(at / count, at % count) };
    let values = (0..count * count).map(cell).collect();
    texts(&alike(&LayerCosine { layers: (0..count as u32).collect(), values }, chance))
}

#[test]
fn layers_that_go_together_are_named_with_their_mean() {
    let planted = |value| planted(8, 0.1, value);
    assert_eq!(
        planted(|a, b| if a.min(b) < 2 && a.max(b) > 4 { -0.3 } else { 0.0 }),
        ["Early layers (0–1) and late ones (5–7) move against each other (mean cosine −0.30; within ±0.10 is chance)."]
    );
    assert_eq!(
        planted(|a, b| if a.min(b) < 1 && a.max(b) > 4 { 0.3 } else { 0.0 }),
        ["Layer 0 and late layers (5–7) move alike (mean cosine 0.30; within ±0.10 is chance)."]
    );
    assert_eq!(
        planted(|a, b| if a.abs_diff(b) == 1 { 0.4 } else { 0.0 }),
        ["Layers that follow each other move alike (mean cosine 0.40; within ±0.10 is chance)."]
    );
    let none = "No two layers move alike or opposed: cosines ";
    assert_eq!(planted(|_, _| 0.02), [format!("{none}within ±0.02.")]);
    assert_eq!(planted(|_, _| 0.021), [format!("{none}within ±0.03.")]);
    assert_eq!(planted(|_, _| 0.004), [format!("{none}below 0.01 in size.")]);
    // One pair alone is no block, and its cosine is not within chance.
    assert_eq!(planted(|a, b| if a.min(b) == 3 && a.max(b) == 4 { 0.3 } else { 0.0 }), [""; 0]);
}

#[test]
fn few_layers_are_compared_by_name() {
    assert_eq!(
        planted(2, 0.1, |_, _| -0.3),
        ["Layers 0 and 1 move against each other (cosine −0.30; within ±0.10 is chance)."]
    );
    assert_eq!(
        planted(3, 0.1, |a, b| if a + b == 2 { 0.5 } else { 0.0 }),
        ["Layers 0 and 2 move alike (cosine 0.50; within ±0.10 is chance)."]
    );
}

#[test]
fn chance_grows_as_layers_move_fewer_elements() {
    let chance_of = |moved: &[u64]| {
        let mut tensors = layers(&vec![1.0; moved.len()]);
        for (tensor, moved) in tensors.iter_mut().zip(moved) {
            (tensor.sums.elements, tensor.sums.zeros) = (1_000_000, 1_000_000 - moved);
        }
        chance(Measured::new(tensors).view(0.5).overview.layers())
    };
    assert_eq!(chance_of(&[1_000_000, 10_000]), 0.1);
    assert_eq!(chance_of(&[1_000_000, 400, 0]), 0.2);
    assert_eq!(
        planted(2, 0.2, |_, _| 0.15),
        ["No two layers move alike or opposed: cosines within ±0.15 (within ±0.20 is chance)."]
    );
    // Four elements agree by chance as well as they like.
    assert_eq!(planted(2, chance_of(&[4, 4]), |_, _| 0.9), [""; 0]);
}

#[test]
fn what_rounding_loses_is_said_with_what_to_do() {
    // Beside 1 in bf16, which has steps of 2⁻⁷ there, an update of 0.01 is lost below w = 0.39.
    let measured = Measured::new(vec![updates(0.01, 100, true)]);
    let text = |w: f64| texts(&about_w(&measured.view(w), None, None)).join(" ");
    assert_eq!(
        text(0.25),
        "At w = 0.25 bf16 would lose 100 % of the updates, an effective w of 0: consider f32 output or stochastic \
         rounding."
    );
    assert!(
        text(0.75).starts_with("At w = 0.75 bf16 would lose 0 % of the updates, an effective w of 0.781"),
        "{}",
        text(0.75)
    );
    assert!(text(0.75).ends_with("; at 0.15, 100 %."), "{}", text(0.75));
    assert_eq!(text(0.0), "At w = 0 nothing is added: the merged model is the target.");
    // Below the range of f32, and in it.
    assert_eq!(text(1e-46), "At w = 1·10⁻⁴⁶ nothing is added: in f32, which a merge computes in, that is 0.");
    assert!(text(1e-30).starts_with("At w = 1·10⁻³⁰ bf16 would lose 100 %"), "{}", text(1e-30));
    let f32_output = OutputSpec { dtype: OutputDtype::F32, ..OutputSpec::default() };
    let wide = Measured::written(vec![updates(0.01, 100, true)], f32_output);
    assert_eq!(texts(&about_w(&wide.view(0.5), None, None)), ["At w = 0.50 f32 would lose 0 % of the updates."]);
    let seeded = OutputSpec { rounding: Rounding::Stochastic, ..OutputSpec::default() };
    let stochastic = Measured::written(vec![updates(0.01, 100, true)], seeded);
    assert!(texts(&about_w(&stochastic.view(0.25), None, None))[0].ends_with("so the effective w is 0.25."));
}

#[test]
fn an_effective_w_is_held_against_the_mean_of_what_w_comes_to() {
    let mut measured = Measured::new(vec![updates(1.0, 100, true), updates(1.0, 100, true), updates(1.0, 100, true)]);
    let text = |measured: &Measured| texts(&about_w(&measured.view(0.5), None, None)).join(" ");
    // 1 beside 1 is kept by bf16 at 0.5, 0.25 and 0.125 exactly, and the effective w is the mean: nothing to say of it.
    measured.shares = vec![1.0, 0.5, 0.25];
    assert_eq!(
        text(&measured),
        "At w = 0.50, spread as 0.125 to 0.50 over the tensors (0.292 in the mean), bf16 would lose 0 % of the updates."
    );
    measured.shares = vec![1.0, 0.0, 0.5];
    assert!(
        text(&measured).starts_with("At w = 0.50, spread as 0.25 to 0.50 over 2 of 3 tensors (0.375 in the mean), ")
    );
    measured.shares = vec![1.0, 0.0, 1.0];
    assert!(text(&measured).starts_with("At w = 0.50, added to 2 of 3 tensors, bf16"), "{}", text(&measured));
    measured.shares = vec![0.5; 3];
    assert!(
        text(&measured).starts_with("At w = 0.50, which comes to 0.25 in the tensors, bf16"),
        "{}",
        text(&measured)
    );
    measured.shares = vec![0.0; 3];
    assert!(text(&measured).starts_with("Nothing is added: the scaling is 0 in every tensor"), "{}", text(&measured));
}

#[test]
fn a_small_effective_w_keeps_its_digits() {
    // Beside so small a weight one update in twenty survives.
    let mut part = updates(0.01, 100, true);
    part.sample = sample(&[vec![[1.0, 0.01]; 95], vec![[1e-4, 0.01]; 5]].concat(), true);
    let text = texts(&about_w(&Measured::new(vec![part]).view(0.001), None, None)).join("");
    assert!(text.contains("would lose 95 % of the updates, an effective w of 5.07·10⁻⁵:"), "{text}");
}

#[test]
fn an_estimate_says_so() {
    let measured = Measured::new(vec![updates(0.01, 1_000_000, false)]);
    let text = texts(&about_w(&measured.view(0.25), None, None)).join("");
    assert!(text.contains("would lose 100 %") && text.contains("(estimated)"), "{text}");
}

#[test]
fn every_figure_leads_to_the_chart_that_shows_it() {
    let mut part = updates(0.01, 100, true);
    part.sums.zeros = 20;
    let measured = Measured::new(vec![part, tensor(Some(1), Part::Up, 100.0, 1e-4)]);
    let cosine = LayerCosine { layers: vec![0, 1], values: vec![1.0, 0.5, 0.5, 1.0] };
    let sentences = summary(&measured.view(0.25), Some(&cosine));
    let charts: Vec<String> = sentences
        .iter()
        .flat_map(|sentence| &sentence.pieces)
        .filter_map(|piece| match piece {
            Piece::Figure { chart, .. } => Some(chart.key()),
            Piece::Text(_) => None,
        })
        .collect();
    for chart in ["layers", "grid-norm", "layer-cosine-all", "grid-zero_share", "grid-rounding_survival"] {
        assert!(charts.iter().any(|known| known == chart), "{chart} is not among {charts:?}");
    }
}
