//! The demo: three small models that come with the program, so that everything can be tried with no download.

use std::path::{Path, PathBuf};

use mergescope_core::alignment::Role;
use mergescope_core::recipe::Recipe;

/// Where the demo's models are, below some folder above the program.
const FOLDER: &str = "assets/demo";

/// What packages put before that: nothing in a source tree and on Windows, then Linux and macOS.
const PACKAGED: [&str; 3] = ["", "share/mergescope", "Resources"];

/// The folder that holds the demo's `pre`, `post` and `target`.
///
/// It is looked for beside and above the executable, as packages have it too, then above the working directory, then in the
/// source tree that this was built from.
pub fn folder() -> Option<PathBuf> {
    let executable = std::env::current_exe().and_then(|path| path.canonicalize()).ok();
    let working = std::env::current_dir().ok();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    let starts = [executable.as_deref(), working.as_deref(), source].into_iter().flatten();
    starts.flat_map(Path::ancestors).find_map(below)
}

/// The demo below `folder`, in a source tree or in a package.
fn below(folder: &Path) -> Option<PathBuf> {
    PACKAGED.into_iter().map(|packaged| folder.join(packaged).join(FOLDER)).find(|folder| is_demo(folder))
}

/// The demo's Japanese questions, beside its models.
pub fn questions(folder: &Path) -> PathBuf {
    folder.with_file_name("questions").join("demo-ja.jsonl")
}

fn is_demo(folder: &Path) -> bool {
    Role::ALL.into_iter().all(|role| folder.join(role.label()).join("config.json").is_file())
}

/// The demo's recipe, with everything but the models at its default.
pub fn recipe(folder: &Path) -> Recipe {
    let path = |role: Role| folder.join(role.label()).to_string_lossy().into_owned();
    Recipe::new(path(Role::Pre), path(Role::Post), path(Role::Target))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_demo_is_three_model_folders() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join(FOLDER);
        assert!(!is_demo(&folder));
        for role in ["pre", "post", "target"] {
            std::fs::create_dir_all(folder.join(role)).unwrap();
            std::fs::write(folder.join(role).join("config.json"), "{}").unwrap();
        }
        assert!(is_demo(&folder));
        assert!(recipe(&folder).vector.post.ends_with("post"));
    }

    #[test]
    fn packages_have_it_where_their_system_wants_it() {
        for place in ["usr/share/mergescope", "Mergescope.app/Contents/Resources", "Programs/Mergescope"] {
            let root = tempfile::tempdir().unwrap();
            let demo = root.path().join(place).join(FOLDER);
            for role in Role::ALL {
                std::fs::create_dir_all(demo.join(role.label())).unwrap();
                std::fs::write(demo.join(role.label()).join("config.json"), "{}").unwrap();
            }
            let program = match place.split_once("/share").or(place.split_once("/Resources")) {
                Some((above, _)) => root.path().join(above).join("bin/mergescope"),
                None => root.path().join(place).join("mergescope.exe"),
            };
            assert_eq!(program.ancestors().find_map(below), Some(demo), "{place}");
        }
    }
}
