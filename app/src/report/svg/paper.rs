//! The sheet that charts are drawn on.

use std::fmt::{Display, Write as _};

use super::style::{Theme, css};

/// The part of its width that a chart on a page keeps: words of 11 pixels are hard to read in fewer than 9.
const LEAST_WIDTH: f64 = 0.85;

/// A chart: shapes on a sheet, with a title and a description for those who cannot see it.
#[derive(Clone, Debug, PartialEq)]
pub struct Drawing {
    /// Its name as a file, without an extension: `layers`.
    pub name: String,
    /// Its heading.
    pub title: String,
    /// What it shows and how to read it.
    pub description: String,
    width: f64,
    height: f64,
    body: String,
}

impl Drawing {
    /// An empty sheet with its heading and a line of notes below it.
    pub(crate) fn new(name: String, title: String, description: String, [width, height]: [f64; 2]) -> Self {
        Self { name, title, description, width, height, body: String::new() }
    }

    /// A file of its own.
    pub fn to_svg(&self, theme: Theme) -> String {
        let style = format!("<style>{}</style>", css(theme));
        format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{}\n", self.element("", &style))
    }

    /// An element within a page that has [`css`]; on a narrow screen it is rolled rather than too small to read.
    pub fn to_inline(&self) -> String {
        let least = number((self.width * LEAST_WIDTH).round());
        self.element(&format!(" style=\"min-width:{least}px\""), "")
    }

    fn element(&self, attributes: &str, style: &str) -> String {
        let (width, height) = (number(self.width), number(self.height));
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"chart\" viewBox=\"0 0 {width} {height}\" \
             width=\"{width}\" height=\"{height}\" role=\"img\"{attributes}>\n<title>{}</title>\n<desc>{}</desc>\n{style}\
             <rect class=\"ground\" width=\"{width}\" height=\"{height}\"/>\n{}</svg>",
            escape(&self.title),
            escape(&self.description),
            self.body,
        )
    }

    /// A rectangle with a number to show under the pointer.
    pub fn rect(&mut self, class: &str, [x, y, width, height]: [f64; 4], tooltip: &str) {
        let [x, y, width, height] = [x, y, width, height].map(number);
        let shape = format!("<rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\"");
        self.shape(&shape, "rect", tooltip);
    }

    /// A dot with a number to show under the pointer.
    pub(crate) fn circle(&mut self, class: &str, [x, y]: [f64; 2], radius: f64, tooltip: &str) {
        let [x, y, radius] = [x, y, radius].map(number);
        self.shape(&format!("<circle class=\"{class}\" cx=\"{x}\" cy=\"{y}\" r=\"{radius}\""), "circle", tooltip);
    }

    /// A line.
    pub(crate) fn line(&mut self, class: &str, [x1, y1]: [f64; 2], [x2, y2]: [f64; 2]) {
        let [x1, y1, x2, y2] = [x1, y1, x2, y2].map(number);
        self.push(format_args!("<line class=\"{class}\" x1=\"{x1}\" y1=\"{y1}\" x2=\"{x2}\" y2=\"{y2}\"/>"));
    }

    /// A path through points; closed, it is an area.
    pub(crate) fn path(&mut self, class: &str, points: &[[f64; 2]], is_closed: bool, tooltip: &str) {
        if points.is_empty() {
            return;
        }
        let mut data = String::new();
        for (position, [x, y]) in points.iter().enumerate() {
            let _ = write!(data, "{}{} {}", if position == 0 { "M" } else { "L" }, number(*x), number(*y));
        }
        let end = if is_closed { "Z" } else { "" };
        self.shape(&format!("<path class=\"{class}\" d=\"{data}{end}\""), "path", tooltip);
    }

    /// Rows of square cells of one colour: column, row and number of each, on a grid whose corner is at `corner`.
    pub fn cells(&mut self, class: &str, corner: [f64; 2], side: f64, rows: &[[usize; 3]]) {
        let [x, y] = corner.map(number);
        let mut data = String::new();
        for [column, row, count] in rows {
            let _ = write!(data, "M{column} {row}h{count}v1h-{count}z");
        }
        // Without crisp edges the background would shine through between neighbours.
        self.push(format_args!(
            "<path class=\"{class}\" shape-rendering=\"crispEdges\" transform=\"translate({x} {y}) scale({side})\" \
             d=\"{data}\"/>"
        ));
    }

    /// Words, `class` saying how they look and stand: `weak end` is weak and ends at x.
    pub(crate) fn text(&mut self, class: &str, [x, y]: [f64; 2], text: &str) {
        let (x, y) = (number(x), number(y));
        self.push(format_args!("<text class=\"{class}\" x=\"{x}\" y=\"{y}\">{}</text>", escape(text)));
    }

    fn shape(&mut self, start: &str, element: &str, tooltip: &str) {
        if tooltip.is_empty() {
            self.push(format_args!("{start}/>"));
        } else {
            self.push(format_args!("{start}><title>{}</title></{element}>", escape(tooltip)));
        }
    }

    fn push(&mut self, shape: impl Display) {
        // Writing to a string does not fail.
        let _ = writeln!(self.body, "{shape}");
    }
}

/// Text for XML and HTML: `&`, `<`, `>` and quotes as entities, characters that XML has no place for as �.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\t' | '\n' => escaped.push(character),
            '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            _ if crate::format::steers(character) => escaped.push('\u{fffd}'),
            _ => escaped.push(character),
        }
    }
    escaped
}

/// A coordinate: two decimals at most, never −0.
fn number(value: f64) -> String {
    let text = format!("{:.2}", if value.is_finite() { value } else { 0.0 });
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}
