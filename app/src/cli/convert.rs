//! `mergescope convert`: a model written anew as safetensors.

use std::sync::Arc;

use anyhow::Context as _;
use mergescope_core::checkpoint::Checkpoint;
use mergescope_core::hub;
use mergescope_core::merge::{Converted, convert};
use serde_json::{Value, json};

use super::args::ConvertModelArgs;
use super::exit::Exit;
use super::print::{self, Printer};
use super::progress::Job;
use super::report::read_back;
use crate::format;

/// Writes the model and tells what was written.
pub fn run(args: &ConvertModelArgs) -> anyhow::Result<Exit> {
    let printer = Printer::new(args.json);
    let opened = Checkpoint::open(&hub::resolve(&args.model));
    let model = Arc::new(opened.with_context(|| format!("{} cannot be opened", args.model))?);
    let job = Job::begin();
    let converted = convert(&model, &args.out, args.shard_size, &args.resources.resources(), &job.control)?;
    drop(job);
    printer.text(&text(&converted))?;
    printer.document(&document(&converted))?;
    Ok(Exit::Done)
}

fn text(converted: &Converted) -> String {
    let mut text = String::new();
    if !converted.has_config {
        text.push_str(
            "NOTE  There are the weights alone. Put config.json and the tokenizer of the model that they belong to beside \
             them before it is loaded\n",
        );
    }
    if !converted.left_out.is_empty() {
        let names: Vec<_> = converted.left_out.iter().map(|name| print::name(name)).collect();
        text.push_str(&format!("NOTE  Left out, as they are folders or too large: {}\n", names.join(", ")));
    }
    text.push_str(&format!(
        "Written: {} ({} in {}, {}, {})\n",
        print::line(&converted.output.to_string_lossy()),
        format::plural(converted.tensors, "tensor"),
        format::plural(converted.weight_files.len(), "file"),
        format::bytes(converted.bytes_written),
        format::duration(converted.elapsed),
    ));
    text.push_str(&read_back("", converted.files.len(), "--json"));
    text
}

fn document(converted: &Converted) -> Value {
    json!({
        "output": print::path(&converted.output),
        "tensors": converted.tensors,
        "weight_files": converted.weight_files,
        "bytes_written": converted.bytes_written,
        "files": converted.files,
        "has_config": converted.has_config,
        "left_out": converted.left_out,
        "elapsed_secs": converted.elapsed.as_secs_f64(),
    })
}
