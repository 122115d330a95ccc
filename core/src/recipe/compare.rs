//! What differs between two recipes.

use toml::Value;

use super::{MethodSpec, Recipe};
use crate::scaling::{Curve, Factors, Keep};

/// A setting that two recipes do not have in common.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Difference {
    /// Where it stands in a recipe: `vector.w`, or `vector[2].scaling.curve.kind` of several vectors, counted from 1.
    pub key: String,
    /// Its value on the left; `None` where that recipe leaves it at its default.
    pub left: Option<String>,
    /// Its value on the right.
    pub right: Option<String>,
}

/// The settings in which two recipes differ, in the order in which recipes have them.
pub fn differences(left: &Recipe, right: &Recipe) -> Vec<Difference> {
    let several = !left.others.is_empty() || !right.others.is_empty();
    let (left, right) = (flattened(left, several), flattened(right, several));
    let defaults = defaults();
    // What only one of them writes out may still be what the other takes.
    let is_default =
        |key: &str, value: &str| defaults.iter().any(|(end, default)| key.ends_with(end) && default == value);
    let mut found: Vec<Difference> = Vec::new();
    for (key, value) in &left {
        let other = right.iter().find(|(other, _)| other == key).map(|(_, value)| value.clone());
        if other.as_ref() != Some(value) && (other.is_some() || !is_default(key, value)) {
            found.push(Difference { key: key.clone(), left: Some(value.clone()), right: other });
        }
    }
    for (key, value) in right {
        if !left.iter().any(|(other, _)| *other == key) && !is_default(&key, &value) {
            found.push(Difference { key, left: None, right: Some(value) });
        }
    }
    found
}

/// Every value of a recipe with its key; its vectors are counted where one of the two recipes has several.
fn flattened(recipe: &Recipe, several: bool) -> Vec<(String, String)> {
    let mut values = Vec::new();
    // A recipe always has a TOML form.
    if let Ok(mut recipe) = Value::try_from(recipe) {
        if let Some(vector) = recipe.get_mut("vector")
            && several
            && vector.is_table()
        {
            *vector = Value::Array(vec![vector.clone()]);
        }
        flatten(String::new(), &recipe, &mut values);
    }
    values
}

/// What tables hold that a recipe leaves out where all of it is so, by the ends of keys.
fn defaults() -> Vec<(String, String)> {
    let tables = [
        ("method", Value::try_from(MethodSpec::default())),
        (".scaling.curve", Value::try_from(Curve::default())),
        (".scaling.factors", Value::try_from(Factors::default())),
        (".scaling.keep", Value::try_from(Keep::default())),
    ];
    let mut values = Vec::new();
    for (key, table) in tables {
        if let Ok(table) = table {
            flatten(key.to_owned(), &table, &mut values);
        }
    }
    values
}

fn flatten(key: String, value: &Value, values: &mut Vec<(String, String)>) {
    match value {
        Value::Table(table) => {
            for (name, value) in table {
                let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                flatten(key, value, values);
            }
        }
        Value::Array(items) if items.iter().any(Value::is_table) => {
            for (index, item) in items.iter().enumerate() {
                flatten(format!("{key}[{}]", index + 1), item, values);
            }
        }
        Value::String(text) => values.push((key, text.clone())),
        other => values.push((key, other.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::{Method, VectorSpec};
    use crate::scaling::Curve;

    #[test]
    fn equal_recipes_do_not_differ() {
        let recipe = Recipe::new("a", "b", "c");
        assert_eq!(differences(&recipe, &recipe.clone()), []);
    }

    #[test]
    fn what_differs_is_named_by_its_place_in_the_file() {
        let left = Recipe::new("a", "b", "c");
        let mut right = left.clone();
        right.vector.w = 0.75;
        right.method.name = Method::Ties;
        right.vector.scaling.curve = Curve::Lines { alpha: 0.5, beta: 1.0 };
        let keys: Vec<(String, Option<String>, Option<String>)> =
            differences(&left, &right).into_iter().map(|found| (found.key, found.left, found.right)).collect();
        let text = |text: &str| Some(text.to_owned());
        assert!(keys.contains(&("vector.w".into(), text("0.5"), text("0.75"))), "{keys:?}");
        assert!(keys.contains(&("method.name".into(), None, text("ties"))), "{keys:?}");
        assert!(keys.contains(&("vector.scaling.curve.kind".into(), None, text("lines"))), "{keys:?}");
    }

    #[test]
    fn several_vectors_are_counted_from_one() {
        let mut left = Recipe::new("a", "b", "c");
        left.others.push(VectorSpec::new("d", "e"));
        let mut right = left.clone();
        right.others[0].w = -1.0;
        let found = differences(&left, &right);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].key, "vector[2].w");
    }

    #[test]
    fn a_second_vector_leaves_the_first_what_it_is() {
        let left = Recipe::new("a", "b", "c");
        let mut right = left.clone();
        right.others.push(VectorSpec::new("d", "e"));
        let keys = |found: Vec<Difference>| found.into_iter().map(|found| found.key).collect::<Vec<_>>();
        assert_eq!(keys(differences(&left, &right)), ["vector[2].post", "vector[2].pre", "vector[2].w"]);
        right.vector.w = 0.75;
        assert!(keys(differences(&right, &left)).contains(&"vector[1].w".to_owned()));
    }

    #[test]
    fn a_default_that_is_written_out_is_no_difference() {
        let left = Recipe::new("a", "b", "c");
        let mut right = left.clone();
        right.vector.scaling.factors.mlp = 0.5;
        right.vector.scaling.keep.norm = true;
        right.method.density = Some(0.5);
        let keys: Vec<String> = differences(&left, &right).into_iter().map(|found| found.key).collect();
        assert_eq!(keys, ["method.density", "vector.scaling.factors.mlp", "vector.scaling.keep.norm"]);
    }
}
