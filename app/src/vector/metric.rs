//! What can be read off a cell of the layer × part grid.

use mergescope_core::analysis::Sums;

use crate::report::Figure;

/// A number that each cell, layer or tensor has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Metric {
    /// ‖v‖ ∕ ‖pre‖.
    #[default]
    RelativeNorm,
    /// ‖v‖.
    Norm,
    /// ‖v‖ ∕ √elements.
    Rms,
    /// cos(v, target − pre).
    CosVectorTarget,
    /// cos(pre, post).
    CosPrePost,
    /// Share of elements in which v is exactly zero.
    ZeroShare,
    /// Share of updates that survive rounding at the current w.
    RoundingSurvival,
    /// Share of elements that v and target − pre move the same way.
    SignAgreement,
    /// max |v|.
    MaxAbs,
    /// Share of elements that are NaN or infinite in any of the models.
    Nonfinite,
}

/// What a metric's values run over, which decides the colours they are shown in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// From zero up, without a bound.
    Amount,
    /// 0 to 1.
    Share,
    /// −1 to 1.
    Cosine,
}

impl Metric {
    /// All, in the order in which they are offered.
    pub const ALL: [Self; 10] = [
        Self::RelativeNorm,
        Self::Norm,
        Self::Rms,
        Self::CosVectorTarget,
        Self::CosPrePost,
        Self::ZeroShare,
        Self::RoundingSurvival,
        Self::SignAgreement,
        Self::MaxAbs,
        Self::Nonfinite,
    ];

    /// Its name in JSON, CSV and file names.
    pub fn key(self) -> &'static str {
        match self {
            Self::RelativeNorm => "relative_norm",
            Self::Norm => "norm",
            Self::Rms => "rms",
            Self::CosVectorTarget => "cos_vector_target",
            Self::CosPrePost => "cos_pre_post",
            Self::ZeroShare => "zero_share",
            Self::RoundingSurvival => "rounding_survival",
            Self::SignAgreement => "sign_agreement",
            Self::MaxAbs => "max_abs",
            Self::Nonfinite => "nonfinite_share",
        }
    }

    /// Its name for people.
    pub fn label(self) -> &'static str {
        match self {
            Self::RelativeNorm => "Relative norm",
            Self::Norm => "Norm",
            Self::Rms => "RMS",
            Self::CosVectorTarget => "cos(v, target − pre)",
            Self::CosPrePost => "cos(pre, post)",
            Self::ZeroShare => "Zero share",
            Self::RoundingSurvival => "Rounding survival",
            Self::SignAgreement => "Sign agreement",
            Self::MaxAbs => "max |v|",
            Self::Nonfinite => "NaN or infinite",
        }
    }

    /// What it means and how to read it.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::RelativeNorm => {
                "‖v‖ ∕ ‖pre‖: how far fine-tuning moved these weights, measured by their own length; 1 % moved them by a \
                 hundredth."
            }
            Self::Norm => {
                "‖v‖: the length of the change. It grows with the number of weights, so compare like with like."
            }
            Self::Rms => {
                "Root mean square of an element of v: the size of a typical change of one weight, whatever the tensor's \
                 size."
            }
            Self::CosVectorTarget => {
                "Cosine of v and the target's own change since pre: near 0, v brings something new; near 1, the target \
                 already holds it; near −1, v undoes it."
            }
            Self::CosPrePost => {
                "Cosine of the weights before and after fine-tuning: 1 means that their direction was kept, and most \
                 models stay very close to it."
            }
            Self::ZeroShare => {
                "Share of elements that fine-tuning left exactly as they were. Training in bf16 loses small updates, so \
                 a high share is common."
            }
            Self::RoundingSurvival => {
                "Share of the non-zero updates w·v that change the written element at this w; the others are lost to \
                 rounding. Estimated from a sample of large tensors."
            }
            Self::SignAgreement => {
                "Of the elements that both v and target − pre move, the share that they move the same way; vectors that \
                 have nothing to do with each other come to about a half."
            }
            Self::MaxAbs => "The largest change of a single weight; far above the RMS it points to outliers.",
            Self::Nonfinite => {
                "Share of elements that are NaN or infinite in pre, post or target; they are left out of sums and counts, \
                 and a sound model has none."
            }
        }
    }

    /// What its values run over.
    pub fn scale(self) -> Scale {
        match self {
            Self::RelativeNorm | Self::Norm | Self::Rms | Self::MaxAbs => Scale::Amount,
            Self::ZeroShare | Self::RoundingSurvival | Self::SignAgreement | Self::Nonfinite => Scale::Share,
            Self::CosVectorTarget | Self::CosPrePost => Scale::Cosine,
        }
    }

    /// Its value for the elements summed up; NaN where there is none.
    ///
    /// [`Metric::RoundingSurvival`] depends on w and comes from a preview: here it is NaN.
    pub fn of(self, sums: &Sums) -> f64 {
        match self {
            Self::RelativeNorm => sums.gram.relative_norm(),
            // A tensor without a finite element has no norm; the norm of no tensor at all is zero.
            Self::Norm if sums.finite() == 0 && sums.elements > 0 => f64::NAN,
            Self::Norm => sums.gram.norm(),
            Self::Rms => sums.rms(),
            Self::CosVectorTarget => sums.gram.cos_vector_target(),
            Self::CosPrePost => sums.gram.cos_pre_post(),
            Self::ZeroShare => sums.zero_share(),
            Self::RoundingSurvival => f64::NAN,
            Self::SignAgreement => sums.sign_agreement(),
            Self::MaxAbs if sums.finite() == 0 => f64::NAN,
            Self::MaxAbs => sums.max_abs,
            Self::Nonfinite => sums.left_out as f64 / sums.elements as f64,
        }
    }

    /// A value of it.
    pub fn figure(self, value: f64) -> Figure {
        match (self, self.scale()) {
            (Self::RelativeNorm, _) => Figure::Relative(value),
            (_, Scale::Share) => Figure::Share(value),
            (Self::CosPrePost, _) => Figure::cosine(value),
            (_, Scale::Cosine) => Figure::Fixed(value, 3),
            (_, Scale::Amount) => Figure::Number(value),
        }
    }

    /// A value of it as people read it: `2.9 %`, `−0.12`, `–` for none.
    pub fn text(self, value: f64) -> String {
        self.figure(value).text()
    }
}

#[cfg(test)]
mod tests {
    use mergescope_core::analysis::Gram;

    use super::*;
    use crate::format;

    #[test]
    fn every_metric_reads_its_number() {
        // pre = (3, 4), v = (0, 2), target − pre = (0, −1): one element of v is zero, the other opposes the
        // target, a third is NaN.
        let gram = Gram { pre_pre: 25.0, pre_v: 8.0, pre_u: -4.0, v_v: 4.0, v_u: -2.0, u_u: 1.0 };
        let sums = Sums { elements: 3, left_out: 1, gram, max_abs: 2.0, zeros: 1, opposite_sign: 1, ..Sums::default() };
        let expected = [
            (Metric::RelativeNorm, 0.4),
            (Metric::Norm, 2.0),
            (Metric::Rms, 2.0_f64.sqrt()),
            (Metric::CosVectorTarget, -1.0),
            (Metric::CosPrePost, 33.0 / (5.0 * 45.0_f64.sqrt())),
            (Metric::ZeroShare, 0.5),
            (Metric::SignAgreement, 0.0),
            (Metric::MaxAbs, 2.0),
            (Metric::Nonfinite, 1.0 / 3.0),
        ];
        for (metric, value) in expected {
            assert!((metric.of(&sums) - value).abs() < 1e-15, "{}: {}", metric.key(), metric.of(&sums));
        }
        assert!(Metric::RoundingSurvival.of(&sums).is_nan());
    }

    #[test]
    fn nothing_measured_is_no_number_and_shown_as_a_dash() {
        for metric in Metric::ALL {
            let value = metric.of(&Sums::default());
            let empty = metric == Metric::Norm;
            assert!(value.is_nan() != empty, "{}: {value}", metric.key());
            assert_eq!(metric.text(f64::NAN), format::NONE);
        }
    }

    #[test]
    fn values_have_the_unit_that_they_are_read_in() {
        let shown = [(Metric::RelativeNorm, 0.029), (Metric::CosVectorTarget, -0.1234), (Metric::SignAgreement, 0.5)];
        let shown = shown.map(|(metric, value)| metric.text(value).replace('\u{a0}', " "));
        assert_eq!(shown, ["2.9 %", "−0.123", "50 %"]);
        assert_eq!(Metric::CosPrePost.text(0.999_871), "0.99987");
    }

    #[test]
    fn keys_and_labels_tell_the_metrics_apart() {
        for (position, metric) in Metric::ALL.iter().enumerate() {
            assert!(metric.meaning().ends_with('.'), "{metric:?}");
            for other in &Metric::ALL[position + 1..] {
                assert!(metric.key() != other.key() && metric.label() != other.label());
            }
        }
    }
}
