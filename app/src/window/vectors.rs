//! What people do to the vectors of a recipe and to the method that combines them.

use std::path::Path;

use mergescope_core::alignment::Role;
use mergescope_core::checkpoint::CheckpointKind;
use mergescope_core::recipe::{Combination, ControlKind, ControlSpec, Method, Recipe, VectorSpec};

use super::session::Session;

/// Whether a vector needs a model before fine-tuning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PreNeed {
    /// It is post − pre.
    Needed,
    /// NuSLERP goes between two vectors, or between two models.
    Optional,
    /// The method takes whole models.
    WholeModel,
    /// Post is a saved vector, which is post − pre already.
    SavedVector,
}

impl PreNeed {
    /// Whether a pre would be in the way.
    pub fn is_none(self) -> bool {
        matches!(self, Self::WholeModel | Self::SavedVector)
    }
}

impl Session {
    /// The position of the vector whose models are in the fields and whose charts are shown.
    pub fn shown(&self) -> usize {
        self.shown
    }

    /// How many vectors there are.
    pub fn count(&self) -> usize {
        self.recipe.others.len() + 1
    }

    /// The vector that is shown.
    pub fn shown_vector(&self) -> &VectorSpec {
        self.recipe.vectors().nth(self.shown).unwrap_or(&self.recipe.vector)
    }

    /// The vector that is shown, to change it.
    pub fn shown_vector_mut(&mut self) -> &mut VectorSpec {
        match self.shown.checked_sub(1).filter(|other| *other < self.recipe.others.len()) {
            Some(other) => &mut self.recipe.others[other],
            None => &mut self.recipe.vector,
        }
    }

    /// What its coefficients are multiples of: w, and 1 where the method has no use for w.
    pub fn shown_w(&self) -> f64 {
        if self.recipe.method.name.uses_w() { self.shown_vector().w } else { 1.0 }
    }

    /// Whether what w·v alone would leave in the target is what a merge will write.
    pub fn foretells(&self) -> bool {
        self.recipe.is_plain() && self.recipe.vector.control.is_none()
    }

    /// The control of the vector that is shown, or the first there is, and its vector.
    pub fn control_in_use(&self) -> Option<(usize, ControlSpec)> {
        let of = |number: usize| Some((number, self.recipe.vectors().nth(number)?.control?));
        of(self.shown).or_else(|| (0..self.count()).find_map(of))
    }

    /// Whether a vector needs a pre.
    pub fn pre_need(&self, number: usize) -> PreNeed {
        let post = self.recipe.vectors().nth(number).and_then(|vector| self.pool.open(&vector.post));
        if post.is_some_and(|post| post.kind() == CheckpointKind::Vector) {
            return PreNeed::SavedVector;
        }
        match self.recipe.method.name.combination() {
            Combination::Average | Combination::Slerp => PreNeed::WholeModel,
            Combination::Nuslerp => PreNeed::Optional,
            _ => PreNeed::Needed,
        }
    }

    /// The fields of the vector that is shown which need a model.
    pub fn needed_roles(&self) -> impl Iterator<Item = Role> + use<> {
        let needs_pre = self.pre_need(self.shown) == PreNeed::Needed;
        Role::ALL.into_iter().filter(move |role| *role != Role::Pre || needs_pre)
    }

    /// Whether a vector is a whole model, which has no charts of its own.
    pub fn is_whole_model(&self, number: usize) -> bool {
        let alone = self.recipe.vectors().nth(number).is_some_and(VectorSpec::stands_alone);
        alone && !matches!(self.pre_need(number), PreNeed::SavedVector | PreNeed::Needed)
    }

    /// The short name of a vector: `post − pre`.
    pub fn vector_name(&self, number: usize) -> String {
        let Some(vector) = self.recipe.vectors().nth(number) else { return String::new() };
        let name = |vector: &VectorSpec, model: &dyn Fn(&str) -> Option<String>| match (
            model(&vector.post),
            model(&vector.pre),
        ) {
            (None, _) => "Choose its models".to_owned(),
            (Some(post), None) => post,
            (Some(post), Some(pre)) => format!("{post} − {pre}"),
        };
        let short = |spec: &str| self.model_name(spec);
        let own = name(vector, &short);
        let is_double = self.recipe.vectors().filter(|other| name(other, &short) == own).count() > 1;
        // Of two that are called alike the folders around them tell which is which.
        if is_double { name(vector, &|spec| last_two(spec)) } else { own }
    }

    /// The short name of a model; `None` for none.
    fn model_name(&self, spec: &str) -> Option<String> {
        let known = self.pool.get(spec).and_then(|named| named.label.clone());
        let last = || Path::new(spec).file_name().map(|name| name.to_string_lossy().into_owned());
        known.or_else(last).filter(|name| !name.is_empty())
    }

    /// Shows another vector.
    pub fn show(&mut self, number: usize) {
        self.shown = number.min(self.recipe.others.len());
        self.follow_models();
    }

    /// Adds a vector that goes out from the same model as the one shown, and shows it.
    pub fn add_vector(&mut self) {
        let pre = self.shown_vector().pre.clone();
        self.change_vectors(|vectors| {
            vectors.push(VectorSpec::new(pre, ""));
            vectors.len() - 1
        });
    }

    /// Takes a vector away, unless it is the last one there is.
    pub fn remove_vector(&mut self, number: usize) {
        let shown = self.shown;
        if number < self.count() && self.count() > 1 {
            self.change_vectors(|vectors| {
                vectors.remove(number);
                if number < shown { shown - 1 } else { shown.min(vectors.len() - 1) }
            });
        }
    }

    /// Lets the vector that is shown change places with the one before it or behind it.
    pub fn move_vector(&mut self, up: bool) {
        let shown = self.shown;
        let other = if up { shown.checked_sub(1) } else { Some(shown + 1).filter(|next| *next < self.count()) };
        if let Some(other) = other {
            self.change_vectors(|vectors| {
                vectors.swap(shown, other);
                other
            });
        }
    }

    /// Changes the list of vectors; `change` gives the one to show.
    fn change_vectors(&mut self, change: impl FnOnce(&mut Vec<VectorSpec>) -> usize) {
        let mut vectors: Vec<VectorSpec> = self.recipe.vectors().cloned().collect();
        let shown = change(&mut vectors);
        let mut vectors = vectors.into_iter();
        if let Some(first) = vectors.next() {
            self.recipe.vector = first;
            self.recipe.others = vectors.collect();
        }
        // The fingerprints are those of the models in their places before.
        self.recipe.inputs = None;
        self.shown = shown;
        self.follow_recipe();
    }

    /// The vector to show when another recipe takes this one's place: one that differs, the shown one if it does.
    pub(super) fn vector_to_show(&self, recipe: &Recipe) -> usize {
        let differs = |number: usize| self.recipe.vectors().nth(number) != recipe.vectors().nth(number);
        let last = recipe.others.len();
        if self.shown <= last && (differs(self.shown) || recipe.others.len() < self.recipe.others.len()) {
            return self.shown;
        }
        (0..=last).find(|number| differs(*number)).unwrap_or(self.shown).min(last)
    }

    /// Puts a saved vector into the place of pre and post of the vector that is shown.
    pub fn use_saved_vector(&mut self, folder: &Path) {
        let vector = self.shown_vector_mut();
        vector.pre.clear();
        vector.post = folder.to_string_lossy().into_owned();
        self.recipe.inputs = None;
        self.follow_recipe();
    }

    /// Leaves out the pre of every vector that has no use for one.
    pub fn leave_out_pre(&mut self) {
        let idle: Vec<bool> = (0..self.count()).map(|number| self.pre_need(number).is_none()).collect();
        for (vector, idle) in self.recipe.vectors_mut().zip(idle) {
            if idle {
                vector.pre.clear();
            }
        }
        self.recipe.inputs = None;
        self.follow_recipe();
    }

    /// Chooses a method; what is said of parameters that it does not have is forgotten.
    pub fn set_method(&mut self, name: Method) {
        self.recipe.method.name = name;
        self.recipe.forget_unused();
        self.follow_recipe();
    }

    /// Puts a control in the place of the vector that is shown, or the vector itself.
    pub fn set_control(&mut self, kind: Option<ControlKind>) {
        let vector = self.shown_vector_mut();
        let seed = vector.control.map_or(0, |control| control.seed);
        vector.control = kind.map(|kind| ControlSpec { kind, seed });
    }
}

/// The last two parts of a path; `None` for none.
fn last_two(spec: &str) -> Option<String> {
    let parts: Vec<_> = Path::new(spec).iter().map(|part| part.to_string_lossy()).collect();
    let last = parts.len().saturating_sub(2);
    (!parts.is_empty()).then(|| parts[last..].join("/"))
}
