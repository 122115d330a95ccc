//! `mergescope inspect`: what a model is made of.

use std::fmt::Write as _;

use anyhow::Context as _;
use mergescope_core::checkpoint::{Checkpoint, dtype_label};
use mergescope_core::hub;
use mergescope_core::layout::{self, Part};
use serde_json::{Value, json};

use super::args::InspectArgs;
use super::exit::Exit;
use super::print::{self, Printer};
use super::table::{Align, Table};
use crate::format;

/// Opens every model and prints what its headers and its config say.
pub fn run(args: &InspectArgs) -> anyhow::Result<Exit> {
    let printer = Printer::new(args.json);
    let mut models = Vec::with_capacity(args.models.len());
    for spec in &args.models {
        let opened = Checkpoint::open(&hub::resolve(spec));
        models.push(opened.with_context(|| format!("{spec} cannot be opened"))?);
    }
    let mut documents = Vec::with_capacity(models.len());
    for (position, model) in models.iter().enumerate() {
        let facts = Facts::of(model)?;
        let gap = if position > 0 { "\n" } else { "" };
        printer.text(&format!("{gap}{}", facts.text(model)))?;
        documents.push(facts.json(model));
    }
    printer.document(&json!({ "models": documents }))?;
    Ok(Exit::Done)
}

/// What a checkpoint does not say in one call.
struct Facts {
    layers: u32,
    parts: Vec<PartFacts>,
    weight_files: Vec<String>,
    sidecars: Vec<String>,
}

struct PartFacts {
    part: Part,
    tensors: usize,
    parameters: u64,
}

impl Facts {
    fn of(model: &Checkpoint) -> anyhow::Result<Self> {
        let placed: Vec<_> = model.tensors().iter().map(|tensor| (layout::place(&tensor.name), tensor)).collect();
        let parts = Part::ALL.into_iter().filter_map(|part| {
            let of_part = placed.iter().filter(|(place, _)| place.part == part);
            let parameters = of_part.clone().map(|(_, tensor)| tensor.elements()).sum();
            let tensors = of_part.count();
            (tensors > 0).then_some(PartFacts { part, tensors, parameters })
        });
        let name = |path: &std::path::Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Self {
            layers: layers(model),
            parts: parts.collect(),
            weight_files: model.shard_paths().map(name).collect(),
            sidecars: model.sidecars()?,
        })
    }

    fn text(&self, model: &Checkpoint) -> String {
        let parameters = model.parameters();
        let dtypes = model.dtypes().into_iter().map(|(dtype, bytes)| {
            let share = format::percent(bytes as f64 / model.total_bytes().max(1) as f64);
            format!("{} {} ({share})", dtype_label(dtype), format::bytes(bytes))
        });
        let or_none = |text: String| if text.is_empty() { format::NONE.to_owned() } else { text };
        let facts = [
            ("path", print::line(&model.root().to_string_lossy())),
            ("architecture", or_none(print::name(architecture(model).unwrap_or_default()))),
            ("layers", self.layers.to_string()),
            ("parameters", format!("{} ({})", format::count(parameters), format::parameters(parameters))),
            ("dtypes", or_none(dtypes.collect::<Vec<_>>().join(", "))),
            ("tensors", format::count(model.tensors().len() as u64)),
            ("weight files", format!("{} ({})", self.weight_files.len(), format::bytes(model.total_bytes()))),
            ("other files", or_none(self.sidecars.iter().map(|file| print::name(file)).collect::<Vec<_>>().join(", "))),
        ];
        let mut text = format!("{}\n", print::name(&model.label()));
        for (name, fact) in facts {
            let _ = writeln!(text, "  {name:<13} {fact}");
        }
        let mut table = Table::new(&[
            ("part", Align::Left),
            ("tensors", Align::Right),
            ("parameters", Align::Right),
            ("share", Align::Right),
        ]);
        for PartFacts { part, tensors, parameters: count } in &self.parts {
            table.row([
                part.label().to_owned(),
                format::count(*tensors as u64),
                format::count(*count),
                format::percent(*count as f64 / parameters.max(1) as f64),
            ]);
        }
        format!("{text}\n{}", table.render())
    }

    fn json(&self, model: &Checkpoint) -> Value {
        let dtypes = model.dtypes().into_iter().map(|(dtype, bytes)| {
            json!({
                "dtype": dtype_label(dtype),
                "bytes": bytes,
                "share": bytes as f64 / model.total_bytes().max(1) as f64,
            })
        });
        let parts = self.parts.iter().map(|PartFacts { part, tensors, parameters }| {
            json!({ "part": part, "tensors": tensors, "parameters": parameters })
        });
        let tensors = model.tensors().iter().map(|tensor| {
            let layout::Place { layer, part, expert } = layout::place(&tensor.name);
            json!({
                "name": tensor.name,
                "layer": layer,
                "part": part,
                "expert": expert,
                "dtype": dtype_label(tensor.dtype),
                "shape": tensor.shape,
                "bytes": tensor.bytes,
            })
        });
        json!({
            "label": model.label(),
            "path": print::path(model.root()),
            "architecture": architecture(model),
            "model_type": model.config().and_then(|config| config.model_type()),
            "layers": self.layers,
            "parameters": model.parameters(),
            "bytes": model.total_bytes(),
            "dtypes": dtypes.collect::<Vec<_>>(),
            "parts": parts.collect::<Vec<_>>(),
            "weight_files": self.weight_files,
            "other_files": self.sidecars,
            "tensors": tensors.collect::<Vec<_>>(),
        })
    }
}

/// How many layers the names of its tensors tell of.
pub fn layers(model: &Checkpoint) -> u32 {
    let last = model.tensors().iter().filter_map(|tensor| layout::place(&tensor.name).layer).max();
    last.map_or(0, |last| last + 1)
}

fn architecture(model: &Checkpoint) -> Option<&str> {
    let config = model.config()?;
    config.architecture().or_else(|| config.model_type())
}
