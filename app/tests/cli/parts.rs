//! Merges in parts, as many machines make them: processes at the same time, killed, started again, and put together.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use mergescope_core::checkpoint::Dtype;
use serde_json::Value;

use super::support::{Folders, Size, related};
use super::{Ran, data_folder, mergescope};

/// A triple of a few megabytes, merged into eight files or so.
struct Scene {
    folders: Folders,
}

const SHARD_SIZE: &str = "1MB";

impl Scene {
    fn new() -> Self {
        let size = Size { hidden: 256, ffn: 1024, vocab: 2000, layers: 3, ..Size::default() };
        let (pre, post, target) = related(size, Dtype::BF16);
        Self { folders: Folders::write(&pre, &post, &target.with_file("tokenizer.json", "{}")) }
    }

    fn root(&self) -> &Path {
        self.folders.dir.path()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }

    /// Writes the two parts that there are to be.
    fn both_parts(&self) {
        for part in ["1/2", "2/2"] {
            self.part(part, &[]).ends_with_code(0);
        }
    }

    /// `merge` into `out` with further flags. Units are small, so that there are many moments to be killed at.
    fn command(&self, out: &str, more: &[&str]) -> Command {
        let args = ["merge", "--pre", "pre", "--post", "post", "--target", "target", "-w", "0.5", "--out", out];
        let args = args.into_iter().chain(["--memory", "64KiB", "--threads", "2", "--shard-size", SHARD_SIZE]);
        mergescope(self.root(), args.chain(more.iter().copied()))
    }

    fn merge(&self, out: &str, more: &[&str]) -> Ran {
        Ran::of(&mut self.command(out, more))
    }

    fn part(&self, part: &str, more: &[&str]) -> Ran {
        self.merge("merged", &[&["--part", part], more].concat())
    }

    fn finish(&self, more: &[&str]) -> Ran {
        self.merge("merged", &[&["--finish"], more].concat())
    }

    fn spawn(&self, part: &str, more: &[&str]) -> Child {
        let mut command = self.command("merged", &[&["--part", part], more].concat());
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    fn unfinished(&self) -> Vec<Value> {
        let found = Ran::of(&mut mergescope(self.root(), ["unfinished", "--json"])).ends_with_code(0).json();
        found["unfinished"].as_array().unwrap().clone()
    }

    /// The folder that the parts share.
    fn shared(&self) -> PathBuf {
        let found = self.unfinished();
        assert_eq!(found.len(), 1, "{found:?}");
        self.path(found[0]["folder"].as_str().unwrap())
    }

    /// What an undivided merge writes.
    fn whole(&self, more: &[&str]) -> (BTreeMap<String, Vec<u8>>, Value) {
        self.merge("whole", more).ends_with_code(0);
        let contents = contents(&self.path("whole"));
        fs::remove_dir_all(self.path("whole")).unwrap();
        contents
    }

    #[track_caller]
    fn is_whole(&self, whole: &(BTreeMap<String, Vec<u8>>, Value)) {
        let found = contents(&self.path("merged"));
        assert_eq!(found.0.keys().collect::<Vec<_>>(), whole.0.keys().collect::<Vec<_>>());
        for (name, bytes) in &whole.0 {
            assert!(found.0[name] == *bytes, "{name} differs");
        }
        assert_eq!(found.1, whole.1, "the report");
    }

    fn hidden(&self) -> Vec<String> {
        super::names(self.root()).into_iter().filter(|name| name.starts_with('.')).collect()
    }
}

/// The files of a folder, and the report without what differs from run to run.
fn contents(folder: &Path) -> (BTreeMap<String, Vec<u8>>, Value) {
    let names = super::names(folder);
    let mut files: BTreeMap<_, _> =
        names.into_iter().map(|name| (name.clone(), fs::read(folder.join(name)).unwrap())).collect();
    let mut report: Value = serde_json::from_slice(&files.remove("mergescope-report.json").unwrap()).unwrap();
    for own in ["elapsed_secs", "output", "resumed_bytes"] {
        report.as_object_mut().unwrap().remove(own);
    }
    assert!(files.len() > 8 && report["files"].as_array().unwrap().len() == files.len());
    (files, report)
}

#[test]
fn parts_at_the_same_time_make_the_files_of_one_merge() {
    let scene = Scene::new();
    for method in [&[][..], &["--method", "ties", "--density", "0.3"], &["--method", "dare_linear", "--density", "0.5"]]
    {
        let whole = scene.whole(method);
        let mut parts: Vec<Child> = ["3/4", "1/4", "4/4", "2/4"].iter().map(|part| scene.spawn(part, method)).collect();
        assert!(parts.iter_mut().all(|part| part.wait().unwrap().success()), "{method:?}");
        assert!(!scene.path("merged").exists());
        scene.finish(method).ends_with_code(0).says(&["Read back:", "Written: merged"]);
        scene.is_whole(&whole);
        assert_eq!(scene.hidden(), [""; 0], "nothing is left beside it");
        fs::remove_dir_all(scene.path("merged")).unwrap();
    }
}

#[test]
fn parts_that_are_killed_go_on() {
    let scene = Scene::new();
    let whole = scene.whole(&[]);
    let (mut killed, mut gone_on) = (0, 0);
    for round in 0..40_u64 {
        let mut parts: Vec<Child> = ["1/3", "2/3", "3/3"].iter().map(|part| scene.spawn(part, &[])).collect();
        // Each at another moment, with SIGKILL.
        for (position, part) in parts.iter_mut().enumerate() {
            std::thread::sleep(Duration::from_millis(10 + (round * 13 + position as u64 * 7) % 60));
            killed += u32::from(part.try_wait().unwrap().is_none());
            part.kill().unwrap();
            part.wait().unwrap();
        }
        for part in ["2/3", "1/3", "3/3"] {
            let ran = scene.part(part, &[]).ends_with_code(0);
            gone_on += u32::from(ran.stdout.contains("from a run that was interrupted"));
        }
        scene.finish(&[]).ends_with_code(0);
        scene.is_whole(&whole);
        assert_eq!(scene.hidden(), [""; 0]);
        fs::remove_dir_all(scene.path("merged")).unwrap();
        if killed > 5 && gone_on > 2 {
            return;
        }
    }
    assert!(killed > 0 && gone_on > 0, "{killed} were killed at work, {gone_on} went on");
}

#[test]
fn a_part_that_is_written_is_not_written_again() {
    let scene = Scene::new();
    scene.part("1/2", &[]).ends_with_code(0).says(&["Part 1/2 of merged is written", "Not written yet: 1 of 2 parts"]);
    let weights = scene.shared().join("output");
    let times = |folder: &Path| -> Vec<_> {
        super::names(folder).iter().map(|name| fs::metadata(folder.join(name)).unwrap().modified().unwrap()).collect()
    };
    let before = times(&weights);
    let again = scene.part("1/2", &["--json"]).ends_with_code(0).json();
    assert_eq!((&again["was_done"], &again["missing"]), (&true.into(), &serde_json::json!([2])));
    scene.part("1/2", &[]).ends_with_code(0).says(&["was written already", "nothing to do"]);
    assert_eq!(times(&weights), before);
    scene.part("1/2", &["--anew"]).ends_with_code(0).says(&["Part 1/2 of merged is written"]);
    scene.part("2/2", &[]).ends_with_code(0).says(&["All parts are written", "--finish"]);
    scene.finish(&[]).ends_with_code(0);
}

#[test]
fn what_is_done_is_not_done_again_nor_an_error() {
    let scene = Scene::new();
    let whole = scene.whole(&[]);
    scene.both_parts();
    scene.finish(&[]).ends_with_code(0);
    // A scheduler that lost sight of a job starts it again.
    scene.finish(&[]).ends_with_code(0).says(&["merged was written already", "nothing to do"]);
    let part = scene.part("2/2", &["--json"]).ends_with_code(0).json();
    assert_eq!((&part["was_done"], &part["missing"]), (&true.into(), &serde_json::json!([])));
    scene.part("1/2", &[]).ends_with_code(0).says(&["All parts were put together before"]);
    scene.merge("merged", &["--resume"]).ends_with_code(0).says(&["nothing to do"]);
    scene.is_whole(&whole);
    assert_eq!(scene.hidden(), [""; 0]);

    // Whatever else is there is not this merge.
    scene.finish(&["--seed", "1"]).ends_with_code(1).complains(&["merged already exists"]);
    scene.merge("merged", &[]).ends_with_code(1).complains(&["merged already exists"]);
    File::options().write(true).open(weight_file(&scene.path("merged"))).unwrap().set_len(10).unwrap();
    scene.finish(&[]).ends_with_code(1).complains(&["merged already exists"]);
}

fn weight_file(folder: &Path) -> PathBuf {
    let mut files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.find(|path| path.extension().is_some_and(|extension| extension == "safetensors")).unwrap()
}

#[test]
fn of_several_that_put_the_parts_together_all_end_well() {
    let scene = Scene::new();
    let whole = scene.whole(&[]);
    for _ in 0..5 {
        for part in ["1/2", "2/2"] {
            scene.part(part, &[]).ends_with_code(0);
        }
        let started: Vec<Child> = (0..4)
            .map(|_| {
                let mut command = scene.command("merged", &["--finish"]);
                command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
            })
            .collect();
        for finishing in started {
            let ended = finishing.wait_with_output().unwrap();
            let words = String::from_utf8(ended.stderr).unwrap();
            let waits = words.contains("another run is writing to");
            assert!(ended.status.success() || waits, "{}: {words}", ended.status);
        }
        scene.is_whole(&whole);
        assert_eq!(scene.hidden(), [""; 0]);
        fs::remove_dir_all(scene.path("merged")).unwrap();
    }
}

#[cfg(unix)]
#[test]
fn links_that_others_put_into_the_shared_folder_are_not_followed() {
    use std::os::unix::fs::symlink;

    let scene = Scene::new();
    let whole = scene.whole(&[]);
    scene.part("1/2", &[]).ends_with_code(0);
    let shared = scene.shared();
    fs::write(scene.path("precious"), "key").unwrap();
    let is_kept = || assert_eq!(fs::read_to_string(scene.path("precious")).unwrap(), "key");

    // In the place of a file that is still to be written, and of one that is.
    let part: Value = scene.part("1/2", &["--json"]).ends_with_code(0).json();
    let written = part["files"][0].as_str().unwrap().to_owned();
    let names = super::names(&scene.path("target"));
    assert!(!names.is_empty());
    let missing = (1..)
        .map(|number| format!("model-{number:05}{}", &written[written.find("-of-").unwrap()..]))
        .find(|name| !shared.join("output").join(name).exists())
        .unwrap();
    symlink(scene.path("precious"), shared.join("output").join(&missing)).unwrap();
    scene.part("2/2", &[]).ends_with_code(1).complains(&["no plain file", &missing]);
    is_kept();
    fs::remove_file(shared.join("output").join(&missing)).unwrap();
    scene.part("2/2", &[]).ends_with_code(0);
    fs::rename(shared.join("output").join(&written), scene.path("elsewhere")).unwrap();
    symlink(scene.path("elsewhere"), shared.join("output").join(&written)).unwrap();
    scene.finish(&[]).ends_with_code(1).complains(&[&written, "Run --part 1/2 again"]);
    fs::remove_file(shared.join("output").join(&written)).unwrap();

    // In the place of the folder itself.
    fs::remove_dir_all(&shared).unwrap();
    fs::create_dir(scene.path("other")).unwrap();
    symlink(scene.path("other"), &shared).unwrap();
    scene.part("1/2", &[]).ends_with_code(1).complains(&["it is a link"]);
    assert_eq!(super::names(&scene.path("other")), [""; 0]);
    fs::remove_file(&shared).unwrap();
    scene.both_parts();
    scene.finish(&[]).ends_with_code(0);
    scene.is_whole(&whole);
}

#[test]
fn more_parts_than_files_leave_some_without_work() {
    let scene = Scene::new();
    let whole = scene.whole(&[]);
    let files = whole.0.keys().filter(|name| name.ends_with(".safetensors")).count();
    let of = files + 2;
    for number in 1..=of {
        let ran = scene.part(&format!("{number}/{of}"), &[]).ends_with_code(0);
        assert_eq!(ran.stdout.contains("has no weight file"), number > files, "{}", ran.stdout);
    }
    scene.finish(&[]).ends_with_code(0);
    scene.is_whole(&whole);
}

#[test]
fn parts_have_about_as_many_bytes() {
    let scene = Scene::new();
    let bytes: Vec<u64> = ["1/3", "2/3", "3/3"]
        .iter()
        .map(|part| scene.part(part, &["--json"]).ends_with_code(0).json()["bytes_written"].as_u64().unwrap())
        .collect();
    let (least, most) = (bytes.iter().min().unwrap(), bytes.iter().max().unwrap());
    assert!(most - least <= 1_100_000, "at most a file apart: {bytes:?}");
}

#[test]
fn without_all_parts_nothing_is_put_together() {
    let scene = Scene::new();
    scene.finish(&[]).ends_with_code(4).fails_saying(&["no part of this merge to merged is there", "--part 1/N"]);
    scene.part("2/4", &[]).ends_with_code(0);
    let before = super::names(&scene.shared());
    scene.finish(&[]).ends_with_code(4).fails_saying(&["parts 1, 3 and 4 are missing", "nothing was changed"]);
    assert_eq!(super::names(&scene.shared()).len(), before.len() + 1, "but for a lock");
    assert!(!scene.path("merged").exists());

    Ran::of(&mut mergescope(scene.root(), ["unfinished"])).ends_with_code(0).says(&["merged", "1 of 4 parts written"]);
    let found = &scene.unfinished()[0];
    assert_eq!((&found["output"], &found["parts"]["done"]), (&"merged".into(), &serde_json::json!([2])));
    assert_eq!(found["recipe"]["vector"]["w"], 0.5);
    let (done, total) = (found["done_bytes"].as_u64().unwrap(), found["total_bytes"].as_u64().unwrap());
    assert!(0 < done && done < total);
    Ran::of(&mut mergescope(scene.root(), ["unfinished", "--remove"]))
        .ends_with_code(0)
        .says(&["Removed 1 unfinished"]);
    assert_eq!(scene.hidden(), [""; 0]);
}

#[test]
fn a_part_of_another_recipe_does_not_mix_in() {
    let scene = Scene::new();
    let whole = scene.whole(&[]);
    scene.part("1/2", &[]).ends_with_code(0);
    let other = ["--method", "trim", "--density", "0.5"];
    scene.part("2/2", &other).ends_with_code(0).says(&["Not written yet: 1 of 2 parts"]);
    scene.finish(&[]).ends_with_code(4).fails_saying(&["part 2 is missing"]);
    scene.finish(&other).ends_with_code(4).fails_saying(&["part 1 is missing"]);
    scene.finish(&["--allow-nonfinite"]).ends_with_code(4).fails_saying(&["no part of this merge", "another recipe"]);
    scene.part("2/2", &[]).ends_with_code(0);
    scene.finish(&[]).ends_with_code(0);
    scene.is_whole(&whole);
    assert_eq!(scene.hidden().len(), 1, "the other merge's part is still there");
}

#[test]
fn weights_that_change_between_parts_are_noticed() {
    let scene = Scene::new();
    let whole = scene.whole(&[]);
    scene.part("1/2", &[]).ends_with_code(0);
    // Bytes that no sample is taken of, so that the fingerprint stays.
    let path = scene.folders.post().join("model.safetensors");
    let original = fs::read(&path).unwrap();
    std::thread::sleep(Duration::from_millis(20));
    fs::write(&path, &original).unwrap();
    scene.part("2/2", &[]).ends_with_code(0);
    let refused = scene.finish(&[]).ends_with_code(1);
    refused.fails_saying(&["model.safetensors of post has changed since part 1/2", "run --part 1/2 again"]);
    assert!(!scene.path("merged").exists());
    scene.part("1/2", &[]).ends_with_code(0).says(&["Part 1/2 of merged is written"]);
    scene.part("2/2", &[]).ends_with_code(0).says(&["nothing to do"]);
    scene.finish(&[]).ends_with_code(0);
    scene.is_whole(&whole);
    fs::remove_dir_all(scene.path("merged")).unwrap();

    scene.part("1/2", &[]).ends_with_code(0);
    let mut changed = original;
    // The last bytes of the last tensor are in every fingerprint.
    *changed.last_mut().unwrap() ^= 1;
    fs::write(&path, changed).unwrap();
    scene.part("2/2", &[]).ends_with_code(0).says(&["Not written yet: 1 of 2 parts"]);
    scene.finish(&[]).ends_with_code(4).fails_saying(&["part 1 is missing"]);
}

#[test]
fn the_same_part_is_not_written_twice_at_once() {
    let scene = Scene::new();
    let whole = scene.whole(&[]);
    scene.part("1/2", &[]).ends_with_code(0);
    let lock = File::options().write(true).open(scene.shared().join("part-1-of-2.lock")).unwrap();
    lock.try_lock().unwrap();
    scene.part("1/2", &["--anew"]).ends_with_code(1).fails_saying(&["part 1/2 of", "under way already"]);
    scene.part("2/2", &[]).ends_with_code(0);
    scene.finish(&[]).ends_with_code(4).fails_saying(&["part 1 is under way"]);
    Ran::of(&mut mergescope(scene.root(), ["unfinished", "--remove"]))
        .ends_with_code(0)
        .says(&["under way, 2 of 2 parts written", "Removed 0 unfinished"]);
    drop(lock);
    scene.finish(&[]).ends_with_code(0);
    fs::remove_dir_all(scene.path("merged")).unwrap();

    // Whoever comes first, one of them does it and the other is refused, or finds it done.
    let mut twice: Vec<Child> = (0..2).map(|_| scene.spawn("1/2", &[])).collect();
    let codes: Vec<Option<i32>> = twice.iter_mut().map(|part| part.wait().unwrap().code()).collect();
    assert!(codes.contains(&Some(0)) && codes.iter().all(|code| matches!(code, Some(0 | 1))), "{codes:?}");
    scene.part("2/2", &[]).ends_with_code(0);
    scene.finish(&[]).ends_with_code(0);
    scene.is_whole(&whole);
}

#[test]
fn what_the_disk_lost_of_a_part_is_found_and_made_again() {
    let scene = Scene::new();
    let whole = scene.whole(&[]);
    scene.both_parts();
    let weights = scene.shared().join("output");
    let name = super::names(&weights).remove(0);
    let mut bytes = fs::read(weights.join(&name)).unwrap();
    let last = bytes.len() - 10;
    bytes[last] ^= 4;
    fs::write(weights.join(&name), bytes).unwrap();
    let ran = scene.finish(&[]).ends_with_code(1);
    let line = ran.stderr.clone();
    ran.fails_saying(&[name.as_str(), "tensor `", "the disk or the memory lost it", "Run --part "]);
    let part = line.split("--part ").nth(1).unwrap().split(' ').next().unwrap();
    assert!(!scene.path("merged").exists());
    scene.finish(&[]).ends_with_code(4).fails_saying(&["is missing"]);
    scene.part(part, &[]).ends_with_code(0).says(&["is written"]);
    scene.finish(&["--verify", "disk"]).ends_with_code(0);
    assert!(contents(&scene.path("merged")).0 == whole.0);
}

#[test]
fn files_of_another_length_and_records_of_another_version_are_told_as_what_they_are() {
    let scene = Scene::new();
    let whole = scene.whole(&[]);
    scene.both_parts();
    let file = weight_file(&scene.shared().join("output"));
    let name = file.file_name().unwrap().to_str().unwrap();
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
    scene.finish(&[]).ends_with_code(1).fails_saying(&[name, "the disk or the memory lost it", "Run --part "]);
    fs::remove_file(&file).unwrap();
    scene.finish(&["--verify", "none"]).ends_with_code(1).fails_saying(&[name, "Run --part "]);
    fs::write(&file, &bytes).unwrap();

    // The version is the first number of the first frame, after its length and checksum.
    let record = scene.shared().join("part-2-of-2.done");
    let mut bytes = fs::read(&record).unwrap();
    let length = u32::from_le_bytes(bytes[..4].try_into().unwrap()) as usize;
    bytes[12] = 1;
    let checksum = xxhash_rust::xxh3::xxh3_64(&bytes[12..12 + length]);
    bytes[4..12].copy_from_slice(&checksum.to_le_bytes());
    fs::write(&record, bytes).unwrap();
    scene.part("1/2", &[]).ends_with_code(0).says(&["Not written yet: 1 of 2 parts"]);
    scene.finish(&[]).ends_with_code(4).fails_saying(&["part 2 is missing"]);
    scene.part("2/2", &[]).ends_with_code(0).says(&["is written"]);
    scene.finish(&[]).ends_with_code(0);
    assert!(contents(&scene.path("merged")).0 == whole.0);
}

#[test]
fn what_is_no_part_is_refused_with_the_reason() {
    let scene = Scene::new();
    for (part, why) in [
        ("0/4", "counted from 1/4 to 4/4"),
        ("5/4", "there is no part 5 of 4"),
        ("2", "2/8 for the second of eight"),
        ("a/b", "2/8 for the second of eight"),
        ("1/0", "1 to 65535 parts"),
    ] {
        scene.part(part, &[]).ends_with_code(2).complains(&[why]);
    }
    scene.part("1/2", &["--finish"]).ends_with_code(2).complains(&["cannot be used with"]);
    scene.part("1/2", &["--dry-run"]).ends_with_code(2).complains(&["cannot be used with"]);
    assert_eq!(scene.hidden(), [""; 0]);
    scene.part("1/2", &[]).ends_with_code(0);
    scene.part("1/3", &[]).ends_with_code(1).fails_saying(&["was begun in 2 parts, not in 3"]);
    scene.part("2/2", &[]).ends_with_code(0);
    scene.finish(&[]).ends_with_code(0);
}

/// A file of the examples.
fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/many-machines").join(name)
}

/// A program that is to find `mergescope` on its path, in the scene's folder; `None` with a word where it is not installed.
fn with_mergescope(scene: &Scene, program: &str) -> Option<Command> {
    if Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
        println!("left out: {program} is not installed here");
        return None;
    }
    let own = Path::new(env!("CARGO_BIN_EXE_mergescope")).parent().unwrap().to_owned();
    let others = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths([own].into_iter().chain(std::env::split_paths(&others))).unwrap();
    let mut command = Command::new(program);
    command.current_dir(scene.root()).env("PATH", path).env("XDG_DATA_HOME", data_folder(scene.root()));
    Some(command)
}

/// Puts a recipe beside the models.
fn write_recipe(scene: &Scene) {
    let text = "version = 1\ntarget = \"./target\"\n[vector]\npre = \"./pre\"\npost = \"./post\"\nw = 0.5\n";
    fs::write(scene.path("recipe.toml"), text).unwrap();
}

#[test]
fn the_slurm_script_merges() {
    let scene = Scene::new();
    let whole = scene.whole(&[]);
    let task = |variables: &[(&str, &str)]| {
        let mut command = with_mergescope(&scene, "bash")?;
        command.arg(example("slurm.sh")).env("SHARD_SIZE", SHARD_SIZE).env("SLURM_CPUS_PER_TASK", "2");
        command.envs([("PRE", "pre"), ("POST", "post"), ("TARGET", "target"), ("OUT", "merged")]);
        // As Slurm sets it for an array of 1-3.
        Some(command.env("SLURM_ARRAY_TASK_MAX", "3").envs(variables.iter().copied()).spawn().unwrap())
    };
    let tasks = ["1", "2", "3"].map(|id| task(&[("SLURM_ARRAY_TASK_ID", id)]));
    let Some(mut tasks) = tasks.into_iter().collect::<Option<Vec<Child>>>() else { return };
    assert!(tasks.iter_mut().all(|task| task.wait().unwrap().success()));
    let variables = [("FINISH", "1"), ("SLURM_ARRAY_TASK_ID", "0"), ("SLURM_ARRAY_TASK_MAX", "0")];
    assert!(task(&variables).unwrap().wait().unwrap().success());
    scene.is_whole(&whole);
}

#[test]
fn the_containers_of_the_kubernetes_jobs_merge() {
    let scene = Scene::new();
    write_recipe(&scene);
    let text = fs::read_to_string(example("kubernetes.yaml")).unwrap();
    let [parts, finish] = text.split("\n---\n").collect::<Vec<_>>()[..] else { panic!("two jobs:\n{text}") };
    let number = |key: &str| parts.split(key).nth(1).unwrap().split_whitespace().next().unwrap().trim_matches('"');
    assert_eq!(number("completions:"), number("name: PARTS, value:"), "as many pods as parts");
    let container = |job: &str, index: &str| {
        let mut command = with_mergescope(&scene, "sh")?;
        command.args(["-euc", &script(job)]).envs(variables(job));
        command.envs([("RECIPE", "recipe.toml"), ("OUT", "merged"), ("SHARD_SIZE", SHARD_SIZE), ("PAUSE", "1")]);
        Some(command.env("JOB_COMPLETION_INDEX", index).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    };
    // It is there from the start and asks until all is written.
    let Some(mut last) = container(finish, "0") else { return };
    let mut pods: Vec<Child> = (0..8).map(|index| container(parts, &index.to_string()).unwrap()).collect();
    assert!(pods.iter_mut().all(|pod| pod.wait().unwrap().success()));
    assert!(last.wait().unwrap().success());
    let report = contents(&scene.path("merged")).1;
    let weights = |report: &Value| -> Vec<Value> {
        let files = report["files"].as_array().unwrap().iter();
        files.filter(|file| file["name"].as_str().unwrap().ends_with("safetensors")).cloned().collect()
    };
    assert_eq!(weights(&report), weights(&scene.whole(&[]).1));
    // A pod that is started again, since it was lost from sight, ends well too.
    assert!(container(finish, "0").unwrap().wait().unwrap().success());
    assert!(container(parts, "3").unwrap().wait().unwrap().success());
    // What is no matter of waiting ends it.
    fs::remove_file(scene.path("merged").join("mergescope-report.json")).unwrap();
    assert_eq!(container(finish, "0").unwrap().wait().unwrap().code(), Some(1), "something else is there");
}

/// The lines below `- |`, which is what a container's shell gets.
fn script(job: &str) -> String {
    let lines = job.lines().skip_while(|line| line.trim() != "- |").skip(1);
    let lines: Vec<&str> = lines.take_while(|line| !line.trim_start().starts_with("env:")).collect();
    assert!(lines.len() > 1);
    lines.join("\n")
}

/// The variables of a container: `- { name: NAME, value: VALUE }`.
fn variables(job: &str) -> BTreeMap<String, String> {
    let variable = |line: &str| {
        let inner = line.trim().strip_prefix("- { name: ")?.strip_suffix(" }")?;
        let (name, value) = inner.split_once(", value: ")?;
        Some((name.to_owned(), value.trim_matches('"').to_owned()))
    };
    let found: BTreeMap<_, _> = job.lines().filter_map(variable).collect();
    assert!(found.contains_key("OUT"));
    found
}

/// What the script uses of Ray, with threads for machines.
const RAY: &str = "
from concurrent.futures import ThreadPoolExecutor

POOL = ThreadPoolExecutor(8)

class Remote:
    def __init__(self, function):
        self.function = function

    def remote(self, *arguments):
        return POOL.submit(self.function, *arguments)

def remote(num_cpus, max_retries):
    return Remote

def init():
    pass

def get(futures):
    return [future.result() for future in futures] if isinstance(futures, list) else futures.result()
";

#[test]
fn the_ray_script_merges() {
    let scene = Scene::new();
    let whole = scene.whole(&[]);
    fs::create_dir(scene.path("stand-in")).unwrap();
    fs::write(scene.path("stand-in/ray.py"), RAY).unwrap();
    let run = |more: &[&str]| {
        let mut command = with_mergescope(&scene, "python3")?;
        command.env("PYTHONPATH", scene.path("stand-in")).env("PYTHONDONTWRITEBYTECODE", "1");
        command
            .arg(example("ray_merge.py"))
            .args(["--parts", "3", "--pre", "pre", "--post", "post", "--target", "target"]);
        Some(Ran::of(command.args(["-w", "0.5", "--out", "merged", "--shard-size", SHARD_SIZE]).args(more)))
    };
    let Some(ran) = run(&[]) else { return };
    ran.ends_with_code(0).says(&["Part 1/3 of merged is written", "Written: merged"]);
    scene.is_whole(&whole);
    run(&[]).unwrap().ends_with_code(0).says(&["Part 1/3 of merged was written already", "nothing to do"]);
    run(&["--seed", "1"]).unwrap().ends_with_code(1).complains(&["merged already exists"]);
}
