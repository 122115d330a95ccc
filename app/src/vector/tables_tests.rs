use mergescope_core::layout::Part;

use super::super::testing::{Measured, sample, tensor};
use super::*;
use crate::format;

/// Two layers with gate, the second with up as well, and embeddings that do not move.
fn measured() -> Measured {
    let mut gate = tensor(Some(1), Part::Gate, 100.0, 4.0);
    gate.sample = sample(&[[1.0, 0.5]], true);
    Measured::new(vec![
        tensor(Some(0), Part::Gate, 100.0, 1.0),
        gate,
        tensor(Some(1), Part::Up, 100.0, 12.0),
        tensor(None, Part::Embed, 100.0, 0.0),
    ])
}

fn lines(table: &Table) -> Vec<Vec<String>> {
    table.to_csv().lines().map(|line| line.split(',').map(str::to_owned).collect()).collect()
}

#[test]
fn the_table_of_layers_has_norms_and_shares() {
    let measured = measured();
    let lines = lines(&layers(&measured.view(0.5)));
    let column = |key: &str| lines[0].iter().position(|known| known == key).unwrap();
    let keys: Vec<&str> = lines.iter().skip(1).map(|line| line[0].as_str()).collect();
    assert_eq!(keys, ["0", "1", "embed"]);
    assert_eq!(lines[2][column("norm")], "4");
    assert_eq!(lines[2][column("relative_norm")], (16.0_f64 / 200.0).sqrt().to_string());
    assert_eq!([&lines[2][column("share_gate")], &lines[2][column("share_up")]], ["0.25", "0.75"]);
    assert_eq!(lines[1][column("share_up")], "");
    assert_eq!(lines[3][column("zero_share")], "1");
    assert_eq!(lines[3][column("cos_vector_target")], "");
    assert!(lines.iter().all(|line| line.len() == lines[0].len()));
}

#[test]
fn a_grid_has_a_column_for_each_part() {
    let measured = measured();
    let grid = grid(&measured.view(0.5), Metric::RelativeNorm);
    assert_eq!(
        lines(&grid),
        [
            vec!["layer", "gate", "up", "embed"],
            vec!["0", "0.1", "", ""],
            vec!["1", "0.2", &0.12_f64.sqrt().to_string(), ""],
            vec!["embed", "", "", "0"],
        ]
    );
    let survival = super::grid(&measured.view(0.5), Metric::RoundingSurvival);
    assert_eq!(lines(&survival)[2], ["1", "1", "", ""]);
}

#[test]
fn cosines_that_are_none_stay_empty() {
    let cosine = LayerCosine { layers: vec![0, 3], values: vec![1.0, f64::NAN, f64::NAN, 1.0] };
    let table = layer_cosine(&cosine, PartSet::One(Part::Up));
    assert_eq!((table.name.as_str(), table.to_csv().as_str()), ("layer-cosine-up", "layer,0,3\n0,1,\n3,,1\n"));
    assert_eq!(table.rows[0][2].text(), format::NONE);
}

#[test]
fn tensors_keep_their_names_whatever_those_are() {
    let mut odd = tensor(Some(0), Part::Gate, 1.0, 1.0);
    odd.name = "層,\"0\"".to_owned();
    odd.place.expert = Some(7);
    let measured = Measured::new(vec![odd]);
    let csv = tensors(&measured.view(0.5)).to_csv();
    assert!(csv.lines().nth(1).unwrap().starts_with("\"層,\"\"0\"\"\",0,gate,7,bf16,10x10,100,1,1,1,"), "{csv}");
}

#[test]
fn a_histogram_lists_both_models_over_the_same_bins() {
    let histogram = |first: u32, counts: &[u64]| -> LogHistogram {
        serde_json::from_value(serde_json::json!({ "first": first, "counts": counts })).unwrap()
    };
    let mut part = tensor(Some(0), Part::Gate, 1.0, 1.0);
    // Bin 254 begins at 1: the exponent of 1 is 127.
    (part.vector_histogram, part.pre_histogram) = (histogram(252, &[3, 0, 5]), histogram(254, &[7]));
    let lines = lines(&super::histogram(&part));
    let counts: Vec<[&str; 4]> =
        lines.iter().skip(1).map(|line| [&line[0], &line[1], &line[2], &line[4]].map(String::as_str)).collect();
    assert_eq!(counts, [["0.5", "0.75", "3", "0"], ["0.75", "1", "0", "0"], ["1", "1.5", "5", "7"]]);
}

#[test]
fn a_name_from_a_model_cannot_leave_the_folder() {
    assert_eq!(file_name("../../etc/passwd\0"), ".._.._etc_passwd_");
    assert_eq!(file_name("層.0.重み"), "層.0.重み");
    assert_eq!(file_name(&"é".repeat(500)).len(), 160);
}
