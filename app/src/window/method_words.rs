//! Methods, their parameters and controls in words: the names in menus, and a plain sentence on each.

use mergescope_core::recipe::{Combination, ControlKind, Method, Parameter, Recipe, Sparsify};

use crate::format;

/// Methods by what they do, in the order of the menu.
pub const GROUPS: [(&str, &[Method]); 4] = [
    ("Add vectors", &[Method::TaskArithmetic]),
    ("Thin out and add", &[Method::Trim, Method::DareLinear, Method::DellaLinear, Method::Breadcrumbs]),
    ("Elect signs", &[Method::Ties, Method::DareTies, Method::Della, Method::BreadcrumbsTies, Method::Sce]),
    ("Average models", &[Method::Linear, Method::Slerp, Method::Nuslerp, Method::ModelStock]),
];

/// A method as people call it.
pub fn name(method: Method) -> &'static str {
    match method {
        Method::TaskArithmetic => "Task arithmetic",
        Method::Trim => "Trim",
        Method::Ties => "TIES",
        Method::DareLinear => "DARE",
        Method::DareTies => "DARE, then TIES",
        Method::Della => "DELLA, then TIES",
        Method::DellaLinear => "DELLA",
        Method::Breadcrumbs => "Breadcrumbs",
        Method::BreadcrumbsTies => "Breadcrumbs, then TIES",
        Method::Linear => "Linear",
        Method::Slerp => "SLERP",
        Method::Nuslerp => "NuSLERP",
        Method::ModelStock => "Model stock",
        Method::Sce => "SCE",
    }
}

/// What it does, in one sentence.
pub fn sentence(method: Method) -> &'static str {
    match method {
        Method::TaskArithmetic => "Adds each vector, w times",
        Method::Trim => "Adds the largest changes of each vector alone",
        Method::Ties => "Keeps the largest changes, and of these the ones whose direction the vectors agree on",
        Method::DareLinear => "Drops changes at random and makes up for them with the rest",
        Method::DareTies => "Drops changes at random, then keeps those whose direction the vectors agree on",
        Method::Della => "Drops small changes rather than large ones, then keeps those that agree in direction",
        Method::DellaLinear => "Drops changes at random, small ones rather than large ones",
        Method::Breadcrumbs => "Drops the smallest changes, and the very largest as outliers",
        Method::BreadcrumbsTies => "Drops the smallest and the very largest, then keeps those that agree in direction",
        Method::Linear => "The average of whole models, weighted by w; the target lends its files alone",
        Method::Slerp => "From the target towards one model along an arc; w = 1 arrives there",
        Method::Nuslerp => "Between two models, or two vectors, along an arc; their w say where",
        Method::ModelStock => "The average of several vectors, the weaker the less they agree; needs no w",
        Method::Sce => "Keeps what differs most between the vectors and weighs them itself; needs no w",
    }
}

/// Where it comes from.
pub fn paper(method: Method) -> &'static str {
    match method {
        Method::TaskArithmetic => "Ilharco et al., arXiv 2212.04089",
        Method::Trim => "The first step of TIES: Yadav et al., arXiv 2306.01708",
        Method::Ties => "Yadav et al., arXiv 2306.01708",
        Method::DareLinear | Method::DareTies => "Yu et al., arXiv 2311.03099",
        Method::Della | Method::DellaLinear => "Deep et al., arXiv 2406.11617",
        Method::Breadcrumbs | Method::BreadcrumbsTies => "Davari and Belilovsky, arXiv 2312.06795",
        Method::Linear => "Model soups: Wortsman et al., arXiv 2203.05482",
        Method::Slerp | Method::Nuslerp => "Shoemake, Animating rotation with quaternion curves, 1985",
        Method::ModelStock => "Jang et al., arXiv 2403.19522",
        Method::Sce => "FuseChat: Wan et al., arXiv 2408.07990",
    }
}

/// What a parameter means, in plain words and with its paper.
pub fn parameter(parameter: Parameter) -> &'static str {
    match parameter {
        Parameter::Density => "The share of each tensor's changes that is kept, from 0 to 1 (TIES: arXiv 2306.01708)",
        Parameter::Gamma => {
            "The share of the very largest changes that is dropped as outliers, from 0 to 1 (arXiv 2312.06795)"
        }
        Parameter::Epsilon => {
            "How much more often the largest changes are kept than the smallest: the chance goes from density − epsilon to \
             density + epsilon (DELLA: arXiv 2406.11617)"
        }
        Parameter::Rescale => "Makes what is kept larger, to make up for what is dropped (DARE: arXiv 2311.03099)",
        Parameter::Normalize => {
            "Divides the sum by the sum of the weights, so that w only weighs the vectors against each other"
        }
        Parameter::Lambda => "What the combined vector is multiplied by before it is added (TIES: arXiv 2306.01708)",
        Parameter::SelectTopk => {
            "The share of each tensor that is kept: where the vectors differ most, above 0 and at most 1 (arXiv 2408.07990)"
        }
        Parameter::Flatten => "Takes a tensor as one long vector; without it, row by row or column by column",
        Parameter::RowWise => "Without flatten: goes by rows instead of by columns",
        Parameter::Seed => "What is drawn at random follows from it: the same seed gives the same bytes",
    }
}

/// How a vector is thinned out, as people call it, and what that does.
pub fn sparsify(sparsify: Sparsify) -> (&'static str, &'static str) {
    match sparsify {
        Sparsify::None => ("All", "Every change is kept"),
        Sparsify::Trim => ("The largest", "The largest changes of each tensor, as TIES keeps them"),
        Sparsify::Dare => ("At random", "Each change with the same chance, as DARE keeps them"),
        Sparsify::Della => ("At random by rank", "Large changes rather than small ones, as DELLA keeps them"),
        Sparsify::Breadcrumbs => {
            ("Neither end", "Neither the smallest nor the very largest, as Breadcrumbs keeps them")
        }
    }
}

/// A control as people call it.
pub fn control(kind: ControlKind) -> &'static str {
    match kind {
        ControlKind::ShuffleSigns => "Shuffled signs",
        ControlKind::PermuteLayers => "Permuted layers",
        ControlKind::Noise => "Noise",
    }
}

/// What it does to the vector.
pub fn control_sentence(kind: ControlKind) -> &'static str {
    match kind {
        ControlKind::ShuffleSigns => "Every change keeps its size and gets a random sign",
        ControlKind::PermuteLayers => "Every layer gets the vector of another layer",
        ControlKind::Noise => "Random noise that is as large as the vector in each tensor",
    }
}

/// Why one would want a control.
pub const CONTROL: &str = "Something of the same size in the vector's place that should not help: a gain that it gives too is \
                           none of the vector's";

/// What a recipe writes, as a formula: `target + 0.50·v`, `target + TIES of 2 vectors`. `w` stands for the coefficient of v.
pub fn formula(recipe: &Recipe, target: &str, w: &str) -> String {
    let vectors = recipe.others.len() + 1;
    let method = name(recipe.method.name);
    match recipe.method.name.combination() {
        _ if recipe.is_plain() => format!("{target} + {w}·v"),
        Combination::Sum if recipe.method.name == Method::TaskArithmetic && vectors > 1 => {
            format!("{target} + {}", format::plural(vectors, "vector"))
        }
        Combination::Average => format!("the average of {}", format::plural(vectors, "model")),
        Combination::Slerp => format!("a model between {target} and another"),
        Combination::Nuslerp if recipe.vector.stands_alone() => "a model between two others".to_owned(),
        _ if vectors == 1 => format!("{target} + {method} of v"),
        _ => format!("{target} + {method} of {}", format::plural(vectors, "vector")),
    }
}

/// Why what is known of w·v alone does not say what a merge will write.
pub fn not_foretold(recipe: &Recipe) -> String {
    let control = recipe.vectors().find_map(|vector| vector.control);
    if let Some(spec) = control {
        return format!("the control ({})", control_label(spec.kind));
    }
    match recipe.others.len() {
        0 => name(recipe.method.name).to_owned(),
        others if recipe.method.name == Method::TaskArithmetic => {
            format!("the other {}", if others == 1 { "vector" } else { "vectors" })
        }
        _ => format!("{} of all vectors", name(recipe.method.name)),
    }
}

/// A control within a sentence.
pub fn control_label(kind: ControlKind) -> String {
    control(kind).to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_menu_has_every_method_once() {
        let mut offered: Vec<Method> = GROUPS.iter().flat_map(|(_, methods)| methods.iter().copied()).collect();
        assert_eq!(offered.len(), Method::ALL.len());
        offered.dedup();
        assert!(Method::ALL.iter().all(|method| offered.contains(method)));
        let mut names = Method::ALL.map(name).to_vec();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Method::ALL.len(), "no two methods are called the same");
    }

    #[test]
    fn a_formula_says_what_is_written() {
        let mut recipe = Recipe::new("a", "b", "c");
        assert_eq!(formula(&recipe, "target", "0.50"), "target + 0.50·v");
        recipe.method.name = Method::Ties;
        assert_eq!(formula(&recipe, "target", "0.50"), "target + TIES of v");
        recipe.others.push(recipe.vector.clone());
        assert_eq!(formula(&recipe, "target", "0.50"), "target + TIES of 2 vectors");
        recipe.method.name = Method::Linear;
        assert_eq!(formula(&recipe, "target", "0.50"), "the average of 2 models");
    }
}
