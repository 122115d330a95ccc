//! `mergescope preflight`: do three models fit together?

use std::fmt::Write as _;

use mergescope_core::alignment::{Role, Triple};
use mergescope_core::checkpoint::{CheckpointKind, dtype_label};
use mergescope_core::preflight::{Finding, Preflight, Severity, preflight};
use serde_json::{Map, Value, json};

use super::args::PreflightArgs;
use super::exit::Exit;
use super::inspect::layers;
use super::print::{self, Printer};
use super::progress::Job;
use super::table::{Align, Table};
use crate::format;

/// Tensors that a finding names before the rest is only counted.
const TENSORS_SHOWN: usize = 4;

/// Opens the three models and prints what preflight finds.
pub fn run(args: &PreflightArgs) -> anyhow::Result<Exit> {
    let printer = Printer::new(args.json);
    let job = Job::begin();
    // Whoever gives no vector gives both models.
    let given = |model: &Option<String>| model.clone().unwrap_or_default();
    let post = args.vector.clone().unwrap_or_else(|| given(&args.post));
    let triple = Triple::open(&given(&args.pre), &post, &args.target)?;
    let found = preflight(&triple, &job.control)?;
    drop(job);
    printer.text(&format!("{}\n{}", models_text(&triple), text(&found)))?;
    printer.document(&document(&triple, &found))?;
    Ok(if found.passes() { Exit::Done } else { Exit::Unfit })
}

/// A line for each of the three models.
pub fn models_text(triple: &Triple) -> String {
    let columns = ["role", "model", "parameters", "layers", "dtype", "size"];
    let align = |name| if matches!(name, "parameters" | "layers" | "size") { Align::Right } else { Align::Left };
    let mut table = Table::new(&columns.map(|name| (name, align(name))));
    for role in Role::ALL {
        let model = triple.get(role);
        // A saved vector has no pre.
        if model.kind() == CheckpointKind::Zeros {
            continue;
        }
        let dtypes: Vec<String> = model.dtypes().into_iter().map(|(dtype, _)| dtype_label(dtype)).collect();
        table.row([
            role.label().to_owned(),
            model.label(),
            format::parameters(model.parameters()),
            layers(model).to_string(),
            dtypes.join(", "),
            format::bytes(model.total_bytes()),
        ]);
    }
    table.render()
}

/// All findings, the sampled figures and the verdict.
pub fn text(found: &Preflight) -> String {
    let mut text: String = found.findings.iter().map(finding_text).collect();
    if let Some(lineage) = &found.lineage {
        let _ = writeln!(
            text,
            "  ‖v‖ ∕ ‖pre‖ {}, ‖target − pre‖ ∕ ‖pre‖ {}, cos(v, target − pre) {}\n  \
             (estimates from {} weights)\n",
            format::norm(lineage.relative_norm),
            format::norm(lineage.target_distance),
            format::fixed(lineage.cos_vector_target, 3),
            format::count(lineage.sampled),
        );
    }
    let verdict = if found.passes() { "The models fit together" } else { "The models do not fit together" };
    let counts = [(Severity::Error, "error"), (Severity::Warning, "warning"), (Severity::Note, "note")]
        .map(|(severity, word)| (found.count(severity), word));
    let counts: Vec<String> =
        counts.into_iter().filter(|(count, _)| *count > 0).map(|(count, word)| format::plural(count, word)).collect();
    let counts = if counts.is_empty() { "nothing to remark".to_owned() } else { counts.join(", ") };
    let _ = writeln!(text, "{verdict} ({counts})");
    text
}

/// A finding: what, the facts, the tensors, what to do.
pub fn finding_text(finding: &Finding) -> String {
    let label = match finding.severity {
        Severity::Error => "ERROR",
        Severity::Warning => "WARNING",
        Severity::Note => "NOTE",
    };
    let mut text = format!("{label}  {}\n", print::line(&finding.title));
    let shown: Vec<String> = finding.tensors.iter().take(TENSORS_SHOWN).map(|tensor| print::name(tensor)).collect();
    let more = finding.tensors.len() - shown.len();
    let tensors = match more {
        0 => shown.join(", "),
        more => format!("{} and {} more", shown.join(", "), format::count(more as u64)),
    };
    for (name, words) in
        [("", print::line(&finding.detail)), ("Tensors: ", tensors), ("To do: ", print::line(&finding.action))]
    {
        if !words.is_empty() {
            let _ = writeln!(text, "  {name}{words}");
        }
    }
    text.push('\n');
    text
}

/// All of it as JSON.
pub fn document(triple: &Triple, found: &Preflight) -> Value {
    let named = Role::ALL.into_iter().filter(|role| triple.get(*role).kind() != CheckpointKind::Zeros);
    let models = named.map(|role| {
        let model = triple.get(role);
        let facts =
            json!({ "label": model.label(), "path": print::path(model.root()), "parameters": model.parameters() });
        (role.label().to_owned(), facts)
    });
    json!({
        "fits": found.passes(),
        "errors": found.count(Severity::Error),
        "warnings": found.count(Severity::Warning),
        "notes": found.count(Severity::Note),
        "models": models.collect::<Map<_, _>>(),
        "findings": found.findings,
        "lineage": found.lineage,
    })
}
