//! `mergescope recipe check`: what a recipe says, whether it is sound, and whether its models are there.

use std::fmt::Write as _;
use std::path::Path;

use mergescope_core::adapter::AdapterSpec;
use mergescope_core::alignment::{Alignment, Models, Role, Triple};
use mergescope_core::checkpoint::{Checkpoint, dtype_label};
use mergescope_core::error::chain;
use mergescope_core::hub;
use mergescope_core::merge::{open, plan};
use mergescope_core::preflight::Finding;
use mergescope_core::recipe::file::{FileFormat, Opened};
use mergescope_core::recipe::{MethodSpec, Recipe, VectorSpec};
use mergescope_core::scaling::moving_tensors;
use serde_json::{Value, json};

use crate::cli::args::RecipeCheckArgs;
use crate::cli::exit::Exit;
use crate::cli::inspect::layers;
use crate::cli::preflight::finding_text;
use crate::cli::print::{self, Printer};
use crate::cli::table::{Align, Table};
use crate::format;

/// Checks every file, and tells of each.
pub fn run(args: &RecipeCheckArgs) -> anyhow::Result<Exit> {
    let printer = Printer::new(args.json);
    let checked: Vec<Checked> = args.files.iter().map(|path| Checked::of(path)).collect();
    let text: Vec<String> = checked.iter().map(Checked::text).collect();
    printer.text(&text.join("\n"))?;
    printer.document(&json!({ "files": checked.iter().map(Checked::document).collect::<Vec<_>>() }))?;
    Ok(if checked.iter().all(|checked| checked.problems.is_empty()) { Exit::Done } else { Exit::Failed })
}

/// What was found out about a file.
struct Checked<'a> {
    path: &'a Path,
    opened: Option<Opened>,
    models: Vec<Model>,
    warnings: Vec<Finding>,
    /// Why it cannot be merged as it is.
    problems: Vec<String>,
}

/// A model that the recipe names.
struct Model {
    role: String,
    name: String,
    /// Absent where it cannot be opened.
    found: Option<Found>,
}

struct Found {
    layers: u32,
    dtypes: String,
    bytes: u64,
}

impl<'a> Checked<'a> {
    fn of(path: &'a Path) -> Self {
        let mut checked = Self { path, opened: None, models: Vec::new(), warnings: Vec::new(), problems: Vec::new() };
        match Recipe::open(path) {
            Ok(opened) => {
                checked.look(&opened.recipe);
                checked.opened = Some(opened);
            }
            Err(error) => checked.problems.push(chain(&error)),
        }
        checked
    }

    /// Opens the models, and what needs them all if all are there.
    fn look(&mut self, recipe: &Recipe) {
        for (role, name) in named(recipe) {
            let opened = Checkpoint::open(&hub::resolve(&name));
            if let Err(error) = &opened {
                let why = match hub::is_hub_id(&name) {
                    true => format!(
                        "it is neither a folder here nor in the Hub cache; download it with `mergescope download {name}`"
                    ),
                    false => chain(error),
                };
                let model = if name.is_empty() { role.clone() } else { format!("{role} {name}") };
                self.problems.push(format!("{model}: {why}"));
            }
            self.models.push(Model { role, name, found: opened.ok().as_ref().map(Found::of) });
        }
        if let Err(error) = recipe.check_method() {
            self.problems.push(chain(&error));
        }
        if let Some(Err(error)) = recipe.adapter.as_ref().map(AdapterSpec::check) {
            self.problems.push(chain(&error));
        }
        if !self.problems.is_empty() {
            return;
        }
        match open(recipe) {
            Ok(models) => self.look_at_all(recipe, &models),
            Err(error) => self.problems.push(chain(&error)),
        }
    }

    fn look_at_all(&mut self, recipe: &Recipe, models: &Models) {
        if let Err(error) = plan(models, recipe) {
            self.problems.push(chain(&error));
        }
        for (index, vector) in recipe.vectors().enumerate() {
            let triple: Triple = models.triple(index);
            let alignment = Alignment::new(&triple);
            self.warnings.extend(vector.scaling.findings(moving_tensors(&alignment, &models.target)));
        }
    }

    fn text(&self) -> String {
        let mut text = format!("{}\n", print::line(&self.path.to_string_lossy()));
        if let Some(opened) = &self.opened {
            text.push_str(&in_words(opened));
            let mut table = Table::new(&[
                ("role", Align::Left),
                ("model", Align::Left),
                ("layers", Align::Right),
                ("dtype", Align::Left),
                ("size", Align::Right),
            ]);
            for Model { role, name, found } in &self.models {
                let (layers, dtypes, size) = match found {
                    Some(found) => (found.layers.to_string(), found.dtypes.clone(), format::bytes(found.bytes)),
                    None => ("–".to_owned(), "not found".to_owned(), "–".to_owned()),
                };
                table.row([role.clone(), name.clone(), layers, dtypes, size]);
            }
            text.push_str(&table.render());
            for note in &opened.notes {
                let _ = writeln!(text, "NOTE  {}", print::line(note));
            }
        }
        self.warnings.iter().for_each(|warning| text.push_str(&finding_text(warning)));
        for problem in &self.problems {
            let _ = writeln!(text, "ERROR  {}", print::error_line(problem));
        }
        let verdict = if self.problems.is_empty() {
            "Sound, and its models are here"
        } else if self.opened.is_some() && self.models.iter().any(|model| model.found.is_none()) {
            "Its models are not all here"
        } else {
            "Not sound"
        };
        let _ = writeln!(text, "{verdict}");
        text
    }

    fn document(&self) -> Value {
        let models = self.models.iter().map(|Model { role, name, found }| {
            json!({
                "role": role,
                "model": name,
                "found": found.is_some(),
                "layers": found.as_ref().map(|found| found.layers),
                "bytes": found.as_ref().map(|found| found.bytes),
            })
        });
        json!({
            "file": print::path(self.path),
            "sound": self.problems.is_empty(),
            "problems": self.problems,
            "warnings": self.warnings,
            "notes": self.opened.as_ref().map(|opened| &opened.notes),
            "models": models.collect::<Vec<_>>(),
            "recipe": self.opened.as_ref().map(|opened| &opened.recipe),
        })
    }
}

impl Found {
    fn of(model: &Checkpoint) -> Self {
        let dtypes: Vec<String> = model.dtypes().into_iter().map(|(dtype, _)| dtype_label(dtype)).collect();
        Self { layers: layers(model), dtypes: dtypes.join(", "), bytes: model.total_bytes() }
    }
}

/// Every model with what it is in the recipe, each name once.
fn named(recipe: &Recipe) -> Vec<(String, String)> {
    let several = !recipe.others.is_empty();
    let mut named = vec![(Role::Target.label().to_owned(), recipe.target.clone())];
    for (index, vector) in recipe.vectors().enumerate() {
        for (role, name) in [(Role::Pre, &vector.pre), (Role::Post, &vector.post)] {
            let role = if several { format!("{} {}", role.label(), index + 1) } else { role.label().to_owned() };
            match named.iter_mut().find(|(_, other)| other == name) {
                _ if role.starts_with(Role::Pre.label()) && vector.stands_alone() => {}
                Some((roles, _)) => roles.push_str(&format!(", {role}")),
                None => named.push((role, name.clone())),
            }
        }
    }
    named
}

/// What the recipe does, with every parameter settled.
fn in_words(opened: &Opened) -> String {
    let Opened { recipe, format, .. } = opened;
    let kind = match format {
        FileFormat::Toml => format!("a recipe, version {}", recipe.version),
        FileFormat::Mergekit => "a merge file of mergekit".to_owned(),
    };
    let seed = if recipe.draws() { format!(", seed {}", recipe.method.seed) } else { String::new() };
    let mut text = format!("  {kind}: {}{seed}\n", settled(&recipe.method));
    for (index, vector) in recipe.vectors().enumerate() {
        let _ = writeln!(text, "  {}", vector_words(recipe, index, vector));
    }
    let output = &recipe.output;
    let _ = writeln!(text, "  output {}, rounding {}", output.dtype.label(), output.rounding.label());
    text
}

/// The method with what it takes for what is not said.
fn settled(spec: &MethodSpec) -> String {
    use mergescope_core::recipe::Parameter;
    let mut words = vec![spec.name.label().to_owned()];
    if spec.name.uses(Parameter::Normalize) {
        words.push(format!("normalize {}", spec.normalize()));
    }
    if spec.name.uses(Parameter::Lambda) {
        words.push(format!("lambda {}", spec.lambda()));
    }
    if spec.name.uses(Parameter::SelectTopk) {
        words.push(format!("select_topk {}", spec.select_topk()));
    }
    if spec.name.uses(Parameter::Flatten) {
        words.push(format!("flatten {}, row_wise {}", spec.flatten(), spec.row_wise.unwrap_or(false)));
    }
    words.join(", ")
}

fn vector_words(recipe: &Recipe, index: usize, vector: &VectorSpec) -> String {
    let what = match (recipe.others.is_empty(), vector.stands_alone()) {
        (true, false) => "post − pre".to_owned(),
        (true, true) => "post".to_owned(),
        (false, false) => format!("post {n} − pre {n}", n = index + 1),
        (false, true) => format!("post {}", index + 1),
    };
    let mut words = match recipe.method.name.uses_w() {
        true => vec![what, format!("w {}", format::w(vector.w)), format!("scaling {}", vector.scaling)],
        // Its w has no effect, and its spread has.
        false if index == 0 => vec![what, format!("scaling {}", vector.scaling)],
        false => vec![what],
    };
    words.push(format!("keeps {}", recipe.method.rule_of(vector)));
    if let Some(control) = vector.control {
        words.push(format!("control {}, seed {}", control.kind.label(), control.seed));
    }
    words.join("; ")
}
