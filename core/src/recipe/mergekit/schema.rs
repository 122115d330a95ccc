//! A merge file of mergekit 0.1.5 as types, with the place of everything that a message may have to point to.

use super::yaml::{Node, Scalar, Spot, Value, shortened};
use super::{MergekitError, NotCarried};
use crate::recipe::nearest::nearest;

/// A merge file.
#[derive(Debug)]
pub(super) struct Config {
    /// `merge_method`.
    pub(super) method: Scalar,
    /// `base_model`.
    pub(super) base: Option<ModelRef>,
    /// `models`, or `slices` in order.
    pub(super) inputs: Inputs,
    /// `parameters` of the whole file.
    pub(super) parameters: Parameters,
    /// `dtype`: in what is computed.
    pub(super) dtype: Option<Scalar>,
    /// `out_dtype`: in what is written.
    pub(super) out_dtype: Option<Scalar>,
    /// `tokenizer_source`, or `tokenizer.source`.
    pub(super) tokenizer: Option<Tokenizer>,
    /// `chat_template`.
    pub(super) chat_template: Option<Scalar>,
    /// Keys that mergekit does not have, and would ignore.
    pub(super) unknown: Vec<Unknown>,
}

/// A key that nobody knows.
#[derive(Debug)]
pub(super) struct Unknown {
    /// The key.
    pub(super) key: Scalar,
    /// What it is no key of.
    what: String,
    /// The known key that may be meant.
    pub(super) meant: Option<&'static str>,
}

impl Unknown {
    /// Why it is not carried over.
    pub(super) fn lost(&self) -> NotCarried {
        let meant = self.meant.map_or_else(String::new, |name| format!("; did you mean `{name}`?"));
        NotCarried {
            place: self.key.spot.to_string(),
            what: format!("`{}`", shortened(&self.key.text)),
            why: format!("no key of {}, so mergekit ignores it{meant}", self.what),
        }
    }
}

/// What is merged.
#[derive(Debug)]
pub(super) enum Inputs {
    /// Whole models.
    Models(Vec<Input>),
    /// Ranges of layers, one behind the other.
    Slices(Vec<Slice>),
}

/// Some layers of the output.
#[derive(Debug)]
pub(super) struct Slice {
    /// Where it stands.
    pub(super) spot: Spot,
    /// What it is made of.
    pub(super) sources: Vec<Input>,
    /// Its own parameters.
    pub(super) parameters: Parameters,
}

/// A model that takes part.
#[derive(Debug)]
pub(super) struct Input {
    /// Which.
    pub(super) model: ModelRef,
    /// The layers of a slice's source: from the first to before the second.
    pub(super) layers: Option<(Spot, u32, u32)>,
    /// Its own parameters.
    pub(super) parameters: Parameters,
}

/// A model: a path or a Hub id, with a revision.
#[derive(Clone, Debug)]
pub(super) struct ModelRef {
    /// Where it stands.
    pub(super) spot: Spot,
    /// The path or id.
    pub(super) path: String,
    /// The revision.
    pub(super) revision: Option<String>,
    /// An adapter that mergekit would apply first.
    pub(super) lora: Option<String>,
}

/// Where the tokenizer comes from.
#[derive(Debug)]
pub(super) struct Tokenizer {
    /// Where it stands.
    pub(super) spot: Spot,
    /// `base`, `union` or a model.
    pub(super) source: ModelRef,
    /// Whether it says more than a source.
    pub(super) more: Option<String>,
}

/// Settings by name.
#[derive(Debug, Default)]
pub(super) struct Parameters(pub(super) Vec<(Scalar, Setting)>);

/// A scalar, a gradient, or several of these with filters.
#[derive(Clone, Debug)]
pub(super) struct Setting {
    /// Where it stands.
    pub(super) spot: Spot,
    /// The first that matches counts.
    pub(super) entries: Vec<Entry>,
}

/// What a filter's tensors get.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// Part of the tensor's name; `None` matches all.
    pub(super) filter: Option<String>,
    /// One value, or the points of a gradient over the layers.
    pub(super) values: Vec<Scalar>,
}

impl Parameters {
    /// The setting of that name.
    pub(super) fn get(&self, name: &str) -> Option<&Setting> {
        self.0.iter().find(|(key, _)| key.text == name).map(|(_, setting)| setting)
    }
}

impl ModelRef {
    /// `path` or `path@revision`.
    pub(super) fn spec(&self) -> String {
        match &self.revision {
            Some(revision) => format!("{}@{revision}", self.path),
            None => self.path.clone(),
        }
    }

    /// Whether both mean the same model.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        (&self.path, &self.revision, &self.lora) == (&other.path, &other.revision, &other.lora)
    }
}

/// Numbers above this are no layer's, so that a short file cannot stand for a long list.
const MAX_LAYERS: u32 = 10_000;

const TOP: [&str; 11] = [
    "merge_method",
    "base_model",
    "models",
    "slices",
    "modules",
    "parameters",
    "dtype",
    "out_dtype",
    "tokenizer_source",
    "tokenizer",
    "chat_template",
];

impl Config {
    /// Reads the document.
    pub(super) fn read(document: Node) -> Result<Self, MergekitError> {
        let mut unknown = Vec::new();
        let mut top = Table::read(document, "a merge file", &TOP, &mut unknown)?;
        if let Some(node) = top.take("modules") {
            return Err(MergekitError::at(
                node.spot,
                "`modules` merges several towers of a model one by one, which a recipe cannot say; \
                 merge with `models`, which takes every tensor",
            ));
        }
        let (models, slices) = (top.take("models"), top.take("slices"));
        let inputs = match (models, slices) {
            (Some(models), None) => Inputs::Models(
                list(models, "models")?
                    .into_iter()
                    .map(|node| input(node, false, &mut unknown))
                    .collect::<Result<_, _>>()?,
            ),
            (None, Some(slices)) => Inputs::Slices(
                list(slices, "slices")?.into_iter().map(|node| slice(node, &mut unknown)).collect::<Result<_, _>>()?,
            ),
            (Some(_), Some(slices)) => {
                return Err(MergekitError::at(slices.spot, "there are `models` and `slices`; keep one of them"));
            }
            (None, None) => {
                let message = format!("there are neither `models` nor `slices`; list the models{}", hint(&unknown));
                return Err(MergekitError::anywhere(message));
            }
        };
        let Some(method) = top.take("merge_method") else {
            let message = format!("there is no `merge_method`; say one, such as task_arithmetic{}", hint(&unknown));
            return Err(MergekitError::anywhere(message));
        };
        Ok(Self {
            method: word(method, "merge_method")?,
            base: top.take("base_model").map(model_ref).transpose()?,
            inputs,
            parameters: parameters(top.take("parameters"))?,
            dtype: top.take("dtype").map(|node| word(node, "dtype")).transpose()?,
            out_dtype: top.take("out_dtype").map(|node| word(node, "out_dtype")).transpose()?,
            tokenizer: match (top.take("tokenizer_source"), top.take("tokenizer")) {
                (_, Some(node)) => Some(tokenizer(node, &mut unknown)?),
                (Some(node), None) => Some(Tokenizer { spot: node.spot, source: model_ref(node)?, more: None }),
                (None, None) => None,
            },
            chat_template: top.take("chat_template").map(|node| word(node, "chat_template")).transpose()?,
            unknown,
        })
    }
}

/// The first unknown key's nearest name, for when what is missing may be misspelt.
fn hint(unknown: &[Unknown]) -> String {
    let first = unknown.first().map(Unknown::lost);
    first.map_or_else(String::new, |first| format!(" ({} {}: {})", first.place, first.what, first.why))
}

/// The keys of a table, to be taken one by one.
struct Table {
    entries: Vec<(Scalar, Node)>,
    /// Unknown keys with the known ones that may be meant.
    strange: Vec<(Scalar, Option<&'static str>)>,
}

impl Table {
    fn read(node: Node, what: &str, known: &[&'static str], unknown: &mut Vec<Unknown>) -> Result<Self, MergekitError> {
        let Value::Map(entries) = node.value else {
            let message = format!("{what} is a table of keys, and here is {}", node.kind());
            return Err(MergekitError::at(node.spot, message));
        };
        let (entries, strange): (Vec<_>, Vec<_>) =
            entries.into_iter().partition(|(key, _)| known.contains(&key.text.as_str()));
        let strange: Vec<_> = strange
            .into_iter()
            .map(|(key, _)| {
                let meant = nearest(&key.text, known.iter().copied());
                (key, meant)
            })
            .collect();
        let keys = strange.iter().cloned();
        unknown.extend(keys.map(|(key, meant)| Unknown { key, what: what.to_owned(), meant }));
        Ok(Self { entries, strange })
    }

    /// The value of a key; `None` where it says null.
    fn take(&mut self, key: &str) -> Option<Node> {
        let position = self.entries.iter().position(|(name, _)| name.text == key)?;
        Some(self.entries.swap_remove(position).1).filter(|node| !node.is_null())
    }

    fn need(&mut self, key: &str, what: &str, spot: Spot) -> Result<Node, MergekitError> {
        if let Some(node) = self.take(key) {
            return Ok(node);
        }
        match self.strange.iter().find(|(_, meant)| *meant == Some(key)) {
            Some((slip, _)) => {
                let word = shortened(&slip.text);
                let message = format!("{what} needs `{key}`, and `{word}` is no key of it; did you mean `{key}`?");
                Err(MergekitError::at(slip.spot, message))
            }
            None => Err(MergekitError::at(spot, format!("{what} needs `{key}`; say it"))),
        }
    }
}

fn list(node: Node, what: &str) -> Result<Vec<Node>, MergekitError> {
    match node.value {
        Value::List(nodes) if nodes.is_empty() => {
            Err(MergekitError::at(node.spot, format!("`{what}` is empty; list at least one")))
        }
        Value::List(nodes) => Ok(nodes),
        _ => {
            let message = format!("`{what}` is a list (lines that begin with `- `), and here is {}", node.kind());
            Err(MergekitError::at(node.spot, message))
        }
    }
}

fn word(node: Node, what: &str) -> Result<Scalar, MergekitError> {
    match node.value {
        Value::Scalar(scalar) => Ok(scalar),
        _ => Err(MergekitError::at(node.spot, format!("`{what}` is one word, and here is {}", node.kind()))),
    }
}

fn slice(node: Node, unknown: &mut Vec<Unknown>) -> Result<Slice, MergekitError> {
    let spot = node.spot;
    let mut table = Table::read(node, "a slice", &["sources", "base_model", "residual_weight", "parameters"], unknown)?;
    for (key, why) in [
        ("base_model", "a recipe has one base for all layers; move it to the top of the file"),
        ("residual_weight", "it scales what a stack of layers adds, and a recipe does not stack layers; remove it"),
    ] {
        if let Some(node) = table.take(key) {
            return Err(MergekitError::at(node.spot, format!("`{key}` of a slice cannot be carried over: {why}")));
        }
    }
    let sources = list(table.need("sources", "a slice", spot)?, "sources")?;
    let sources = sources.into_iter().map(|node| input(node, true, unknown)).collect::<Result<_, _>>()?;
    Ok(Slice { spot, sources, parameters: parameters(table.take("parameters"))? })
}

fn input(node: Node, in_slice: bool, unknown: &mut Vec<Unknown>) -> Result<Input, MergekitError> {
    let spot = node.spot;
    let (what, known): (_, &[&'static str]) = match in_slice {
        true => ("a source", &["model", "layer_range", "parameters"]),
        false => ("a model of the list", &["model", "parameters"]),
    };
    let mut table = Table::read(node, what, known, unknown)?;
    let layers = match in_slice {
        true => Some(layer_range(table.need("layer_range", what, spot)?)?),
        false => None,
    };
    Ok(Input {
        model: model_ref(table.need("model", what, spot)?)?,
        layers,
        parameters: parameters(table.take("parameters"))?,
    })
}

fn layer_range(node: Node) -> Result<(Spot, u32, u32), MergekitError> {
    let spot = node.spot;
    let wrong = || {
        MergekitError::at(spot, "`layer_range` is [FIRST, END], two whole numbers; END itself is not among the layers")
    };
    let Value::List(nodes) = node.value else { return Err(wrong()) };
    let number = |node: &Node| match &node.value {
        Value::Scalar(scalar) => scalar.text.parse::<u32>().ok(),
        _ => None,
    };
    match nodes.as_slice() {
        [first, end] => match (number(first), number(end)) {
            (Some(_), Some(end)) if end > MAX_LAYERS => Err(MergekitError::at(
                spot,
                format!("`layer_range` ends at {end}; no model has more than {MAX_LAYERS} layers"),
            )),
            (Some(first), Some(end)) if first < end => Ok((spot, first, end)),
            (Some(first), Some(end)) => {
                let message =
                    format!("`layer_range` [{first}, {end}] holds no layer; the second number must be larger");
                Err(MergekitError::at(spot, message))
            }
            _ => Err(wrong()),
        },
        _ => Err(wrong()),
    }
}

fn model_ref(node: Node) -> Result<ModelRef, MergekitError> {
    let spot = node.spot;
    if let Value::Scalar(scalar) = node.value {
        return Ok(short_ref(spot, &scalar.text));
    }
    let mut strange = Vec::new();
    let known = ["model", "path", "revision", "lora", "override_architecture"];
    let mut table = Table::read(node, "a model", &known, &mut strange)?;
    if let Some(strange) = strange.first().map(Unknown::lost) {
        return Err(MergekitError::at(spot, format!("{} is {}", strange.what, strange.why)));
    }
    let lora = table.take("lora").map(path_of).transpose()?.map(|(path, _)| path);
    if let Some(node) = table.take("override_architecture") {
        let message = "`override_architecture` cannot be carried over: every tensor is merged by its own name, whatever the \
                       architecture; remove it";
        return Err(MergekitError::at(node.spot, message));
    }
    let (path, revision) = match (table.take("model"), table.take("path")) {
        (Some(model), _) => path_of(model)?,
        (None, Some(path)) => {
            let revision = table.take("revision").map(|node| word(node, "revision")).transpose()?;
            (word(path, "path")?.text, revision.map(|scalar| scalar.text))
        }
        (None, None) => return Err(MergekitError::at(spot, "a model needs `path`; say its folder or Hub id")),
    };
    Ok(ModelRef { spot, path, revision, lora })
}

/// `{path, revision}`, or `path@revision`.
fn path_of(node: Node) -> Result<(String, Option<String>), MergekitError> {
    let spot = node.spot;
    if let Value::Scalar(scalar) = node.value {
        return Ok(split_revision(&scalar.text));
    }
    let mut strange = Vec::new();
    let mut table = Table::read(node, "a model", &["path", "revision"], &mut strange)?;
    if let Some(strange) = strange.first().map(Unknown::lost) {
        return Err(MergekitError::at(spot, format!("{} is {}", strange.what, strange.why)));
    }
    let path = word(table.need("path", "a model", spot)?, "path")?.text;
    let revision = table.take("revision").map(|node| word(node, "revision")).transpose()?;
    Ok((path, revision.map(|scalar| scalar.text)))
}

/// `path[@revision][+lora]`.
fn short_ref(spot: Spot, text: &str) -> ModelRef {
    let (model, lora) = match text.split_once('+') {
        Some((model, lora)) => (model, Some(lora.to_owned())),
        None => (text, None),
    };
    let (path, revision) = split_revision(model);
    ModelRef { spot, path, revision, lora }
}

fn split_revision(text: &str) -> (String, Option<String>) {
    match text.split_once('@') {
        Some((path, revision)) => (path.to_owned(), Some(revision.to_owned())),
        None => (text.to_owned(), None),
    }
}

fn tokenizer(node: Node, unknown: &mut Vec<Unknown>) -> Result<Tokenizer, MergekitError> {
    let spot = node.spot;
    let mut table = Table::read(node, "`tokenizer`", &["source", "tokens", "pad_to_multiple_of"], unknown)?;
    let source = model_ref(table.need("source", "`tokenizer`", spot)?)?;
    let more = ["tokens", "pad_to_multiple_of"].into_iter().find(|key| table.take(key).is_some()).map(str::to_owned);
    Ok(Tokenizer { spot, source, more })
}

fn parameters(node: Option<Node>) -> Result<Parameters, MergekitError> {
    let Some(node) = node else { return Ok(Parameters::default()) };
    let Value::Map(entries) = node.value else {
        let message = format!("`parameters` is a table of keys, and here is {}", node.kind());
        return Err(MergekitError::at(node.spot, message));
    };
    let settings = entries.into_iter().filter(|(_, node)| !node.is_null()).map(|(name, node)| {
        let setting = setting(node, &name.text)?;
        Ok((name, setting))
    });
    settings.collect::<Result<_, _>>().map(Parameters)
}

fn setting(node: Node, name: &str) -> Result<Setting, MergekitError> {
    let spot = node.spot;
    let entries = match node.value {
        Value::Scalar(scalar) => vec![Entry { filter: None, values: vec![scalar] }],
        Value::Map(_) => vec![conditional(node, name)?],
        Value::List(nodes) => {
            let tables = nodes.iter().filter(|node| matches!(node.value, Value::Map(_))).count();
            match tables {
                0 => vec![Entry { filter: None, values: points(nodes, spot, name)? }],
                many if many == nodes.len() => {
                    nodes.into_iter().map(|node| conditional(node, name)).collect::<Result<_, _>>()?
                }
                _ => {
                    let message = format!(
                        "`{name}` mixes numbers and tables; it is a number, a list of numbers over the layers, or a list \
                         of `- filter: …` with `value: …`"
                    );
                    return Err(MergekitError::at(spot, message));
                }
            }
        }
    };
    Ok(Setting { spot, entries })
}

fn conditional(node: Node, name: &str) -> Result<Entry, MergekitError> {
    let spot = node.spot;
    let mut strange = Vec::new();
    let mut table = Table::read(node, "an entry with a filter", &["filter", "value"], &mut strange)?;
    if let Some(strange) = strange.first().map(Unknown::lost) {
        return Err(MergekitError::at(spot, format!("{} is {}", strange.what, strange.why)));
    }
    let filter = table.take("filter").map(|node| word(node, "filter")).transpose()?;
    let value = table.need("value", &format!("an entry of `{name}`"), spot)?;
    let values = match value.value {
        Value::Scalar(scalar) => vec![scalar],
        Value::List(nodes) => points(nodes, value.spot, name)?,
        Value::Map(_) => {
            return Err(MergekitError::at(value.spot, "`value` is a number or a list of numbers over the layers"));
        }
    };
    // An asterisk matches all, and an empty text is part of every name.
    let filter = filter.map(|scalar| scalar.text).filter(|text| !matches!(text.as_str(), "" | "*"));
    Ok(Entry { filter, values })
}

fn points(nodes: Vec<Node>, spot: Spot, name: &str) -> Result<Vec<Scalar>, MergekitError> {
    if nodes.is_empty() {
        return Err(MergekitError::at(
            spot,
            format!("`{name}` is an empty list; give a number, or one for each point"),
        ));
    }
    nodes.into_iter().map(|node| word(node, name)).collect()
}
