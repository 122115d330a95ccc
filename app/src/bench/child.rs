//! A process that does one step, watched from outside.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use mergescope_core::progress::Control;

/// How often memory is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// What a step took.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Taken {
    /// Its time.
    pub secs: f64,
    /// Most anonymous memory that it had, in bytes: what it allocated, without files that the system keeps in memory. `None` where
    /// the system does not tell.
    pub anonymous_bytes: Option<u64>,
}

/// Runs `command` to its end; the time is what it prints as its last line, in seconds, or else that of the whole process.
///
/// # Errors
/// When it cannot be started or does not end well; the error holds what it said.
pub fn watch(command: &mut Command, tells_time: bool, control: &Control) -> anyhow::Result<Taken> {
    let shown = format!("{command:?}");
    let began = Instant::now();
    own_group(command);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(if tells_time { Stdio::piped() } else { Stdio::null() })
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {shown}"))?;
    // Whatever it says is read while it runs, or a full pipe would stop it.
    let errors = child.stderr.take().map(|mut pipe| {
        thread::spawn(move || {
            let mut said = String::new();
            // What cannot be read is not shown.
            let _ = std::io::Read::read_to_string(&mut pipe, &mut said);
            said
        })
    });
    let mut anonymous_bytes = None;
    let status = loop {
        anonymous_bytes = anonymous_bytes.max(anonymous(&child));
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if control.is_cancelled() {
            kill(&mut child);
            child.wait()?;
            bail!(mergescope_core::progress::Cancelled);
        }
        thread::sleep(LOOK_EVERY);
    };
    let secs = began.elapsed().as_secs_f64();
    let said = errors.and_then(|errors| errors.join().ok()).unwrap_or_default();
    ensure!(status.success(), "{shown} ended with {status}: {}", said.trim());
    let secs = match child.stdout.take() {
        None => secs,
        Some(mut pipe) => {
            let mut told = String::new();
            std::io::Read::read_to_string(&mut pipe, &mut told)?;
            let last = told.lines().last().unwrap_or_default();
            last.trim().parse().with_context(|| format!("{shown} told no time"))?
        }
    };
    Ok(Taken { secs, anonymous_bytes })
}

/// Ctrl-C on a terminal reaches this process alone, which ends the other one.
#[cfg(unix)]
fn own_group(command: &mut Command) {
    std::os::unix::process::CommandExt::process_group(command, 0);
}

#[cfg(not(unix))]
fn own_group(_command: &mut Command) {}

/// Ends a process and, where the system knows of groups, what it started. One that has ended meanwhile needs no end.
fn kill(child: &mut Child) {
    #[cfg(unix)]
    let _ = rustix::process::kill_process_group(rustix::process::Pid::from_child(child), rustix::process::Signal::KILL);
    let _ = child.kill();
}

/// Anonymous memory of a process, from `/proc/PID/status`.
fn anonymous(child: &Child) -> Option<u64> {
    let path = Path::new("/proc").join(child.id().to_string()).join("status");
    let status = std::fs::read_to_string(path).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(all(test, unix))]
#[allow(clippy::unwrap_used, reason = "a test that cannot be prepared has failed")]
mod tests {
    use super::*;

    #[test]
    fn a_cancelled_one_is_ended_with_all_that_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let made = folder.path().join("made");
        let script = format!("(sleep 1; touch {}) & sleep 60", made.display());
        let control = Control::new();
        control.cancel();
        let began = Instant::now();
        let ended = watch(Command::new("sh").args(["-c", &script]), false, &control).unwrap_err();
        assert!(ended.is::<mergescope_core::progress::Cancelled>(), "{ended:#}");
        assert!(began.elapsed() < Duration::from_secs(30));
        thread::sleep(Duration::from_millis(1500));
        assert!(!made.exists());
    }
}
