//! `mergescope save-vector`: post − pre as a folder of its own.

use mergescope_core::alignment::Models;
use mergescope_core::checkpoint::dtype_label;
use mergescope_core::merge::{SavedVector, save_vector};
use serde_json::{Value, json};

use super::args::SaveVectorArgs;
use super::exit::Exit;
use super::print::{self, Printer};
use super::progress::Job;
use super::report::read_back;
use crate::format;

/// Writes the vector and tells what was written.
pub fn run(args: &SaveVectorArgs) -> anyhow::Result<Exit> {
    let printer = Printer::new(args.json);
    let job = Job::begin();
    // Nothing is added to anything: post stands for the target.
    let models = Models::open(&args.post, [(args.pre.as_str(), args.post.as_str())])?;
    let resources = args.resources.resources();
    let names = [args.pre.as_str(), args.post.as_str()];
    let saved = save_vector(&models.vectors[0], names, args.dtype, &args.out, &resources, &job.control)?;
    drop(job);
    printer.text(&text(&saved))?;
    printer.document(&document(&saved))?;
    Ok(Exit::Done)
}

fn text(saved: &SavedVector) -> String {
    let total = saved.total();
    let mut text = format!(
        "v = post − pre: {}, ‖v‖ {}, error of writing it {} of it\n",
        format::plural(saved.tensors.len(), "tensor"),
        format::norm(total.intended()),
        format::significant(saved.relative_error()),
    );
    if !saved.left_out.is_empty() {
        let names: Vec<_> = saved.left_out.iter().map(|name| print::name(name)).collect();
        text.push_str(&format!(
            "NOTE  Left out, as they are no floats or one model lacks them: {}\n",
            names.join(", ")
        ));
    }
    if total.intended_sq == 0.0 {
        text.push_str("NOTE  v is zero everywhere: pre and post have the same weights\n");
    }
    text.push_str(&format!(
        "Written: {} ({} of weights, {})\n",
        print::line(&saved.output.to_string_lossy()),
        format::bytes(saved.bytes_written),
        format::duration(saved.elapsed),
    ));
    text.push_str(&read_back("", saved.files.len(), "README.md"));
    text
}

fn document(saved: &SavedVector) -> Value {
    let total = saved.total();
    let tensors = saved.tensors.iter().map(|tensor| {
        json!({
            "name": tensor.name,
            "dtype": dtype_label(tensor.dtype),
            "shape": tensor.shape,
            "norm": tensor.change.intended(),
        })
    });
    json!({
        "output": print::path(&saved.output),
        "bytes_written": saved.bytes_written,
        "elapsed_secs": saved.elapsed.as_secs_f64(),
        "norm": total.intended(),
        "relative_error": saved.relative_error(),
        "provenance": saved.provenance,
        "files": saved.files,
        "tensors": tensors.collect::<Vec<_>>(),
        "left_out": saved.left_out,
    })
}
