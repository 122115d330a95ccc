//! What `analyze` prints and writes: text, CSV, SVG and one page.

use super::*;

#[test]
fn the_text_begins_with_the_summary_and_has_layers_and_parts() {
    let folders = fitting();
    let text =
        analyze(&folders, &["-w", "0.25", "--other", "pre", "target", "--spectrum", "model.embed_tokens.weight"]);
    assert!(text.starts_with("The vector is "), "{text}");
    for words in
        ["At w = 0.25 bf16 would lose", "layer", "embed", "survive", "part", "effective rank", "sign conflicts"]
    {
        assert!(text.contains(words), "{words}:\n{text}");
    }
    for words in [
        "Survive: of the non-zero updates w·v, those left by rounding to bf16 at w = 0.25\n",
        "of v and of pre overlap by ",
        " on the output side and ",
        "% of ‖v‖² is in the first ",
        "  0  post − pre (v)\n  1  target − pre\n",
    ] {
        assert!(text.contains(words), "{words}:\n{text}");
    }
    assert_eq!(text.matches("target − pre\n").count(), 1, "paths are listed once:\n{text}");
    for args in [["-w", "0"], ["--rounding", "stochastic"]] {
        let text = analyze(&folders, &args);
        assert!(text.contains("Zeros: of all entries") && !text.contains("Survive:"), "{text}");
    }
}

#[test]
fn csv_is_read_back_as_the_numbers_of_the_json() {
    let folders = fitting();
    let document = analyze_json(&folders, &["--csv", "tables"]);
    let read = |name: &str| -> Vec<Vec<String>> {
        let text = fs::read_to_string(folders.dir.path().join("tables").join(name)).unwrap();
        text.lines().map(|line| line.split(',').map(str::to_owned).collect()).collect()
    };
    let lines = read("tensors.csv");
    assert_eq!(lines.len(), 27);
    for (line, tensor) in lines.iter().skip(1).zip(document["tensors"].as_array().unwrap()) {
        assert_eq!(line[0], tensor["name"].as_str().unwrap());
        for (key, cell) in lines[0].iter().zip(line).skip(6) {
            let value = cell.parse::<f64>().ok();
            assert_eq!(value, tensor[key.as_str()].as_f64(), "{key} of {}", line[0]);
        }
    }
    let grid = read("grid-relative_norm.csv");
    assert_eq!(grid.iter().map(|line| line[0].as_str()).collect::<Vec<_>>(), ["layer", "0", "1", "embed", "norm"]);
    let cosine = read("layer-cosine-gate.csv");
    assert_eq!(cosine[1][2].parse::<f64>().ok(), document["layer_cosine"]["gate"][0][1].as_f64());
}

#[test]
fn csv_and_the_page_have_what_the_json_has() {
    let (pre, post, target) = related(Size::default(), Dtype::BF16);
    let stack = "model.layers.1.mlp.experts.gate_up_proj";
    let stacked =
        |model: Model, seed| model.with_tensor(Tensor::of(stack, Dtype::BF16, &[3, 6, 10], &values(seed, 180, 0.02)));
    let folders = Folders::write(&stacked(pre.clone(), 10), &stacked(post, 20), &stacked(target, 30));
    // Another model without the stack.
    pre.write(&folders.dir.path().join("other"));
    let name = "model.layers.1.mlp.up_proj.weight";
    let args = ["--spectrum", name, "--other", "other", "pre", "--csv", "tables", "--html", "page.html"];
    let document = analyze_json(&folders, &args);
    let read = |name: &str| -> Vec<Vec<String>> {
        let text = fs::read_to_string(folders.dir.path().join("tables").join(name)).unwrap();
        text.lines().map(|line| line.split(',').map(str::to_owned).collect()).collect()
    };
    // Every number below its heading, and null where nothing stands.
    let agrees = |keys: &[String], cells: &[String], entry: &Value| {
        for (key, cell) in keys.iter().zip(cells) {
            let (found, expected) = (cell.parse::<f64>().ok(), entry[key.as_str()].as_f64());
            assert!(found == expected || cell.as_str() == entry[key.as_str()], "{key}: {cell} is not {entry}");
        }
    };
    let entries = |name: &str, entries: &[Value]| {
        let lines = read(name);
        assert_eq!(lines.len(), 1 + entries.len(), "{name}");
        lines[1..].iter().zip(entries).for_each(|(line, entry)| agrees(&lines[0], line, entry));
    };
    entries("total.csv", &[document["total"].clone()]);
    entries("parts.csv", document["parts"].as_array().unwrap());
    entries("experts.csv", document["experts"].as_array().unwrap());
    let spectrum = &document["spectra"][0];
    let lines = read("spectra.csv");
    agrees(&lines[0][1..3], &lines[1][1..3], spectrum);
    let cell = |key: &str| lines[1][lines[0].iter().position(|known| known == key).unwrap()].as_str();
    assert_eq!(cell("tensor"), name);
    assert_eq!(cell("effective_rank_low").parse::<f64>().ok(), spectrum["effective_rank"]["low"].as_f64());
    assert_eq!(cell("overlap_left").parse::<f64>().ok(), spectrum["overlap"]["left"].as_f64());
    assert_eq!(read("vectors-models.csv")[1..], [["0", "pre", "post"], ["1", "other", "pre"]]);
    assert_eq!(document["vectors"]["left_out"], json!([stack]));
    assert_eq!(read("vectors-left-out.csv")[1], [stack, "1", "pre", "missing"]);

    let page = fs::read_to_string(folders.dir.path().join("page.html")).unwrap();
    for words in [
        "of v and of pre overlap by",
        "Table: experts (3 rows)",
        "Table: total (1 row)",
        "1 tensor not in all of them",
        "Table: spectra",
    ] {
        assert!(page.contains(words), "{words}");
    }
}

#[test]
fn what_is_no_matrix_has_sizes_and_no_singular_values() {
    let folders = fitting();
    let name = "model.layers.0.input_layernorm.weight";
    let args = ["--spectrum", name, "--csv", "out", "--svg", "out", "--html", "page.html"];
    let text = analyze(&folders, &args);
    let expected = format!("Sizes in {name}\n  |v|: median of those that are not zero about ");
    assert!(text.contains(&expected) && text.contains("it has no singular values"), "{text}");
    let out = folders.dir.path().join("out");
    assert!(out.join(format!("histogram-{name}.svg")).is_file() && out.join(format!("histogram-{name}.csv")).is_file());
    assert!(!out.join(format!("spectrum-{name}.svg")).exists());
    let page = fs::read_to_string(folders.dir.path().join("page.html")).unwrap();
    assert!(page.contains(&format!("id=\"histogram-{name}\"")) && page.contains("it has no singular values"));
    assert_eq!(analyze_json(&folders, &["--spectrum", name])["spectra"], json!([]));
    fails(&folders, &["--spectrum", "nope"], 1, &["no tensor `nope`", "`mergescope inspect --json target`"]);
}

#[test]
fn tensors_asked_for_keep_apart_whatever_their_names() {
    let (pre, post, target) = related(Size::default(), Dtype::BF16);
    let named = |mut model: Model, seed: u64| {
        for (number, name) in (0..).zip(["model.layers.0.a/b", "model.layers.0.a_b"]) {
            let tensor = Tensor::of(name, Dtype::BF16, &[8, 8], &values(seed + number, 64, 0.02));
            model = model.with_tensor(tensor);
        }
        model
    };
    let folders = Folders::write(&named(pre, 1), &named(post, 3), &named(target, 5));
    let asked = ["model.layers.0.a/b", "model.layers.0.a_b", "model.layers.0.a/b"];
    let mut args = vec!["--html", "page.html", "--csv", "out", "--svg", "out"];
    args.extend(asked.iter().flat_map(|name| ["--spectrum", name]));
    let document = analyze_json(&folders, &args);
    assert_eq!(document["spectra"].as_array().unwrap().len(), 2);
    let out = folders.dir.path().join("out");
    for kind in ["histogram", "spectrum"] {
        for name in ["model.layers.0.a_b", "model.layers.0.a_b-2"] {
            for extension in ["csv", "svg"] {
                assert!(out.join(format!("{kind}-{name}.{extension}")).is_file(), "{kind}-{name}.{extension}");
            }
        }
    }
    let page = fs::read_to_string(folders.dir.path().join("page.html")).unwrap();
    let mut ids: Vec<&str> = page.split(" id=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), count, "{ids:?}");
}

#[test]
fn sizes_and_spectrum_are_of_the_same_tensor_when_names_clash() {
    let stack = "model.layers.1.mlp.experts.gate_up_proj";
    let clash = format!("{stack}[2]");
    let (pre, post, target) = related(Size::default(), Dtype::BF16);
    let with = |model: Model, seed| {
        let model = model.with_tensor(Tensor::of(stack, Dtype::BF16, &[3, 6, 10], &values(seed, 180, 0.02)));
        model.with_tensor(Tensor::of(&clash, Dtype::BF16, &[4, 5], &values(seed + 1, 20, 0.02)))
    };
    let models = [with(pre, 10), with(post, 20), with(target, 30)];
    let folders = Folders::write(&models[0], &models[1], &models[2]);
    let document = analyze_json(&folders, &["--spectrum", &clash, "--csv", "out"]);
    assert_eq!(document["spectra"][0]["rows"], 4);
    let counts: u64 = {
        let path = folders.dir.path().join("out").join(format!("histogram-{stack}_2_.csv"));
        let file = fs::read_to_string(path).unwrap();
        file.lines().skip(1).map(|line| line.split(',').nth(4).unwrap().parse::<u64>().unwrap()).sum()
    };
    assert_eq!(counts, 20, "the elements of pre in the tensor that is called just so");
}

/// Text of a model may hold anything.
const ODD: &str = "model.layers.0.mlp.<b>&\"層'.weight";

#[test]
fn svg_is_well_formed_whatever_the_names_and_tells_its_numbers() {
    let (pre, post, target) = related(Size::default(), Dtype::BF16);
    let odd = |model: Model, seed| {
        let tensor = Tensor::of(ODD, Dtype::BF16, &[16, 16], &values(seed, 256, 0.02));
        model.with_tensor(tensor)
    };
    let folders = Folders::write(&odd(pre, 1), &odd(post, 2), &odd(target, 3));
    analyze(&folders, &["--svg", "charts", "--html", "page.html", "--spectrum", ODD, "--theme", "dark"]);
    let charts = files(&folders.dir.path().join("charts"));
    assert!(charts.len() > 15);
    for (name, bytes) in &charts {
        let text = str::from_utf8(bytes).unwrap();
        let document = roxmltree::Document::parse(text).unwrap_or_else(|error| panic!("{name}: {error}"));
        let root = document.root_element();
        assert_eq!(root.tag_name().name(), "svg");
        let child = |tag: &str| root.children().find(|node| node.has_tag_name(("http://www.w3.org/2000/svg", tag)));
        assert!(child("title").and_then(|title| title.text()).is_some_and(|text| !text.is_empty()), "{name}");
        assert!(child("desc").is_some(), "{name}");
        let but_for_the_label = text.replace(mergescope::vector::Metric::Nonfinite.label(), "");
        assert!(!but_for_the_label.contains("NaN"), "{name}");
        for node in document.descendants().filter(|node| node.is_element()) {
            for attribute in ["x", "y", "width", "height"] {
                let value = node.attribute(attribute);
                assert!(value.is_none_or(|value| value.parse::<f64>().is_ok_and(f64::is_finite)), "{name}: {value:?}");
            }
        }
    }
    let spectrum = charts.iter().find(|(name, _)| name.starts_with("spectrum-")).unwrap();
    assert!(str::from_utf8(&spectrum.1).unwrap().contains("&lt;b&gt;&amp;&quot;層&#39;"));
    let page = fs::read_to_string(folders.dir.path().join("page.html")).unwrap();
    assert!(page.contains("&lt;b&gt;&amp;&quot;層&#39;") && !page.contains("<b>"));
}

#[test]
fn a_page_needs_nothing_from_anywhere() {
    let folders = fitting();
    analyze(&folders, &["--html", "page.html"]);
    let page = fs::read_to_string(folders.dir.path().join("page.html")).unwrap();
    let rest = page.replace("xmlns=\"http://www.w3.org/2000/svg\"", "");
    for reference in ["http:", "https:", "<script", "<link", "<img", "@import", "url(", "src="] {
        assert!(!rest.contains(reference), "{reference}");
    }
    assert!(page.contains("The vector is ") && page.contains("<svg") && page.contains("prefers-color-scheme:dark"));
    // Each figure of the summary leads to a chart of the page.
    for link in page.split("href=\"#").skip(1) {
        let id = link.split('"').next().unwrap();
        assert!(page.contains(&format!("id=\"{id}\"")), "{id}");
    }
}
