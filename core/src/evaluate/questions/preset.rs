//! Public question sets, known by their fields, and how each is best asked and graded.

use super::error::QuestionsError;
use super::file::QuestionFile;
use super::guess::plain;
use super::language::Language;
use super::mapping::{AnswerForm, Mapping};
use super::set::{Question, QuestionSet};
use super::template::Template;

/// A proposal for a question file, all of it open to change.
#[derive(Clone, Debug, PartialEq)]
pub struct Preset {
    /// The question set that the file looks like, or what kind of questions it has.
    pub name: &'static str,
    /// What its fields mean.
    pub mapping: Mapping,
    /// How its questions are put.
    pub template: Template,
    /// Graders by name, the one that counts first.
    pub graders: Vec<&'static str>,
    /// An answer ends before any of these.
    pub stop: Vec<&'static str>,
    /// After so many tokens an answer is cut off.
    pub max_tokens: usize,
}

/// Questions that are looked at to tell what kind they are.
const LOOKED_AT: usize = 200;

impl Preset {
    /// What the file looks like.
    ///
    /// A file with both a question and a `prompt` brings its prompts along, and they are used as they stand.
    ///
    /// # Errors
    /// When the question or its answer cannot be found among the fields, no record makes a question, or the answers are
    /// programs.
    pub fn of(file: &QuestionFile) -> Result<Self, QuestionsError> {
        Self::refuse_programs(file)?;
        Self::with(file, Mapping::guess(file)?)
    }

    fn refuse_programs(file: &QuestionFile) -> Result<(), QuestionsError> {
        let has = |name: &str| file.fields.iter().any(|field| plain(&field.name) == name);
        if has("test") && has("entrypoint") || has("testlist") && has("code") {
            return Err(QuestionsError::NeedsExecution { file: file.shown() });
        }
        Ok(())
    }

    /// What the file looks like with a mapping that somebody chose, also where none could be guessed.
    ///
    /// # Errors
    /// When the file has no such fields, no record makes a question, or the answers are programs.
    pub fn with(file: &QuestionFile, mapping: Mapping) -> Result<Self, QuestionsError> {
        Self::refuse_programs(file)?;
        let has = |name: &str| file.fields.iter().any(|field| plain(&field.name) == name);
        let set = file.questions(&mapping)?;
        let own_prompt =
            file.fields.iter().find(|field| plain(&field.name) == "prompt" && field.name != mapping.question);
        let kind = Kind::of(&set);
        let name = match own_prompt {
            Some(_) => "questions with prompts",
            None => name_of(&mapping, kind, has),
        };
        let template = match own_prompt {
            Some(field) => Template::raw(&format!("{{{}}}", field.name)),
            None => Template::chat(&format!("{}{}", question_of(name, kind), ending(name, kind, set.language()))),
        };
        let graders = match (name, kind) {
            ("AIME" | "MATH", _) => vec!["boxed", "flexible", "substring"],
            // A prompt of the file's own asks for no form of answer.
            (_, Kind::Numbers) if own_prompt.is_some() => vec!["flexible", "substring"],
            // Models that were not trained on these sets seldom keep to a form.
            ("GSM8K" | "GSM-Plus" | "MGSM", Kind::Numbers) => vec!["strict", "flexible", "substring"],
            (_, Kind::Numbers) => vec!["flexible", "strict", "substring"],
            (_, Kind::Choices) => vec!["choice"],
            (_, Kind::Free) => vec!["exact", "substring"],
        };
        let max_tokens = match (name, kind) {
            ("AIME", _) => 8192,
            ("MATH", _) => 4096,
            _ if own_prompt.is_some() => 256,
            _ => 1024,
        };
        Ok(Self { name, mapping, template, graders, stop: Vec::new(), max_tokens })
    }
}

/// What answers are like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Numbers,
    Choices,
    Free,
}

impl Kind {
    fn of(set: &QuestionSet) -> Self {
        let some = || set.questions.iter().take(LOOKED_AT);
        let share =
            |holds: fn(&Question) -> bool| 2 * some().filter(|question| holds(question)).count() > some().count();
        if share(|question| question.correct.is_some()) {
            Self::Choices
        } else if share(|question| is_number(&question.answer)) {
            Self::Numbers
        } else {
            Self::Free
        }
    }
}

fn is_number(label: &str) -> bool {
    label.replace([',', '$', '%'], "").trim().parse::<f64>().is_ok_and(f64::is_finite)
}

fn name_of(mapping: &Mapping, kind: Kind, has: impl Fn(&str) -> bool) -> &'static str {
    let (question, answer) = (plain(&mapping.question), plain(&mapping.answer));
    let all = |names: &[&str]| names.iter().all(|name| has(name));
    match mapping.answer_form {
        AnswerForm::Hashes => "GSM8K",
        AnswerForm::BesideWrong if all(&["correctanswer", "distractor1", "support"]) => "SciQ",
        AnswerForm::Index if all(&["qid", "choice0", "choice4", "label"]) => "JCommonsenseQA",
        AnswerForm::Index if all(&["subject", "choices", "answer"]) => "MMLU",
        AnswerForm::Letter if has("answerkey") => "ARC",
        AnswerForm::Boxed => "MATH",
        AnswerForm::Text | AnswerForm::InQuestion if question == "input" && answer == "target" => "BBH",
        AnswerForm::Text if answer == "answernumber" => "MGSM",
        AnswerForm::Text if all(&["perturbationtype", "seedquestion"]) => "GSM-Plus",
        AnswerForm::Text if question == "problem" && all(&["subject", "level"]) => "MATH",
        AnswerForm::Text if question == "problem" && kind == Kind::Numbers => "AIME",
        _ => match kind {
            Kind::Numbers => "questions with numbers as answers",
            Kind::Choices => "questions with choices",
            Kind::Free => "questions",
        },
    }
}

/// The question as a prompt has it; what stands on a line of its own and is empty is left out.
fn question_of(name: &str, kind: Kind) -> &'static str {
    match (name, kind) {
        ("SciQ", _) => "{support}\n{question}\n{choices}\n{instruction}\n",
        (_, Kind::Choices) => "{question}\n{choices}\n{instruction}\n",
        _ => "{question}\n{instruction}\n",
    }
}

/// What a prompt says about the form of the answer, and nothing about how to come to it: that is an arm's instruction.
fn ending(name: &str, kind: Kind, language: Language) -> &'static str {
    use Language::{English, Japanese};
    match (name, kind, language) {
        ("AIME" | "MATH", _, English) => r"Put the final answer into \boxed{{}}.",
        ("AIME" | "MATH", _, Japanese) => r"最後の答えを \boxed{{}} の中に書いてください。",
        (_, Kind::Numbers, English) => "End with a line of the form: #### number",
        (_, Kind::Numbers, Japanese) => "最後の行に「#### 数字」の形で答えを書いてください。",
        (_, Kind::Choices, English) => "End with the letter of the right choice.",
        (_, Kind::Choices, Japanese) => "最後に正しい選択肢の記号を書いてください。",
        (_, Kind::Free, English) => "End with the answer alone on the last line.",
        (_, Kind::Free, Japanese) => "最後の行に答えだけを書いてください。",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Prompt;
    use crate::evaluate::questions::Prompter;

    fn file(text: &str) -> QuestionFile {
        QuestionFile::from_bytes("set.jsonl", text.as_bytes()).unwrap()
    }

    fn asked(text: &str) -> (Preset, QuestionSet) {
        let file = file(text);
        let preset = Preset::of(&file).unwrap();
        let set = file.questions(&preset.mapping).unwrap();
        (preset, set)
    }

    fn preview(preset: &Preset, set: &QuestionSet) -> String {
        Prompter::new(&preset.template, set).unwrap().preview(&set.questions[0])
    }

    #[test]
    fn a_mapping_that_somebody_chose_stands_in_for_one_that_cannot_be_guessed() {
        let file = file(r#"{"frage": "1+1?", "summe": 2}"#);
        assert!(Preset::of(&file).is_err());
        let mapping = Mapping { question: "frage".into(), answer: "summe".into(), ..Mapping::default() };
        let preset = Preset::with(&file, mapping).unwrap();
        assert_eq!(preset.name, "questions with numbers as answers");
    }

    #[test]
    fn gsm8k_ends_its_worked_answers_with_the_label() {
        let (preset, set) = asked(
            r#"{"question":"How many clips?","answer":"48/2 = <<48/2=24>>24\n48+24 = <<48+24=72>>72\n#### 1,072"}"#,
        );
        assert_eq!(preset.name, "GSM8K");
        assert_eq!(set.questions[0].answer, "1,072");
        assert!(set.questions[0].solution.as_ref().unwrap().ends_with("#### 1,072"));
        assert_eq!(preset.graders[0], "strict");
        assert_eq!(preview(&preset, &set), "[user]\nHow many clips?\nEnd with a line of the form: #### number");
    }

    #[test]
    fn mgsm_has_a_number_where_the_answer_may_be_null() {
        let (preset, set) = asked(concat!(
            r#"{"question":"クリップはいくつですか?","answer":null,"answer_number":18,"equation_solution":null}"#,
            "\n",
            r#"{"question":"卵はいくつですか?","answer":"ステップごとの答え:3","answer_number":3}"#,
            "\n",
            r#"{"question":"答えはない","answer":null,"answer_number":null}"#,
        ));
        assert_eq!(preset.name, "MGSM");
        assert_eq!(preset.mapping.answer, "answer_number");
        let labels: Vec<&str> = set.questions.iter().map(|question| question.answer.as_str()).collect();
        assert_eq!(labels, ["18", "3"]);
        assert_eq!(set.questions[0].solution, None);
        assert_eq!(set.questions[1].solution.as_deref(), Some("ステップごとの答え:3"));
        assert_eq!(set.skipped.len(), 1);
        assert_eq!((set.skipped[0].record, set.skipped[0].line), (2, Some(3)));
        assert_eq!(set.skipped[0].why, "`answer_number` is null");
        assert!(preview(&preset, &set).contains("最後の行に「#### 数字」"));
    }

    #[test]
    fn aime_in_either_spelling_wants_a_box() {
        for text in [
            r#"{"ID":"2024-II-4","Problem":"Find x.","Solution":"Long.","Answer":33}"#,
            r#"{"problem":"Find x.","answer":"033"}"#,
        ] {
            let (preset, set) = asked(text);
            assert_eq!((preset.name, preset.graders[0]), ("AIME", "boxed"));
            assert_eq!(preview(&preset, &set), "[user]\nFind x.\nPut the final answer into \\boxed{}.");
        }
        let (_, set) = asked(r#"{"ID":"2024-II-4","Problem":"Find x.","Solution":"Long.","Answer":33}"#);
        assert_eq!((set.questions[0].id.as_str(), set.questions[0].solution.as_deref()), ("2024-II-4", Some("Long.")));
    }

    #[test]
    fn math_keeps_its_label_in_a_box() {
        let (preset, set) =
            asked(r#"{"problem":"Add.","level":"Level 1","solution":"First \\boxed{1}, so \\boxed{\\frac{1}{2}}."}"#);
        assert_eq!(preset.name, "MATH");
        assert_eq!(set.questions[0].answer, r"\frac{1}{2}");
    }

    #[test]
    fn jcommonsenseqa_counts_its_choices_from_0() {
        let (preset, set) = asked(
            r#"{"q_id":8939,"question":"会社の最高責任者を何というか?","choice0":"教師","choice1":"部長","choice2":"社長","choice3":"部下","choice4":"バイト","label":2}"#,
        );
        assert_eq!((preset.name, preset.graders.as_slice()), ("JCommonsenseQA", ["choice"].as_slice()));
        let question = &set.questions[0];
        assert_eq!((question.id.as_str(), question.answer.as_str(), question.correct), ("8939", "C", Some(2)));
        assert_eq!(
            preview(&preset, &set),
            "[user]\n会社の最高責任者を何というか?\nA. 教師\nB. 部長\nC. 社長\nD. 部下\nE. バイト\n最後に正しい選択肢の記号を書いてください。"
        );
    }

    #[test]
    fn sciq_has_its_right_choice_in_any_place_and_always_the_same() {
        let text: String = (0..40)
            .map(|i| format!("{{\"question\":\"q{i}\",\"distractor3\":\"x\",\"distractor1\":\"y\",\"distractor2\":\"z\",\"correct_answer\":\"right\",\"support\":\"\"}}\n"))
            .collect();
        let text = text
            + "{\"question\":\"q\",\"distractor3\":\"x\",\"distractor1\":\"y\",\"distractor2\":\"z\",\"correct_answer\":\"right\",\"support\":\"s\"}";
        let (preset, set) = asked(&text);
        assert_eq!(preset.name, "SciQ");
        let mut places = [0; 4];
        for question in &set.questions {
            let correct = question.correct.unwrap();
            assert_eq!(question.choices[correct], "right");
            assert_eq!(question.choices.len(), 4);
            places[correct] += 1;
        }
        assert!(places.iter().all(|count| *count > 2), "{places:?}");
        assert_eq!(set, asked(&text).1);
        assert!(preview(&preset, &set).starts_with("[user]\nq0\nA. "));
    }

    #[test]
    fn bbh_has_its_options_inside_its_questions() {
        let (preset, set) = asked(
            r#"{"examples":[{"input":"Who is last?\nOptions:\n(A) Ada\n(B) Bob","target":"(B)"},{"input":"not True is","target":"False"}]}"#,
        );
        assert_eq!((preset.name, preset.mapping.answer_form), ("BBH", AnswerForm::InQuestion));
        assert_eq!(set.questions[0].choices, ["Ada", "Bob"]);
        assert_eq!((set.questions[0].answer.as_str(), set.questions[0].correct), ("B", Some(1)));
        assert_eq!((set.questions[1].answer.as_str(), set.questions[1].correct), ("False", None));
        assert_eq!(preview(&preset, &set).matches("Ada").count(), 1);
    }

    #[test]
    fn lists_letters_and_numbers_of_choices_are_told_apart() {
        let correct = |text: &str| {
            let (preset, set) = asked(text);
            (preset.name, set.questions.iter().map(|question| question.correct.unwrap()).collect::<Vec<_>>())
        };
        let mmlu = r#"{"question":"q","subject":"s","choices":["1","2","3","4"],"answer":3}"#;
        assert_eq!(correct(mmlu), ("MMLU", vec![3]));
        let arc = concat!(
            r#"{"id":"a","question":"q","choices":{"text":["w","x"],"label":["A","B"]},"answerKey":"B"}"#,
            "\n",
            r#"{"id":"b","question":"q","choices":{"text":["w","x"],"label":["1","2"]},"answerKey":"1"}"#,
        );
        assert_eq!(correct(arc), ("ARC", vec![1, 0]));
        let winogrande = r#"{"sentence":"q","option1":"a","option2":"b","answer":"1"}"#;
        assert_eq!(correct(winogrande).1, [0]);
        let by_text = r#"{"question":"q","options":["cat","dog"],"answer":"dog"}"#;
        assert_eq!(correct(by_text).1, [1]);
        assert_eq!(correct("question,A,B,C,D,answer\nq,w,x,y,z,(C)\n").1, [2]);
        assert_eq!(correct("question;choices;answer\nq;\"[\"\"w\"\", \"\"x\"\"]\";A\n").1, [0]);
        let gpqa = r#"{"Question":"q","Correct Answer":"r","Incorrect Answer 1":"a","Incorrect Answer 2":"b","Incorrect Answer 3":"c"}"#;
        let (_, set) = asked(gpqa);
        assert_eq!(set.questions[0].choices[set.questions[0].correct.unwrap()], "r");
        let (_, set) = asked(
            r#"{"question":"q","choices":["a","b"],"answer":7}
{"question":"q","choices":["a","b"],"answer":0}"#,
        );
        assert_eq!(set.skipped[0].why, "the answer is choice 8 of 2");
    }

    #[test]
    fn gsm_plus_and_unknown_sets_are_asked_by_their_answers() {
        let (preset, set) = asked(
            r#"{"question":"q","solution":"so","answer":"7","perturbation_type":"numerical substitution","seed_question":"p"}"#,
        );
        assert_eq!((preset.name, preset.graders[0]), ("GSM-Plus", "strict"));
        assert_eq!(set.questions[0].solution.as_deref(), Some("so"));
        let (preset, _) = asked(r#"{"query":"Capital of France?","expected":"Paris"}"#);
        assert_eq!((preset.name, preset.graders[0]), ("questions", "exact"));
    }

    #[test]
    fn a_file_that_brings_its_prompts_is_asked_with_them() {
        let (preset, set) =
            asked(r#"{"id":"a","question":"sum of 3, 8?","prompt":"Question: sum of 3, 8?\nAnswer:","answer":"11"}"#);
        let prompter = Prompter::new(&preset.template, &set).unwrap();
        assert_eq!(prompter.prompt(&set.questions[0]), Prompt::Raw("Question: sum of 3, 8?\nAnswer:".to_owned()));
        assert_eq!(preset.graders[0], "flexible");
        // Alone, it is the question.
        let (preset, set) = asked(r#"{"prompt":"3+8?","answer":"11"}"#);
        assert_eq!((preset.mapping.question.as_str(), set.questions[0].question.as_str()), ("prompt", "3+8?"));
    }

    #[test]
    fn programs_are_refused_with_another_way() {
        let humaneval = r#"{"task_id":"HumanEval/0","prompt":"def f():","entry_point":"f","canonical_solution":"x","test":"assert f()"}"#;
        let message = Preset::of(&file(humaneval)).unwrap_err().to_string();
        assert!(message.contains("never does") && message.contains("import the results"), "{message}");
    }

    #[test]
    fn an_id_is_a_field_that_tells_every_record_apart() {
        let id = |text: &str| asked(text).0.mapping.id;
        assert_eq!(id("id,question,answer\n1,q,a\n2,r,b\n").as_deref(), Some("id"));
        assert_eq!(id("id,question,answer\n1,q,a\n1,r,b\n"), None);
        assert_eq!(id("id,question,answer\n1,q,a\n,r,b\n"), None);
        let file = file("id,question,answer\n1,q,a\n2,p,b\n1,r,b\n");
        let mapping = Mapping { id: Some("id".to_owned()), ..Mapping::guess(&file).unwrap() };
        let message = file.questions(&mapping).unwrap_err().to_string();
        assert!(message.contains("the records 1 and 3 both have the id `1` in the field `id`"), "{message}");
        let (_, set) = asked("question,answer\nq,a\n,b\nr,c\n");
        let ids: Vec<&str> = set.questions.iter().map(|question| question.id.as_str()).collect();
        assert_eq!(ids, ["0", "2"]);
    }

    #[test]
    fn what_cannot_be_mapped_is_said_with_the_fields_there_are() {
        let refused = |text: &str| Preset::of(&file(text)).unwrap_err().to_string();
        assert!(refused(r#"{"foo":1,"bar":2}"#).contains("told to be the question; choose it among `foo`, `bar`"));
        assert!(refused(r#"{"question":"q","bar":2}"#).contains("told to be the answer"));
        let file = file(r#"{"question":"q","answer":"a","extra":{"deep":"x"}}"#);
        let named =
            |answer: &str| file.questions(&Mapping { answer: answer.to_owned(), ..Mapping::guess(&file).unwrap() });
        let message = named("anwser").unwrap_err().to_string();
        assert!(message.contains("no field `anwser`, which is to be the answer; did you mean `answer`?"), "{message}");
        assert_eq!(named("extra.deep").unwrap().questions[0].answer, "x");
        let message = named("extra").unwrap_err().to_string();
        assert!(message.contains("record 1: `extra` is an object"), "{message}");
    }

    #[test]
    fn a_mapping_is_kept_in_a_file_as_people_would_write_it() {
        let mapping = asked(r#"{"q_id":1,"question":"q","choice0":"a","choice1":"b","label":1}"#).0.mapping;
        let text = toml::to_string(&mapping).unwrap();
        assert_eq!(
            text,
            "id = \"q_id\"\nquestion = \"question\"\nanswer = \"label\"\nanswer_form = \"index\"\nchoices = [\"choice0\", \"choice1\"]\n"
        );
        assert_eq!(toml::from_str::<Mapping>(&text).unwrap(), mapping);
    }
}
