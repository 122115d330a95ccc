//! Prompts from a template, a question, and examples before it.

use super::set::{Question, QuestionSet};
use super::template::{Parsed, PromptForm, Template, TemplateError};
use crate::engine::{ChatRole, Message, Prompt};

/// Makes the prompts of one arm: a template that was checked against its questions once, so that nothing can go wrong later.
#[derive(Clone, Debug)]
pub struct Prompter {
    template: Template,
    parsed: Parsed,
    examples: Vec<Question>,
}

impl Prompter {
    /// Checks a template against the questions that it is for.
    ///
    /// # Errors
    /// When the template is empty, a brace has no other half, or a name is no field of the questions.
    pub fn new(template: &Template, set: &QuestionSet) -> Result<Self, TemplateError> {
        let parsed = template.parse()?;
        parsed.check(set)?;
        Ok(Self { template: template.clone(), parsed, examples: Vec::new() })
    }

    /// Puts the first `count` questions of a set, with their answers, before each question.
    ///
    /// They come from another file, or from [`QuestionSet::take_examples`], which leaves them out of what is asked. An example
    /// is answered by its worked answer, or its label where it has none.
    ///
    /// # Errors
    /// When there are fewer, or the template names a field that they do not have.
    pub fn with_examples(mut self, examples: &QuestionSet, count: usize) -> Result<Self, TemplateError> {
        let Some(first) = examples.questions.get(..count) else {
            let (file, found) = (examples.name.clone(), examples.questions.len());
            return Err(TemplateError::TooFewExamples { file, found, wanted: count });
        };
        if count > 0 {
            self.parsed.check(examples)?;
        }
        self.examples = first.to_vec();
        Ok(self)
    }

    /// Whether the label of the question that is asked stands in its prompt, which gives the answer away.
    pub fn gives_label_away(&self) -> bool {
        self.parsed.has("answer")
    }

    /// The prompt for a question.
    pub fn prompt(&self, question: &Question) -> Prompt {
        match self.template.form {
            PromptForm::Raw => Prompt::Raw(self.raw(question)),
            PromptForm::Chat => Prompt::Chat(self.chat(question)),
        }
    }

    /// The prompt as text for people: raw text as it is, a conversation with the names of who speaks.
    pub fn preview(&self, question: &Question) -> String {
        match self.prompt(question) {
            Prompt::Raw(text) => text,
            Prompt::Chat(messages) => {
                let shown = messages.iter().map(|message| format!("[{}]\n{}", message.role.name(), message.content));
                shown.collect::<Vec<_>>().join("\n\n")
            }
        }
    }

    fn raw(&self, question: &Question) -> String {
        let mut blocks = Vec::new();
        if !self.template.system.is_empty() {
            blocks.push(self.template.system.clone());
        }
        for example in &self.examples {
            let block = self.filled(example);
            blocks.push(after_space(block, answer_of(example)));
        }
        blocks.push(self.filled(question));
        blocks.join(&self.template.separator)
    }

    fn chat(&self, question: &Question) -> Vec<Message> {
        let say = |role, content| Message { role, content };
        let mut messages = Vec::new();
        if !self.template.system.is_empty() {
            messages.push(say(ChatRole::System, self.template.system.clone()));
        }
        for example in &self.examples {
            messages.push(say(ChatRole::User, self.filled(example)));
            messages.push(say(ChatRole::Assistant, answer_of(example).to_owned()));
        }
        messages.push(say(ChatRole::User, self.filled(question)));
        messages
    }

    /// The text of the template, with the instruction in its place.
    fn filled(&self, question: &Question) -> String {
        let instruction = self.template.instruction.as_str();
        let text = self.parsed.fill(question, instruction);
        if instruction.is_empty() || self.parsed.has("instruction") {
            return text;
        }
        match self.template.form {
            PromptForm::Raw => after_space(text, instruction),
            PromptForm::Chat => format!("{text}\n{instruction}"),
        }
    }
}

/// What an example says.
fn answer_of(example: &Question) -> &str {
    example.solution.as_deref().unwrap_or(&example.answer).trim()
}

/// Both, with a space between unless there is one.
fn after_space(mut text: String, more: &str) -> String {
    if !text.ends_with(char::is_whitespace) {
        text.push(' ');
    }
    text.push_str(more);
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::evaluate::questions::{Language, Mapping, QuestionFile};

    fn set() -> QuestionSet {
        let text = concat!(
            r#####"{"id":"a","question":"1+1?","answer":"one and one\n#### 2","hint":null,"deep":{"er":[1]}}"#####,
            "\n",
            r#####"{"id":"b","question":"2+2?","answer":"#### 4","hint":"count"}"#####,
        );
        let file = QuestionFile::from_bytes("sums.jsonl", text.as_bytes()).unwrap();
        file.questions(&Mapping::guess(&file).unwrap()).unwrap()
    }

    fn raw(text: &str) -> String {
        let set = set();
        Prompter::new(&Template::raw(text), &set).unwrap().preview(&set.questions[0])
    }

    fn refused(text: &str) -> String {
        Prompter::new(&Template::raw(text), &set()).unwrap_err().to_string()
    }

    #[test]
    fn names_in_braces_stand_for_fields_and_two_braces_for_one() {
        assert_eq!(
            raw("Q: {question} {{x}} ({answer}, { id })\n{deep.er}|{deep}"),
            "Q: 1+1? {x} (2, a)\n[1]|{\"er\":[1]}"
        );
        assert_eq!(raw("{question}\n{hint}\n{choices}\nA:"), "1+1?\nA:");
        assert_eq!(raw("{question}\n\nHint: {hint}\n"), "1+1?\n\nHint: \n");
    }

    #[test]
    fn what_is_wrong_with_a_template_is_said_before_anything_is_asked() {
        let message = refused("{qestion}");
        assert!(
            message.contains("names {qestion}, which sums.jsonl does not have; did you mean `question`?"),
            "{message}"
        );
        assert!(message.contains("`hint`"), "{message}");
        assert!(refused("a\nb } c").contains("line 2, column 3: a brace closes"));
        for open in ["{question", "{}", "{a {question}"] {
            assert!(refused(open).contains("line 1, column 1: no name and closing brace follow"), "{open}");
        }
        assert!(refused(" \n").contains("the prompt template is empty"));
        assert!(refused(&"x".repeat(1 << 17)).contains("more than 64 KiB"));
    }

    #[test]
    fn models_without_a_chat_template_are_asked_in_plain_text() {
        let set = set();
        let plain = |language| Prompter::new(&Template::plain(language), &set).unwrap().preview(&set.questions[0]);
        assert_eq!(plain(set.language()), "Question: 1+1?\nAnswer:");
        assert_eq!(plain(Language::Japanese), "問題:1+1?\n答え:");
    }

    #[test]
    fn a_question_that_begins_with_its_cue_has_it_once() {
        let asked = |template: &str, question: &str| {
            let mut set = set();
            set.questions[0].question = question.to_owned();
            Prompter::new(&Template::raw(template), &set).unwrap().preview(&set.questions[0])
        };
        assert_eq!(asked("問題:{question}", "問題：3と4の合計は?"), "問題:3と4の合計は?");
        assert_eq!(asked("Question: {question}", "Question: 3+4?"), "Question: 3+4?");
        assert_eq!(asked("Question: {question}", "Questions: are they good?"), "Question: Questions: are they good?");
        assert_eq!(asked("{question}", "Q: 3+4?"), "Q: 3+4?");
    }

    #[test]
    fn an_instruction_has_its_place() {
        let set = set();
        let instruction = "Think step by step.".to_owned();
        let preview = |template: Template| {
            let template = Template { instruction: instruction.clone(), ..template };
            Prompter::new(&template, &set).unwrap().preview(&set.questions[0])
        };
        assert_eq!(preview(Template::raw("Q: {question}\nA:")), "Q: 1+1?\nA: Think step by step.");
        assert_eq!(preview(Template::chat("{question}")), "[user]\n1+1?\nThink step by step.");
        assert_eq!(preview(Template::raw("{instruction}\nQ: {question}\nA:")), "Think step by step.\nQ: 1+1?\nA:");
        assert_eq!(raw("{question}\n{instruction}\nA:"), "1+1?\nA:");
    }

    #[test]
    fn examples_come_first_with_their_worked_answers() {
        let mut rest = set();
        let examples = rest.take_examples(1);
        assert_eq!(rest.questions.len(), 1);
        let system = "Be brief.".to_owned();
        let preview = |template: Template| {
            let template = Template { system: system.clone(), ..template };
            let prompter = Prompter::new(&template, &rest).unwrap().with_examples(&examples, 1).unwrap();
            prompter.preview(&rest.questions[0])
        };
        assert_eq!(
            preview(Template::raw("Q: {question}\nA:")),
            "Be brief.\n\nQ: 1+1?\nA: one and one\n#### 2\n\nQ: 2+2?\nA:"
        );
        assert_eq!(
            preview(Template::chat("{question}")),
            "[system]\nBe brief.\n\n[user]\n1+1?\n\n[assistant]\none and one\n#### 2\n\n[user]\n2+2?"
        );
        let prompter = Prompter::new(&Template::default(), &rest).unwrap();
        let message = prompter.with_examples(&examples, 2).unwrap_err().to_string();
        assert_eq!(message, "sums.jsonl has 1 questions to take 2 examples from; ask for fewer");
    }

    #[test]
    fn examples_of_another_file_must_have_the_fields_too() {
        let file = QuestionFile::from_bytes("other.csv", b"question,answer\n3+3?,6\n").unwrap();
        let other = file.questions(&Mapping::guess(&file).unwrap()).unwrap();
        let set = set();
        let examples = |text: &str| Prompter::new(&Template::raw(text), &set).unwrap().with_examples(&other, 1);
        assert_eq!(examples("{question} =").unwrap().preview(&set.questions[0]), "3+3? = 6\n\n1+1? =");
        assert!(examples("{hint}").unwrap_err().to_string().contains("other.csv does not have"));
    }

    #[test]
    fn a_label_in_the_prompt_is_noticed() {
        let gives_away = |text: &str| Prompter::new(&Template::raw(text), &set()).unwrap().gives_label_away();
        assert!(gives_away("{question} {answer}"));
        assert!(!gives_away("{question} {{answer}}"));
    }

    proptest! {
        #[test]
        fn templates_never_panic(text in "([{}\n a]|\\{question\\}|\\{hint\\}|\\{あ\\}|あ){0,30}") {
            let set = set();
            if let Ok(prompter) = Prompter::new(&Template::raw(&text), &set) {
                prompter.preview(&set.questions[0]);
            }
        }
    }
}
