//! Pages to share: headings, charts and tables in one HTML file that needs nothing from anywhere else.

use std::fmt::Write as _;

use super::Table;
use super::svg::{Drawing, Theme, css, escape};

/// A whole page of that title.
pub fn document(title: &str, body: &str, theme: Theme) -> String {
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" \
         content=\"width=device-width,initial-scale=1\">\n<title>{}</title>\n<style>{}{}</style>\n</head>\n<body>\n\
         <main>\n{body}</main>\n</body>\n</html>\n",
        escape(title),
        page_css(theme),
        css(theme),
    )
}

/// A heading, charts, sentences, and tables that are folded away.
pub fn section(body: &mut String, heading: &str, drawings: &[Drawing], notes: &[String], tables: &[Table]) {
    let _ = writeln!(body, "<section>\n<h2>{}</h2>", escape(heading));
    for drawing in drawings {
        let (id, about) = (escape(&drawing.name), escape(&drawing.description));
        let _ = writeln!(
            body,
            "<figure id=\"{id}\">\n<div class=\"wide\">{}</div>\n<figcaption>{about}</figcaption>\n</figure>",
            drawing.to_inline(),
        );
    }
    for note in notes {
        let _ = writeln!(body, "<p>{}</p>", escape(note));
    }
    for table in tables {
        details(body, table);
    }
    *body += "</section>\n";
}

/// A table that is folded away.
pub fn details(body: &mut String, table: &Table) {
    let rows = crate::format::plural(table.rows.len(), "row");
    let _ = writeln!(body, "<details>\n<summary>Table: {} ({rows})</summary>", escape(&table.name));
    table_html(body, table);
    *body += "</details>\n";
}

/// A table.
pub fn table_html(body: &mut String, table: &Table) {
    *body += "<div class=\"wide\"><table>\n<tr>";
    for column in &table.columns {
        let _ = write!(body, "<th>{}</th>", escape(&column.label));
    }
    *body += "</tr>\n";
    for row in &table.rows {
        *body += "<tr>";
        for cell in row {
            let class = if cell.is_number() { " class=\"number\"" } else { "" };
            let _ = write!(body, "<td{class}>{}</td>", escape(&cell.text()));
        }
        *body += "</tr>\n";
    }
    *body += "</table></div>\n";
}

fn page_css(theme: Theme) -> String {
    use super::colour::{DARK, LIGHT, Scheme};
    let colours = |scheme: &Scheme| {
        let hex = |[red, green, blue]: [u8; 3]| format!("#{red:02x}{green:02x}{blue:02x}");
        format!(
            "body{{background:{};color:{}}}a{{color:inherit;text-decoration-color:{}}}\
             figcaption,summary,th,.facts td{{color:{}}}th,td{{border-color:{}}}\
             mark{{background:none}}mark.right{{color:{}}}mark.wrong{{color:{}}}",
            hex(scheme.background),
            hex(scheme.text),
            hex(scheme.accent),
            hex(scheme.weak),
            hex(scheme.hairline),
            hex(scheme.good),
            hex(scheme.bad),
        )
    };
    let layout = "body{margin:0;font:13px/20px Inter,'Noto Sans JP',system-ui,-apple-system,'Segoe UI',Roboto,sans-serif;\
                  font-variant-numeric:tabular-nums}main{max-width:1008px;margin:0 auto;padding:24px}\
                  h1{font-size:22px;line-height:28px}h2{font-size:13px;margin:32px 0 8px;overflow-wrap:anywhere}p{margin:0 0 8px;max-width:96ch}p.summary{max-width:72ch}\
                  a{text-underline-offset:3px;text-decoration-style:dotted}figure{margin:0 0 16px}\
                  figcaption{font-size:11px;line-height:14px;max-width:96ch}.wide{overflow-x:auto}\
                  .chart{max-width:100%;height:auto}table{border-collapse:collapse;font-size:11px;line-height:14px}\
                  th,td{text-align:left;padding:3px 8px;border-bottom:1px solid;white-space:nowrap}\
                  .number{text-align:right}summary{cursor:pointer}.facts td,.answers td{white-space:normal;overflow-wrap:anywhere}.answers td{white-space:pre-wrap;vertical-align:top}\
                  @media print{figure,tr{break-inside:avoid}.wide{overflow:visible}.chart{min-width:0!important}main{max-width:none;padding:0}}";
    let colours = match theme {
        Theme::Auto => {
            format!("{}@media screen and (prefers-color-scheme:dark){{{}}}", colours(&LIGHT), colours(&DARK))
        }
        Theme::Light => colours(&LIGHT),
        Theme::Dark => colours(&DARK),
    };
    format!(
        ":root{{color-scheme:{}}}{layout}{colours}",
        if theme == Theme::Auto { "light dark" } else { theme.label() }
    )
}
