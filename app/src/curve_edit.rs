//! A curve over layers as it is edited: the kinds to choose from, points that are moved, and values that are typed.

use mergescope_core::scaling::{Between, Curve, LayerRange, Point};

/// What a curve can be, as it is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// 1 everywhere.
    Flat,
    /// A straight line.
    Linear,
    /// LiNeS.
    Lines,
    /// A cosine bump.
    Bump,
    /// The first layers against the rest.
    First,
    /// The last layers against the rest.
    Last,
    /// A step.
    Step,
    /// Through points.
    Free,
    /// One value for each layer.
    Layers,
}

/// Smallest and largest value that can be dragged or typed.
pub const VALUES: std::ops::RangeInclusive<f64> = -10.0..=10.0;

/// Values are dragged in steps of this.
const STEP: f64 = 0.01;

impl Kind {
    /// All, in the order in which they are offered.
    pub const ALL: [Self; 9] = [
        Self::Flat,
        Self::Linear,
        Self::Lines,
        Self::Bump,
        Self::First,
        Self::Last,
        Self::Step,
        Self::Free,
        Self::Layers,
    ];

    /// What a curve is.
    pub fn of(curve: &Curve) -> Self {
        match curve {
            Curve::Flat => Self::Flat,
            Curve::Linear { .. } => Self::Linear,
            Curve::Lines { .. } => Self::Lines,
            Curve::Bump { .. } => Self::Bump,
            Curve::First { .. } => Self::First,
            Curve::Last { .. } => Self::Last,
            Curve::Step { .. } => Self::Step,
            Curve::Points { .. } => Self::Free,
            Curve::Layers { .. } => Self::Layers,
        }
    }

    /// Its name.
    pub fn label(self) -> &'static str {
        match self {
            Self::Flat => "Flat",
            Self::Linear => "Linear",
            Self::Lines => "LiNeS",
            Self::Bump => "Bump",
            Self::First => "First layers",
            Self::Last => "Last layers",
            Self::Step => "Step",
            Self::Free => "Free",
            Self::Layers => "Per layer",
        }
    }

    /// What it is for.
    pub fn explanation(self) -> &'static str {
        match self {
            Self::Flat => "The same for all layers.",
            Self::Linear => "A straight line from the first layer to the last.",
            Self::Lines => {
                "λ(ℓ) = α + β·(ℓ − 1) ∕ (L − 1): less in early layers, which hold what is general, more in late ones. \
                 LiNeS, layer-increasing network scaling: Wang et al., ICLR 2025, arXiv 2410.17146."
            }
            Self::Bump => "Half a period of a cosine around one layer.",
            Self::First => "The first layers against the rest.",
            Self::Last => "The last layers against the rest.",
            Self::Step => "One value before a layer, another from it on.",
            Self::Free => "Through points that are dragged, typed, or moved with the arrow keys.",
            Self::Layers => "One value for each layer.",
        }
    }

    /// A curve of this kind for `layers` layers, as close to `now` as its kind allows.
    pub fn curve(self, now: &Curve, layers: u32) -> Curve {
        let values = now.values(layers).unwrap_or_default();
        let at = |layer: Option<usize>| layer.and_then(|layer| values.get(layer)).copied().unwrap_or(1.0);
        let (first, last) = (at(Some(0)), at(values.len().checked_sub(1)));
        let third = (layers / 3).max(1);
        match self {
            Self::Flat => Curve::Flat,
            Self::Linear => Curve::Linear { first, last },
            Self::Lines if first == last => Curve::Lines { alpha: 0.5, beta: 0.5 },
            Self::Lines => Curve::Lines { alpha: first, beta: rounded(last - first) },
            Self::Bump => {
                let centre = f64::from(layers.saturating_sub(1)) * 0.75;
                Curve::Bump { centre: centre.round(), width: f64::from(third), base: 0.25, peak: 1.0 }
            }
            Self::First => Curve::First { count: third, inside: 1.0, outside: 0.0 },
            Self::Last => Curve::Last { count: third, inside: 1.0, outside: 0.0 },
            Self::Step => Curve::Step { at: layers / 2, before: 0.0, after: 1.0 },
            Self::Free => freed(now, layers),
            Self::Layers => Curve::Layers { values: values.into_iter().map(rounded).collect() },
        }
    }
}

/// A value to the step in which values are dragged.
fn rounded(value: f64) -> f64 {
    // What is shown is what is meant: steps of 0.01 are not exact in binary.
    ((value / STEP).round() * STEP * 1e6).round() / 1e6
}

/// The points by which a curve can be taken: its own, or those that its shape is made of.
pub fn handles(curve: &Curve, layers: u32) -> Vec<Point> {
    let Some(last) = layers.checked_sub(1) else { return Vec::new() };
    if let Curve::Points { points, .. } = curve {
        return points.clone();
    }
    let whole = |layer: f64| layer.round().clamp(0.0, f64::from(last)) as u32;
    let mut at = match *curve {
        Curve::Flat | Curve::Linear { .. } | Curve::Lines { .. } | Curve::Points { .. } => Vec::new(),
        Curve::Bump { centre, width, .. } => [-1.0, -0.5, 0.0, 0.5, 1.0].map(|d| whole(centre + d * width)).to_vec(),
        Curve::First { count: at, .. } | Curve::Step { at, .. } => sides(at, last),
        Curve::Last { count, .. } => sides(layers.saturating_sub(count), last),
        Curve::Layers { .. } => (0..=last).collect(),
    };
    at.extend([0, last]);
    at.sort_unstable();
    at.dedup();
    let values = curve.values(layers).unwrap_or_default();
    at.into_iter().filter_map(|layer| Some(Point { layer, value: *values.get(layer as usize)? })).collect()
}

/// The layers to both sides of a step, which lies before `at`.
fn sides(at: u32, last: u32) -> Vec<u32> {
    at.checked_sub(1).into_iter().chain([at]).filter(|layer| *layer <= last).collect()
}

/// The curve through its own [`handles`].
pub fn freed(curve: &Curve, layers: u32) -> Curve {
    match curve {
        Curve::Points { .. } => curve.clone(),
        other => {
            let points = handles(other, layers).into_iter();
            let points = points.map(|point| Point { value: rounded(point.value), ..point }).collect();
            let between = if let Curve::Bump { .. } = other { Between::Smooth } else { Between::Linear };
            Curve::Points { points, between }
        }
    }
}

/// Moves a handle. Where each handle is one of the curve's own numbers (linear, LiNeS, one value a layer) that number
/// changes, and the handle keeps its layer; a curve of another kind becomes free. Points keep their order, and a layer has
/// one at most.
pub fn move_handle(curve: &mut Curve, layers: u32, handle: usize, layer: u32, value: f64) {
    let to = dragged(value);
    let is_first = handle == 0;
    match curve {
        Curve::Linear { first, last } => *(if is_first { first } else { last }) = to,
        // The other end stays where it is.
        Curve::Lines { alpha, beta } if is_first => (*alpha, *beta) = (to, rounded(*alpha + *beta - to)),
        Curve::Lines { alpha, beta } => *beta = rounded(to - *alpha),
        Curve::Layers { values } => {
            if let Some(known) = values.get_mut(handle) {
                *known = to;
            }
        }
        _ => move_point(curve, layers, handle, layer, to),
    }
}

fn move_point(curve: &mut Curve, layers: u32, handle: usize, layer: u32, value: f64) {
    *curve = freed(curve, layers);
    let (Curve::Points { points, .. }, Some(last)) = (curve, layers.checked_sub(1)) else { return };
    let least = handle.checked_sub(1).and_then(|before| points.get(before)).map_or(0, |before| before.layer + 1);
    let most = points.get(handle + 1).map_or(last, |after| after.layer.saturating_sub(1));
    if let Some(point) = points.get_mut(handle) {
        *point = Point { layer: layer.clamp(least, most.max(least)), value };
    }
}

/// Adds a point halfway from a handle to the next, or to the one before for the last; gives its position among the
/// handles. `None` where there is no layer between.
pub fn insert_beside(curve: &mut Curve, layers: u32, handle: usize) -> Option<usize> {
    let known = handles(curve, layers);
    let next = if handle + 1 < known.len() { handle + 1 } else { handle.checked_sub(1)? };
    let (from, to) = (known.get(handle.min(next))?.layer, known.get(handle.max(next))?.layer);
    let middle = from + (to - from) / 2;
    let value = *curve.values(layers).ok()?.get(middle as usize)?;
    (middle > from).then(|| add_point(curve, layers, middle, value))
}

/// A value that was dragged, within [`VALUES`].
fn dragged(value: f64) -> f64 {
    rounded(typed(value))
}

/// Adds a point, or moves the one at that layer; gives its position among the handles.
pub fn add_point(curve: &mut Curve, layers: u32, layer: u32, value: f64) -> usize {
    if let Curve::Layers { values } = curve
        && let Some(known) = values.get_mut(layer as usize)
    {
        *known = dragged(value);
        return layer as usize;
    }
    *curve = freed(curve, layers);
    let Curve::Points { points, .. } = curve else { return 0 };
    let point = Point { layer: layer.min(layers.saturating_sub(1)), value: dragged(value) };
    let at = points.partition_point(|known| known.layer < point.layer);
    match points.get_mut(at).filter(|known| known.layer == point.layer) {
        Some(known) => *known = point,
        None => points.insert(at, point),
    }
    at
}

/// Takes a handle away, unless it is the only one.
pub fn remove_handle(curve: &mut Curve, layers: u32, handle: usize) {
    *curve = freed(curve, layers);
    if let Curve::Points { points, .. } = curve
        && points.len() > 1
        && handle < points.len()
    {
        points.remove(handle);
    }
}

/// Gives one layer a value, as it was typed into a table: a free curve gets a point, any other becomes a list of values.
pub fn set_layer(curve: &mut Curve, layers: u32, layer: u32, value: f64) {
    if let Curve::Points { .. } = curve {
        let at = add_point(curve, layers, layer, value);
        if let Curve::Points { points, .. } = curve
            && let Some(point) = points.get_mut(at)
        {
            point.value = typed(value);
        }
        return;
    }
    *curve = Kind::Layers.curve(curve, layers);
    if let Curve::Layers { values } = curve
        && let Some(known) = values.get_mut(layer as usize)
    {
        *known = typed(value);
    }
}

/// Gives layers values from `first` on, as a column of them is pasted into a table.
pub fn set_layers(curve: &mut Curve, layers: u32, first: u32, values: &[f64]) -> Result<(), String> {
    let room = layers.saturating_sub(first) as usize;
    if values.len() > room {
        return Err(format!("{} values do not fit below layer {first}, where there are {room} layers", values.len()));
    }
    for (layer, value) in (first..).zip(values) {
        set_layer(curve, layers, layer, *value);
    }
    Ok(())
}

/// The curve of a model of another depth, stretched or shrunk to `layers` layers; `None` where it suits them, or has no shape.
///
/// Values lie as far through the depth as before, on straight lines between those there were.
pub fn stretched(curve: &Curve, layers: u32) -> Option<Curve> {
    let last = f64::from(layers.checked_sub(1)?);
    match curve {
        Curve::Layers { values } if !values.is_empty() && values.len() != layers as usize => {
            let from = (values.len() - 1) as f64;
            let at = |layer: u32| {
                let place = if last > 0.0 { f64::from(layer) * from / last } else { 0.0 };
                let below = place.floor();
                let next = values[(below as usize + 1).min(values.len() - 1)];
                values[below as usize] + (next - values[below as usize]) * (place - below)
            };
            Some(Curve::Layers { values: (0..layers).map(at).collect() })
        }
        Curve::Points { points, between } if points.iter().any(|point| point.layer >= layers) => {
            let from = f64::from(points.last()?.layer);
            let place = |layer: u32| (f64::from(layer) * last / from).round() as u32;
            let mut moved: Vec<Point> =
                points.iter().map(|point| Point { layer: place(point.layer), ..*point }).collect();
            // Where two come to one layer, the later one counts.
            moved.reverse();
            moved.dedup_by_key(|point| point.layer);
            moved.reverse();
            Some(Curve::Points { points: moved, between: *between })
        }
        _ => None,
    }
}

/// A value that was typed, within [`VALUES`].
fn typed(value: f64) -> f64 {
    if value.is_nan() { 0.0 } else { value.clamp(*VALUES.start(), *VALUES.end()) }
}

/// Numbers from text: between white space, commas or semicolons, a JSON list, or a table with a column named `curve`.
pub fn parse_numbers(text: &str) -> Result<Vec<f64>, String> {
    if let Some(column) = column(text) {
        return column.into_iter().map(number).collect();
    }
    let inner = text.trim().trim_start_matches('[').trim_end_matches(']');
    let words = inner.split(|letter: char| letter.is_whitespace() || matches!(letter, ',' | ';'));
    words.filter(|word| !word.is_empty()).map(number).collect()
}

/// The cells below the heading `curve`, as a spreadsheet and [`Copy CSV`](super::report::Table::to_csv) write them.
fn column(text: &str) -> Option<Vec<&str>> {
    let mut lines = text.trim().lines();
    let heading = lines.next()?;
    let separator = ['\t', ';', ','].into_iter().find(|&sign| heading.contains(sign)).unwrap_or('\t');
    let is_curve = |name: &str| name.trim().trim_matches('"').eq_ignore_ascii_case("curve");
    let at = heading.split(separator).position(is_curve)?;
    let cells = lines.map(|line| line.split(separator).nth(at).unwrap_or("").trim());
    // What lies beside the layers has no value.
    Some(cells.filter(|cell| !cell.is_empty()).collect())
}

fn number(word: &str) -> Result<f64, String> {
    let value = word.replace('−', "-").parse::<f64>().ok().filter(|value| value.is_finite());
    value.ok_or_else(|| format!("`{word}` is not a number; give one for each layer, such as 0.5"))
}

/// One value for each layer from text that [`parse_numbers`] reads.
pub fn parse_values(text: &str, layers: u32) -> Result<Curve, String> {
    let curve = Curve::Layers { values: parse_numbers(text)? };
    match curve.values(layers) {
        Ok(_) => Ok(curve),
        Err(error) => Err(error.to_string()),
    }
}

/// Ranges of layers as they are typed: `0–3, 20`.
pub fn ranges_text(ranges: &[LayerRange]) -> String {
    let text = |range: &LayerRange| match range.first == range.last {
        true => range.first.to_string(),
        false => format!("{}–{}", range.first, range.last),
    };
    ranges.iter().map(text).collect::<Vec<_>>().join(", ")
}

/// Ranges of layers from text such as `0–3, 20`, for a model of `layers` layers.
pub fn parse_ranges(text: &str, layers: u32) -> Result<Vec<LayerRange>, String> {
    let words = text.split([',', ';']).map(str::trim).filter(|word| !word.is_empty());
    let range = |word: &str| {
        let mut ends = word.split(['-', '–', '−', '…']).map(|end| end.trim().parse::<u32>().ok());
        let range = match (ends.next(), ends.next(), ends.next()) {
            (Some(Some(only)), None, None) => LayerRange { first: only, last: only },
            (Some(Some(first)), Some(Some(last)), None) => LayerRange { first, last },
            _ => return Err(format!("`{word}` is no range of layers; write them as 0–3, 20")),
        };
        if range.first > range.last {
            return Err(format!("`{word}` ends before it begins; write the smaller number first"));
        }
        match layers.checked_sub(1) {
            Some(last) if range.last > last => Err(format!("Layer {} does not exist: the last is {last}", range.last)),
            _ => Ok(range),
        }
    };
    words.map(range).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAYERS: u32 = 12;

    fn points(curve: &Curve) -> Vec<(u32, f64)> {
        handles(curve, LAYERS).into_iter().map(|point| (point.layer, point.value)).collect()
    }

    #[test]
    fn a_curve_of_another_depth_is_stretched_over_the_layers() {
        let values = |curve: &Curve, layers| match stretched(curve, layers) {
            Some(Curve::Layers { values }) => values,
            other => panic!("{other:?}"),
        };
        let four = Curve::Layers { values: vec![0.0, 1.0, 2.0, 0.0] };
        assert_eq!(values(&four, 7), [0.0, 0.5, 1.0, 1.5, 2.0, 1.0, 0.0]);
        assert_eq!(values(&four, 2), [0.0, 0.0]);
        assert_eq!(values(&four, 1), [0.0]);
        assert_eq!(stretched(&four, 4), None);
        assert_eq!(stretched(&Curve::Layers { values: vec![] }, 4), None);
        assert_eq!(stretched(&Curve::Flat, 4), None);
        let points = [0, 1, 20].map(|layer| Point { layer, value: f64::from(layer) }).to_vec();
        let moved = stretched(&Curve::Points { points, between: Between::Linear }, 11).unwrap();
        assert_eq!(handles(&moved, 11).iter().map(|point| point.layer).collect::<Vec<_>>(), [0, 1, 10]);
        assert!(moved.values(11).is_ok());
    }

    #[test]
    fn a_curve_that_is_taken_at_a_handle_keeps_its_shape() {
        for kind in Kind::ALL {
            let curve = kind.curve(&Curve::Linear { first: 0.2, last: 1.0 }, LAYERS);
            assert_eq!(Kind::of(&curve), kind);
            let free = freed(&curve, LAYERS);
            assert_eq!(Kind::of(&free), Kind::Free);
            let (before, after) = (curve.values(LAYERS).expect("sound"), free.values(LAYERS).expect("sound"));
            for (layer, (before, after)) in before.iter().zip(&after).enumerate() {
                // A cosine is not quite a cubic.
                let most = if kind == Kind::Bump { 0.06 } else { 0.006 };
                assert!((before - after).abs() < most, "{kind:?}, layer {layer}: {before} became {after}");
            }
        }
    }

    #[test]
    fn another_kind_begins_where_the_curve_was() {
        let line = Curve::Linear { first: 0.2, last: 1.0 };
        assert_eq!(Kind::Lines.curve(&line, LAYERS), Curve::Lines { alpha: 0.2, beta: 0.8 });
        assert_eq!(points(&Kind::Free.curve(&line, LAYERS)), [(0, 0.2), (11, 1.0)]);
        assert_eq!(Kind::Lines.curve(&Curve::Flat, LAYERS), Curve::Lines { alpha: 0.5, beta: 0.5 });
        assert_eq!(Kind::Layers.curve(&Curve::Flat, 3), Curve::Layers { values: vec![1.0; 3] });
    }

    #[test]
    fn points_are_moved_within_their_neighbours() {
        let mut curve = Curve::Flat;
        assert_eq!(add_point(&mut curve, LAYERS, 5, 0.5), 1);
        assert_eq!(points(&curve), [(0, 1.0), (5, 0.5), (11, 1.0)]);
        move_handle(&mut curve, LAYERS, 1, 40, 0.123_456);
        assert_eq!(points(&curve), [(0, 1.0), (10, 0.12), (11, 1.0)]);
        move_handle(&mut curve, LAYERS, 1, 0, -99.0);
        assert_eq!(points(&curve), [(0, 1.0), (1, -10.0), (11, 1.0)]);
        move_handle(&mut curve, LAYERS, 2, 3, f64::NAN);
        assert_eq!(points(&curve), [(0, 1.0), (1, -10.0), (3, 0.0)]);
        // A point where one is already moves it.
        assert_eq!(add_point(&mut curve, LAYERS, 3, 2.0), 2);
        assert_eq!(points(&curve).len(), 3);
    }

    #[test]
    fn a_handle_that_is_a_number_of_the_curve_changes_that_number() {
        let mut line = Curve::Linear { first: 0.2, last: 1.0 };
        move_handle(&mut line, LAYERS, 1, 4, 0.5);
        assert_eq!(line, Curve::Linear { first: 0.2, last: 0.5 });
        let mut lines = Curve::Lines { alpha: 0.2, beta: 0.8 };
        move_handle(&mut lines, LAYERS, 0, 0, 0.5);
        assert_eq!(lines, Curve::Lines { alpha: 0.5, beta: 0.5 });
        move_handle(&mut lines, LAYERS, 1, 9, 0.75);
        assert_eq!(lines, Curve::Lines { alpha: 0.5, beta: 0.25 });
        let mut list = Curve::Layers { values: vec![1.0; LAYERS as usize] };
        move_handle(&mut list, LAYERS, 3, 7, 0.5);
        assert_eq!(list.values(LAYERS).expect("sound")[2..5], [1.0, 0.5, 1.0]);
        let mut step = Curve::Step { at: 6, before: 0.0, after: 1.0 };
        move_handle(&mut step, LAYERS, 1, 4, 0.5);
        assert_eq!(points(&step), [(0, 0.0), (4, 0.5), (6, 1.0), (11, 1.0)]);
    }

    #[test]
    fn a_point_is_added_halfway_to_the_next() {
        let mut line = Curve::Linear { first: 0.0, last: 1.1 };
        assert_eq!(insert_beside(&mut line, LAYERS, 0), Some(1));
        assert_eq!(points(&line), [(0, 0.0), (5, 0.5), (11, 1.1)]);
        assert_eq!(insert_beside(&mut line, LAYERS, 2), Some(2), "behind the last there is nothing");
        assert_eq!(points(&line), [(0, 0.0), (5, 0.5), (8, 0.8), (11, 1.1)]);
        let mut full = Curve::Layers { values: vec![1.0; LAYERS as usize] };
        assert_eq!(insert_beside(&mut full, LAYERS, 3), None);
    }

    #[test]
    fn layers_are_read_as_they_are_shown() {
        let ranges = vec![[0, 3].into(), [7, 7].into()];
        assert_eq!(ranges_text(&ranges), "0–3, 7");
        for text in ["0–3, 7", "0-3;7", " 0 … 3 , 7-7,"] {
            assert_eq!(parse_ranges(text, LAYERS), Ok(ranges.clone()), "{text}");
        }
        assert_eq!(parse_ranges("", LAYERS), Ok(Vec::new()));
        for (text, message) in [
            ("0-", "`0-` is no range of layers; write them as 0–3, 20"),
            ("3-1", "`3-1` ends before it begins; write the smaller number first"),
            ("2, 12", "Layer 12 does not exist: the last is 11"),
        ] {
            assert_eq!(parse_ranges(text, LAYERS), Err(message.to_owned()));
        }
    }

    #[test]
    fn the_last_point_cannot_be_taken_away() {
        let mut curve = Curve::Flat;
        remove_handle(&mut curve, LAYERS, 0);
        assert_eq!(points(&curve), [(11, 1.0)]);
        remove_handle(&mut curve, LAYERS, 0);
        assert_eq!(points(&curve), [(11, 1.0)]);
    }

    #[test]
    fn a_value_that_is_typed_changes_one_layer() {
        let mut line = Curve::Linear { first: 0.0, last: 1.1 };
        set_layer(&mut line, LAYERS, 3, 2.5);
        let values = line.values(LAYERS).expect("sound");
        assert_eq!((values[2], values[3], values[4]), (0.2, 2.5, 0.4));
        let mut free = Curve::Points { points: vec![Point { layer: 0, value: 1.0 }], between: Between::Linear };
        set_layer(&mut free, LAYERS, 3, 2.5);
        assert_eq!(points(&free), [(0, 1.0), (3, 2.5)]);
    }

    #[test]
    fn values_are_read_from_text() {
        let values = |text: &str| parse_values(text, 3);
        for text in ["1 0.5 0", "1,0.5,0", "[1.0, 0.5, 0]\n", "1;0.5;0", "1\n0.5\n0\n"] {
            assert_eq!(values(text), Ok(Curve::Layers { values: vec![1.0, 0.5, 0.0] }), "{text}");
        }
        for table in [
            "layer,curve,coefficient_q\n0,1,9\n1,0.5,9\n2,−0,9\nembed,,9\n",
            "Curve\n1\n0.5\n0",
            "a\tcurve\n8\t1\n8\t.5\n8\t0",
        ] {
            assert_eq!(values(table), Ok(Curve::Layers { values: vec![1.0, 0.5, 0.0] }), "{table}");
        }
        assert_eq!(values("1 a 0"), Err("`a` is not a number; give one for each layer, such as 0.5".to_owned()));
        assert!(values("1 nan 0").is_err());
        assert!(values("1 2").expect_err("too few").contains("2 values, and the model has 3 layers"));
    }
}
