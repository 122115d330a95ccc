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
    AnalysisCache, LayerProducts, LayerProductsError, LeftOut, Overview, RoundingPreview, Spectrum, VectorAnalysis,
    VectorPair, compare_vectors, layer_products, measure, spectrum,
};
use mergescope_core::checkpoint::Checkpoint;
use mergescope_core::hub;
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
use crate::vector::{Amounts, LayerCosine, Metric, Pair, PartSet, View};
use files::{Files, Place};

/// The singular values of one tensor, or of one expert of a stack.
struct Singular {
    /// Its position in the analysis.
    position: usize,
    spectrum: Spectrum,
}

/// v and other vectors, compared.
struct Vectors {
    /// Pre and post of each, as given; v first.
    models: Vec<[String; 2]>,
    pairs: Vec<Pair>,
    /// Tensors that only some have, or have otherwise.
    left_out: Vec<LeftOut>,
}

impl Vectors {
    /// The vectors as their models, numbered: `post − pre`.
    fn labels(&self) -> impl Iterator<Item = (usize, String)> {
        self.models.iter().map(|[pre, post]| format!("{post} − {pre}")).enumerate()
    }
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
    spectra: Vec<Singular>,
    vectors: Option<Vectors>,
    /// How charts show norms.
    amounts: Amounts,
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
    let fingerprints = check_inputs(&recipe, &triple, &job.control)?;

    let resources = args.resources.resources();
    // First, so that nobody waits for a measurement to hear that a name is wrong.
    let decomposed =
        args.spectrum.iter().map(|name| spectrum(&triple, &found.alignment, name, &resources, &job.control));
    let decomposed = decomposed.collect::<Result<Vec<_>, _>>()?;
    let cache = if args.no_cache { None } else { AnalysisCache::user() };
    let analysis = match &cache {
        Some(cache) => cache.measure(&triple, &found.alignment, &resources, &job.control)?,
        None => measure(&triple, &found.alignment, &resources, &job.control)?,
    };
    let products = products(cache.as_ref(), &triple, &found.alignment, &resources, &job)?;
    let mut spectra = Vec::new();
    for spectrum in decomposed {
        let name = &spectrum.name;
        let position = analysis.position(name).with_context(|| format!("v does not move `{name}`"))?;
        spectra.push(Singular { position, spectrum });
    }
    let vectors = match others.is_empty() {
        true => None,
        false => Some(compare(&recipe, &triple, others, &resources, &job)?),
    };
    drop(job);

    let (overview, preview) = (Overview::new(&analysis), RoundingPreview::thorough(&analysis, &recipe.output));
    let warnings: Vec<Finding> =
        found.findings.into_iter().filter(|finding| finding.severity == Severity::Warning).collect();
    let amounts = if args.log { Amounts::Log } else { Amounts::Linear };
    let report = Report {
        recipe,
        fingerprints,
        warnings,
        analysis,
        overview,
        preview,
        scaling,
        products,
        spectra,
        vectors,
        amounts,
    };
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

    /// The layer × layer cosine of all parts together, of attention and MLP, then of each part that any two layers have.
    fn layer_cosines(&self) -> Vec<(PartSet, LayerCosine)> {
        let Some(products) = &self.products else { return Vec::new() };
        PartSet::of(products).into_iter().map(|parts| (parts, LayerCosine::new(products, parts))).collect()
    }

    fn tables(&self) -> Vec<Table> {
        let view = self.view();
        let mut tables = vec![tables::layers(&view), tables::parts(&view), tables::tensors(&view)];
        tables.extend(Metric::ALL.map(|metric| tables::grid(&view, metric)));
        tables.extend(self.layer_cosines().iter().map(|(parts, cosine)| tables::layer_cosine(cosine, *parts)));
        for Singular { position, spectrum } in &self.spectra {
            tables.push(tables::histogram(&self.analysis.tensors[*position]));
            tables.push(tables::spectrum(spectrum));
        }
        tables.extend(self.vectors.iter().map(|vectors| tables::vectors(&vectors.pairs)));
        tables
    }

    fn drawings(&self) -> Vec<Drawing> {
        let view = self.view();
        let mut drawings = vec![svg::layers(&view)];
        drawings.extend(Metric::ALL.map(|metric| svg::grid(&view, metric, self.amounts)));
        drawings.extend(self.layer_cosines().iter().map(|(parts, cosine)| svg::layer_cosine(cosine, *parts)));
        for Singular { position, spectrum } in &self.spectra {
            drawings.push(svg::histogram(&view, *position));
            drawings.push(svg::spectrum(spectrum));
        }
        drawings
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
