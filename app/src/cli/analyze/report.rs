//! Everything that was found out about a vector, and what each kind of file shows of it.

use mergescope_core::analysis::{LeftOut, Overview, RoundingPreview, Spectrum, VectorAnalysis};
use mergescope_core::preflight::Finding;
use mergescope_core::recipe::{Fingerprints, Recipe};

use crate::report::Table;
use crate::report::svg::Drawing;
use crate::vector::svg;
use crate::vector::tables;
use crate::vector::{Amounts, LayerCosine, Metric, Pair, PartSet, View};

/// Everything that was found out.
pub(super) struct Report {
    pub recipe: Recipe,
    pub fingerprints: Fingerprints,
    pub warnings: Vec<Finding>,
    pub analysis: VectorAnalysis,
    pub overview: Overview,
    pub preview: RoundingPreview,
    /// What w is multiplied by for each tensor.
    pub shares: Vec<f64>,
    /// The layer × layer cosine of all parts together, of attention and MLP, then of each part that any two layers have;
    /// empty for models of one layer, none, or too many.
    pub cosines: Vec<(PartSet, LayerCosine)>,
    pub asked: Vec<Asked>,
    pub vectors: Option<Vectors>,
    /// How charts show norms.
    pub amounts: Amounts,
}

/// A tensor, or one expert of a stack, that was asked for by name.
pub(super) struct Asked {
    /// Its name in the names of files and places of a page; no two have the same.
    pub stem: String,
    /// Its position in the analysis.
    pub position: usize,
    /// `None` for what is no matrix, such as the weights of a norm.
    pub spectrum: Option<Spectrum>,
}

/// v and other vectors, compared.
pub(super) struct Vectors {
    /// Pre and post of each, as given; v first.
    pub models: Vec<[String; 2]>,
    pub pairs: Vec<Pair>,
    /// Tensors that only some have, or have otherwise.
    pub left_out: Vec<LeftOut>,
}

impl Vectors {
    /// The vectors as their models, numbered: `post − pre`.
    pub fn labels(&self) -> impl Iterator<Item = (usize, String)> {
        self.models.iter().map(|[pre, post]| format!("{post} − {pre}")).enumerate()
    }
}

impl Asked {
    /// Names for the files of tensors of those names: `a/b` and `a_b` would both be `a_b`.
    pub fn stems(names: &[&str]) -> Vec<String> {
        let mut stems: Vec<String> = Vec::with_capacity(names.len());
        for name in names {
            let stem = tables::file_name(name);
            let numbered = (2..=u32::MAX).map(|number| format!("{stem}-{number}"));
            // Some disks do not tell capitals from small letters.
            let is_free = |stem: &String| stems.iter().all(|known| known.to_lowercase() != stem.to_lowercase());
            let free = std::iter::once(stem.clone()).chain(numbered).find(is_free);
            stems.push(free.unwrap_or(stem));
        }
        stems
    }

    /// Its sizes, and its singular values where it has any.
    pub fn drawings(&self, view: &View<'_>) -> Vec<Drawing> {
        let mut drawings = vec![svg::histogram(view, self.position)];
        drawings.extend(self.spectrum.as_ref().map(svg::spectrum));
        for (drawing, kind) in drawings.iter_mut().zip(Self::KINDS) {
            drawing.name = format!("{kind}-{}", self.stem);
        }
        drawings
    }

    /// The same as tables.
    pub fn tables(&self, analysis: &VectorAnalysis) -> Vec<Table> {
        let mut tables = vec![tables::histogram(&analysis.tensors[self.position])];
        tables.extend(self.spectrum.as_ref().map(tables::spectrum));
        for (table, kind) in tables.iter_mut().zip(Self::KINDS) {
            table.name = format!("{kind}-{}", self.stem);
        }
        tables
    }

    /// How the names of its charts and tables begin.
    const KINDS: [&str; 2] = ["histogram", "spectrum"];
}

impl Report {
    /// The vector at the recipe's w and output.
    pub fn view(&self) -> View<'_> {
        View {
            analysis: &self.analysis,
            overview: &self.overview,
            preview: &self.preview,
            output: &self.recipe.output,
            w: self.recipe.vector.w,
            shares: &self.shares,
        }
    }

    /// The layer × layer cosine of all parts together.
    pub fn cosine_of_all(&self) -> Option<&LayerCosine> {
        self.cosines.first().map(|(_, cosine)| cosine)
    }

    /// The spectra that were asked for and are.
    pub fn spectra(&self) -> impl Iterator<Item = &Spectrum> {
        self.asked.iter().filter_map(|asked| asked.spectrum.as_ref())
    }

    /// A file of CSV each.
    pub fn tables(&self) -> Vec<Table> {
        let view = self.view();
        let mut tables = vec![tables::total(&view), tables::layers(&view), tables::parts(&view)];
        tables.extend(tables::experts(&view));
        tables.push(tables::tensors(&view));
        tables.extend(Metric::ALL.map(|metric| tables::grid(&view, metric)));
        tables.extend(self.cosines.iter().map(|(parts, cosine)| tables::layer_cosine(cosine, *parts)));
        tables.extend(tables::spectra(self.spectra()));
        tables.extend(self.asked.iter().flat_map(|asked| asked.tables(&self.analysis)));
        if let Some(Vectors { models, pairs, left_out }) = &self.vectors {
            tables.extend([tables::vectors(pairs), tables::vector_models(models)]);
            tables.extend(tables::vectors_left_out(left_out));
        }
        tables
    }

    /// A file of SVG each.
    pub fn drawings(&self) -> Vec<Drawing> {
        let view = self.view();
        let mut drawings = vec![svg::layers(&view)];
        drawings.extend(Metric::ALL.map(|metric| svg::grid(&view, metric, self.amounts)));
        drawings.extend(self.cosines.iter().map(|(parts, cosine)| svg::layer_cosine(cosine, *parts)));
        drawings.extend(self.asked.iter().flat_map(|asked| asked.drawings(&view)));
        drawings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_tensors_share_a_file() {
        assert_eq!(Asked::stems(&["a/b", "a_b", "A_b", "c", "a_b-2"]), ["a_b", "a_b-2", "A_b-3", "c", "a_b-2-2"]);
    }
}
