//! From filters, which are parts of names, to patterns over whole names.

use std::borrow::Cow;

use glob::Pattern as Glob;

use super::experts::{are_stacked, merged_name};
use crate::layout::{place, without_layer};

/// What stands before the number of a layer in a model that is not at hand.
const USUAL_PREFIX: &str = "*.layers.";

/// Makes patterns for the tensors of one model; of none, if it is not at hand.
pub(super) struct Globs<'a> {
    /// What stands before the number of a layer, as globs.
    prefixes: Vec<String>,
    /// Names with their layer, and what mergekit calls them; empty where it calls all of them the same.
    renamed: Vec<(&'a str, Option<u32>, Cow<'a, str>)>,
}

impl<'a> Globs<'a> {
    pub(super) fn of(tensors: &'a [String]) -> Self {
        let mut prefixes: Vec<String> = tensors.iter().filter_map(|name| layer_prefix(name)).collect();
        prefixes.sort();
        prefixes.dedup();
        if tensors.is_empty() {
            prefixes.push(USUAL_PREFIX.to_owned());
        }
        let renamed = match are_stacked(tensors) {
            true => tensors.iter().map(|name| (name.as_str(), place(name).layer, merged_name(name))).collect(),
            false => Vec::new(),
        };
        Self { prefixes, renamed }
    }

    /// Patterns for the tensors of a filter; without one, for all.
    pub(super) fn matching(&self, filter: Option<&str>) -> Vec<String> {
        self.translated(filter, None, vec![containing(filter)])
    }

    /// Patterns for the tensors of a filter in one layer.
    pub(super) fn in_layer(&self, filter: Option<&str>, layer: u32) -> Vec<String> {
        let containing = containing(filter);
        let plain = self.prefixes.iter().map(|prefix| format!("{prefix}{layer}.{containing}")).collect();
        self.translated(filter, Some(layer), plain)
    }

    /// Where the file's names are not mergekit's: patterns for the same tensors under the file's names, if there are such.
    fn translated(&self, filter: Option<&str>, layer: Option<u32>, plain: Vec<String>) -> Vec<String> {
        let Some(filter) = filter else { return plain };
        let names: Vec<(&str, bool)> = self
            .renamed
            .iter()
            .filter(|(_, of, _)| layer.is_none() || *of == layer)
            .map(|(name, _, merged)| (*name, merged.contains(filter)))
            .collect();
        let are_right = |globs: &[String]| {
            let globs: Vec<Glob> = globs.iter().filter_map(|glob| Glob::new(glob).ok()).collect();
            names.iter().all(|(name, wanted)| globs.iter().any(|glob| glob.matches(name)) == *wanted)
        };
        if are_right(&plain) {
            return plain;
        }
        let mut stems: Vec<String> = Vec::new();
        for (name, _) in names.iter().filter(|(_, wanted)| *wanted) {
            let stem = starred(name, layer.is_none());
            if !stems.contains(&stem) {
                stems.push(stem);
            }
        }
        // What cannot be said so is found where every tensor's value is held against mergekit's.
        if are_right(&stems) { stems } else { plain }
    }
}

/// Whether layers are named as they usually are.
pub(super) fn is_of_usual_layer(pattern: &str) -> bool {
    pattern.starts_with(USUAL_PREFIX)
}

/// A name as a glob with `*` for the number of its expert, and for that of its layer if any will do.
fn starred(name: &str, any_layer: bool) -> String {
    let all_layers = if any_layer { without_layer(name) } else { None };
    let words = all_layers.as_deref().unwrap_or(name).split('.');
    let mut words: Vec<String> =
        words.map(|word| if word == "*" { word.to_owned() } else { Glob::escape(word) }).collect();
    if place(name).expert.is_some()
        && let Some(experts) = words.iter().position(|word| word == "experts")
        && let Some(number) = words.get_mut(experts + 1)
    {
        "*".clone_into(number);
    }
    words.join(".")
}

/// What stands before the number of a tensor's layer, as a glob.
fn layer_prefix(name: &str) -> Option<String> {
    place(name).layer?;
    let starred = without_layer(name)?;
    starred.find('*').map(|at| Glob::escape(&starred[..at]))
}

/// A glob for all names that contain a text.
fn containing(filter: Option<&str>) -> String {
    filter.map_or_else(|| "*".to_owned(), |filter| format!("*{}*", Glob::escape(filter)))
}
