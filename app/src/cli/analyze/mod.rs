//! `mergescope analyze`: what a vector looks like, as text, JSON, CSV, SVG or one page.

mod files;
mod html;
mod json;
mod report;
mod text;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use mergescope_core::alignment::{Aligned, Alignment, Models, Role, Triple, VectorPair};
use mergescope_core::analysis::{
    AnalysisCache, LayerProductsError, Overview, RoundingPreview, Spectrum, SpectrumError, VectorAnalysis,
    compare_vectors, layer_products, measure, spectrum,
};
use mergescope_core::checkpoint::Checkpoint;
use mergescope_core::error::chain;
use mergescope_core::hub;
use mergescope_core::merge::{MergeError, check_inputs};
use mergescope_core::preflight::{Finding, Severity, preflight};
use mergescope_core::recipe::{Method, Recipe};
use mergescope_core::scaling::{Scaling, moving_tensors};
use mergescope_core::stream::Resources;

use super::args::AnalyzeArgs;
use super::exit::Exit;
use super::preflight as findings;
use super::print::{Printer, note};
use super::progress::Job;
use crate::format;
use crate::report::svg::Theme;
use crate::vector::{Amounts, LayerCosine, Pair, PartSet};
use files::{Files, Place};
use report::{Asked, Report, Vectors};

/// Checks, measures and tells.
pub fn run(args: &AnalyzeArgs) -> anyhow::Result<Exit> {
    let printer = Printer::new(args.json);
    let recipe = args.recipe.recipe()?;
    let job = Job::begin();
    let triple = Triple::open(&recipe.vector.pre, &recipe.vector.post, &recipe.target)?;
    let others = others(args)?;
    // Nobody should wait for a measurement to hear that a folder is taken or a name is wrong.
    let outputs = Outputs::check(args, &models(&triple, &others))?;
    let names = asked_names(args, &triple, &recipe)?;
    let found = preflight(&triple, &job.control)?;
    if !found.passes() {
        drop(job);
        printer.document(&findings::document(&triple, &found))?;
        return Err(MergeError::Unfit { findings: found.findings }.into());
    }
    let scaling = Scaling::new(recipe.vector.w, &recipe.vector.scaling, found.alignment.layers())?;
    let fingerprints = check_inputs(&recipe, &Models::from(&triple), &job.control)?;

    let resources = args.resources.resources();
    // First what may be refused for the models that it names.
    let vectors = match others.is_empty() {
        true => None,
        false => Some(compare(&recipe, &triple, others, &resources, &job)?),
    };
    let spectra = names.iter().map(|name| decompose(&triple, &found.alignment, name, &resources, &job));
    let spectra = spectra.collect::<anyhow::Result<Vec<_>>>()?;
    let cache = if args.no_cache { None } else { AnalysisCache::user() };
    let analysis = match &cache {
        Some(cache) => cache.measure(&triple, &found.alignment, &resources, &job.control)?,
        None => measure(&triple, &found.alignment, &resources, &job.control)?,
    };
    let cosines = cosines(cache.as_ref(), &triple, &found.alignment, &resources, &job)?;
    let mut asked = Vec::new();
    for ((name, stem), spectrum) in names.iter().zip(Asked::stems(&names)).zip(spectra) {
        let position = position(&analysis, &triple, &found.alignment, name);
        let position = position.with_context(|| format!("v does not move `{name}`"))?;
        asked.push(Asked { stem, position, spectrum });
    }
    drop(job);

    let tensors = analysis.tensors.iter();
    let shares = tensors.map(|tensor| scaling.share(tensor.stored_name(), tensor.place)).collect();
    let (overview, preview) = (Overview::new(&analysis), RoundingPreview::thorough(&analysis, &recipe.output));
    let unmatched = recipe.vector.scaling.findings(moving_tensors(&found.alignment, &triple.target));
    let warnings = found.findings.into_iter().filter(|finding| finding.severity == Severity::Warning);
    let warnings: Vec<Finding> = warnings.chain(unmatched).chain(first_alone(&recipe)).collect();
    let amounts = if args.log { Amounts::Log } else { Amounts::Linear };
    let report = Report {
        recipe,
        fingerprints,
        warnings,
        analysis,
        overview,
        preview,
        shares,
        cosines,
        asked,
        vectors,
        amounts,
    };
    let words: String = report.warnings.iter().map(findings::finding_text).collect();
    if !words.is_empty() {
        note(&words);
    }
    // Files first: whoever reads the result can rely on them. One that failed takes nothing away from the result.
    let mut failed = Vec::new();
    for written in outputs.files(&report, args.theme).write() {
        match written {
            Ok(line) => note(&line),
            Err(error) => failed.push(chain(error.as_ref())),
        }
    }
    printer.text(&text::text(&report))?;
    if args.json {
        printer.document(&json::document(&report))?;
    }
    ensure!(failed.is_empty(), failed.join("; "));
    Ok(Exit::Done)
}

/// A warning where what is measured is not all that the recipe would merge.
fn first_alone(recipe: &Recipe) -> Option<Finding> {
    let mut passed_over = Vec::new();
    if !recipe.others.is_empty() {
        passed_over.push(format!("{} further", format::plural(recipe.others.len(), "vector")));
    }
    if recipe.method.name != Method::TaskArithmetic {
        passed_over.push(format!("the method {}", recipe.method.name));
    }
    if let Some(control) = recipe.vector.control {
        passed_over.push(format!("the control {}", control.kind.label()));
    }
    (!passed_over.is_empty()).then(|| Finding {
        severity: Severity::Warning,
        code: "first-vector-alone",
        title: "This is about the first vector alone, as target + w·v".to_owned(),
        detail: format!("The recipe also has {}", passed_over.join(", ")),
        action: "What a merge of the recipe writes is in its report; see `mergescope merge`".to_owned(),
        tensors: Vec::new(),
    })
}

/// Where files were asked for.
struct Outputs {
    csv: Option<Place>,
    svg: Option<Place>,
    html: Option<Place>,
}

impl Outputs {
    /// Makes sure that each can be written, in none of the models and apart from the others.
    fn check(args: &AnalyzeArgs, models: &[(String, PathBuf)]) -> anyhow::Result<Self> {
        let folder = |path: &PathBuf| Place::folder(path, models);
        let csv = args.csv.as_ref().map(folder).transpose()?;
        let svg = args.svg.as_ref().map(folder).transpose()?;
        let html = args.html.as_ref().map(|path| Place::file(path, models)).transpose()?;
        let places = [("--csv", &csv), ("--svg", &svg), ("--html", &html)];
        let places: Vec<_> = places.into_iter().filter_map(|(flag, place)| Some((flag, place.as_ref()?))).collect();
        files::check_apart(&places)?;
        Ok(Self { csv, svg, html })
    }

    fn files(self, report: &Report, theme: Theme) -> Files {
        let mut files = Files::default();
        if let Some(place) = self.csv {
            files.folder(place, report.tables().iter().map(|table| (format!("{}.csv", table.name), table.to_csv())));
        }
        if let Some(place) = self.svg {
            let drawings = report.drawings();
            let named = drawings.iter().map(|drawing| (format!("{}.svg", drawing.name), drawing.to_svg(theme)));
            files.folder(place, named);
        }
        if let Some(place) = self.html {
            files.file(place, html::page(report, theme));
        }
        files
    }
}

/// Every model that is read, as it is called and where it is.
fn models(triple: &Triple, others: &[([String; 2], VectorPair)]) -> Vec<(String, PathBuf)> {
    let own = Role::ALL.into_iter().map(|role| (role.label().to_owned(), triple.get(role).root().to_owned()));
    let other = others.iter().flat_map(|(names, pair)| {
        let roots = [&pair.pre, &pair.post].map(|model| model.root().to_owned());
        names.iter().map(|name| format!("{name}, given with --other")).zip(roots)
    });
    own.chain(other).collect()
}

/// The tensors asked for, each once.
fn asked_names<'a>(args: &'a AnalyzeArgs, triple: &Triple, recipe: &Recipe) -> anyhow::Result<Vec<&'a str>> {
    let mut names: Vec<&str> = Vec::new();
    for name in &args.spectrum {
        let is_known = |name: &str| triple.target.position(name).is_some();
        // `NAME[3]` is of the tensor `NAME`; which experts that has is for the engine to say.
        ensure!(
            is_known(name) || name.rsplit_once('[').is_some_and(|(stack, _)| is_known(stack)),
            "the target has no tensor `{name}`; `mergescope inspect --json {}` lists those that it has",
            recipe.target
        );
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    Ok(names)
}

/// The spectrum of what is called `name`; `None` for what holds something and is no matrix.
fn decompose(
    triple: &Triple,
    alignment: &Alignment,
    name: &str,
    resources: &Resources,
    job: &Job,
) -> anyhow::Result<Option<Spectrum>> {
    match spectrum(triple, alignment, name, resources, &job.control) {
        Ok(spectrum) => Ok(Some(spectrum)),
        Err(SpectrumError::NoMatrix { shape, .. }) if shape.len() < 2 && !shape.contains(&0) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Where in the analysis that is of which [`spectrum`] takes the singular values.
fn position(analysis: &VectorAnalysis, triple: &Triple, alignment: &Alignment, name: &str) -> Option<usize> {
    let target = triple.target.position(name);
    match target.and_then(|target| alignment.tensors.iter().find(|aligned| aligned.target == target)) {
        // A tensor that is called just so comes before an expert of that name, which has another place.
        Some(Aligned { place, .. }) => {
            analysis.tensors.iter().position(|tensor| tensor.name == name && tensor.place == *place)
        }
        None => analysis.position(name),
    }
}

/// Opens the vectors to compare with.
fn others(args: &AnalyzeArgs) -> anyhow::Result<Vec<([String; 2], VectorPair)>> {
    let open = |model: &String| -> anyhow::Result<Arc<Checkpoint>> {
        let opened = Checkpoint::open(&hub::resolve(model));
        Ok(Arc::new(opened.with_context(|| format!("{model}, given with --other, cannot be opened"))?))
    };
    let (pairs, _) = args.other.as_chunks::<2>();
    pairs
        .iter()
        .map(|models| Ok((models.clone(), VectorPair { pre: open(&models[0])?, post: open(&models[1])? })))
        .collect()
}

fn compare(
    recipe: &Recipe,
    triple: &Triple,
    others: Vec<([String; 2], VectorPair)>,
    resources: &Resources,
    job: &Job,
) -> anyhow::Result<Vectors> {
    let own = VectorPair { pre: triple.pre.clone(), post: triple.post.clone() };
    let own = ([recipe.vector.pre.clone(), recipe.vector.post.clone()], own);
    let (models, pairs): (Vec<_>, Vec<_>) = std::iter::once(own).chain(others).unzip();
    let comparison = compare_vectors(&pairs, resources, &job.control)?;
    Ok(Vectors { models, pairs: Pair::of(&comparison), left_out: comparison.left_out })
}

/// How the layers lie to each other, over all parts and over each, where there are several layers.
fn cosines(
    cache: Option<&AnalysisCache>,
    triple: &Triple,
    alignment: &Alignment,
    resources: &Resources,
    job: &Job,
) -> anyhow::Result<Vec<(PartSet, LayerCosine)>> {
    if alignment.layers() < 2 {
        return Ok(Vec::new());
    }
    let found = match cache {
        Some(cache) => cache.layer_products(triple, alignment, resources, &job.control),
        None => layer_products(triple, alignment, resources, &job.control),
    };
    match found {
        Ok(products) => {
            let cosine = |parts| (parts, LayerCosine::new(&products, parts));
            Ok(PartSet::of(&products).into_iter().map(cosine).collect())
        }
        Err(error @ LayerProductsError::TooManyLayers { .. }) => {
            note(&format!("NOTE  Layers are not compared: {error}"));
            Ok(Vec::new())
        }
        Err(error) => Err(error.into()),
    }
}
