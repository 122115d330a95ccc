//! Where a reasoning model stops thinking and answers.

use std::ops::Range;

use memchr::memmem;

/// What opens and closes a stretch of thinking: the usual tags, and those of s1 (arXiv 2501.19393), where a server leaves
/// them in the text.
const MARKERS: [(&str, &str); 2] = [("<think>", "</think>"), ("<|im_start|>think", "<|im_start|>answer")];

/// What an output thinks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Thinking {
    /// There are no marks of it.
    None,
    /// It thought, and then went on to answer. A chat template may have opened the block, so that only its end is there.
    Closed {
        /// What lies between the marks, in bytes of the output; with several blocks, in the last.
        block: Range<usize>,
    },
    /// It began to think and did not come to an end.
    Unclosed {
        /// Where the thinking begins, in bytes of the output.
        start: usize,
    },
}

impl Thinking {
    /// What an output thinks, by its last marks.
    pub fn of(output: &str) -> Self {
        let last = |pick: fn(&(&'static str, &'static str)) -> &'static str| {
            let found = MARKERS
                .iter()
                .filter_map(|pair| Some((memmem::rfind(output.as_bytes(), pick(pair).as_bytes())?, pick(pair).len())));
            found.max()
        };
        let (opened, closed) = (last(|pair| pair.0), last(|pair| pair.1));
        match (opened, closed) {
            (Some((open, width)), closed) if closed.is_none_or(|(close, _)| close < open) => {
                Self::Unclosed { start: open + width }
            }
            (opened, Some((close, _))) => Self::Closed { block: opened.map_or(0, |(open, width)| open + width)..close },
            (_, None) => Self::None,
        }
    }

    /// Where the answer begins that graders look at, in bytes of the output; `None` if it never does.
    pub fn answer_start(&self, output: &str) -> Option<usize> {
        match self {
            Self::None => Some(0),
            Self::Unclosed { .. } => None,
            Self::Closed { block } => {
                let rest = &output[block.end..];
                MARKERS.iter().find(|(_, close)| rest.starts_with(close)).map(|(_, close)| block.end + close.len())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(output: &str) -> Option<&str> {
        Thinking::of(output).answer_start(output).map(|start| &output[start..])
    }

    #[test]
    fn the_answer_comes_after_the_last_block() {
        assert_eq!(answer("29"), Some("29"));
        assert_eq!(answer("<think>maybe 7</think>29"), Some("29"));
        assert_eq!(answer("maybe 7</think>29"), Some("29"));
        assert_eq!(answer("<think>a</think>b<think>c</think>d"), Some("d"));
        assert_eq!(answer("<|im_start|>think\nmaybe 7<|im_start|>answer\n29"), Some("\n29"));
        assert_eq!(answer(""), Some(""));
    }

    #[test]
    fn thinking_that_does_not_end_is_no_answer() {
        assert_eq!(answer("<think>maybe 7"), None);
        assert_eq!(answer("<think>a</think>b<think>c"), None);
        assert_eq!(Thinking::of("ab<think>c"), Thinking::Unclosed { start: 9 });
    }

    #[test]
    fn the_length_of_a_block_is_that_between_its_marks() {
        assert_eq!(Thinking::of("<think>abc</think>d"), Thinking::Closed { block: 7..10 });
        assert_eq!(Thinking::of("abc</think>d"), Thinking::Closed { block: 0..3 });
        assert_eq!(Thinking::of("abc"), Thinking::None);
    }
}
