//! CPU time of a frame of the Vector tab while w is dragged, on a vector of the shape of Qwen3-30B-A3B.
//!
//! `cargo bench -p mergescope --bench vector_tab` prints the median and the 99th percentile. A frame is everything the
//! window does on its thread: the app's own code, egui's layout and the tessellation, without a graphics card.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark that cannot be prepared should stop")]

#[path = "../tests/common/mod.rs"]
mod common;

use std::time::{Duration, Instant};

use cpu_time::ThreadTime;

use common::{TINY, Triple, setup_with};
use eframe::egui::{Context, Event, Modifiers, PointerButton, Pos2, RawInput, Rect, Vec2, pos2};
use mergescope::window::engine::Engine;
use mergescope::window::{App, Setup};
use mergescope_core::alignment::{Alignment, Triple as Models};
use mergescope_core::analysis::{
    AnalysisCache, Gram, LayerProducts, LayerProductsError, LogHistogram, Sample, Sums, TensorAnalysis, VectorAnalysis,
};
use mergescope_core::checkpoint::Dtype;
use mergescope_core::layout::{Part, place};
use mergescope_core::progress::Control;
use mergescope_core::stream::StreamError;

const LAYERS: u32 = 48;
const EXPERTS: u32 = 128;
const SIZE: Vec2 = Vec2::new(1920.0, 1080.0);
const FRAMES: usize = 300;
/// Time for a frame at 60 frames a second.
const BUDGET: Duration = Duration::from_millis(16);

/// Opens real models and measures a made-up vector.
struct Synthetic;

impl Engine for Synthetic {
    fn measure(&self, _: &Models, _: &Alignment, _: &Control) -> Result<VectorAnalysis, StreamError> {
        Ok(analysis())
    }

    fn layer_products(&self, _: &Models, _: &Alignment, _: &Control) -> Result<LayerProducts, LayerProductsError> {
        let pairs = (0..LAYERS).flat_map(|a| (0..LAYERS).map(move |b| (a, b)));
        let products = pairs.map(|(a, b)| (-f64::from(a.abs_diff(b)) / 6.0).exp()).collect();
        let layers = (0..LAYERS).collect();
        Ok(LayerProducts { layers, parts: vec![(Part::Expert, products)], ..LayerProducts::default() })
    }

    fn cache(&self) -> Option<AnalysisCache> {
        None
    }
}

/// 18,867 tensors, as Qwen3-30B-A3B has them.
fn analysis() -> VectorAnalysis {
    let mut names = vec!["model.embed_tokens.weight".to_owned(), "model.norm.weight".into(), "lm_head.weight".into()];
    for layer in 0..LAYERS {
        let own = [
            "input_layernorm",
            "post_attention_layernorm",
            "self_attn.q_proj",
            "self_attn.k_proj",
            "self_attn.v_proj",
            "self_attn.o_proj",
            "self_attn.q_norm",
            "self_attn.k_norm",
            "mlp.gate",
        ];
        names.extend(own.map(|part| format!("model.layers.{layer}.{part}.weight")));
        for expert in 0..EXPERTS {
            let projections = ["gate_proj", "up_proj", "down_proj"];
            names.extend(projections.map(|part| format!("model.layers.{layer}.mlp.experts.{expert}.{part}.weight")));
        }
    }
    assert_eq!(names.len(), 18_867);
    let samples: Vec<Sample> = (0..7).map(sample).collect();
    let histogram: LogHistogram =
        serde_json::from_value(serde_json::json!({ "first": 215, "counts": (1..30).collect::<Vec<u64>>() })).unwrap();
    let tensor = |(index, name): (usize, String)| {
        let size = 1.0 + (index % 97) as f64 / 97.0;
        let gram = Gram { pre_pre: 400.0, pre_v: 0.1, pre_u: 0.2, v_v: 0.02 * size, v_u: 0.003, u_u: 0.05 };
        let sums = Sums {
            elements: 1_572_864,
            gram,
            sum: 0.3,
            max_abs: 0.01 * size,
            zeros: 90_000,
            same_sign: 700_000,
            opposite_sign: 600_000,
            ..Sums::default()
        };
        TensorAnalysis {
            place: place(&name),
            name,
            dtype: Dtype::BF16,
            shape: vec![768, 2048],
            sums,
            vector_histogram: histogram.clone(),
            pre_histogram: histogram.clone(),
            sample: samples[index % samples.len()].clone(),
        }
    };
    let tensors = names.into_iter().enumerate().map(tensor).collect();
    VectorAnalysis { tensors, ..VectorAnalysis::default() }
}

/// As many updates as a tensor of so large a model keeps.
fn sample(seed: usize) -> Sample {
    let mut state = seed as u64 * 7919 + 12_345;
    let mut random = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1_u64 << 24) as f32 - 0.5
    };
    let updates = (0..636).map(|_| {
        let (target, v) = (random() * 0.08, random() * 2e-4);
        [target, target + v, target]
    });
    let updates: Vec<[f32; 3]> = updates.collect();
    serde_json::from_value(serde_json::json!({ "updates": { "Narrow": updates }, "complete": false })).unwrap()
}

/// The window's thread without a window.
struct Headless {
    ctx: Context,
    app: App,
    time: f64,
}

impl Headless {
    fn frame(&mut self, events: Vec<Event>) -> Duration {
        self.time += 1.0 / 60.0;
        let input = RawInput {
            screen_rect: Some(Rect::from_min_size(Pos2::ZERO, SIZE)),
            time: Some(self.time),
            events,
            focused: true,
            ..RawInput::default()
        };
        let began = ThreadTime::now();
        let app = &mut self.app;
        app.take_events();
        let mut output = self.ctx.run_ui(input, |ui| app.frame_ui(ui));
        let shapes = std::mem::take(&mut output.shapes);
        let primitives = self.ctx.tessellate(shapes, output.pixels_per_point);
        let spent = began.elapsed();
        assert!(!primitives.is_empty());
        // There is no card that would want them.
        output.textures_delta.clear();
        spent
    }

    fn w(&self) -> f64 {
        self.app.session().recipe.vector.w
    }

    /// Drags the slider to and fro and gives the time of each frame.
    fn drag(&mut self) -> Vec<Duration> {
        let y = self.slider_y();
        let button = |pos, pressed| Event::PointerButton {
            pos,
            button: PointerButton::Primary,
            pressed,
            modifiers: Modifiers::NONE,
        };
        let start = pos2(80.0, y);
        self.frame(vec![Event::PointerMoved(start)]);
        self.frame(vec![button(start, true)]);
        let mut times = Vec::new();
        let mut before = self.w();
        let mut changed = 0;
        for step in 0..FRAMES {
            let x = 80.0 + (step % 150) as f32 * 1.2;
            let spent = self.frame(vec![Event::PointerMoved(pos2(x, y))]);
            times.push(spent);
            changed += usize::from(self.w() != before);
            before = self.w();
        }
        assert!(changed > FRAMES * 9 / 10, "the slider moved w in {changed} of {FRAMES} frames");
        self.frame(vec![button(start, false)]);
        times
    }

    /// The height at which a press moves w.
    fn slider_y(&mut self) -> f32 {
        let before = self.w();
        for y in (200..700).step_by(4).map(|y| y as f32) {
            let pos = pos2(60.0, y);
            let button = |pressed| Event::PointerButton {
                pos,
                button: PointerButton::Primary,
                pressed,
                modifiers: Modifiers::NONE,
            };
            self.frame(vec![Event::PointerMoved(pos)]);
            self.frame(vec![button(true)]);
            self.frame(vec![button(false)]);
            if self.w() != before {
                return y;
            }
        }
        panic!("no slider between 200 and 700");
    }
}

fn report(name: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    let over = times.iter().filter(|time| **time > BUDGET).count();
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    println!(
        "{name:<34} median {:6.2} ms   99th percentile {:6.2} ms   {over} of {} frames over {} ms",
        ms(at(0.5)),
        ms(at(0.99)),
        times.len(),
        BUDGET.as_millis()
    );
}

fn main() {
    let triple = Triple::new(TINY);
    let ctx = Context::default();
    let app = App::new(&ctx, None, Setup { recipe: Some(triple.recipe()), ..setup_with(Synthetic) });
    let mut window = Headless { ctx, app, time: 0.0 };
    let deadline = Instant::now() + Duration::from_secs(120);
    while window.app.session().details().preview.done().is_none()
        || window.app.session().details().layer_products.done().is_none()
    {
        assert!(Instant::now() < deadline, "the vector was not measured");
        std::thread::sleep(Duration::from_millis(20));
        window.frame(Vec::new());
    }
    for _ in 0..10 {
        window.frame(Vec::new());
    }
    report("nothing moves", (0..FRAMES).map(|_| window.frame(Vec::new())).collect());
    report("w is dragged", window.drag());
    window.app.show_in_grid(mergescope::vector::Metric::RoundingSurvival, false);
    report("w is dragged, survival in cells", window.drag());
    window.app.show_in_grid(mergescope::vector::Metric::RoundingSurvival, true);
    report("the same with experts unfolded", window.drag());
}
