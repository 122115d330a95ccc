//! `mergescope download`: a model of the Hub into the local cache, once somebody has seen how large it is.

use std::fmt::Write as _;
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::path::Path;
use std::thread;
use std::time::Duration;

use mergescope_core::hub::{Download, Hub, HubName};
use mergescope_core::progress::Control;
use serde_json::{Value, json};

use super::args::DownloadArgs;
use super::exit::{Exit, Usage};
use super::print::{self, Printer};
use super::progress::Job;
use super::table::{Align, Table};
use crate::format;

/// How soon Ctrl-C ends the question.
const PATIENCE: Duration = Duration::from_millis(50);

/// Shows what would be downloaded, asks, and downloads.
pub fn run(args: &DownloadArgs) -> anyhow::Result<Exit> {
    let printer = Printer::new(args.json);
    let name = HubName::parse(&args.model).map_err(|error| Usage(error.to_string()))?;
    let hub = Hub::of_process()?;
    let job = Job::begin();
    let download = hub.look(&name, &job.control)?;
    if args.dry_run {
        drop(job);
        printer.text(&format!("{}Nothing was downloaded (--dry-run)\n", text(&download)))?;
        printer.document(&document(&download, None))?;
        return Ok(Exit::Done);
    }
    job.aside(|| printer.say(&text(&download)))?;
    download.check_room()?;
    let missing_bytes = download.missing_bytes();
    let agreed = missing_bytes == 0 || args.yes || job.aside(|| agrees(missing_bytes, &download, &job.control))?;
    if !agreed {
        drop(job);
        print::note("Nothing was downloaded");
        return Ok(Exit::Cancelled);
    }
    let snapshot = hub.fetch(&download, &job.control)?;
    drop(job);
    let what = match missing_bytes {
        0 => "All of it is in the cache".to_owned(),
        bytes => format!("Downloaded {}, verified", format::bytes(bytes)),
    };
    printer.text(&format!("{what}: {}\n", print::line(&snapshot.to_string_lossy())))?;
    printer.document(&document(&download, Some(&snapshot)))?;
    Ok(Exit::Done)
}

/// Asks whoever sits at the terminal. Where nobody does, nothing is downloaded without `--yes`.
fn agrees(bytes: u64, download: &Download, control: &Control) -> anyhow::Result<bool> {
    if !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
        let usage = format!("{} are to be downloaded from {}; say --yes to agree", format::bytes(bytes), download.host);
        return Err(Usage(usage).into());
    }
    let _ = write!(io::stderr(), "Download {} from {}? [y/N] ", format::bytes(bytes), download.host);
    let answer = line(control)?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

/// A line of the person's; an error when it is cancelled first.
fn line(control: &Control) -> anyhow::Result<String> {
    // A read that waits for a person does not end with Ctrl-C.
    let reader = thread::Builder::new().name("answer".to_owned()).spawn(|| {
        let mut line = String::new();
        // Without an answer nobody has agreed.
        let _ = io::stdin().lock().read_line(&mut line);
        line
    })?;
    while !reader.is_finished() {
        control.check()?;
        thread::sleep(PATIENCE);
    }
    Ok(reader.join().unwrap_or_default())
}

fn text(download: &Download) -> String {
    let mut table = Table::new(&[("file", Align::Left), ("size", Align::Right), ("in the cache", Align::Right)]);
    for file in &download.files {
        let present = match file.present_bytes {
            0 => format::NONE.to_owned(),
            bytes if bytes == file.bytes => "all".to_owned(),
            bytes => format::bytes(bytes),
        };
        table.row([print::name(&file.path), format::bytes(file.bytes), present]);
    }
    let mut text = format!("{} at commit {} on {}\n", download.name, download.commit, download.host);
    text.push_str(&table.render());
    let (total, missing) = (download.total_bytes(), download.missing_bytes());
    let _ = write!(
        text,
        "{}, {}; {} to download to {}",
        format::plural(download.files.len(), "file"),
        format::bytes(total),
        if missing == 0 { "nothing".to_owned() } else { format::bytes(missing) },
        print::line(&download.cache.to_string_lossy()),
    );
    let free = download.free_bytes.map(|free| format!(", where {} are free", format::bytes(free)));
    text + &free.unwrap_or_default() + "\n"
}

fn document(download: &Download, snapshot: Option<&Path>) -> Value {
    let files = download.files.iter().map(|file| {
        json!({
            "path": file.path,
            "bytes": file.bytes,
            "present_bytes": file.present_bytes,
            "etag": file.etag(),
        })
    });
    json!({
        "dry_run": snapshot.is_none(),
        "model": download.name.id(),
        "revision": download.name.revision_or_main(),
        "commit": download.commit,
        "host": download.host,
        "cache": print::path(&download.cache),
        "free_bytes": download.free_bytes,
        "bytes": download.total_bytes(),
        "missing_bytes": download.missing_bytes(),
        "files": files.collect::<Vec<_>>(),
        "path": snapshot.map(print::path),
    })
}
