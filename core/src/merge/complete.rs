//! What follows the weights: the files beside them, reading all of it back, then card and report with the hashes.

use std::path::Path;
use std::time::Instant;

use super::MergeError;
use super::card::{self, CARD_FILE};
use super::output::{WrittenFile, write_file};
use super::plan::Plan;
use super::report::{MergeReport, RECIPE_FILE, REPORT_FILE};
use super::verify::{self, Meant, ReadBack, Verify};
use crate::alignment::Models;
use crate::progress::Control;
use crate::stream::Resources;

/// The folder whose weights are written, and what they were meant to be.
pub(super) struct Complete<'a> {
    pub folder: &'a Path,
    pub models: &'a Models,
    /// Of all weights.
    pub plan: &'a Plan,
    pub meant: &'a [Meant<'a>],
    pub verify: Verify,
    pub resources: &'a Resources,
    pub control: &'a Control,
}

impl Complete<'_> {
    /// Writes index, recipe, card and report beside the weights and `sidecars`, all of it read back. `began` is when the merge did.
    ///
    /// # Errors
    /// When something cannot be written, or is not read back as it was meant.
    pub fn run(
        &self,
        report: &mut MergeReport,
        mut sidecars: Vec<WrittenFile>,
        began: Instant,
    ) -> Result<(), MergeError> {
        let Self { folder, verify, control, .. } = *self;
        if let Some(index) = &self.plan.files.index {
            sidecars.push(write_file(folder, "model.safetensors.index.json", index)?);
        }
        sidecars.push(write_file(folder, RECIPE_FILE, &card::recipe_file(&report.recipe))?);
        let ReadBack { mut files, from } =
            verify::sync_and_read_back(folder, self.meant, &sidecars, verify, self.resources, control)?;
        files.sort_by(|one, other| one.name.cmp(&other.name));
        (report.files, report.verified) = (files, from);
        // The card has the hashes of all files but its own and the report's, the report of all but its own.
        let card = write_file(folder, CARD_FILE, &card::model_card(self.models, report))?;
        self.check(&card, report)?;
        report.elapsed = began.elapsed();
        let written = write_file(folder, REPORT_FILE, &report.to_json())?;
        if verify != Verify::None {
            verify::small_file(folder, &written, Verify::Memory)?;
        }
        Ok(())
    }

    /// Reads the card back, where anything is, and adds it to the files of the report.
    fn check(&self, card: &WrittenFile, report: &mut MergeReport) -> Result<(), MergeError> {
        let file = match self.verify {
            Verify::None => card.report(),
            _ => verify::small_file(self.folder, card, Verify::Memory)?,
        };
        let place = report.files.partition_point(|other| other.name < file.name);
        report.files.insert(place, file);
        Ok(())
    }
}
