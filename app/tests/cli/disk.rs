//! A disk that gives up: reads, writes, syncs and renames that fail with an I/O error in the middle of the work.
//!
//! The errors are strace's, put in the place of system calls; without strace, and where it may not trace, nothing is tested and
//! the tests say so.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use mergescope_core::checkpoint::Dtype;

use super::support::{Folders, Size, read_model, related};
use super::{Ran, mergescope, names, run};

const MODELS: [&str; 6] = ["--pre", "pre", "--post", "post", "--target", "target"];

/// In units so small that there are hundreds of reads and writes.
const MERGE: [&str; 7] = ["merge", "-w", "0.5", "--memory", "64KiB", "--out", "merged"];

fn can_trace() -> bool {
    static CAN: LazyLock<bool> = LazyLock::new(|| {
        let ran = Command::new("strace").args(["-o", "/dev/null", "true"]).stderr(Stdio::null()).status();
        let can = ran.is_ok_and(|status| status.success());
        if !can {
            eprintln!("left out: failing disks, for want of strace");
        }
        can
    });
    *CAN
}

fn three_models() -> Folders {
    let (pre, post, target) = related(Size { hidden: 128, ffn: 512, vocab: 500, ..Size::default() }, Dtype::BF16);
    Folders::write(&pre, &post, &target)
}

/// The program, where system calls of this kind fail from the given one on; `path` leaves calls on other files alone.
fn failing(folder: &Path, calls: &str, from: usize, path: Option<&Path>, args: &[&str]) -> Ran {
    let plain = mergescope(folder, args.iter().copied());
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={calls}")]);
    command.args(["-e", &format!("inject={calls}:error=EIO:when={from}+")]);
    if let Some(path) = path {
        command.arg("-P").arg(path);
    }
    command.arg(plain.get_program()).args(plain.get_args()).current_dir(folder);
    command.env_remove("DISPLAY").env_remove("WAYLAND_DISPLAY");
    for (name, value) in plain.get_envs() {
        if let Some(value) = value {
            command.env(name, value);
        }
    }
    Ran::of(&mut command)
}

#[test]
fn a_read_that_fails_names_the_file_and_leaves_nothing_behind() {
    if !can_trace() {
        return;
    }
    let folders = three_models();
    let root = folders.dir.path();
    for role in ["pre", "post", "target"] {
        let file = root.join(role).join("model.safetensors");
        // The first ones are of headers.
        for from in [1, 3, 9] {
            let ran = failing(root, "read,pread64", from, Some(&file), &[&MERGE[..], &MODELS].concat());
            ran.ends_with_code(1).complains(&["error: ", role, "model.safetensors", "Input/output error"]);
            assert_eq!(names(root), ["post", "pre", "target"], "{role}, from read {from} on");
        }
        let ran = failing(root, "read,pread64", 9, Some(&file), &[&["analyze", "--no-cache"][..], &MODELS].concat());
        ran.ends_with_code(1).complains(&["error: ", role, "model.safetensors", "Input/output error"]);
    }
    run(&folders, [&MERGE[..], &MODELS].concat()).ends_with_code(0);
}

#[test]
fn a_file_beside_the_weights_that_cannot_be_read_is_no_fault_of_the_output() {
    if !can_trace() {
        return;
    }
    let folders = three_models();
    let root = folders.dir.path();
    let file = root.join("target").join("tokenizer.json");
    fs::write(&file, "{}").unwrap();
    let ran = failing(root, "read", 1, Some(&file), &[&MERGE[..], &MODELS].concat()).ends_with_code(1);
    ran.complains(&[
        "error: a file of the target cannot be carried over",
        "target",
        "tokenizer.json",
        "Input/output error",
    ]);
    assert_eq!(names(root), ["post", "pre", "target"]);
}

#[test]
fn a_write_a_sync_or_a_rename_that_fails_is_no_finished_merge() {
    if !can_trace() {
        return;
    }
    let folders = three_models();
    let root = folders.dir.path();
    for (calls, from) in [
        ("write,pwrite64", 5),
        ("pwrite64", 1),
        ("pwrite64", 20),
        ("fsync,fdatasync", 1),
        ("fsync,fdatasync", 2),
        ("rename,renameat,renameat2", 1),
        ("mkdir,mkdirat", 1),
    ] {
        let ran = failing(root, calls, from, None, &[&MERGE[..], &MODELS].concat()).ends_with_code(1);
        assert!(!root.join("merged").exists(), "{calls} from {from} on");
        ran.complains(&["error: ", "Input/output error"]);
        run(&folders, ["unfinished", "--remove", "."]);
        assert_eq!(names(root), ["post", "pre", "target"], "{calls} from {from} on");
    }
    run(&folders, [&MERGE[..], &MODELS].concat()).ends_with_code(0);
    let merged = read_model(&root.join("merged"));
    fs::remove_dir_all(root.join("merged")).unwrap();
    run(&folders, [&MERGE[..], &MODELS].concat()).ends_with_code(0);
    assert!(read_model(&root.join("merged")) == merged);
}
