//! Are three checkpoints compatible? A list of findings, each with what to do.
//!
//! Four kinds of facts are compared, one file each: headers (which tensors, shapes, dtypes), configs (what the same
//! shapes can hide), tokenizers (which row is which token) and a sample of the weights (how the models are related).

mod config;
mod headers;
mod lineage;
mod sample;
mod ties;
mod tokenizer;
mod words;

use crate::alignment::{Alignment, Participation, Triple};
use crate::checkpoint::{CheckpointKind, ReadError};
use crate::progress::{Cancelled, Control};

/// How serious a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing; nothing to do.
    Note,
    /// The merge can be made but may not be what is wanted.
    Warning,
    /// No merge can be made.
    Error,
}

/// One thing that preflight found.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// How serious it is.
    pub severity: Severity,
    /// A stable name for programs, such as `shape-mismatch`.
    pub code: &'static str,
    /// One plain sentence without a full stop.
    pub title: String,
    /// The facts behind it: what was expected and found.
    pub detail: String,
    /// What to do about it; empty when there is nothing to do.
    pub action: String,
    /// The tensors it concerns, in natural order; possibly none.
    pub tensors: Vec<String>,
}

impl Finding {
    fn new(severity: Severity, code: &'static str, title: impl Into<String>) -> Self {
        let title = title.into();
        Self { severity, code, title, detail: String::new(), action: String::new(), tensors: Vec::new() }
    }

    fn error(code: &'static str, title: impl Into<String>) -> Self {
        Self::new(Severity::Error, code, title)
    }

    pub(crate) fn warning(code: &'static str, title: impl Into<String>) -> Self {
        Self::new(Severity::Warning, code, title)
    }

    fn note(code: &'static str, title: impl Into<String>) -> Self {
        Self::new(Severity::Note, code, title)
    }

    pub(crate) fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = detail.into();
        self
    }

    pub(crate) fn action(mut self, action: impl Into<String>) -> Self {
        self.action = action.into();
        self
    }

    /// The same, said of that vector of several; of the first it goes without saying.
    pub fn of_vector(mut self, vector: usize) -> Self {
        if vector > 0 {
            self.title = format!("Vector {}: {}", vector + 1, self.title);
        }
        self
    }

    fn tensors(mut self, tensors: Vec<String>) -> Self {
        self.tensors = tensors;
        self
    }
}

/// How the three models are related, from a sample spread over the tensors that take part: estimates.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Lineage {
    /// ‖v‖ ∕ ‖pre‖.
    pub relative_norm: f64,
    /// ‖target − pre‖ ∕ ‖pre‖.
    pub target_distance: f64,
    /// cos(v, target − pre); NaN when either is zero.
    pub cos_vector_target: f64,
    /// Elements sampled.
    pub sampled: u64,
}

/// What preflight found.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Preflight {
    /// Findings, the most serious first.
    pub findings: Vec<Finding>,
    /// Which tensors belong together.
    #[serde(skip)]
    pub alignment: Alignment,
    /// How the models are related; `None` when the alignment has errors or nothing moves.
    pub lineage: Option<Lineage>,
}

impl Preflight {
    /// Whether a merge can be made: no finding is an error.
    pub fn passes(&self) -> bool {
        self.count(Severity::Error) == 0
    }

    /// The same, with findings that say of which of several vectors they are; of the first it goes without saying.
    pub fn of_vector(mut self, vector: usize) -> Self {
        self.findings = self.findings.into_iter().map(|finding| finding.of_vector(vector)).collect();
        self
    }

    /// How many findings have that severity.
    pub fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity).count()
    }
}

/// Preflight could not be completed.
#[derive(Debug, thiserror::Error)]
pub enum PreflightError {
    /// Weights could not be sampled.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// It was cancelled.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// Compares headers, configs and tokenizers, and samples the weights.
pub fn preflight(triple: &Triple, control: &Control) -> Result<Preflight, PreflightError> {
    let alignment = Alignment::new(triple);
    let mut findings = headers::compare(triple, &alignment);
    findings.extend(ties::compare(triple, &alignment)?);
    findings.extend(config::compare(triple));
    control.check()?;
    findings.extend(tokenizer::compare(triple));
    control.check()?;

    let misfit = alignment.tensors.iter().any(|aligned| matches!(aligned.participation, Participation::Misfit(_)));
    let mut lineage = None;
    if !misfit && alignment.moving_elements() > 0 {
        let sample = sample::take(triple, &alignment, control)?;
        findings.extend(lineage::judge(triple, &sample));
        // Without a pre there is nothing to measure by.
        lineage = (triple.pre.kind() != CheckpointKind::Zeros).then(|| sample.lineage());
    }

    // Stable: findings of one severity stay in the order of the checks, from the most to the least certain.
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    Ok(Preflight { findings, alignment, lineage })
}
