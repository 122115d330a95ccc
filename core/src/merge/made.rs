//! An output that is there already and is the very one that is asked for.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use super::identity::Identity;
use super::own_file;
use super::plan::Plan;
use super::report::{MergeReport, REPORT_FILE};
use crate::recipe::Recipe;

/// A longer report is none: that of a model of 100,000 tensors has 70 MB.
const MAX_REPORT_BYTES: u64 = 1 << 30;

/// What was told of the merge by `recipe`, which has the fingerprints of its inputs, where `output` is what that made, as far as
/// its report and the sizes of its weight files say.
///
/// A job that is started again, since nobody knew that it had ended well, then ends well once more.
pub(super) fn before(output: &Path, plan: &Plan, recipe: &Recipe) -> Option<MergeReport> {
    let path = output.join(REPORT_FILE);
    own_file::size(&path).filter(|bytes| *bytes <= MAX_REPORT_BYTES)?;
    let mut text = String::new();
    let file = own_file::open(File::options().read(true), &path).ok()?;
    file.take(MAX_REPORT_BYTES).read_to_string(&mut text).ok()?;
    let report: MergeReport = serde_json::from_str(&text).ok()?;
    let is_there = |name: &str, bytes| own_file::size(&output.join(name)) == Some(bytes);
    let is_it = asked_for(plan, &report.recipe) == asked_for(plan, recipe)
        && plan.files.files.iter().all(|file| is_there(&file.name, file.bytes));
    is_it.then(|| MergeReport { output: output.to_owned(), was_done: true, ..report })
}

/// A hash of what decides which bytes go where, on whatever machine: the version, the recipe with the fingerprints of its
/// inputs in the place of their names, since one may find them at another path than the other, and the files that are written.
pub(super) fn asked_for(plan: &Plan, recipe: &Recipe) -> [u8; 32] {
    let mut recipe = recipe.clone();
    recipe.target.clear();
    for vector in recipe.vectors_mut() {
        vector.pre.clear();
        vector.post.clear();
    }
    Identity::of(&recipe).finish(plan)
}
