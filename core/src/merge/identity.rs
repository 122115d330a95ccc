//! A hash of what decides which bytes a merge writes, by which an interrupted one and the parts of one are known again.

use super::plan::Plan;
use crate::recipe::Recipe;

/// Collects what counts. Each field goes in with its length, so that none can run into the next.
pub(super) struct Identity(blake3::Hasher);

impl Identity {
    /// Begins with this version and the recipe.
    pub(super) fn of(recipe: &Recipe) -> Self {
        let mut identity = Self(blake3::Hasher::new());
        identity.field(env!("CARGO_PKG_VERSION").as_bytes());
        identity.field(recipe.to_toml().as_bytes());
        identity
    }

    /// One more thing that counts.
    pub(super) fn field(&mut self, bytes: &[u8]) {
        self.0.update(&(bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }

    /// Ends with the files that are written.
    pub(super) fn finish(mut self, plan: &Plan) -> [u8; 32] {
        for file in &plan.files.files {
            self.field(file.name.as_bytes());
            self.field(&file.header);
            self.field(&file.bytes.to_le_bytes());
        }
        *self.0.finalize().as_bytes()
    }
}
