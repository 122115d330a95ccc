//! How the vectors are combined: the merge methods by their names in mergekit, with its parameters and defaults.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::VectorSpec;
use crate::scaling::ScalingSpec;

/// The method and its parameters. What is not said has mergekit's default.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MethodSpec {
    /// Which method.
    pub name: Method,
    /// Share of each tensor's elements that are kept, 0 to 1 (1 by default).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub density: Option<f64>,
    /// Share of the largest elements that breadcrumbs drops as outliers, 0 to 1 (0.01 by default).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gamma: Option<f64>,
    /// DELLA keeps with density − epsilon (smallest of a row) to density + epsilon (largest) (0.15 by default).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epsilon: Option<f64>,
    /// Whether what is kept is scaled until its magnitudes add up to those of the whole vector (by default in dare and della).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rescale: Option<bool>,
    /// Whether the sum is divided by the sum of the weights that went into it (by default in ties, della and linear).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub normalize: Option<bool>,
    /// What the combined vector is multiplied by before it is added (1 by default).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lambda: Option<f64>,
    /// Share of each tensor's elements, those of the highest variance between the vectors, that SCE keeps, 0 to 1 (1 by default).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub select_topk: Option<f64>,
    /// Whether NuSLERP takes a tensor as one long vector (true by default).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flatten: Option<bool>,
    /// Whether NuSLERP that does not flatten takes each column for a vector and not each row, which is what mergekit means by
    /// it (false by default).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub row_wise: Option<bool>,
    /// What the random methods draw from (0 by default).
    #[serde(skip_serializing_if = "is_zero")]
    pub seed: u64,
}

fn is_zero(seed: &u64) -> bool {
    *seed == 0
}

/// A merge method, by its name in mergekit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// target + Σ w·v (arXiv 2212.04089).
    #[default]
    TaskArithmetic,
    /// Task arithmetic with the largest elements of each vector alone: what TIES does before it elects signs.
    Trim,
    /// Trim, elect a sign for each element, add what agrees (arXiv 2306.01708).
    Ties,
    /// Drop at random and rescale, then task arithmetic (arXiv 2311.03099).
    DareLinear,
    /// Drop at random and rescale, then elect signs as TIES does.
    DareTies,
    /// Drop at random, small elements rather than large ones, then elect signs (arXiv 2406.11617).
    Della,
    /// Drop as DELLA does, then task arithmetic.
    DellaLinear,
    /// Drop the smallest elements and the very largest (arXiv 2312.06795).
    Breadcrumbs,
    /// Breadcrumbs, then elect signs.
    BreadcrumbsTies,
    /// The weighted average of whole models (arXiv 2203.05482).
    Linear,
    /// From the target to another model along the great circle.
    Slerp,
    /// Between two models, or between two vectors, along the great circle.
    Nuslerp,
    /// The average of several fine-tuned models, drawn towards their base as far as they disagree (arXiv 2403.19522).
    ModelStock,
    /// Select by variance, calculate a weight for each vector and tensor, erase the minority's signs (arXiv 2408.07990).
    Sce,
}

/// Which elements of a vector are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sparsify {
    /// All of them.
    #[default]
    None,
    /// The largest.
    Trim,
    /// Each with the same probability.
    Dare,
    /// Each with a probability that grows with its rank in its row.
    Della,
    /// Neither the smallest nor the very largest.
    Breadcrumbs,
}

/// How what is kept is put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Combination {
    /// Vectors are added.
    Sum,
    /// Those elements of vectors are added that have the sign of their sum.
    Elect,
    /// Whole models are averaged.
    Average,
    /// See [`Method::Slerp`].
    Slerp,
    /// See [`Method::Nuslerp`].
    Nuslerp,
    /// See [`Method::ModelStock`].
    ModelStock,
    /// See [`Method::Sce`].
    Sce,
}

/// A parameter that some methods have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Parameter {
    /// [`MethodSpec::density`].
    Density,
    /// [`MethodSpec::gamma`].
    Gamma,
    /// [`MethodSpec::epsilon`].
    Epsilon,
    /// [`MethodSpec::rescale`].
    Rescale,
    /// [`MethodSpec::normalize`].
    Normalize,
    /// [`MethodSpec::lambda`].
    Lambda,
    /// [`MethodSpec::select_topk`].
    SelectTopk,
    /// [`MethodSpec::flatten`].
    Flatten,
    /// [`MethodSpec::row_wise`].
    RowWise,
    /// [`MethodSpec::seed`].
    Seed,
}

impl Parameter {
    /// All, in the order in which they are shown.
    pub const ALL: [Self; 10] = [
        Self::Density,
        Self::Gamma,
        Self::Epsilon,
        Self::Rescale,
        Self::Normalize,
        Self::Lambda,
        Self::SelectTopk,
        Self::Flatten,
        Self::RowWise,
        Self::Seed,
    ];

    /// As a recipe names it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Density => "density",
            Self::Gamma => "gamma",
            Self::Epsilon => "epsilon",
            Self::Rescale => "rescale",
            Self::Normalize => "normalize",
            Self::Lambda => "lambda",
            Self::SelectTopk => "select_topk",
            Self::Flatten => "flatten",
            Self::RowWise => "row_wise",
            Self::Seed => "seed",
        }
    }
}

impl Sparsify {
    /// All, in the order in which they are offered.
    pub const ALL: [Self; 5] = [Self::None, Self::Trim, Self::Dare, Self::Della, Self::Breadcrumbs];

    /// As a recipe names it.
    pub fn label(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Trim => "trim",
            Self::Dare => "dare",
            Self::Della => "della",
            Self::Breadcrumbs => "breadcrumbs",
        }
    }

    /// Whether it has that parameter.
    pub fn uses(self, parameter: Parameter) -> bool {
        use Parameter::{Density, Epsilon, Gamma, Rescale, Seed};
        match self {
            Self::None => false,
            Self::Trim => matches!(parameter, Density | Rescale),
            Self::Dare => matches!(parameter, Density | Rescale | Seed),
            Self::Della => matches!(parameter, Density | Epsilon | Rescale | Seed),
            Self::Breadcrumbs => matches!(parameter, Density | Gamma | Rescale),
        }
    }
}

impl Method {
    /// All, in the order in which they are offered.
    pub const ALL: [Self; 14] = [
        Self::TaskArithmetic,
        Self::Trim,
        Self::Ties,
        Self::DareLinear,
        Self::DareTies,
        Self::Della,
        Self::DellaLinear,
        Self::Breadcrumbs,
        Self::BreadcrumbsTies,
        Self::Linear,
        Self::Slerp,
        Self::Nuslerp,
        Self::ModelStock,
        Self::Sce,
    ];

    /// As a recipe names it, which is mergekit's name but for `trim`, which mergekit does not have.
    pub fn label(self) -> &'static str {
        match self {
            Self::TaskArithmetic => "task_arithmetic",
            Self::Trim => "trim",
            Self::Ties => "ties",
            Self::DareLinear => "dare_linear",
            Self::DareTies => "dare_ties",
            Self::Della => "della",
            Self::DellaLinear => "della_linear",
            Self::Breadcrumbs => "breadcrumbs",
            Self::BreadcrumbsTies => "breadcrumbs_ties",
            Self::Linear => "linear",
            Self::Slerp => "slerp",
            Self::Nuslerp => "nuslerp",
            Self::ModelStock => "model_stock",
            Self::Sce => "sce",
        }
    }

    /// Which elements of a vector it keeps.
    pub fn sparsify(self) -> Sparsify {
        match self {
            Self::Trim | Self::Ties => Sparsify::Trim,
            Self::DareLinear | Self::DareTies => Sparsify::Dare,
            Self::Della | Self::DellaLinear => Sparsify::Della,
            Self::Breadcrumbs | Self::BreadcrumbsTies => Sparsify::Breadcrumbs,
            _ => Sparsify::None,
        }
    }

    /// How it puts together what is kept.
    pub fn combination(self) -> Combination {
        match self {
            Self::TaskArithmetic | Self::Trim | Self::DareLinear | Self::DellaLinear | Self::Breadcrumbs => {
                Combination::Sum
            }
            Self::Ties | Self::DareTies | Self::Della | Self::BreadcrumbsTies => Combination::Elect,
            Self::Linear => Combination::Average,
            Self::Slerp => Combination::Slerp,
            Self::Nuslerp => Combination::Nuslerp,
            Self::ModelStock => Combination::ModelStock,
            Self::Sce => Combination::Sce,
        }
    }

    /// Whether it has that parameter.
    pub fn uses(self, parameter: Parameter) -> bool {
        use Parameter::{Flatten, Lambda, Normalize, RowWise, SelectTopk};
        self.sparsify().uses(parameter)
            || match self.combination() {
                Combination::Sum | Combination::Elect => matches!(parameter, Normalize | Lambda),
                Combination::Average => parameter == Normalize,
                Combination::Nuslerp => matches!(parameter, Flatten | RowWise),
                Combination::Sce => parameter == SelectTopk,
                Combination::Slerp | Combination::ModelStock => false,
            }
    }

    /// Whether each vector has a w of its own in it; model stock and SCE work out their weights themselves.
    pub fn uses_w(self) -> bool {
        !matches!(self, Self::ModelStock | Self::Sce)
    }

    /// Whether it goes by how the vectors lie to each other, so that it takes only those elements that all of them have.
    pub fn compares(self) -> bool {
        matches!(self, Self::Nuslerp | Self::ModelStock | Self::Sce)
    }

    /// What normalize is unless said otherwise.
    pub fn normalizes(self) -> bool {
        matches!(self, Self::Ties | Self::Della | Self::Linear)
    }

    /// How many vectors it needs at least and takes at most.
    pub fn vectors(self) -> (usize, usize) {
        match self.combination() {
            Combination::Slerp => (1, 1),
            Combination::Nuslerp => (2, 2),
            Combination::ModelStock => (2, usize::MAX),
            _ => (1, usize::MAX),
        }
    }
}

/// What is kept of one vector, with every parameter settled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SparsifyRule {
    /// By what.
    pub sparsify: Sparsify,
    /// Share kept, 0 to 1.
    pub density: f64,
    /// Share of outliers dropped, 0 to 1.
    pub gamma: f64,
    /// Half the spread of DELLA's probabilities.
    pub epsilon: f64,
    /// Whether what is kept is scaled until its magnitudes add up to those of the whole vector.
    pub rescale: bool,
}

/// Why a method and its vectors do not go together.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum MethodError {
    /// A number outside its range.
    #[error("{parameter} is {value}; {expected}")]
    Range {
        /// The parameter's name, and whose it is.
        parameter: String,
        /// What was given.
        value: f64,
        /// What it must be.
        expected: &'static str,
    },
    /// A parameter that the method does not have.
    #[error("{parameter} has no effect with {method}; remove it{instead}")]
    Unused {
        /// The parameter's name, and whose it is.
        parameter: String,
        /// The method's name.
        method: String,
        /// Which parameters it has.
        instead: String,
    },
    /// Too few or too many vectors.
    #[error("{method} takes {wanted}; the recipe has {found}")]
    Count {
        /// The method's name.
        method: &'static str,
        /// How many it takes, in words.
        wanted: String,
        /// How many there are.
        found: usize,
    },
    /// Models where vectors are wanted, or the other way round.
    #[error("{0}")]
    Kind(String),
}

impl MethodSpec {
    /// A method with mergekit's defaults.
    pub fn new(name: Method) -> Self {
        Self { name, ..Self::default() }
    }

    /// What is kept of that vector: what it says itself, else what the method says, else mergekit's default.
    pub fn rule_of(&self, vector: &VectorSpec) -> SparsifyRule {
        let sparsify = vector.sparsify.unwrap_or_else(|| self.name.sparsify());
        SparsifyRule {
            sparsify,
            density: vector.density.or(self.density).unwrap_or(1.0),
            gamma: vector.gamma.or(self.gamma).unwrap_or(0.01),
            epsilon: vector.epsilon.or(self.epsilon).unwrap_or(0.15),
            rescale: self.rescale.unwrap_or(matches!(sparsify, Sparsify::Dare | Sparsify::Della)),
        }
    }

    /// Whether the sum is divided by the sum of the weights.
    pub fn normalize(&self) -> bool {
        self.normalize.unwrap_or_else(|| self.name.normalizes())
    }

    /// What the combined vector is multiplied by.
    pub fn lambda(&self) -> f64 {
        self.lambda.unwrap_or(1.0)
    }

    /// Share of elements that SCE selects.
    pub fn select_topk(&self) -> f64 {
        self.select_topk.unwrap_or(1.0)
    }

    /// [`MethodSpec::flatten`], settled.
    pub fn flatten(&self) -> bool {
        self.flatten.unwrap_or(true)
    }

    /// Whether that parameter is said here.
    pub fn says(&self, parameter: Parameter) -> bool {
        match parameter {
            Parameter::Density => self.density.is_some(),
            Parameter::Gamma => self.gamma.is_some(),
            Parameter::Epsilon => self.epsilon.is_some(),
            Parameter::Rescale => self.rescale.is_some(),
            Parameter::Normalize => self.normalize.is_some(),
            Parameter::Lambda => self.lambda.is_some(),
            Parameter::SelectTopk => self.select_topk.is_some(),
            Parameter::Flatten => self.flatten.is_some(),
            Parameter::RowWise => self.row_wise.is_some(),
            // Every recipe may have a seed.
            Parameter::Seed => false,
        }
    }

    /// Takes back what the method has no use for, as a window does when another method is chosen.
    pub fn forget_unused(&mut self, vectors: &[&VectorSpec]) {
        let used = |parameter| self.name.uses(parameter) || vectors.iter().any(|vector| own_uses(vector, parameter));
        let unused: Vec<Parameter> = Parameter::ALL.into_iter().filter(|parameter| !used(*parameter)).collect();
        for parameter in unused {
            match parameter {
                Parameter::Density => self.density = None,
                Parameter::Gamma => self.gamma = None,
                Parameter::Epsilon => self.epsilon = None,
                Parameter::Rescale => self.rescale = None,
                Parameter::Normalize => self.normalize = None,
                Parameter::Lambda => self.lambda = None,
                Parameter::SelectTopk => self.select_topk = None,
                Parameter::Flatten => self.flatten = None,
                Parameter::RowWise => self.row_wise = None,
                Parameter::Seed => {}
            }
        }
    }

    /// Refuses parameters out of range or without effect, and vectors that the method cannot take.
    pub fn check(&self, vectors: &[&VectorSpec]) -> Result<(), MethodError> {
        let method = self.name;
        for parameter in Parameter::ALL {
            let used = method.uses(parameter) || vectors.iter().any(|vector| own_uses(vector, parameter));
            if self.says(parameter) && !used {
                let name = parameter.label().to_owned();
                return Err(unused(name, method.label().to_owned(), |parameter| method.uses(parameter)));
            }
        }
        self.check_count(vectors)?;
        check_range("lambda", self.lambda, f64::is_finite, "it must be a finite number")?;
        check_range("select_topk", self.select_topk, in_unit, "it must be above 0 and at most 1")?;
        for (index, vector) in vectors.iter().enumerate() {
            let whose =
                |name: &str| if vectors.len() > 1 { format!("{name} of vector {}", index + 1) } else { name.into() };
            let rule = self.rule_of(vector);
            let own = vector.sparsify.unwrap_or_else(|| method.sparsify());
            if vector.sparsify.is_some() && !matches!(method.combination(), Combination::Sum | Combination::Elect) {
                let message = format!("{} has no effect with {}; remove it", whose("sparsify"), method.label());
                return Err(MethodError::Kind(message));
            }
            if index > 0 && !method.uses_w() && vector.scaling != ScalingSpec::default() {
                let message = format!(
                    "{} has no effect with {}, which takes one scaling for all vectors; remove it, or set that of the first vector",
                    whose("scaling"),
                    method.label()
                );
                return Err(MethodError::Kind(message));
            }
            let says = [
                (Parameter::Density, vector.density),
                (Parameter::Gamma, vector.gamma),
                (Parameter::Epsilon, vector.epsilon),
            ];
            if let Some((parameter, _)) =
                says.into_iter().find(|(parameter, said)| said.is_some() && !own.uses(*parameter))
            {
                let name = match (own, vector.sparsify) {
                    (Sparsify::None, None) => method.label().to_owned(),
                    (Sparsify::None, Some(_)) => "sparsify = \"none\"".to_owned(),
                    (own, _) => own.label().to_owned(),
                };
                return Err(unused(whose(parameter.label()), name, |parameter| own.uses(parameter)));
            }
            let unit = |value: f64| (0.0..=1.0).contains(&value);
            check_range(&whose("density"), Some(rule.density), unit, "it is the share that is kept, from 0 to 1")?;
            check_range(&whose("gamma"), Some(rule.gamma), unit, "it is the share of outliers dropped, from 0 to 1")?;
            check_range(&whose("epsilon"), Some(rule.epsilon), unit, "it must be from 0 to 1")?;
            let drops = rule.density > 0.0 && rule.density < 1.0;
            let inside = |value: f64| value > 0.0 && value < 1.0;
            if own == Sparsify::Della
                && drops
                && !(inside(rule.density - rule.epsilon) && inside(rule.density + rule.epsilon))
            {
                return Err(MethodError::Range {
                    parameter: whose("epsilon"),
                    value: rule.epsilon,
                    expected: "density − epsilon and density + epsilon are probabilities and must lie between 0 and 1",
                });
            }
        }
        Ok(())
    }

    fn check_count(&self, vectors: &[&VectorSpec]) -> Result<(), MethodError> {
        let (least, most) = self.name.vectors();
        let found = vectors.len();
        if found < least || found > most {
            let vectors = |count| {
                if count == 1 { "one vector or model".to_owned() } else { format!("{count} vectors or models") }
            };
            let wanted = match most {
                usize::MAX => format!("at least {}", vectors(least)),
                _ => vectors(least),
            };
            return Err(MethodError::Count { method: self.name.label(), wanted, found });
        }
        Ok(())
    }
}

/// Whether a vector's own way to be thinned out has that parameter.
fn own_uses(vector: &VectorSpec, parameter: Parameter) -> bool {
    vector.sparsify.is_some_and(|sparsify| sparsify.uses(parameter))
}

fn unused(parameter: String, method: String, uses: impl Fn(Parameter) -> bool) -> MethodError {
    let used: Vec<&str> =
        Parameter::ALL.into_iter().filter(|parameter| uses(*parameter)).map(Parameter::label).collect();
    let instead = if used.is_empty() { String::new() } else { format!(" (it has {})", used.join(", ")) };
    MethodError::Unused { parameter, method, instead }
}

fn in_unit(value: f64) -> bool {
    value > 0.0 && value <= 1.0
}

fn check_range(
    parameter: &str,
    value: Option<f64>,
    fits: impl Fn(f64) -> bool,
    expected: &'static str,
) -> Result<(), MethodError> {
    match value {
        Some(value) if !fits(value) => Err(MethodError::Range { parameter: parameter.to_owned(), value, expected }),
        _ => Ok(()),
    }
}

impl fmt::Display for Method {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.label())
    }
}

impl fmt::Display for MethodSpec {
    /// The name and what is said of its parameters: `ties, density 0.2, lambda 0.7`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name.label())?;
        let numbers = [
            (Parameter::Density, self.density),
            (Parameter::Gamma, self.gamma),
            (Parameter::Epsilon, self.epsilon),
            (Parameter::Lambda, self.lambda),
            (Parameter::SelectTopk, self.select_topk),
        ];
        for (parameter, value) in numbers {
            if let Some(value) = value {
                write!(formatter, ", {} {value}", parameter.label())?;
            }
        }
        let switches = [
            (Parameter::Rescale, self.rescale),
            (Parameter::Normalize, self.normalize),
            (Parameter::Flatten, self.flatten),
            (Parameter::RowWise, self.row_wise),
        ];
        for (parameter, value) in switches {
            if let Some(value) = value {
                write!(formatter, ", {} {value}", parameter.label())?;
            }
        }
        if self.seed > 0 { write!(formatter, ", seed {}", self.seed) } else { Ok(()) }
    }
}

impl fmt::Display for SparsifyRule {
    /// What is kept: `all`, or the share and how it is chosen, and whether the rest makes up for it.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { density, gamma, epsilon, .. } = self;
        match self.sparsify {
            Sparsify::None => formatter.write_str("all"),
            Sparsify::Trim => write!(formatter, "the largest, density {density}"),
            Sparsify::Dare => write!(formatter, "at random, density {density}"),
            Sparsify::Della => write!(formatter, "at random by rank, density {density}, epsilon {epsilon}"),
            Sparsify::Breadcrumbs => write!(formatter, "neither end, density {density}, gamma {gamma}"),
        }?;
        if self.rescale && self.sparsify != Sparsify::None { formatter.write_str(", rescaled") } else { Ok(()) }
    }
}
