//! What differs between two recipes.

use toml::Value;

use super::Recipe;

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
    let (left, right) = (flattened(left), flattened(right));
    let mut found: Vec<Difference> = Vec::new();
    for (key, value) in &left {
        let other = right.iter().find(|(other, _)| other == key).map(|(_, value)| value.clone());
        if other.as_ref() != Some(value) {
            found.push(Difference { key: key.clone(), left: Some(value.clone()), right: other });
        }
    }
    for (key, value) in right {
        if !left.iter().any(|(other, _)| *other == key) {
            found.push(Difference { key, left: None, right: Some(value) });
        }
    }
    found
}

/// Every value of a recipe with its key.
fn flattened(recipe: &Recipe) -> Vec<(String, String)> {
    let mut values = Vec::new();
    // A recipe always has a TOML form.
    if let Ok(table) = Value::try_from(recipe) {
        flatten(String::new(), &table, &mut values);
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
}
