//! The benchmark as a person runs it: what it tells, and what it leaves on the disk.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use super::{Ran, mergescope, names};

fn bench(folder: &Path, more: &[&str]) -> Ran {
    let args = ["bench", "--shape", "tiny", "--turns", "1"];
    Ran::of(&mut mergescope(folder, args.into_iter().chain(more.iter().copied())))
}

#[test]
fn it_tells_ratios_and_keeps_the_models_for_the_next_time() {
    let folder = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let told = bench(folder.path(), &["--dir", "models", "--steps", "merge,merge-unread,analysis", "--json"]);
        let told = told.ends_with_code(0).json();
        for step in ["merge", "merge-unread", "analysis"] {
            assert!(told["warm"][step]["ratio"]["median"].as_f64().unwrap() > 0.0, "{step}");
        }
        let own = folder.path().join("models").join("mergescope-bench");
        assert_eq!(names(&own), ["made-by-mergescope-bench", "tiny"]);
        assert_eq!(names(&own.join("tiny")), ["post", "pre", "target"]);
    }
    bench(folder.path(), &["--dir", "models"]).ends_with_code(0).says(&["Models in memory", "× floor"]);
}

#[test]
fn what_else_lies_in_its_folder_stays() {
    let folder = tempfile::tempdir().unwrap();
    let models = folder.path().join("models");
    for name in ["scratch", "pre", "tiny", "mergescope-bench"] {
        fs::create_dir_all(models.join(name)).unwrap();
        fs::write(models.join(name).join("thesis.txt"), "precious").unwrap();
    }
    bench(folder.path(), &["--dir", "models"]).ends_with_code(1).complains(&["not from this benchmark"]);
    fs::rename(models.join("mergescope-bench"), models.join("mine")).unwrap();
    fs::write(models.join("mergescope-bench.txt"), "precious").unwrap();
    bench(folder.path(), &["--dir", "models"]).ends_with_code(0);
    assert_eq!(fs::read_to_string(models.join("mergescope-bench.txt")).unwrap(), "precious");
    for name in ["scratch", "pre", "tiny", "mine"] {
        assert_eq!(fs::read_to_string(models.join(name).join("thesis.txt")).unwrap(), "precious");
    }
}

#[cfg(unix)]
#[test]
fn stopped_at_any_moment_it_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let temporary = folder.path().join("temporary");
    fs::create_dir(&temporary).unwrap();
    let mut stopped = 0;
    for round in 0..12 {
        let mut command = mergescope(folder.path(), ["bench", "--shape", "tiny", "--turns", "50"]);
        command.env("TMPDIR", &temporary).stdout(Stdio::null()).stderr(Stdio::piped());
        let running = command.spawn().unwrap();
        std::thread::sleep(Duration::from_millis(20 + round * 45));
        let pid = rustix::process::Pid::from_child(&running);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        let began = Instant::now();
        let ended = running.wait_with_output().unwrap();
        assert!(began.elapsed() < Duration::from_secs(60));
        let words = String::from_utf8(ended.stderr).unwrap();
        // Before it listens, the signal ends it as any program.
        if ended.status.code().is_some() {
            assert_eq!(ended.status.code(), Some(130), "{words}");
            stopped += 1;
            assert_eq!(names(&temporary), [""; 0], "round {round}");
        }
    }
    assert!(stopped > 6, "{stopped}");
}
