//! An error and everything behind it, in words.

use std::error::Error;

/// The error's message followed by those of its causes, joined by ": ".
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string();
        // A transparent wrapper repeats its cause word for word.
        if !text.ends_with(&message) {
            text.push_str(": ");
            text.push_str(&message);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot open the model")]
    struct Outer(#[source] io::Error);

    #[test]
    fn every_cause_is_told_once() {
        let error = Outer(io::Error::other("the disk is gone"));
        assert_eq!(chain(&error), "cannot open the model: the disk is gone");
    }
}
