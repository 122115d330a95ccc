//! Files that are opened when they are needed, and closed again when many others are: a model may have more files than a
//! process may have open.

use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

/// Most files that a set keeps open. Some systems allow a process 256 in all, and a merge has a set for each model and one for
/// its output; work goes through files in order, so that few of each are in use at a time.
const MAX_OPEN: usize = 8;

/// The open ones of a set of files that are told apart by a number.
#[derive(Debug, Default)]
pub(crate) struct OpenFiles {
    /// The one that was needed last comes last.
    open: Mutex<Vec<(usize, Arc<File>)>>,
}

impl OpenFiles {
    /// File `number`, which `open` opens if it is not.
    ///
    /// # Errors
    /// Those of `open`.
    pub(crate) fn get(&self, number: usize, open: impl FnOnce() -> io::Result<File>) -> io::Result<Arc<File>> {
        if let Some(file) = self.keep(number, None) {
            return Ok(file);
        }
        // While nobody waits: on a network it may take long.
        let file = Arc::new(open()?);
        // Where two threads opened it at once, one handle is kept and the other closed.
        Ok(self.keep(number, Some(file.clone())).unwrap_or(file))
    }

    /// File `number`, if it is open or `opened` is given. One that was given up is closed when the last who reads from it is done.
    fn keep(&self, number: usize, opened: Option<Arc<File>>) -> Option<Arc<File>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let file = match open.iter().position(|(other, _)| *other == number) {
            Some(position) => open.remove(position).1,
            None => opened?,
        };
        if open.len() >= MAX_OPEN {
            open.remove(0);
        }
        open.push((number, file.clone()));
        Some(file)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot be prepared has failed")]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn the_files_that_were_needed_last_stay_open() {
        let (files, opened) = (OpenFiles::default(), Cell::new(0));
        let get = |number| {
            files.get(number, || {
                opened.set(opened.get() + 1);
                tempfile::tempfile()
            })
        };
        for _ in 0..3 {
            (0..MAX_OPEN).for_each(|number| drop(get(number).unwrap()));
        }
        assert_eq!(opened.get(), MAX_OPEN, "each once");
        let first = get(0).unwrap();
        get(MAX_OPEN).unwrap();
        assert!(Arc::ptr_eq(&first, &get(0).unwrap()), "1 was the oldest");
        get(1).unwrap();
        assert_eq!(opened.get(), MAX_OPEN + 2);
        assert_eq!(files.open.lock().unwrap().len(), MAX_OPEN);
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_tried_again() {
        let files = OpenFiles::default();
        files.get(3, || Err(io::ErrorKind::NotFound.into())).unwrap_err();
        files.get(3, tempfile::tempfile).unwrap();
    }
}
