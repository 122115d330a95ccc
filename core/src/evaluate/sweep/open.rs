//! From choices to what will be asked: questions read, prompts made, keys known.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::arm::{Arm, ArmModel};
use super::error::SweepError;
use super::judged::{ArmKeys, Judged};
use super::spec::{ControlsAt, SweepSpec};
use crate::alignment::Role;
use crate::engine::{ModelChoice, Prompt, Sampling, has_chat_template, text_fingerprint};
use crate::evaluate::grade::Grader;
use crate::evaluate::log::{KeyParts, ModelKey, ModelParts, SampleKey};
use crate::evaluate::questions::perturb::LeftOut;
use crate::evaluate::questions::{
    Preset, PromptForm, Prompter, Question, QuestionFile, QuestionSet, Skipped, Template, split,
};
use crate::merge::{MergeError, check_inputs, open, plan};
use crate::numeric::StochasticKey;
use crate::progress::Control;
use crate::recipe::Recipe;

/// Largest grid, in values of w.
const MAX_GRID: usize = 200;
/// Most answers to one question.
const MAX_SAMPLES: u32 = 1000;

/// The questions of one condition, asked in one way.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The questions.
    pub set: QuestionSet,
    /// What makes prompts of them.
    pub prompter: Prompter,
    /// The prompt of each question.
    pub prompts: Vec<Prompt>,
}

/// A sweep, ready to run.
#[derive(Clone, Debug)]
pub struct Sweep {
    spec: SweepSpec,
    recipe: Recipe,
    preset: Preset,
    graders: Vec<Grader>,
    template: Template,
    /// What is asked: for each way of asking plainly, then for each the changed questions.
    asked: Vec<Asked>,
    /// Position of each question in its file, by its id.
    places: HashMap<String, u64>,
    /// Questions that could not be changed, and are asked in neither condition.
    left_out: Vec<LeftOut>,
    /// Ids of the questions that w is chosen on; `None` without a split.
    pub(super) dev: Option<HashSet<String>>,
    /// What identifies the weights of every model, in the order of the recipe.
    fingerprints: Vec<String>,
    /// What identifies their tokenizers and configs, in the same order.
    texts: Vec<String>,
    /// Those that are asked and have no chat template.
    without_template: Vec<Role>,
    /// A field that is called like an id and cannot be one.
    unusable_id: Option<String>,
    /// What is known of the answers.
    judged: Arc<Judged>,
}

impl Sweep {
    /// Reads the questions, makes the prompts and identifies the models. Reads no weights but those that identify them.
    ///
    /// # Errors
    /// When a file cannot be read, choices do not go together, or a model is not what the recipe was made with.
    pub fn open(recipe: &Recipe, spec: &SweepSpec, control: &Control) -> Result<Self, SweepError> {
        check(recipe, spec)?;
        let file = QuestionFile::read(Path::new(&spec.questions))?;
        let preset = match &spec.mapping {
            Some(mapping) => Preset::with(&file, mapping.clone())?,
            None => Preset::of(&file)?,
        };
        let mut set = file.questions(&preset.mapping)?;
        let unusable_id = file.unusable_id(&preset.mapping).map(str::to_owned);
        let skipped: HashSet<usize> = set.skipped.iter().map(|skipped| skipped.record).collect();
        let records = (0..).filter(|record| !skipped.contains(record));
        let places =
            set.questions.iter().zip(records).map(|(question, record)| (question.id.clone(), record as u64)).collect();
        let models = open(recipe)?;
        let template = match &spec.template {
            Some(template) => template.clone(),
            // A base model has no chat template that the question could be put into.
            None if preset.template.form == PromptForm::Chat && !has_chat_template(&models.target) => {
                Template::plain(set.language())
            }
            None => preset.template.clone(),
        };
        let examples = match &spec.examples {
            None => None,
            Some(examples) => Some(match &examples.file {
                None => set.take_examples(examples.count),
                Some(path) => {
                    let file = QuestionFile::read(Path::new(path))?;
                    // Of the same kind, or of one that explains itself.
                    let own = file.questions(&set.mapping);
                    let given = own.or_else(|_| file.questions(&Preset::of(&file)?.mapping))?;
                    let shown = given.questions.iter().take(examples.count).map(|example| example.question.as_str());
                    let shown: HashSet<&str> = shown.collect();
                    set.questions.retain(|question| !shown.contains(question.question.as_str()));
                    given
                }
            }),
        };
        if let Some(limit) = spec.limit.filter(|limit| *limit < set.questions.len()) {
            set = set.only(&drawn(&set, limit));
        }
        if set.questions.is_empty() {
            return Err(SweepError::Spec(format!("{} has no question left to ask", set.name)));
        }
        let instructions: Vec<&str> = match spec.prompts.as_slice() {
            [] => vec![template.instruction.as_str()],
            prompts => prompts.iter().map(|prompt| prompt.instruction.as_str()).collect(),
        };
        let prompters: Vec<Prompter> = instructions
            .iter()
            .map(|instruction| {
                let template = Template { instruction: (*instruction).to_owned(), ..template.clone() };
                let prompter = Prompter::new(&template, &set)?;
                match (&examples, &spec.examples) {
                    (Some(examples), Some(wanted)) => prompter.with_examples(examples, wanted.count),
                    _ => Ok(prompter),
                }
            })
            .collect::<Result<_, _>>()?;
        if prompters.iter().any(Prompter::gives_label_away) {
            let message = "the prompt template has {answer} in it, which would tell the model what to say; take it out";
            return Err(SweepError::Spec(message.to_owned()));
        }
        if let Some(field) = prompters.iter().find_map(|prompter| field_given_away(prompter, &set)) {
            let message = format!(
                "the prompt template has {{{field}}} in it, from which the answer is taken: it would tell the model what to say; take it out"
            );
            return Err(SweepError::Spec(message));
        }
        if spec.choices.is_some() && set.questions.iter().all(|question| question.choices.is_empty()) {
            let message = format!("the questions of {} have no choices to take the likeliest of", set.name);
            return Err(SweepError::Spec(message));
        }

        let mut sets = vec![set];
        let mut left_out = Vec::new();
        if let Some(perturbation) = &spec.perturbation {
            let changed = perturbation.change.apply(&sets[0], &prompters[0], perturbation.seed)?;
            if changed.original.questions.is_empty() {
                let why = changed.left_out.first().map_or_else(String::new, |first| format!(": {}", first.why));
                return Err(SweepError::Spec(format!("none of the questions can be changed{why}")));
            }
            left_out = changed.left_out;
            sets = vec![changed.original, changed.changed];
        }
        let dev = match &spec.split {
            None => None,
            Some(part) => {
                let found = split(&sets[0], part.share, part.seed)?;
                Some(found.dev.iter().map(|&at| sets[0].questions[at].id.clone()).collect())
            }
        };
        let asked = sets
            .iter()
            .flat_map(|set| prompters.iter().map(move |prompter| (set, prompter)))
            .map(|(set, prompter)| Asked {
                set: set.clone(),
                prompter: prompter.clone(),
                prompts: set.questions.iter().map(|question| prompter.prompt(question)).collect(),
            })
            .collect();

        // What cannot be merged is said now, and not after hours of other models. Whatever w a control is measured at.
        for model in spec.models(recipe).into_iter().chain(spec.control_models(&[1.0])) {
            if let ModelChoice::Merged(recipe) = model.choice(recipe) {
                plan(&models, &recipe).map_err(MergeError::from)?;
            }
        }
        let found = check_inputs(recipe, &models, control)?;
        let fingerprints = models.ids().map(|model| found.get(model).unwrap_or_default().to_owned()).collect();
        let texts = models.ids().map(|model| text_fingerprint(models.get(model))).collect();
        let graders = graders(spec, &preset)?;
        let asked_alone = spec.models(recipe).into_iter().filter_map(|model| match model {
            ArmModel::Reference(role) => Some(role),
            _ => None,
        });
        let roles = std::iter::once(Role::Target).chain(asked_alone.filter(|role| *role != Role::Target));
        let without_template = roles.filter(|role| !has_chat_template(models.triple(0).get(*role))).collect();
        let (spec, recipe) = (spec.clone(), recipe.clone());
        Ok(Self {
            spec,
            recipe,
            preset,
            graders,
            template,
            asked,
            places,
            left_out,
            dev,
            fingerprints,
            texts,
            without_template,
            unusable_id,
            judged: Arc::default(),
        })
    }

    /// The same sweep graded by others, the one that counts first. What is asked stays, and so do all answers.
    #[must_use]
    pub fn with_graders(&self, graders: Vec<Grader>) -> Self {
        let graders = if graders.is_empty() { vec![Grader::Exact] } else { graders };
        let spec = SweepSpec { graders: graders.clone(), ..self.spec.clone() };
        Self { spec, graders, judged: Arc::new(self.judged.for_other_graders()), ..self.clone() }
    }

    pub(super) fn memory(&self) -> &Judged {
        &self.judged
    }

    /// The choices behind it.
    pub fn spec(&self) -> &SweepSpec {
        &self.spec
    }

    /// The recipe whose w is swept.
    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// What the question file looks like.
    pub fn preset(&self) -> &Preset {
        &self.preset
    }

    /// How questions are put.
    pub fn template(&self) -> &Template {
        &self.template
    }

    /// Models that are to have a conversation and have no chat template to have it by, the target before others; empty where
    /// questions are put as raw text. The embedded engine refuses each of their questions; a server may know a template.
    pub fn without_chat_template(&self) -> &[Role] {
        if self.template.form == PromptForm::Chat { &self.without_template } else { &[] }
    }

    /// The graders, the one that counts first. There is always one.
    pub fn graders(&self) -> &[Grader] {
        &self.graders
    }

    /// The questions, as they are asked plainly.
    pub fn questions(&self) -> &[Question] {
        &self.asked[0].set.questions
    }

    /// Records of the question file that make no question, and why.
    pub fn skipped(&self) -> &[Skipped] {
        &self.asked[0].set.skipped
    }

    /// See [`QuestionFile::unusable_id`].
    pub fn unusable_id(&self) -> Option<&str> {
        self.unusable_id.as_deref()
    }

    /// Questions that could not be changed, and are asked in neither condition.
    pub fn left_out(&self) -> &[LeftOut] {
        &self.left_out
    }

    /// Position of a question in its file, from 0.
    pub(super) fn place(&self, question: &Question) -> u64 {
        self.places.get(&question.id).copied().unwrap_or_default()
    }

    /// Whether w is chosen on that question, which is then not reported on.
    pub fn is_dev(&self, question: &Question) -> bool {
        self.dev.as_ref().is_some_and(|dev| dev.contains(&question.id))
    }

    /// Whether there are questions to choose w on.
    pub fn is_split(&self) -> bool {
        self.dev.is_some()
    }

    /// Tokens of an answer at most.
    pub fn max_tokens(&self) -> usize {
        self.spec.max_tokens.unwrap_or(self.preset.max_tokens)
    }

    /// An answer ends before any of these.
    pub fn stop(&self) -> Vec<String> {
        let preset = self.preset.stop.iter().map(|stop| (*stop).to_owned());
        preset.chain(self.spec.stop.iter().cloned()).collect()
    }

    /// What an arm is asked.
    pub fn asked(&self, arm: Arm) -> &Asked {
        let ways = self.spec.prompts.len().max(1);
        &self.asked[arm.prompt + if arm.perturbed { ways } else { 0 }]
    }

    /// All arms in the order in which they are measured; controls at `chosen` w, where that is where they are wanted.
    pub fn arms(&self, chosen: Option<f64>) -> Vec<Arm> {
        let at: Vec<f64> = match self.spec.controls_at {
            ControlsAt::Chosen => chosen.into_iter().collect(),
            ControlsAt::Grid => super::arm::coarse_to_fine(&self.spec.w),
        };
        let models = self.spec.models(&self.recipe);
        let controls = self.spec.control_models(&at);
        models.into_iter().chain(controls).flat_map(|model| self.spec.arms_of(model)).collect()
    }

    /// Answers that each arm gives.
    pub fn answers_per_arm(&self) -> usize {
        self.questions().len() * self.spec.samples as usize
    }

    /// What an arm is called.
    pub fn label(&self, arm: Arm) -> String {
        let mut label = arm.model.label();
        if let Some(prompt) = self.spec.prompts.get(arm.prompt).filter(|_| self.spec.prompts.len() > 1) {
            label = format!("{label}, {}", prompt.label);
        }
        if arm.perturbed { format!("{label}, {}", self.condition(arm)) } else { label }
    }

    /// "plain", or what was done to the questions.
    pub fn condition(&self, arm: Arm) -> &'static str {
        match &self.spec.perturbation {
            Some(perturbation) if arm.perturbed => perturbation.change.label(),
            _ => "plain",
        }
    }

    /// How the tokens of one sample of a question are chosen: with a seed that is the same at every w.
    pub fn sampling(&self, question: &Question, sample: u32) -> Sampling {
        let sampling = self.spec.sampling;
        if sampling.temperature <= 0.0 {
            // Greedy answers draw nothing.
            return Sampling { seed: 0, ..sampling };
        }
        let key = StochasticKey::new(sampling.seed, &question.id);
        // Servers take seeds of 31 bits.
        Sampling { seed: key.bits(sample.into()) >> 33, ..sampling }
    }

    fn model_key(&self, model: ArmModel) -> ModelKey {
        let choice = model.choice(&self.recipe);
        let target = self.texts.len() - 1;
        let (recipe, weights, text) = match (&choice, model) {
            (ModelChoice::Merged(recipe), _) => (Some(&**recipe), self.fingerprints.as_slice(), target),
            (ModelChoice::Alone(_), ArmModel::Reference(Role::Pre)) => (None, &self.fingerprints[..1], 0),
            (ModelChoice::Alone(_), ArmModel::Reference(Role::Post)) => (None, &self.fingerprints[1..2], 1),
            (ModelChoice::Alone(_), _) => (None, &self.fingerprints[target..], target),
        };
        ModelParts { weights, text: &self.texts[text], recipe, w: model.w() }.key()
    }

    /// The key of every answer of an arm, question by question, sample by sample.
    pub fn keys(&self, arm: Arm, engine: &str) -> ArmKeys {
        self.judged.keys(arm, engine, || self.new_keys(arm, engine))
    }

    fn new_keys(&self, arm: Arm, engine: &str) -> Vec<Vec<SampleKey>> {
        let asked = self.asked(arm);
        let model = self.model_key(arm.model);
        let stop = self.stop();
        // What is weighed stands in no prompt, or need not.
        let engine = |question: &Question| match self.spec.choices {
            None => engine.to_owned(),
            Some(scoring) => format!("{engine}, likeliest {scoring:?} of {}", question.choices.join("\n")),
        };
        let questions = asked.set.questions.iter().zip(&asked.prompts);
        questions
            .map(|(question, prompt)| {
                let engine = engine(question);
                (0..self.spec.samples)
                    .map(|sample| {
                        let sampling = self.sampling(question, sample);
                        let parts = KeyParts {
                            model: &model,
                            prompt,
                            sampling: &sampling,
                            max_tokens: self.max_tokens(),
                            stop: &stop,
                            engine: &engine,
                            sample,
                        };
                        parts.key()
                    })
                    .collect()
            })
            .collect()
    }
}

/// Positions of `count` questions, drawn by a hash of their ids, in the set's order.
fn drawn(set: &QuestionSet, count: usize) -> Vec<usize> {
    let hash = |id: &str| *blake3::hash(format!("limit {id}").as_bytes()).as_bytes();
    let mut order: Vec<_> = set.questions.iter().enumerate().map(|(at, question)| (hash(&question.id), at)).collect();
    order.sort_unstable();
    let mut positions: Vec<usize> = order.into_iter().take(count).map(|(_, at)| at).collect();
    positions.sort_unstable();
    positions
}

/// The field that an answer or its explanation is taken from, where the prompt of the question that is asked changes with it.
fn field_given_away(prompter: &Prompter, set: &QuestionSet) -> Option<String> {
    let question = set.questions.first()?;
    let prompt = prompter.prompt(question);
    [Some(&set.mapping.answer), set.mapping.solution.as_ref()].into_iter().flatten().find_map(|field| {
        let mut other = question.clone();
        let Value::Object(fields) = Arc::make_mut(&mut other.record) else { return None };
        *fields.get_mut(field)? = Value::from("another answer than that");
        (prompter.prompt(&other) != prompt).then(|| field.clone())
    })
}

fn graders(spec: &SweepSpec, preset: &Preset) -> Result<Vec<Grader>, SweepError> {
    if !spec.graders.is_empty() {
        return Ok(spec.graders.clone());
    }
    if spec.choices.is_some() {
        return Ok(vec![Grader::Choice]);
    }
    let known = |name: &&str| Grader::BUILT_IN.into_iter().find(|grader| grader.label() == *name);
    let found: Vec<Grader> = preset.graders.iter().filter_map(known).collect();
    Ok(if found.is_empty() { vec![Grader::Exact] } else { found })
}

fn check(recipe: &Recipe, spec: &SweepSpec) -> Result<(), SweepError> {
    let refuse = |message: String| Err(SweepError::Spec(message));
    if spec.questions.is_empty() {
        return refuse("no question file is named".to_owned());
    }
    if let Some(w) = spec.w.iter().find(|w| !w.is_finite()) {
        return refuse(format!("w cannot be {w}"));
    }
    if spec.w.len() > MAX_GRID {
        return refuse(format!("a grid of {} values of w is too fine; at most {MAX_GRID}", spec.w.len()));
    }
    if !recipe.method.name.uses_w() {
        let method = recipe.method.name.label();
        return refuse(format!("{method} has no use for w, so that there is nothing to sweep; choose another method"));
    }
    if spec.samples == 0 || spec.samples > MAX_SAMPLES {
        return refuse(format!("{} answers to each question; expected 1 to {MAX_SAMPLES}", spec.samples));
    }
    if spec.samples > 1 && spec.sampling.temperature <= 0.0 {
        let samples = spec.samples;
        return refuse(format!(
            "{samples} answers to each question are {samples} times the same at temperature 0; raise it, or take one"
        ));
    }
    if spec.samples > 1 && spec.choices.is_some() {
        return refuse("the likeliest choice is always the same; take one sample".to_owned());
    }
    let Sampling { temperature, top_p, repetition_penalty, .. } = spec.sampling;
    if !(temperature.is_finite() && temperature >= 0.0) {
        return refuse(format!("the temperature is {temperature}; it must be 0 or above"));
    }
    if !(top_p > 0.0 && top_p <= 1.0) {
        return refuse(format!("top_p is {top_p}; it must be above 0 and at most 1"));
    }
    if !(repetition_penalty.is_finite() && repetition_penalty > 0.0) {
        return refuse(format!("the repetition penalty is {repetition_penalty}; it must be above 0, and 1 is none"));
    }
    for (at, prompt) in spec.prompts.iter().enumerate() {
        if spec.prompts[..at].iter().any(|other| other.label == prompt.label) {
            return refuse(format!("two ways of asking are called {:?}; rename one", prompt.label));
        }
    }
    if spec.max_tokens == Some(0) {
        return refuse("an answer of at most 0 tokens is none".to_owned());
    }
    if spec.limit == Some(0) {
        return refuse("at most 0 questions leave nothing to ask; raise the limit".to_owned());
    }
    Ok(())
}
