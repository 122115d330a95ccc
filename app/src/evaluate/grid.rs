//! Values of w as people write them: a list, or a range with a step.

/// Most values of a range.
const MAX_VALUES: f64 = 200.0;

/// Values of w: `0, 0.25, 0.5`, or from:to:step as in `-0.5:1.5:0.25`; the error says how to write it.
pub fn parse(text: &str) -> Result<Vec<f64>, String> {
    let number = |part: &str| {
        let number = part.trim().replace('−', "-").parse::<f64>().ok().filter(|number| number.is_finite());
        number.ok_or_else(|| format!("`{}` is no number; write 0,0.25,0.5 or -0.5:1.5:0.25", part.trim()))
    };
    let parts: Vec<&str> = text.split(':').collect();
    if let [from, to, step] = parts.as_slice() {
        return range(number(from)?, number(to)?, number(step)?);
    }
    if parts.len() != 1 {
        return Err("write 0,0.25,0.5 or from:to:step".to_owned());
    }
    // As people write lists: with commas, semicolons or spaces, and perhaps one too many.
    let parts = text.split([',', ';', ' ', '\t', '\n']).filter(|part| !part.trim().is_empty());
    let values: Vec<f64> = parts.map(number).collect::<Result<_, _>>()?;
    if values.is_empty() { Err("write values of w, such as 0,0.25,0.5".to_owned()) } else { Ok(values) }
}

/// The values `from`, `from` + `step` … up to `to`.
pub fn range(from: f64, to: f64, step: f64) -> Result<Vec<f64>, String> {
    if !(step > 0.0 && to >= from) {
        return Err("from:to:step goes up in steps above 0".to_owned());
    }
    let steps = ((to - from) / step + 1e-9).floor();
    if steps >= MAX_VALUES {
        return Err(format!(
            "this makes {} values of w; a grid has at most {MAX_VALUES}, so take a larger step",
            steps + 1.0
        ));
    }
    // In decimals as they were typed: 0.1 + 0.2 should be 0.3.
    let tidy = |value: f64| (value * 1e9).round() / 1e9;
    Ok((0..=steps as u32).map(|at| tidy(from + f64::from(at) * step)).collect())
}

/// From, to and step of values that go up evenly; `None` of others.
pub fn even_steps(values: &[f64]) -> Option<[f64; 3]> {
    let (first, last) = (*values.first()?, *values.last()?);
    let step = ((values.get(1)? - first) * 1e9).round() / 1e9;
    let made = range(first, last, step).ok()?;
    let same = made.len() == values.len() && made.iter().zip(values).all(|(a, b)| (a - b).abs() < 1e-9);
    (same && values.len() > 2).then_some([first, last, step])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grid_is_a_list_or_a_range() {
        assert_eq!(parse("0,0.25,−0.5").unwrap(), [0.0, 0.25, -0.5]);
        assert_eq!(parse("0; 0.5 1,,").unwrap(), [0.0, 0.5, 1.0]);
        assert_eq!(parse("-0.5:0.7:0.1").unwrap().last(), Some(&0.7));
        assert_eq!(parse("-0.5:1.5:0.25").unwrap().len(), 9);
        assert_eq!(parse("0:1:0.1").unwrap()[3], 0.3);
        for wrong in ["", "a", "0:1", "0:1:0", "1:0:0.5", "0:1:0.1:2", "0,nan", "0:9e9:0.001", "0:1:0.001"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn even_steps_are_told_from_a_list() {
        assert_eq!(even_steps(&parse("-0.5:1.5:0.25").unwrap()), Some([-0.5, 1.5, 0.25]));
        assert_eq!(even_steps(&parse("0:1:0.1").unwrap()), Some([0.0, 1.0, 0.1]));
        assert_eq!(even_steps(&[0.0, 0.25, 1.0]), None);
        assert_eq!(even_steps(&[1.0, 0.5, 0.0]), None);
    }
}
