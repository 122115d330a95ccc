//! What is read from files of results, and what is said of those that are wrong.

use std::fs;

use proptest::prelude::*;

use super::*;

fn outcomes(arm: &ImportedArm) -> Vec<(&str, bool)> {
    match &arm.results {
        ImportedResults::PerQuestion(outcomes) => {
            outcomes.iter().map(|outcome| (outcome.question_id.as_str(), outcome.right)).collect()
        }
        ImportedResults::Counts(_) => panic!("{arm:?} is counted"),
    }
}

fn arms(text: &str) -> Vec<ImportedArm> {
    parse(text.as_bytes(), "file").unwrap()
}

fn refused(text: &str) -> (u64, String) {
    parse(text.as_bytes(), "file").unwrap_err()
}

/// Two questions of GSM8K, each with both filters, as lm-eval 0.4 writes them.
const LM_EVAL: &str = r#####"{"doc_id": 0, "doc": {"question": "Janet", "answer": "#### 18"}, "target": "#### 18", "arguments": {"gen_args_0": {"arg_0": "Question: Janet", "arg_1": {"until": ["Question:"]}}}, "resps": [["She makes #### 18"]], "filtered_resps": ["18"], "filter": "strict-match", "metrics": ["exact_match"], "doc_hash": "a", "prompt_hash": "b", "target_hash": "c", "exact_match": 1.0}
{"doc_id": 1, "doc": {"question": "A robe", "answer": "#### 3"}, "target": "#### 3", "arguments": {}, "resps": [["It takes 3."]], "filtered_resps": ["[invalid]"], "filter": "strict-match", "metrics": ["exact_match"], "exact_match": 0.0}
{"doc_id": 0, "doc": {"question": "Janet", "answer": "#### 18"}, "target": "#### 18", "arguments": {}, "resps": [["She makes #### 18"]], "filtered_resps": ["18"], "filter": "flexible-extract", "metrics": ["exact_match"], "exact_match": 1.0}
{"doc_id": 1, "doc": {"question": "A robe", "answer": "#### 3"}, "target": "#### 3", "arguments": {}, "resps": [["It takes 3."]], "filtered_resps": ["3."], "filter": "flexible-extract", "metrics": ["exact_match"], "exact_match": 1.0}
"#####;

#[test]
fn a_log_of_lm_eval_gives_an_arm_for_each_filter() {
    let arms = arms(LM_EVAL);
    assert_eq!(
        arms.iter().map(|arm| arm.label.as_str()).collect::<Vec<_>>(),
        ["file: strict-match, exact_match", "file: flexible-extract, exact_match"]
    );
    assert_eq!(outcomes(&arms[0]), [("0", true), ("1", false)]);
    assert_eq!(outcomes(&arms[1]), [("0", true), ("1", true)]);
    assert_eq!(arms[0].share(), Share { right: 1, n: 2 });
    let ImportedResults::PerQuestion(outcomes) = &arms[1].results else { panic!("not per question") };
    assert_eq!(outcomes[1].output.as_deref(), Some("It takes 3."));
}

#[test]
fn older_logs_without_a_list_of_metrics_are_read_by_their_fields() {
    let arms = arms(
        r#"{"doc_id": 7, "doc": {"id": "SciQ-7"}, "target": 0, "arguments": [], "resps": [[[-1.5, false]], [[-2.0, false]]], "filtered_resps": [[-1.5, false], [-2.0, false]], "acc": 1.0, "acc_norm": 0.0, "bits": 0.73}"#,
    );
    assert_eq!(
        arms.iter().map(|arm| arm.label.as_str()).collect::<Vec<_>>(),
        ["file: none, acc", "file: none, acc_norm"]
    );
    assert_eq!(outcomes(&arms[0]), [("SciQ-7", true)]);
}

#[test]
fn a_name_that_says_a_w_gives_it_to_its_log() {
    let w = |name: &str| parse(LM_EVAL.as_bytes(), name).unwrap()[0].w;
    assert_eq!(w("samples_w0.5"), Some(0.5));
    assert_eq!(w("gsm8k w=-0.25 run 2"), Some(-0.25));
    assert_eq!(w("merged-W1"), Some(1.0));
    assert_eq!(w("samples_gsm8k_2026-11-30"), None);
    assert_eq!(w("raw0.5"), None, "no word of its own");
}

#[test]
fn names_that_are_not_unique_give_way_to_positions() {
    let line =
        |doc_id: u32| format!(r#"{{"doc_id": {doc_id}, "doc": {{"id": "same"}}, "resps": [["x"]], "acc": true}}"#);
    assert_eq!(outcomes(&arms(&format!("{}\n{}", line(0), line(1)))[0]), [("0", true), ("1", true)]);
    let (at, message) = refused(&format!("{}\n{}", line(0), line(0)));
    assert!(at == 2 && message.contains("doc_id 0 was there before"), "{message}");
}

#[test]
fn a_log_of_lm_eval_without_right_and_wrong_is_refused() {
    let (_, message) = refused(r#"{"doc_id": 0, "resps": [["x"]], "f1": 0.4}"#);
    assert!(message.contains("must be 0 or 1 in every line; found f1"), "{message}");
}

#[test]
fn tables_are_read_by_their_header() {
    let csv = "\u{feff}W,Question_ID,Correct,output\n0,q1,1,\"29\n30\"\n0,q2,False,\n0.5,q1,true,7\n0.5,q2,1.0,8\n";
    let read = arms(csv);
    assert_eq!(
        read.iter().map(|arm| (arm.label.as_str(), arm.w)).collect::<Vec<_>>(),
        [("w = 0", Some(0.0)), ("w = 0.5", Some(0.5))]
    );
    assert_eq!(outcomes(&read[0]), [("q1", true), ("q2", false)]);
    let ImportedResults::PerQuestion(first) = &read[0].results else { panic!("not per question") };
    assert_eq!((first[0].output.as_deref(), first[1].output.as_deref()), (Some("29\n30"), None));
    let jsonl = "{\"w\": 0, \"id\": \"q1\", \"pass\": 1, \"output\": \"29\\n30\"}\n\n{\"w\": 0, \"id\": \"q2\", \"pass\": false}\n{\"w\": 0.5, \"id\": \"q1\", \"pass\": true, \"output\": \"7\"}\n{\"w\": 0.5, \"id\": \"q2\", \"pass\": \"1\", \"output\": \"8\"}";
    assert_eq!(arms(jsonl), read);
}

#[test]
fn published_counts_are_read_as_counts() {
    let read = arms("arm,w,right,n\ntarget,0,4,30\nw = 1.00,1,10,30\npost,,9.0,30.0\n");
    let found: Vec<_> = read.iter().map(|arm| (arm.label.as_str(), arm.w, arm.share())).collect();
    let share = |right| Share { right, n: 30 };
    assert_eq!(found, [("target", Some(0.0), share(4)), ("w = 1.00", Some(1.0), share(10)), ("post", None, share(9))]);
    assert!(read.iter().all(|arm| arm.series == "file"), "{read:?}");
}

#[test]
fn a_name_that_comes_with_several_w_is_that_of_a_series() {
    let read = arms("arm,w,right,n\nJapanese,0,4,30\nEnglish,0,7,30\nJapanese,1,10,30\nEnglish,1,16,30\npost,,9,30\n");
    let found: Vec<_> = read.iter().map(|arm| (arm.label.as_str(), arm.series.as_str())).collect();
    assert_eq!(
        found,
        [
            ("Japanese, w = 0", "Japanese"),
            ("English, w = 0", "English"),
            ("Japanese, w = 1", "Japanese"),
            ("English, w = 1", "English"),
            ("post", "file"),
        ]
    );
}

#[test]
fn logs_of_lm_eval_at_several_w_are_one_series() {
    let of = |name: &str| parse(LM_EVAL.as_bytes(), name).unwrap().remove(0);
    assert_eq!(of("samples_w0").series, of("samples_w0.5").series);
    let (early, late) = ("samples_gsm8k_w0_2026-11-30T10-15-02.1", "samples_gsm8k_w=0.5_2026-12-01T09-00-00.25");
    assert_eq!(of(early).series, "samples_gsm8k: strict-match, exact_match");
    assert_eq!(of(early).series, of(late).series);
    assert_ne!(of("gsm8k w=0").series, of("arc w=0").series, "ids that are positions mean other questions there");
    assert_eq!(of("w0.5").series, "strict-match, exact_match");
    assert_eq!(of("w0.5 mgsm8").series, "mgsm8: strict-match, exact_match");
}

#[test]
fn several_answers_to_a_question_are_numbered() {
    let read = arms("question_id,sample,right\nq1,0,1\nq1,1,0\n");
    assert_eq!((read[0].label.as_str(), read[0].share()), ("file", Share { right: 1, n: 2 }));
    let (line, message) = refused("question_id,right\nq1,1\nq1,0\n");
    assert!(line == 3 && message.contains("column sample"), "{message}");
}

#[test]
fn a_row_that_is_wrong_is_named_with_what_to_do() {
    for (text, line, says) in [
        ("w,question_id,right\n0,q1,maybe\n", 2, "must be 0, 1, true or false"),
        ("w,question_id,right\nhalf,q1,1\n", 2, "such as 0.5"),
        ("w,question_id,right\nnan,q1,1\n", 2, "such as 0.5"),
        ("w,question_id,right\n0,q1,1\n0,q2\n", 3, "it has 2 columns, and the header has 3"),
        ("w,question_id\n0,q1\n", 2, "add a column right"),
        ("w,right\n0,1\n", 2, "add a column question_id"),
        ("w,right,n\n0,31,30\n", 2, "31 right of 30 is not possible"),
        ("w,right,n\n0,1,30\n0,2,30\n", 3, "was there before"),
        ("w,right,n\n0,0,0\n", 2, "0 right of 0"),
        ("w,right,n\n0,1.5,30\n", 2, "whole number"),
        ("w,right,n,id\n0,1,30,q1\n", 2, "both a question and n"),
        ("[{\"w\": 0}]", 1, "in its own line"),
        ("{\"key\": \"00\", \"arm\": \"target\", \"doc_id\": 0, \"resps\": [], \"sample\": 0}", 1, "as a sample log"),
        ("{\"w\": 0}\n{", 2, "no JSON object in one line"),
        ("{\"w\": 0}", 1, "add a column right"),
    ] {
        let (found, message) = refused(text);
        assert!(found == line && message.contains(says), "{text:?}: line {found}: {message}");
    }
}

#[test]
fn a_file_without_results_says_what_it_needs() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("results.csv");
    for text in ["", "\n", "w,question_id,right\n"] {
        fs::write(&path, text).unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("the columns w or arm, question_id and right"));
    }
    fs::write(&path, "w,right,n\n0,5,4\n").unwrap();
    assert!(read(&path).unwrap_err().to_string().starts_with("cannot use line 2 of "));
    fs::write(&path, "w,right,n\n0,3,4\n").unwrap();
    assert_eq!(read(&path).unwrap()[0].share(), Share { right: 3, n: 4 });
    assert!(matches!(read(folder.path()), Err(ImportError::Io { .. })));
    assert!(matches!(read(&folder.path().join("none.csv")), Err(ImportError::Io { .. })));
}

proptest! {
    #[test]
    fn no_file_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = parse(&bytes, "file");
    }

    #[test]
    fn no_damaged_log_makes_it_panic(at in 0..LM_EVAL.len(), inserted in "\\PC{0,8}", skipped in 0_usize..40) {
        let mut text = LM_EVAL.as_bytes()[..at].to_vec();
        text.extend_from_slice(inserted.as_bytes());
        text.extend_from_slice(&LM_EVAL.as_bytes()[(at + skipped).min(LM_EVAL.len())..]);
        let _ = parse(&text, "file");
    }

    #[test]
    fn no_damaged_table_makes_it_panic(rows in prop::collection::vec("[0-9a-z.,\"\n-]{0,12}", 0..6)) {
        let _ = parse(format!("w,question_id,right,n\n{}", rows.join("\n")).as_bytes(), "file");
    }
}
