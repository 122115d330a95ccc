//! Several files, and several programs, at the same time; and stopping in the middle.

use std::fs::{self, File};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use mergescope_core::hub::{Hub, HubError, HubName};
use mergescope_core::progress::Control;

use crate::fixture::{Client, FakeHub, Reply, bytes, files_below, wait_until};

const WEIGHTS: &str = "model.safetensors";

/// Downloads in the background; gives the control and the thread.
fn begin(client: &Client) -> (Control, thread::JoinHandle<Result<(), HubError>>) {
    let control = Control::new();
    let (hub, working): (Hub, Control) = (client.hub.clone(), control.clone());
    let thread = thread::spawn(move || {
        let download = hub.look(&HubName::parse("org/name").unwrap(), &working)?;
        hub.fetch(&download, &working).map(drop)
    });
    (control, thread)
}

#[test]
fn several_files_come_at_once_but_not_too_many() {
    let hub = FakeHub::start();
    for number in 1..=12 {
        hub.put(&format!("model-{number:05}-of-00012.safetensors"), bytes(1000, number));
    }
    hub.put("model.safetensors.index.json", b"{}".to_vec());
    hub.slow_down(Duration::from_millis(30));
    hub.client().download("org/name").unwrap();
    assert!((2..=4).contains(&hub.most_at_once()), "{}", hub.most_at_once());
}

#[test]
fn two_downloads_of_one_model_share_the_work() {
    let hub = FakeHub::start();
    let client = Arc::new(hub.client());
    hub.slow_down(Duration::from_millis(100));
    let threads: Vec<_> = (0..2)
        .map(|_| {
            let client = client.clone();
            thread::spawn(move || client.download("org/name"))
        })
        .collect();
    let snapshots: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap().unwrap()).collect();
    assert_eq!(snapshots[0], snapshots[1]);
    let asked: Vec<_> = hub.asked().into_iter().filter(|asked| asked.path.contains("/resolve/")).collect();
    assert_eq!(asked.len(), 5, "each file is asked for once: {asked:?}");
    assert_eq!(fs::read(snapshots[0].join(WEIGHTS)).unwrap(), hub.get(WEIGHTS));
    assert!(!files_below(&client.cache()).iter().any(|path| path.contains("incomplete")));
}

#[test]
fn a_file_that_another_program_is_at_is_waited_for() {
    let hub = FakeHub::start();
    let client = hub.client();
    // As huggingface_hub does it.
    let locks = client.cache().join(".locks/models--org--name");
    fs::create_dir_all(&locks).unwrap();
    let lock = File::create(locks.join(format!("{}.lock", hub.etag(WEIGHTS)))).unwrap();
    lock.lock().unwrap();
    let (control, thread) = begin(&client);
    wait_until("the other files are there", || {
        let done = control.snapshot();
        done.total_bytes > 0 && done.done_bytes == done.total_bytes - hub.get(WEIGHTS).len() as u64
    });
    thread::sleep(Duration::from_millis(100));
    assert!(!thread.is_finished() && hub.asked_for(WEIGHTS).is_empty());
    // The other one was quicker.
    fs::create_dir_all(client.repo().join("blobs")).unwrap();
    fs::write(client.blob(&hub.etag(WEIGHTS)), hub.get(WEIGHTS)).unwrap();
    drop(lock);
    thread.join().unwrap().unwrap();
    assert!(hub.asked_for(WEIGHTS).is_empty());
    assert_eq!(control.snapshot().done_bytes, control.snapshot().total_bytes);
}

#[test]
fn cancelling_ends_a_wait_for_bytes_at_once_and_keeps_what_came() {
    let hub = FakeHub::start();
    let client = hub.client();
    hub.on(WEIGHTS, [Reply::Hang(300_000)]);
    let (control, thread) = begin(&client);
    let left = client.blob(&format!("{}.incomplete", hub.etag(WEIGHTS)));
    wait_until("the beginning is there", || fs::metadata(&left).is_ok_and(|left| left.len() == 300_000));
    let began = Instant::now();
    control.cancel();
    let result = thread.join().unwrap();
    assert!(matches!(result, Err(HubError::Cancelled(_))), "{result:?}");
    assert!(began.elapsed() < Duration::from_secs(2));
    let files = files_below(&client.repo());
    assert!(!files.iter().any(|path| path.starts_with("snapshots") || path.starts_with("refs")), "{files:?}");
    // The next one goes on, as soon as the first has let go of the file.
    hub.asked();
    client.download("org/name").unwrap();
    assert_eq!(hub.asked_for(WEIGHTS)[0].range.as_deref(), Some("bytes=300000-"));
}

#[test]
fn cancelling_ends_a_wait_for_another_program_and_for_the_list() {
    let hub = FakeHub::start();
    let client = hub.client();
    let locks = client.cache().join(".locks/models--org--name");
    fs::create_dir_all(&locks).unwrap();
    let lock = File::create(locks.join(format!("{}.lock", hub.etag(WEIGHTS)))).unwrap();
    lock.lock().unwrap();
    let (control, thread) = begin(&client);
    wait_until("it began", || control.snapshot().done_bytes > 0);
    control.cancel();
    assert!(matches!(thread.join().unwrap(), Err(HubError::Cancelled(_))));

    let control = Control::new();
    control.cancel();
    let name = HubName::parse("org/name").unwrap();
    assert!(matches!(client.hub.look(&name, &control), Err(HubError::Cancelled(_))));
}

#[test]
fn the_first_file_that_fails_stops_the_others() {
    let hub = FakeHub::start();
    let client = hub.client();
    hub.on(WEIGHTS, [Reply::Hang(1000)]);
    hub.on("tokenizer.json", [Reply::Other(bytes(40_000, 9))]);
    let began = Instant::now();
    let failure = client.failure("org/name");
    assert!(failure.starts_with("tokenizer.json came with the wrong bytes"), "{failure}");
    assert!(began.elapsed() < Duration::from_secs(5), "the file that hangs is not waited for");
}
