//! Everything that can be asked of the window: one list that feeds menus, shortcuts and the palette.

use eframe::egui::{Key, KeyboardShortcut, Modifiers};
use mergescope_core::alignment::Role;
use mergescope_core::recipe::{ControlKind, Method};

use super::method_words;

/// Something to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Reads a recipe file.
    OpenRecipe,
    /// Writes the recipe to its file.
    SaveRecipe,
    /// Writes the recipe to another file.
    SaveRecipeAs,
    /// Chooses a model's folder.
    Browse(Role),
    /// Shows the merges of the past.
    PastMerges,
    /// Takes the demo models.
    UseDemo,
    /// Closes the window.
    Quit,
    /// Takes the last change of the recipe back.
    Undo,
    /// Makes a change again that was taken back.
    Redo,
    /// Adds a vector.
    AddVector,
    /// Takes the vector that is shown away.
    RemoveVector,
    /// Shows the next vector.
    NextVector,
    /// Shows the vector before.
    PreviousVector,
    /// Lets the vector that is shown change places with the one before.
    MoveVectorUp,
    /// Lets the vector that is shown change places with the next.
    MoveVectorDown,
    /// Chooses a method.
    Method(Method),
    /// Puts a control in the place of the vector that is shown, or takes it away.
    Control(Option<ControlKind>),
    /// Opens the merge dialog.
    Merge,
    /// Opens the dialog for an adapter.
    ExportAdapter,
    /// Opens the dialog for saving the vector.
    SaveVector,
    /// Shows the recipe as a merge file of mergekit, to be written.
    ExportMergeFile,
    /// Stops what is being written.
    CancelWriting,
    /// Shows the Vector tab.
    ShowVector,
    /// Shows the Scaling tab.
    ShowScaling,
    /// Shows the Results tab.
    ShowResults,
    /// Shows the Evaluate tab.
    ShowEvaluate,
    /// Asks the questions at every w.
    RunSweep,
    /// Stops asking.
    StopSweep,
    /// Chooses a question file.
    OpenQuestions,
    /// Chooses a file that examples are taken from.
    OpenExamples,
    /// Reads results that others measured.
    ImportResults,
    /// Writes the sweep as a page.
    SaveReport,
    /// Opens the folder with the answers.
    OpenAnswers,
    /// Forgets the answers.
    ForgetAnswers,
    /// Shows the Try tab.
    ShowTry,
    /// Asks the target and what the recipe would write.
    RunBoth,
    /// Asks what the recipe would write at several w.
    RunStrip,
    /// Stops the answers under way.
    StopAnswers,
    /// Opens the dialog for what answers.
    ChooseAnswerer,
    /// Writes what was asked and answered to a file.
    SaveTranscript,
    /// Reads the curve from a file of values.
    OpenValues,
    /// Shows the chart's numbers as a table.
    ToggleTable,
    /// Copies the numbers in view.
    CopyCsv,
    /// Saves the chart in view.
    SavePng,
    /// Opens the folder that was written last.
    OpenOutput,
    /// Changes between dark and light.
    ToggleTheme,
    /// Shows the palette.
    Palette,
    /// Shows the three first steps.
    FirstSteps,
    /// Says what this program is.
    About,
}

impl Command {
    /// All, in the order of the palette.
    pub const ALL: [Self; 67] = [
        Self::Merge,
        Self::ExportAdapter,
        Self::SaveVector,
        Self::CancelWriting,
        Self::ShowVector,
        Self::ShowScaling,
        Self::ShowResults,
        Self::ShowEvaluate,
        Self::ShowTry,
        Self::RunSweep,
        Self::StopSweep,
        Self::OpenQuestions,
        Self::OpenExamples,
        Self::ImportResults,
        Self::SaveReport,
        Self::OpenAnswers,
        Self::ForgetAnswers,
        Self::RunBoth,
        Self::RunStrip,
        Self::StopAnswers,
        Self::ChooseAnswerer,
        Self::SaveTranscript,
        Self::OpenValues,
        Self::ToggleTable,
        Self::CopyCsv,
        Self::SavePng,
        Self::OpenOutput,
        Self::PastMerges,
        Self::Browse(Role::Pre),
        Self::Browse(Role::Post),
        Self::Browse(Role::Target),
        Self::UseDemo,
        Self::OpenRecipe,
        Self::SaveRecipe,
        Self::SaveRecipeAs,
        Self::ExportMergeFile,
        Self::AddVector,
        Self::RemoveVector,
        Self::NextVector,
        Self::PreviousVector,
        Self::MoveVectorUp,
        Self::MoveVectorDown,
        Self::Method(Method::TaskArithmetic),
        Self::Method(Method::Trim),
        Self::Method(Method::DareLinear),
        Self::Method(Method::DellaLinear),
        Self::Method(Method::Breadcrumbs),
        Self::Method(Method::Ties),
        Self::Method(Method::DareTies),
        Self::Method(Method::Della),
        Self::Method(Method::BreadcrumbsTies),
        Self::Method(Method::Sce),
        Self::Method(Method::Linear),
        Self::Method(Method::Slerp),
        Self::Method(Method::Nuslerp),
        Self::Method(Method::ModelStock),
        Self::Control(None),
        Self::Control(Some(ControlKind::ShuffleSigns)),
        Self::Control(Some(ControlKind::PermuteLayers)),
        Self::Control(Some(ControlKind::Noise)),
        Self::Undo,
        Self::Redo,
        Self::ToggleTheme,
        Self::FirstSteps,
        Self::About,
        Self::Palette,
        Self::Quit,
    ];

    /// What it is called.
    pub fn label(self) -> &'static str {
        match self {
            Self::OpenRecipe => "Open recipe or merge file…",
            Self::SaveRecipe => "Save recipe",
            Self::SaveRecipeAs => "Save recipe as…",
            Self::Browse(Role::Pre) => "Choose the pre model…",
            Self::Browse(Role::Post) => "Choose the post model…",
            Self::Browse(Role::Target) => "Choose the target model…",
            Self::PastMerges => "Merges of the past…",
            Self::UseDemo => "Use the demo models",
            Self::Quit => "Quit",
            Self::Undo => "Undo",
            Self::Redo => "Redo",
            Self::AddVector => "Add a vector",
            Self::RemoveVector => "Remove this vector",
            Self::NextVector => "Next vector",
            Self::PreviousVector => "Previous vector",
            Self::MoveVectorUp => "Move this vector up",
            Self::MoveVectorDown => "Move this vector down",
            Self::Method(method) => method_label(method),
            Self::Control(None) => "Control: none",
            Self::Control(Some(ControlKind::ShuffleSigns)) => "Control: shuffled signs",
            Self::Control(Some(ControlKind::PermuteLayers)) => "Control: permuted layers",
            Self::Control(Some(ControlKind::Noise)) => "Control: noise",
            Self::Merge => "Merge…",
            Self::ExportAdapter => "Export adapter…",
            Self::SaveVector => "Save vector…",
            Self::ExportMergeFile => "Export for mergekit…",
            Self::CancelWriting => "Cancel the work under way",
            Self::ShowVector => "Vector",
            Self::ShowScaling => "Scaling",
            Self::ShowResults => "Results",
            Self::ShowEvaluate => "Evaluate",
            Self::RunSweep => "Run the questions",
            Self::StopSweep => "Stop the questions",
            Self::OpenQuestions => "Open questions…",
            Self::OpenExamples => "Take examples from…",
            Self::ImportResults => "Import results…",
            Self::SaveReport => "Save report…",
            Self::OpenAnswers => "Where the answers are",
            Self::ForgetAnswers => "Forget these answers…",
            Self::ShowTry => "Try",
            Self::RunBoth => "Run both",
            Self::RunStrip => "Strip of w",
            Self::StopAnswers => "Stop the answers",
            Self::ChooseAnswerer => "Choose what answers…",
            Self::SaveTranscript => "Save transcript…",
            Self::OpenValues => "Curve from a file of values…",
            Self::ToggleTable => "Table",
            Self::CopyCsv => "Copy CSV",
            Self::SavePng => "Save PNG",
            Self::OpenOutput => "Open folder",
            Self::ToggleTheme => "Change between dark and light",
            Self::Palette => "Find a command",
            Self::FirstSteps => "First steps",
            Self::About => "About Mergescope",
        }
    }

    /// What it does, for the tooltip.
    pub fn explanation(self) -> &'static str {
        match self {
            Self::OpenRecipe => "Read models, w and all other choices from a recipe, or from a merge file of mergekit",
            Self::SaveRecipe => "Write models, w and output choices to the recipe file",
            Self::SaveRecipeAs => "Write models, w and output choices to another recipe file",
            Self::Browse(Role::Pre) => "Choose the folder of the model before fine-tuning",
            Self::Browse(Role::Post) => "Choose the folder of the model after fine-tuning",
            Self::Browse(Role::Target) => "Choose the folder of the model that the vector is added to",
            Self::PastMerges => "What was merged so far: recipes to open again, and what differs between two",
            Self::UseDemo => "Take the three small models that come with Mergescope",
            Self::Quit => "Close the window; work under way is cancelled",
            Self::Undo => "Take the last change of models, w or output choices back",
            Self::Redo => "Make the change again that was taken back",
            Self::AddVector => "Add another vector, with models and a w of its own, to the same target",
            Self::RemoveVector => "Take this vector away; its models are only read and stay as they are",
            Self::NextVector => "Show the models and charts of the next vector",
            Self::PreviousVector => "Show the models and charts of the vector before",
            Self::MoveVectorUp => "Let this vector change places with the one before",
            Self::MoveVectorDown => "Let this vector change places with the next",
            Self::Method(method) => method_words::sentence(method),
            Self::Control(None) => "Merge the vector itself",
            Self::Control(Some(kind)) => method_words::control_sentence(kind),
            Self::Merge => "Choose where to write the new model, then write it",
            Self::ExportAdapter => "Write w·v as a low-rank adapter (LoRA) for PEFT, vLLM or llama.cpp",
            Self::SaveVector => "Write v = post − pre as a folder that can stand in for both",
            Self::ExportMergeFile => "Write the recipe as a merge file, in mergekit's YAML",
            Self::CancelWriting => "Stop what is being written and leave nothing of it behind",
            Self::ShowVector => "What the vector looks like, layer by layer",
            Self::ShowScaling => "How w is spread over layers, parts and tensors",
            Self::ShowResults => "What the last merge wrote, against what was asked for",
            Self::ShowEvaluate => "The same questions at several w, and whether a gain is more than luck",
            Self::RunSweep => "Ask the questions at every w; what is answered already is not asked again",
            Self::StopSweep => "Stop asking; what was answered stays, and Go on asks for the rest",
            Self::OpenQuestions => "Read questions with known answers from JSON lines, JSON, or a table in CSV or TSV",
            Self::OpenExamples => "Take the examples before each question from another question file",
            Self::ImportResults => {
                "Show results that others measured beside these: a log of lm-eval, or a table in CSV or JSON"
            }
            Self::SaveReport => "Write chart, numbers and the answers that w changes as one page",
            Self::OpenAnswers => "Open the folder that the answers are kept in",
            Self::ForgetAnswers => "Remove the answers to these questions of these models",
            Self::ShowTry => "The same prompt, answered by the target and by what would be merged",
            Self::RunBoth => {
                "Let the target answer the prompt, and then what the recipe would write; no file is written"
            }
            Self::RunStrip => "Let the prompt be answered at several w in a row; no file is written",
            Self::StopAnswers => "Stop the answers under way; what was said so far stays",
            Self::ChooseAnswerer => "Choose between this program, its number format, and a server",
            Self::SaveTranscript => "Write prompts and answers to a file: a line of JSON for each answer",
            Self::OpenValues => "Read one number for each layer into the curve",
            Self::ToggleTable => "Show the chart's numbers as a table",
            Self::CopyCsv => "Copy the numbers in view as comma-separated values",
            Self::SavePng => "Save the chart as a picture",
            Self::OpenOutput => "Open the folder that was written last in the file manager",
            Self::ToggleTheme => "Change between the dark and the light theme",
            Self::Palette => "Find any command by its name",
            Self::FirstSteps => "Show the three sentences on what to do first",
            Self::About => "Version and licences",
        }
    }

    /// The keys that do it.
    pub fn shortcut(self) -> Option<KeyboardShortcut> {
        let command = |key| Some(KeyboardShortcut::new(Modifiers::COMMAND, key));
        let shift = |key| Some(KeyboardShortcut::new(Modifiers::COMMAND.plus(Modifiers::SHIFT), key));
        match self {
            Self::OpenRecipe => command(Key::O),
            Self::SaveRecipe => command(Key::S),
            Self::SaveRecipeAs => shift(Key::S),
            Self::Quit => command(Key::Q),
            Self::Undo => command(Key::Z),
            Self::Redo => shift(Key::Z),
            Self::Merge => command(Key::M),
            Self::ShowVector => command(Key::Num1),
            Self::ShowScaling => command(Key::Num2),
            Self::ShowResults => command(Key::Num3),
            Self::ShowEvaluate => command(Key::Num4),
            Self::ShowTry => command(Key::Num5),
            Self::RunBoth => command(Key::Enter),
            Self::ToggleTable => command(Key::T),
            Self::Palette => command(Key::K),
            Self::NextVector => command(Key::PageDown),
            Self::PreviousVector => command(Key::PageUp),
            Self::PastMerges => command(Key::H),
            _ => None,
        }
    }

    /// All shortcuts, those with more modifiers first, so that Ctrl+Z does not swallow Ctrl+Shift+Z.
    pub fn by_shortcut() -> Vec<(Self, KeyboardShortcut)> {
        let with_keys = Self::ALL.into_iter().filter_map(|command| Some((command, command.shortcut()?)));
        let mut commands: Vec<_> = with_keys.collect();
        commands.sort_by_key(|(_, shortcut)| !shortcut.modifiers.shift);
        commands
    }

    /// Whether `query` finds it: its letters occur in the label in this order. Lower is better.
    pub fn rank(self, query: &str) -> Option<usize> {
        let label = self.label().to_lowercase();
        let query = query.trim().to_lowercase();
        if let Some(position) = label.find(&query) {
            return Some(position);
        }
        let mut letters = label.char_indices();
        let mut last = 0;
        for wanted in query.chars().filter(|letter| !letter.is_whitespace()) {
            last = letters.find(|(_, letter)| *letter == wanted)?.0;
        }
        Some(100 + last)
    }
}

/// A method's name among other commands.
fn method_label(method: Method) -> &'static str {
    match method {
        Method::TaskArithmetic => "Method: task arithmetic",
        Method::Trim => "Method: trim",
        Method::Ties => "Method: TIES",
        Method::DareLinear => "Method: DARE",
        Method::DareTies => "Method: DARE, then TIES",
        Method::Della => "Method: DELLA, then TIES",
        Method::DellaLinear => "Method: DELLA",
        Method::Breadcrumbs => "Method: breadcrumbs",
        Method::BreadcrumbsTies => "Method: breadcrumbs, then TIES",
        Method::Linear => "Method: linear",
        Method::Slerp => "Method: SLERP",
        Method::Nuslerp => "Method: NuSLERP",
        Method::ModelStock => "Method: model stock",
        Method::Sce => "Method: SCE",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_commands_share_a_shortcut_or_a_name() {
        let commands = Command::by_shortcut();
        for (position, (command, shortcut)) in commands.iter().enumerate() {
            for (other, same) in &commands[position + 1..] {
                assert!(shortcut != same, "{command:?} and {other:?}");
            }
        }
        for (position, command) in Command::ALL.into_iter().enumerate() {
            assert!(Command::ALL[position + 1..].iter().all(|other| other.label() != command.label()), "{command:?}");
        }
    }

    #[test]
    fn every_method_and_control_is_a_command() {
        let is_listed = |command| Command::ALL.contains(&command);
        assert!(Method::ALL.into_iter().all(|method| is_listed(Command::Method(method))));
        assert!(ControlKind::ALL.into_iter().all(|kind| is_listed(Command::Control(Some(kind)))));
        for method in Method::ALL {
            let label = Command::Method(method).label().to_lowercase();
            assert_eq!(label, format!("method: {}", method_words::name(method).to_lowercase()));
        }
    }

    #[test]
    fn a_few_letters_in_order_find_a_command() {
        assert!(Command::CopyCsv.rank("csv").is_some());
        assert!(Command::CopyCsv.rank("cpcsv").is_some());
        assert!(Command::CopyCsv.rank("png").is_none());
        assert!(Command::Merge.rank("mer") < Command::ExportMergeFile.rank("mer"));
    }
}
