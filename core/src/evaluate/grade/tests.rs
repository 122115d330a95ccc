//! What graders make of answers, and of traps.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

fn expected(label: &str) -> Expected<'_> {
    Expected { label, choices: &[] }
}

fn verdict(grader: &Grader, output: &str, label: &str) -> Verdict {
    grader.grade(output, &expected(label)).verdict
}

/// What was found and the same in the output as it is.
fn found(grader: &Grader, output: &str) -> Option<(String, String)> {
    let grade = grader.grade(output, &expected("0"));
    Some((grade.extracted?, output[grade.span?].to_owned()))
}

fn pattern(pattern: &str) -> Grader {
    Grader::Regex(Pattern::new(pattern).unwrap())
}

use Grader::{Boxed, Exact, Flexible, Strict, Substring};
use Verdict::{NoAnswer, Right, Wrong};

#[test]
fn a_label_within_another_number_is_right_for_substring_alone() {
    assert_eq!(verdict(&Substring, "The answer is 17.", "7"), Right);
    for grader in [Strict, Flexible, Exact] {
        assert_eq!(verdict(&grader, "The answer is 17.", "7"), Wrong, "{grader:?}");
    }
    assert_eq!(verdict(&Substring, "The answer is 16.", "7"), Wrong);
}

#[test]
fn numbers_are_compared_as_numbers_in_whatever_width() {
    for output in ["29.00", "29", "２９", "$29", "29.", "２９．００", "￥29", "029"] {
        assert_eq!(verdict(&Flexible, output, "29"), Right, "{output}");
        assert_eq!(verdict(&Exact, output, " 29 "), Right, "{output}");
    }
    for output in ["1,234", "１，２３４", "1234", "$1,234.00"] {
        assert_eq!(verdict(&Flexible, &format!("so {output}"), "1,234"), Right, "{output}");
    }
    let digits = "1234567890".repeat(300);
    assert_eq!(verdict(&Flexible, &digits, &digits), Right);
    assert_eq!(verdict(&Flexible, &format!("{digits}1"), &format!("{digits}2")), Wrong);
}

#[test]
fn a_minus_is_a_minus_in_either_character() {
    for output in ["-5", "\u{2212}5", "－５", "so x = \u{2212}5."] {
        assert_eq!(verdict(&Flexible, output, "-5"), Right, "{output}");
        assert_eq!(verdict(&Flexible, output, "\u{2212}5"), Right, "{output}");
        assert_eq!(verdict(&Flexible, output, "5"), Wrong, "{output}");
    }
}

#[test]
fn a_percentage_is_compared_as_it_is_written() {
    assert_eq!(verdict(&Flexible, "That makes 50%.", "50"), Right);
    assert_eq!(verdict(&Flexible, "That makes 50%.", "50%"), Right);
    assert_eq!(verdict(&Boxed, r"\boxed{50\%}", "50"), Right);
    assert_eq!(verdict(&Boxed, r"\boxed{50\%}", "0.5"), Wrong);
}

#[test]
fn strict_takes_the_form_asked_for_and_its_first_match() {
    for output in [
        "#### 18",
        "steps\n#### 18\n#### 19",
        "The answer is 18.",
        "The answer is 18",
        "答えは18です。",
        "答えは１８です。",
    ] {
        assert_eq!(verdict(&Strict, output, "18"), Right, "{output}");
    }
    assert_eq!(found(&Strict, "The answer is 3. #### 18").unwrap().0, "18");
    for output in ["18", "#### $18", "####18", "the answer is 18", "答えは18", ""] {
        assert_eq!(verdict(&Strict, output, "18"), NoAnswer, "{output}");
    }
}

#[test]
fn flexible_takes_the_last_number() {
    for (output, last) in [
        ("3 + 4 = 7", "7"),
        ("7 of 30.", "30."),
        (r"$$\boxed{29}$$", "29"),
        ("It is 18... I think...", "18..."),
        ("costs $5, or", "$5,"),
        ("29個です。", "29"),
        ("5 m²", "5"),
    ] {
        assert_eq!(found(&Flexible, output).unwrap().0, last, "{output}");
    }
    assert_eq!(verdict(&Flexible, "I do not know...", "18"), NoAnswer);
}

#[test]
fn a_box_is_compared_as_number_or_as_latex() {
    for (output, label) in [
        (r"\boxed{29.0}", "29"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{\frac{1}{2}}", "1/2"),
        (r"\boxed{0.5}", r"\frac12"),
        (r"\boxed{１２}", "12"),
        (r"\boxed{x = 5}", "5"),
        (r"\boxed{\text{Tuesday}}", "Tuesday"),
        (r"\boxed{5\text{ cm}}", "5"),
        (r"\boxed{(3, 4)}", r"\left(3,4\right)"),
    ] {
        assert_eq!(verdict(&Boxed, output, label), Right, "{output} for {label}");
    }
    assert_eq!(verdict(&Boxed, r"\boxed{\frac{1}{2}}", "2"), Wrong);
    for output in ["29", r"\boxed{29", r"\boxed{}", ""] {
        assert_eq!(verdict(&Boxed, output, "29"), NoAnswer, "{output}");
    }
}

#[test]
fn exact_takes_the_whole_answer() {
    assert_eq!(verdict(&Exact, "  Yes.\n", "Yes"), Right);
    assert_eq!(verdict(&Exact, "はい。", "はい"), Right);
    for output in ["Yes, it is", "yes", "No"] {
        assert_eq!(verdict(&Exact, output, "Yes"), Wrong, "{output}");
    }
}

#[test]
fn a_pattern_of_ones_own_takes_the_last_match_and_its_first_group() {
    assert_eq!(found(&pattern("答え：([0-9]+)"), "答え：3、答え：29。").unwrap().0, "29");
    assert_eq!(found(&pattern("答え:([0-9]+)"), "答え：２９。").unwrap(), ("29".to_owned(), "２９".to_owned()));
    assert_eq!(found(&pattern("a(x)|b(y)"), "ax by").unwrap().0, "y");
    assert_eq!(verdict(&pattern("[0-9]+"), "1 and 2.", "2"), Right);
    assert_eq!(verdict(&pattern("[0-9]+"), "none", "2"), NoAnswer);
}

#[test]
fn choices_are_graded_by_letter_or_text() {
    let choices = ["犬", "猫", "kangaroo"].map(str::to_owned);
    for label in ["B", "猫"] {
        let expected = Expected { label, choices: &choices };
        for (output, verdict) in
            [("答えはＢです。", Right), ("猫", Right), ("(A)", Wrong), ("Kangaroo.", Wrong), ("鳥", NoAnswer)]
        {
            assert_eq!(Grader::Choice.grade(output, &expected).verdict, verdict, "{output}");
        }
    }
    let nowhere = Expected { label: "bird", choices: &choices };
    assert_eq!(nowhere.right_choice(), None);
    assert_eq!(Grader::Choice.grade("B", &nowhere).verdict, Wrong);
}

#[test]
fn only_what_comes_after_thinking_counts() {
    let output = "<think>29? No.</think>The answer is 30.";
    for grader in [Substring, Strict, Flexible] {
        assert_eq!(verdict(&grader, output, "29"), Wrong, "{grader:?}");
        assert_eq!(verdict(&grader, output, "30"), Right, "{grader:?}");
        assert_eq!(verdict(&grader, "<think>The answer is 30.", "30"), NoAnswer, "{grader:?}");
        assert_eq!(verdict(&grader, "<think>The answer is 30.</think>", "30"), NoAnswer, "{grader:?}");
    }
}

#[test]
fn the_place_is_that_in_the_output_as_it_is() {
    let output = "<think>考える</think>㎡で５個、答えは１，２３４です。";
    assert_eq!(found(&Flexible, output).unwrap(), ("1,234".to_owned(), "１，２３４".to_owned()));
    let grade = Substring.grade("ｶﾞ２９", &expected("29"));
    assert_eq!(&"ｶﾞ２９"[grade.span.unwrap()], "２９");
    assert_eq!(found(&Exact, " ２９ ").unwrap().1, "２９");
}

#[test]
fn without_output_or_label_nothing_is_right() {
    for grader in Grader::BUILT_IN.into_iter().chain([pattern(".*")]) {
        for output in ["", " \n", "　"] {
            assert_eq!(verdict(&grader, output, "29"), NoAnswer, "{grader:?}");
        }
        for output in ["29", "x", "$", "#### ,", r"\boxed{.}"] {
            assert_ne!(verdict(&grader, output, ""), Right, "{grader:?} of {output}");
        }
    }
}

#[test]
fn a_megabyte_is_graded_quickly() {
    let bulk = [
        "a ",
        "１２３と",
        "1.",
        "-",
        "{",
        "\\boxed{",
        "answer is ",
        "答え:A ",
        "(A)",
        "e\u{301}\u{301}",
        "A.\n",
        "\\[ `a` ",
        "\\( $$ $a$ ",
    ];
    for part in bulk {
        let output = part.repeat((1 << 20) / part.len());
        let choices = ["a a a b", "1.1.1.2"].map(str::to_owned);
        for grader in Grader::BUILT_IN {
            let start = Instant::now();
            grader.grade(&output, &Expected { label: "b", choices: &choices });
            assert!(start.elapsed() < Duration::from_secs(10), "{grader:?} of {part:?}: {:?}", start.elapsed());
        }
        let start = Instant::now();
        AnswerTraits::of(&output);
        assert!(start.elapsed() < Duration::from_secs(10), "traits of {part:?}: {:?}", start.elapsed());
    }
}

#[test]
fn graders_have_names_in_files() {
    let graders: Vec<Grader> = serde_json::from_str(r#"["strict", "flexible", {"regex": "x=(.*)"}]"#).unwrap();
    assert_eq!(graders, [Strict, Flexible, pattern("x=(.*)")]);
    assert_eq!(serde_json::to_string(&graders).unwrap(), r#"["strict","flexible",{"regex":"x=(.*)"}]"#);
    let error = serde_json::from_str::<Grader>(r#"{"regex": "("}"#).unwrap_err().to_string();
    assert!(error.contains("unclosed group"), "{error}");
}

/// Pieces that graders look for, in any order.
fn hostile() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "\\PC{0,4}",
        prop::sample::select(vec![
            "<think>",
            "</think>",
            "\\boxed{",
            "{",
            "}",
            "\\frac",
            "#### ",
            "The answer is ",
            "答えは",
            "です。",
            "１",
            ",",
            ".",
            "$",
            "-",
            "\u{2212}",
            "A",
            "(B)",
            "\u{3099}",
            "ﾞ",
            "㎡",
            "½",
            "\n",
            "```",
            "=",
            "+",
            "<|im_start|>answer",
        ])
        .prop_map(str::to_owned),
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn no_output_and_no_label_makes_a_grader_panic(output in hostile(), label in hostile(), choices in prop::collection::vec(hostile(), 0..4)) {
        let expected = Expected { label: &label, choices: &choices };
        for grader in Grader::BUILT_IN.into_iter().chain([pattern(r"(\w)=(.)?|\d+")]) {
            let grade = grader.grade(&output, &expected);
            prop_assert_eq!(grade.extracted.is_some(), grade.span.is_some());
            if let Some(span) = grade.span {
                prop_assert!(output.get(span.clone()).is_some(), "{span:?} of {output:?}");
            }
        }
        AnswerTraits::of(&output);
    }

    #[test]
    fn any_number_equals_itself_with_more_zeros(number in "-?[1-9][0-9]{0,30}(\\.[0-9]{1,20})?") {
        let longer = if number.contains('.') { format!("{number}000") } else { format!("{number}.000") };
        prop_assert_eq!(verdict(&Flexible, &format!("so {longer}"), &number), Right);
    }
}
