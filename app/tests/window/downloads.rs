//! Models that are not here: found in the cache by typing, looked at on the Hub, and downloaded when a person agrees. The Hub
//! is a real one on this machine, as far as HTTP goes.

use std::path::PathBuf;
use std::time::Duration;

use eframe::egui::Key;
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable as _;
use mergescope::window::App;
use mergescope::window::engine::Engine;
use mergescope::window::session::SlotState;
use mergescope_core::analysis::AnalysisCache;
use mergescope_core::checkpoint::{Checkpoint, OpenError};
use mergescope_core::hub::{self, Access, CachedModel, Download, Environment, Hub, HubError, HubName};
use mergescope_core::progress::Control;

use super::common::hub::{COMMIT, FakeHub, total_bytes};
use super::common::{fill, setup_with, type_into, wait, wait_for_label, window};
use super::is_disabled;

const ABSENT: &str = "Not on this computer";

/// The real engine with a Hub and a cache of the test's own.
struct WithHub {
    hub: Hub,
    environment: Environment,
}

impl WithHub {
    fn new(hub: &FakeHub, home: &tempfile::TempDir) -> Self {
        let cache = home.path().join("hub");
        let environment = Environment { hub_cache: Some(cache.clone()), ..Environment::default() };
        let hub = Hub::new(Access::to(&hub.server.url), cache).with_retries(1, Duration::from_millis(2));
        Self { hub, environment }
    }
}

impl Engine for WithHub {
    fn cache(&self) -> Option<AnalysisCache> {
        None
    }

    fn open(&self, spec: &str) -> Result<Checkpoint, OpenError> {
        Checkpoint::open(&self.environment.resolve(spec))
    }

    fn absent(&self, spec: &str) -> Option<HubName> {
        self.environment.absent(spec)
    }

    fn look(&self, name: &HubName, control: &Control) -> Result<Download, HubError> {
        self.hub.look(name, control)
    }

    fn fetch(&self, download: &Download, control: &Control) -> Result<PathBuf, HubError> {
        self.hub.fetch(download, control)
    }

    fn cached_models(&self) -> Vec<CachedModel> {
        let cache = self.environment.cache_dir();
        let mut models = cache.map(|cache| hub::cached_models(&cache)).unwrap_or_default();
        for (id, bytes) in [("Qwen/Qwen2.5-0.5B-Instruct", 988_000_000), ("simplescaling/s1-32B", 65_500_000_000)] {
            models.push(CachedModel { id: id.to_owned(), path: "/cache".into(), bytes });
        }
        models
    }
}

/// A window, and the Hub that it would ask.
fn with_hub() -> (Harness<'static, App>, FakeHub, tempfile::TempDir) {
    let (hub, home) = (FakeHub::start(), tempfile::tempdir().unwrap());
    let harness = window(setup_with(WithHub::new(&hub, &home)));
    (harness, hub, home)
}

fn is_open(app: &App) -> bool {
    matches!(app.session().slots[2].state, SlotState::Ready(_))
}

/// Types the name of a model that is not here, and asks for it as far as the dialog.
fn ask(harness: &mut Harness<'_, App>, name: &str) {
    type_into(harness, "Target model", name);
    wait_for_label(harness, ABSENT);
    harness.get_by_label("Download…").click();
    harness.run_steps(3);
}

#[test]
fn a_model_that_is_not_here_is_downloaded_after_its_size_was_seen_and_agreed_to() {
    let (mut harness, hub, home) = with_hub();
    let listing = "GET /api/models/org/name/revision/v1.0?blobs=true";
    type_into(&mut harness, "Target model", "org/name@v1.0");
    wait_for_label(&mut harness, ABSENT);
    assert!(hub.server.asked(listing).is_empty(), "typing a name asks nobody");
    ask(&mut harness, "org/name@v1.0");
    assert!(harness.query_by_label("Download org/name@v1.0?").is_some());
    wait_for_label(&mut harness, hub.host());
    let size = format!("{} in 3 files", mergescope::format::bytes(total_bytes() as u64));
    assert!(harness.query_by_label(&size).is_some(), "{size}");
    for file in ["config.json", "model.safetensors", "tokenizer.json"] {
        assert!(harness.query_by_label(file).is_some(), "{file}");
    }
    assert!(harness.query_by_label_contains("free there").is_some());
    // Not agreed.
    harness.get_by_label("Cancel").click();
    harness.run_steps(3);
    assert!(harness.query_by_label("Download org/name@v1.0?").is_none());
    assert!(!home.path().join("hub").exists(), "nothing is downloaded");

    ask(&mut harness, "org/name@v1.0");
    wait_for_label(&mut harness, hub.host());
    harness.run_steps(2);
    harness.get_by_label("Download").click();
    wait(&mut harness, "the model is open", is_open);
    assert!(harness.query_by_label("Downloaded org/name@v1.0").is_some());
    assert!(harness.query_by_label_contains("Qwen2 · 2 layers").is_some());
    assert!(harness.query_by_label(ABSENT).is_none());
    assert_eq!(harness.state().session().recipe.target, "org/name@v1.0");
    assert!(home.path().join("hub/models--org--name/snapshots").join(COMMIT).is_dir());
}

#[test]
fn a_download_is_watched_in_its_field_and_cancelled_there() {
    let (mut harness, hub, home) = with_hub();
    ask(&mut harness, "org/name");
    wait_for_label(&mut harness, hub.host());
    harness.run_steps(2);
    hub.slow_down(Duration::from_millis(400));
    harness.get_by_label("Download").click();
    harness.run_steps(3);
    assert!(harness.query_by_label("Download of org/name").is_some(), "a bar");
    assert_eq!(harness.query_all_by_label("Downloading a model…").count(), 2, "at the left, and in the chart's place");
    assert!(harness.query_by_label("Download…").is_none());
    // Everything else stays usable.
    type_into(&mut harness, "Pre model", "/nowhere");
    harness.get_by_label("Cancel").click();
    wait(&mut harness, "it ends", |app| app.session().downloads.of("org/name").is_none());
    assert!(harness.query_by_label_contains("Download of org/name cancelled").is_some());
    assert!(harness.query_by_label(ABSENT).is_some());
    assert!(!home.path().join("hub/models--org--name/snapshots").exists());
    hub.slow_down(Duration::ZERO);
    harness.get_by_label("Download…").click();
    harness.run_steps(3);
    wait_for_label(&mut harness, hub.host());
    harness.run_steps(2);
    harness.get_by_label("Download").click();
    wait(&mut harness, "the model is open", is_open);
}

#[test]
fn what_the_hub_does_not_give_is_said_and_nothing_can_be_downloaded() {
    let (mut harness, _hub, _home) = with_hub();
    ask(&mut harness, "org/gated");
    wait(&mut harness, "the Hub answers", |_| true);
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while harness.query_by_label_contains("Org/gated is gated: accept its terms on").is_none() {
        assert!(std::time::Instant::now() < deadline, "waited in vain for the reason");
        std::thread::sleep(Duration::from_millis(5));
        harness.step();
    }
    assert!(is_disabled(&harness, "Download"));
    harness.key_press(Key::Escape);
    harness.run_steps(3);
    assert!(harness.query_by_label("Download org/gated?").is_none());
}

#[test]
fn the_cache_is_searched_by_typing_and_shows_sizes() {
    let (mut harness, hub, _home) = with_hub();
    harness.get_by_label("Choose the target model").click();
    wait(&mut harness, "the cache is listed", |app| app.session().cached.len() == 2);
    for bytes in [988_000_000, 65_500_000_000] {
        assert!(harness.query_by_label_contains(&mergescope::format::bytes(bytes)).is_some(), "{bytes} bytes");
    }
    fill(&mut harness, "Search the cache", "s1 simple");
    assert!(harness.query_by_label_contains("simplescaling/s1-32B").is_some());
    assert!(harness.query_by_label_contains("Qwen/Qwen2.5-0.5B-Instruct").is_none());
    harness.key_press(Key::Enter);
    harness.run_steps(3);
    assert_eq!(harness.state().session().recipe.target, "simplescaling/s1-32B");
    assert!(harness.query_by_label("Search the cache").is_none(), "the menu closes");

    // A name that is not among them can be asked for.
    harness.get_by_label("Choose the target model").click();
    harness.run_steps(3);
    fill(&mut harness, "Search the cache", "org/name");
    assert!(harness.query_by_label("None of the models in the cache is called so").is_some());
    harness.get_by_label("Download org/name…").click();
    harness.run_steps(3);
    assert!(harness.query_by_label("Download org/name?").is_some());
    wait_for_label(&mut harness, hub.host());
    assert_eq!(harness.state().session().recipe.target, "org/name");
}
