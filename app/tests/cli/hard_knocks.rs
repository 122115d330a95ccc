//! What a shell can do to the program: limits, odd names, two at once; and what it never does, speak to a network.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};

use super::support::{Folders, Model, Size, Tensor, read_model, related};
use super::{Ran, fitting, mergescope, names, run};
use mergescope_core::checkpoint::Dtype;
use serde_json::json;

const MERGE: [&str; 9] = ["merge", "--pre", "pre", "--post", "post", "--target", "target", "-w", "0.5"];

/// The program under a shell's limits: `limits` is what the shell does first.
#[cfg(unix)]
fn limited(folder: &Path, limits: &str, args: &[&str]) -> Ran {
    let plain = mergescope(folder, args.iter().copied());
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{limits} && exec \"$0\" \"$@\"")]).arg(plain.get_program()).args(plain.get_args());
    command.current_dir(folder).env_remove("DISPLAY").env_remove("WAYLAND_DISPLAY");
    for (name, value) in plain.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    Ran::of(&mut command)
}

/// A model of as many small tensors as files.
fn in_files(count: usize, seed: usize) -> Model {
    let mut model =
        Model::new().with_config(json!({ "model_type": "llama", "num_hidden_layers": count })).with_shards(count);
    for layer in 0..count {
        let values = super::support::values((seed * 10_000 + layer) as u64, 64, 0.02);
        let name = format!("model.layers.{layer}.mlp.up_proj.weight");
        model.tensors.push(Tensor::of(&name, Dtype::BF16, &[8, 8], &values));
    }
    model
}

#[cfg(unix)]
#[test]
fn models_of_a_thousand_files_need_few_of_them_open_at_a_time() {
    let folders = Folders::write(&in_files(1000, 1), &in_files(1000, 2), &in_files(1000, 3));
    let root = folders.dir.path();
    let few = "ulimit -n 128";
    // An output of a thousand files too, in as many threads as there may be on a large machine.
    let merge = |out| [&MERGE[..], &["--shard-size", "128B", "--threads", "16", "--out", out]].concat();
    limited(root, few, &merge("merged")).ends_with_code(0);
    assert_eq!(names(&root.join("merged")).iter().filter(|name| name.contains("-of-01000")).count(), 1000);
    run(&folders, merge("again")).ends_with_code(0);
    assert!(read_model(&root.join("merged")) == read_model(&root.join("again")));
    limited(root, few, &["analyze", "--pre", "pre", "--post", "post", "--target", "target", "--no-cache"])
        .ends_with_code(0);
    limited(root, few, &["convert", "merged", "-o", "one"]).ends_with_code(0);
    limited(root, few, &["save-vector", "--pre", "pre", "--post", "post", "--out", "v"]).ends_with_code(0);
    assert_eq!(read_model(&root.join("one")), read_model(&root.join("merged")));
}

#[cfg(unix)]
#[test]
fn a_write_that_fails_ends_with_the_reason_and_no_output() {
    let (pre, post, target) = related(Size { hidden: 128, ffn: 512, vocab: 500, ..Size::default() }, Dtype::BF16);
    let folders = Folders::write(&pre, &post, &target);
    // Files may have 64 KiB, in blocks of 512 bytes; a write over that comes with a signal that ends those who do not mind it.
    let args = [&MERGE[..], &["--out", "merged"]].concat();
    let ran = limited(folders.dir.path(), "ulimit -f 128", &args).ends_with_code(1);
    ran.complains(&["error: cannot write ", "model.safetensors, so all of it was undone", "File too large"]);
    assert_eq!(names(folders.dir.path()), ["post", "pre", "target"]);
}

#[cfg(target_os = "linux")]
#[test]
fn words_that_nobody_can_hear_are_no_crash() {
    let folders = fitting();
    let full = || Stdio::from(fs::File::options().write(true).open("/dev/full").unwrap());
    for args in [&["inspect", "target"][..], &[&MERGE[..], &["--out", "merged"]].concat(), &["--help"]] {
        let mut command = mergescope(folders.dir.path(), args.iter().copied());
        let ended = command.stdout(full()).stderr(Stdio::piped()).output().unwrap();
        let words = String::from_utf8(ended.stderr).unwrap();
        assert!(ended.status.code().is_some_and(|code| code < 100), "{args:?}: {} {words}", ended.status);
        assert!(!words.contains("panicked"), "{args:?}: {words}");
    }
}

#[test]
fn of_two_programs_that_write_to_the_same_folder_one_does() {
    let (pre, post, target) = related(Size { hidden: 256, ffn: 1024, vocab: 2000, ..Size::default() }, Dtype::BF16);
    let folders = Folders::write(&pre, &post, &target);
    let root = folders.dir.path();
    let args = [&MERGE[..], &["--out", "merged", "--memory", "64KiB", "--threads", "1"]].concat();
    let mut first = mergescope(root, args.iter().copied()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let is_under_way = || names(root).iter().any(|name| name.ends_with(".mergescope-partial"));
    while !is_under_way() && first.try_wait().unwrap().is_none() {
        std::thread::yield_now();
    }
    let second = run(&folders, args.iter().copied()).ends_with_code(1);
    // The first may have ended meanwhile; the second has nothing either way.
    let words = if second.stderr.contains("already exists") { "choose a new folder name" } else { "wait for it" };
    second.complains(&["error: ", "merged", words]);
    assert!(first.wait().unwrap().success());
    assert_eq!(names(root), ["merged", "post", "pre", "target"]);
    assert!(!read_model(&root.join("merged")).is_empty());
}

#[test]
fn every_command_takes_names_of_any_kind() {
    for name in ["a b", "a+b", "日本語 🙂", "-w", "it's", "100%"] {
        let folders = fitting();
        let room = folders.dir.path().join("room");
        fs::create_dir(&room).unwrap();
        for role in ["pre", "post", "target"] {
            fs::create_dir(room.join(role)).unwrap();
            fs::rename(folders.dir.path().join(role), room.join(role).join(name)).unwrap();
        }
        let at = |folder: &str| format!("{folder}/{name}");
        let [pre, post, target] = ["pre", "post", "target"].map(at);
        let models = ["--pre", &pre, "--post", &post, "--target", &target];
        fs::create_dir(room.join("out")).unwrap();
        let out = at("out");
        let ran = |args: &[&[&str]]| {
            let ran = Ran::of(&mut mergescope(&room, args.concat())).ends_with_code(0);
            assert_eq!(names(&room.join("out")), [name], "{:?}", args[0]);
            fs::rename(room.join("out").join(name), room.join("last")).unwrap();
            ran
        };
        let again = |args: &[&[&str]]| {
            fs::remove_dir_all(room.join("last")).or_else(|_| fs::remove_file(room.join("last"))).unwrap();
            ran(args)
        };
        ran(&[&["merge"], &models, &["-w", "0.5", "--out", &out]]);
        let merged = read_model(&room.join("last"));
        fs::rename(room.join("last").join("mergescope.toml"), room.join(format!("{name}.toml"))).unwrap();
        let recipe = format!("./{name}.toml");
        again(&[&["merge", "--recipe", &recipe, "--out", &out]]);
        assert!(merged == read_model(&room.join("last")), "{name}");
        again(&[&["analyze"], &models, &["--html", &out]]);
        again(&[&["lora"], &models, &["-w", "0.5", "--rank", "2", "--out", &out]]);
        again(&[&["save-vector", "--pre", &pre, "--post", &post, "--out", &out]]);
        again(&[&["convert", &target, "-o", &out]]);
        Ran::of(&mut mergescope(&room, ["recipe", "check", &recipe])).ends_with_code(0);
        Ran::of(&mut mergescope(&room, ["inspect", &target])).ends_with_code(0).says(&[name]);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn names_that_are_no_text_are_told_as_such() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;

    let folders = fitting();
    let odd = OsStr::from_bytes(b"caf\xe9");
    let out = Ran::of(mergescope(folders.dir.path(), MERGE).arg("--out").arg(odd)).ends_with_code(0);
    out.says(&["caf"]);
    assert!(folders.dir.path().join(odd).join("model.safetensors").exists());
    let model = Ran::of(mergescope(folders.dir.path(), ["inspect"]).arg(odd)).ends_with_code(2);
    model.complains(&["error: caf", "is not UTF-8", "rename it"]);
}

/// Commands that work on what is here.
const LOCAL: [&[&str]; 14] = [
    &["demo", "--no-window", "--out", "demo"],
    &["inspect", "target"],
    &["inspect", "org/name"],
    &["preflight", "--pre", "pre", "--post", "post", "--target", "target"],
    &["merge", "--pre", "pre", "--post", "post", "--target", "target", "-w", "0.5", "--out", "merged"],
    &["merge", "--pre", "org/pre", "--post", "org/post@main", "--target", "target", "--out", "none"],
    &["merge", "--recipe", "merged/mergescope.toml", "--out", "again"],
    &["recipe", "check", "merged/mergescope.toml"],
    &["analyze", "--pre", "pre", "--post", "post", "--target", "target", "--html", "page.html"],
    &["save-vector", "--pre", "pre", "--post", "post", "--out", "vector"],
    &["lora", "--pre", "pre", "--post", "post", "--target", "target", "--rank", "2", "--out", "lora"],
    &["convert", "target", "-o", "converted"],
    &["history"],
    &["unfinished"],
];

#[test]
fn nobody_is_contacted_but_for_a_download() {
    let folders = fitting();
    // Whoever speaks HTTP is sent here: the Hub is, and so is the proxy to everything else.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let here = format!("http://{}", listener.local_addr().unwrap());
    let run = |args: &[&str]| {
        let mut command = mergescope(folders.dir.path(), args.iter().copied());
        for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy", "HF_ENDPOINT"]
        {
            command.env(name, &here);
        }
        command.env_remove("NO_PROXY").env_remove("no_proxy").env_remove("HF_HUB_OFFLINE");
        command.env("HF_HOME", folders.dir.path().join("hf")).stdin(Stdio::null());
        Ran::of(&mut command)
    };
    for args in LOCAL {
        let is_missing = args.iter().any(|arg| arg.starts_with("org/"));
        let ran = run(args).ends_with_code(i32::from(is_missing));
        assert!(!is_missing || ran.stderr.contains("mergescope download org/"), "{}", ran.stderr);
        let met = listener.accept().map(drop).unwrap_err();
        assert_eq!(met.kind(), std::io::ErrorKind::WouldBlock, "{args:?} contacted somebody");
    }

    // That who asks is met here: else this test could not fail.
    let asking = std::thread::scope(|scope| {
        let asking = scope.spawn(|| run(&["download", "org/name", "--yes"]));
        let mut met = 0;
        while !asking.is_finished() {
            // Closed at once: the download fails, and may try again.
            met += usize::from(listener.accept().is_ok());
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        asking.join().unwrap().ends_with_code(1);
        met
    });
    assert!(asking > 0);
}
