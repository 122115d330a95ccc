//! Merges that are killed, and what is left of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use super::support::{Folders, Size, read_model, related};
use super::{Ran, mergescope};
use mergescope_core::checkpoint::Dtype;

/// Times that a merge is killed.
const KILLS: u32 = 200;

/// A triple of a few megabytes, and the flags that merge it into `merged` beside it.
struct Scene {
    folders: Folders,
}

impl Scene {
    fn new() -> Self {
        let size = Size { hidden: 256, ffn: 1024, vocab: 2000, layers: 3, ..Size::default() };
        let (pre, post, target) = related(size, Dtype::BF16);
        Self { folders: Folders::write(&pre, &post, &target) }
    }

    fn root(&self) -> &Path {
        self.folders.dir.path()
    }

    fn output(&self) -> PathBuf {
        self.root().join("merged")
    }

    fn command(&self, more: &[&str]) -> std::process::Command {
        let [pre, post, target] = [self.folders.pre(), self.folders.post(), self.folders.target()];
        let [pre, post, target] = [&pre, &post, &target].map(|path| path.to_str().unwrap());
        let args = ["merge", "--pre", pre, "--post", post, "--target", target, "-w", "0.5", "--out", "merged"];
        // Units of 8,192 elements: many moments at which it can be killed.
        let args = args.into_iter().chain(["--memory", "64KiB", "--threads", "2"]).chain(more.iter().copied());
        mergescope(self.root(), args)
    }

    fn merge(&self, more: &[&str]) -> Ran {
        Ran::of(&mut self.command(more))
    }

    /// Starts a merge and kills it after that time, as a power switch would: without a word. Whether it was still at work.
    fn kill_after(&self, time: Duration) -> bool {
        let mut child = self.command(&[]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(time);
        let was_at_work = child.try_wait().unwrap().is_none();
        child.kill().unwrap();
        child.wait().unwrap();
        was_at_work
    }
}

#[test]
fn killed_at_any_moment_a_merge_leaves_no_output_or_a_whole_one_and_goes_on() {
    let scene = Scene::new();
    let began = Instant::now();
    scene.merge(&["--anew"]).ends_with_code(0);
    let whole_time = began.elapsed();
    let whole = read_model(&scene.output());
    fs::remove_dir_all(scene.output()).unwrap();

    let (mut killed, mut gone_on) = (0, 0);
    // Weyl's sequence: as good as random, and every time the same.
    for kill in 0..KILLS {
        let moment = f64::from(kill) * 0.618_033_988_749_894_9 % 1.0;
        killed += u32::from(scene.kill_after(whole_time.mul_f64(moment)));
        if scene.output().exists() {
            assert_eq!(read_model(&scene.output()), whole, "kill {kill}");
            fs::remove_dir_all(scene.output()).unwrap();
        } else if kill % 20 == 19 {
            let ran = scene.merge(&[]).ends_with_code(0);
            gone_on += u32::from(ran.stdout.contains("from a run that was interrupted"));
            assert_eq!(read_model(&scene.output()), whole, "after kill {kill}");
            fs::remove_dir_all(scene.output()).unwrap();
        }
    }
    assert!(killed > KILLS / 2, "{killed} were killed at work");
    assert!(gone_on > 0, "none went on");
    scene.merge(&[]).ends_with_code(0);
    let left = fs::read_dir(scene.root()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(left.filter(|name| name.contains("mergescope-")).count(), 0, "nothing hidden is left");
}

#[test]
fn an_interrupted_merge_is_listed_gone_on_with_or_removed() {
    let scene = Scene::new();
    let nothing = scene.merge(&["--resume"]).ends_with_code(1);
    nothing.fails_saying(&["no interrupted merge", "merged"]);
    let unfinished = |args: &[&str]| {
        Ran::of(&mut mergescope(scene.root(), ["unfinished"].into_iter().chain(args.iter().copied()))).ends_with_code(0)
    };
    unfinished(&[]).says(&["Nothing was interrupted here"]);
    let found = loop {
        assert!(scene.kill_after(Duration::from_millis(60)) || scene.output().exists());
        drop(fs::remove_dir_all(scene.output()));
        let found = unfinished(&["--json"]).json();
        // Killed before it wrote anything there is nothing to go on with.
        if found["unfinished"][0]["done_bytes"].as_u64().is_some_and(|bytes| bytes > 0) {
            break found;
        }
    };
    let entry = &found["unfinished"][0];
    assert_eq!((&entry["output"], &entry["under_way"]), (&"merged".into(), &false.into()));
    assert_eq!(entry["recipe"]["vector"]["w"], 0.5);
    unfinished(&[]).says(&["merged", "interrupted"]);
    let ran = scene.merge(&["--resume"]).ends_with_code(0);
    ran.says(&["from a run that was interrupted"]);
    fs::remove_dir_all(scene.output()).unwrap();

    while unfinished(&["--json"]).json()["unfinished"].as_array().unwrap().is_empty() {
        scene.kill_after(Duration::from_millis(60));
        drop(fs::remove_dir_all(scene.output()));
    }
    unfinished(&["--remove"]).says(&["Removed 1 unfinished merge"]);
    unfinished(&[]).says(&["Nothing was interrupted here"]);
}
