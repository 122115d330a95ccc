//! `mergescope analyze`: what a vector looks like, as text, JSON, CSV, SVG or one page.

mod files;
mod html;
mod json;
mod text;

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use mergescope_core::alignment::{Alignment, Triple};
use mergescope_core::analysis::{
    AnalysisCache, LayerProducts, LayerProductsError, Overview, RoundingPreview, Spectrum, SpectrumOptions,
    VectorAnalysis, VectorComparison, VectorPair, compare_vectors, layer_products, measure, spectrum_with,
};
use mergescope_core::checkpoint::Checkpoint;
use mergescope_core::hub;
use mergescope_core::layout::Part;
use mergescope_core::merge::{MergeError, check_inputs};
use mergescope_core::preflight::{Finding, Severity, preflight};
use mergescope_core::recipe::{Fingerprints, Recipe};
use mergescope_core::scaling::Scaling;
use mergescope_core::stream::Resources;

use super::args::AnalyzeArgs;
use super::exit::Exit;
use super::preflight as findings;
use super::print::{Printer, note};
use super::progress::Job;
use crate::vector::svg::{self, Drawing};
use crate::vector::tables::{self, Table};
use crate::vector::{LayerCosine, Metric, View};
use files::{Files, Place};

/// One tensor's singular values, by the name they were asked for.
struct NamedSpectrum {
    /// As given: a name, or `NAME[3]` for an expert.
    label: String,
    /// The tensor's position in the analysis.
    position: usize,
    spectrum: Spectrum,
}

/// v and other vectors, compared.
struct Vectors {
    /// Pre and post of each, as given; v first.
    models: Vec<[String; 2]>,
    comparison: VectorComparison,
}

/// Everything that was found out.
struct Report {
    recipe: Recipe,
    fingerprints: Fingerprints,
    warnings: Vec<Finding>,
    analysis: VectorAnalysis,
    overview: Overview,
    preview: RoundingPreview,
    scaling: Scaling,
    /// `None` for models of one layer, none, or too many.
    products: Option<LayerProducts>,
    spectra: Vec<NamedSpectrum>,
    vectors: Option<Vectors>,
}

/// Checks, measures and tells.
pub fn run(args: &AnalyzeArgs) -> anyhow::Result<Exit> {
    let printer = Printer::new(args.json);
    let recipe = args.recipe.recipe()?;
    let scaling = Scaling::new(recipe.vector.w)?;
    let job = Job::begin();
    let triple = Triple::open(&recipe.vector.pre, &recipe.vector.post, &recipe.target)?;
    // Nobody should wait for a measurement to hear that a folder is taken.
    let place = |path: &Path| Place::folder(path, &triple);
    let csv = args.csv.as_deref().map(place).transpose()?;
    let svg = args.svg.as_deref().map(place).transpose()?;
    let html = args.html.as_deref().map(|path| Place::file(path, &triple)).transpose()?;
    let outputs = [("--csv", &csv), ("--svg", &svg), ("--html", &html)];
    let outputs: Vec<_> = outputs.into_iter().filter_map(|(flag, place)| Some((flag, place.as_ref()?))).collect();
    files::check_apart(&outputs)?;
    let others = others(args)?;
    let found = preflight(&triple, &job.control)?;
    if !found.passes() {
        drop(job);
        printer.document(&findings::document(&triple, &found))?;
        return Err(MergeError::Unfit { findings: found.findings }.into());
    }
    let asked = args.spectrum.iter().map(|label| asked_tensor(label, &triple)).collect::<Vec<_>>();
    let fingerprints = check_inputs(&recipe, &triple, &job.control)?;

    let resources = args.resources.resources();
    let cache = if args.no_cache { None } else { AnalysisCache::user() };
    let analysis = match &cache {
        Some(cache) => cache.measure(&triple, &found.alignment, &resources, &job.control)?,
        None => measure(&triple, &found.alignment, &resources, &job.control)?,
    };
    let products = products(cache.as_ref(), &triple, &found.alignment, &resources, &job)?;
    let mut spectra = Vec::new();
    for (label, (name, expert)) in args.spectrum.iter().zip(asked) {
        let options = SpectrumOptions { expert, ..SpectrumOptions::default() };
        let spectrum = spectrum_with(&triple, &found.alignment, &name, &options, &resources, &job.control)?;
        let position = analysis.tensors.iter().position(|tensor| tensor.name == name);
        let position = position.with_context(|| format!("v does not move `{name}`"))?;
        spectra.push(NamedSpectrum { label: label.clone(), position, spectrum });
    }
    let vectors = match others.is_empty() {
        true => None,
        false => Some(compare(&recipe, &triple, others, &resources, &job)?),
    };
    drop(job);

    let (overview, preview) = (Overview::new(&analysis), RoundingPreview::thorough(&analysis, &recipe.output));
    let warnings: Vec<Finding> =
        found.findings.into_iter().filter(|finding| finding.severity == Severity::Warning).collect();
    let report =
        Report { recipe, fingerprints, warnings, analysis, overview, preview, scaling, products, spectra, vectors };
    let words: String = report.warnings.iter().map(findings::finding_text).collect();
    if !words.is_empty() {
        note(&words);
    }
    // Files first: whoever reads the result can rely on them.
    let mut files = Files::default();
    if let Some(place) = csv {
        files.folder(place, report.tables().iter().map(|table| (format!("{}.csv", table.name), table.to_csv())));
    }
    if let Some(place) = svg {
        let drawings = report.drawings();
        files.folder(
            place,
            drawings.iter().map(|drawing| (format!("{}.svg", drawing.name), drawing.to_svg(args.theme))),
        );
    }
    if let Some(place) = html {
        files.file(place, html::page(&report, args.theme));
    }
    for written in files.write()? {
        note(&written);
    }
    printer.text(&text::text(&report))?;
    if args.json {
        printer.document(&json::document(&report))?;
    }
    Ok(Exit::Done)
}

impl Report {
    fn view(&self) -> View<'_> {
        View {
            analysis: &self.analysis,
            overview: &self.overview,
            preview: &self.preview,
            output: &self.recipe.output,
            w: self.recipe.vector.w,
            scaling: self.scaling,
        }
    }

    /// The layer × layer cosine of all parts together, then of each part that any two layers have.
    fn layer_cosines(&self) -> Vec<(Option<Part>, LayerCosine)> {
        let Some(products) = &self.products else { return Vec::new() };
        let parts = products.parts.iter().map(|(part, _)| Some(*part));
        std::iter::once(None).chain(parts).map(|part| (part, LayerCosine::new(products, part))).collect()
    }

    fn tables(&self) -> Vec<Table> {
        let view = self.view();
        let mut tables = vec![tables::layers(&view), tables::parts(&view), tables::tensors(&view)];
        tables.extend(Metric::ALL.map(|metric| tables::grid(&view, metric)));
        tables.extend(self.layer_cosines().iter().map(|(part, cosine)| tables::layer_cosine(cosine, *part)));
        for named in &self.spectra {
            tables.push(tables::histogram(&self.analysis.tensors[named.position]));
            tables.push(tables::spectrum(&named.spectrum, &named.label));
        }
        tables
    }

    fn drawings(&self) -> Vec<Drawing> {
        let view = self.view();
        let mut drawings = vec![svg::layers(&view)];
        drawings.extend(Metric::ALL.map(|metric| svg::grid(&view, metric)));
        drawings.extend(self.layer_cosines().iter().map(|(part, cosine)| svg::layer_cosine(cosine, *part)));
        for named in &self.spectra {
            drawings.push(svg::histogram(&view, named.position));
            drawings.push(svg::spectrum(&named.spectrum, &named.label));
        }
        drawings
    }
}

/// The name of a tensor of the target, and of a stack the expert: `NAME[3]`, unless a tensor is called just that.
fn asked_tensor(label: &str, triple: &Triple) -> (String, Option<u64>) {
    let split = || {
        let (name, expert) = label.strip_suffix(']')?.rsplit_once('[')?;
        Some((name.to_owned(), Some(expert.parse().ok()?)))
    };
    let whole = (label.to_owned(), None);
    if triple.target.position(label).is_some() { whole } else { split().unwrap_or(whole) }
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
    Ok(Vectors { models, comparison: compare_vectors(&pairs, resources, &job.control)? })
}

/// How the layers lie to each other, where there are several.
fn products(
    cache: Option<&AnalysisCache>,
    triple: &Triple,
    alignment: &Alignment,
    resources: &Resources,
    job: &Job,
) -> anyhow::Result<Option<LayerProducts>> {
    if alignment.layers() < 2 {
        return Ok(None);
    }
    let found = match cache {
        Some(cache) => cache.layer_products(triple, alignment, resources, &job.control),
        None => layer_products(triple, alignment, resources, &job.control),
    };
    match found {
        Ok(products) => Ok(Some(products)),
        Err(error @ LayerProductsError::TooManyLayers { .. }) => {
            note(&format!("NOTE  Layers are not compared: {error}"));
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}
