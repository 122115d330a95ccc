//! `mergescope try`: one prompt, one answer, from a model or from a merge that is made while it loads.

use std::io::Write as _;

use anyhow::Context as _;
use mergescope_core::engine::{
    ChatRole, Completion, Event, Finish, Message, ModelChoice, Prompt, Request, RequestError, Sampling,
};
use mergescope_core::recipe::Recipe;
use serde_json::{Value, json};

use super::args::TryArgs;
use super::engine::MAX_TOKENS;
use super::exit::Exit;
use super::print::{self, Printer};
use super::progress::Job;
use super::server;
use crate::format;

/// Loads, answers and tells.
pub fn run(args: &TryArgs) -> anyhow::Result<Exit> {
    run_in_settings(args).map_err(server::error_in_flags)
}

/// The same with errors that name the engine's settings.
fn run_in_settings(args: &TryArgs) -> anyhow::Result<Exit> {
    let printer = Printer::new(args.json);
    let choice = choice(args)?;
    let job = Job::begin();
    let recipe = match &choice {
        ModelChoice::Merged(recipe) => (**recipe).clone(),
        ModelChoice::Alone(model) => Recipe::new("", "", model),
    };
    let mut engine = server::engine(&args.engine, &args.server, &recipe, &std::env::temp_dir(), &job.control)?;
    engine.load(&choice, &job.control)?;
    let raw = args.raw || !engine.chats();
    if raw && args.system.is_some() {
        anyhow::bail!("this model has no chat template, which --system needs; put the instructions into --prompt");
    }
    let request = Request {
        prompt: prompt(args, raw),
        sampling: args.sampling.sampling(Sampling::default()),
        max_tokens: args.sampling.max_tokens.unwrap_or(MAX_TOKENS) as usize,
        stop: args.sampling.stop.clone(),
        day: None,
    };
    job.hide();
    if let (ModelChoice::Merged(recipe), true) = (&choice, args.server.is_as_loaded()) {
        print::note(&format!(
            "NOTE  w = {} was not applied by Mergescope: the server answers with what it has loaded (see --server-delivery)",
            format::w(recipe.vector.w)
        ));
    }
    let mut answer: Option<Result<Completion, RequestError>> = None;
    engine.generate(std::slice::from_ref(&request), &job.control, &mut |event| match event {
        Event::Text { text, .. } if !args.json => {
            // As it comes; a terminal that is gone ends nothing that matters.
            let mut stdout = std::io::stdout().lock();
            let _ = stdout.write_all(print::plain(&text).as_bytes()).and_then(|()| stdout.flush());
        }
        Event::Finished { result, .. } => answer = Some(result),
        Event::Restarted { .. } if !args.json => print::note("\nThe answer was cut short on its way and begins again:"),
        Event::Text { .. } | Event::Restarted { .. } => {}
    })?;
    drop(job);
    let completion = answer.context("the engine gave no answer")??;
    printer.text("")?;
    if !args.json {
        print::note(&summary(&completion));
    }
    printer.document(&document(args, &choice, &engine.identity(), raw, &completion))?;
    Ok(Exit::Done)
}

fn choice(args: &TryArgs) -> anyhow::Result<ModelChoice> {
    if let Some(model) = &args.model {
        return Ok(ModelChoice::Alone(model.clone()));
    }
    let mut recipe = args.recipe.recipe()?;
    args.method.apply(&mut recipe, args.recipe.w.is_some())?;
    Ok(ModelChoice::Merged(Box::new(recipe)))
}

fn prompt(args: &TryArgs, raw: bool) -> Prompt {
    if raw {
        return Prompt::Raw(args.prompt.clone());
    }
    let said = |role, content: &String| Message { role, content: content.clone() };
    let system = args.system.iter().map(|text| said(ChatRole::System, text));
    Prompt::Chat(system.chain([said(ChatRole::User, &args.prompt)]).collect())
}

fn tokens_per_second(completion: &Completion) -> f64 {
    let secs = completion.elapsed.as_secs_f64();
    if secs > 0.0 { completion.tokens as f64 / secs } else { 0.0 }
}

fn summary(completion: &Completion) -> String {
    let cut = match completion.finish {
        Finish::Stop => "",
        Finish::Length => ", cut off there (--max-tokens)",
    };
    format!(
        "{}{cut}, {} tokens/s, after {} of prompt",
        format::plural(completion.tokens, "token"),
        format::count(tokens_per_second(completion).round() as u64),
        format::plural(completion.prompt_tokens, "token"),
    )
}

fn document(args: &TryArgs, choice: &ModelChoice, engine: &str, raw: bool, completion: &Completion) -> Value {
    let (model, recipe) = match choice {
        ModelChoice::Alone(model) => (Some(model), None),
        ModelChoice::Merged(recipe) => (None, Some(recipe)),
    };
    json!({
        "text": completion.text,
        "tokens": completion.tokens,
        "prompt_tokens": completion.prompt_tokens,
        "tokens_per_second": tokens_per_second(completion),
        "finish": completion.finish,
        "elapsed_s": completion.elapsed.as_secs_f64(),
        "prompt": args.prompt,
        "template": if raw { "raw" } else { "chat" },
        "engine": engine,
        "sampling": args.sampling.sampling(Sampling::default()),
        "model": model,
        "w": recipe.map(|recipe| recipe.vector.w),
        "recipe": recipe,
    })
}
