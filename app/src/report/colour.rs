//! Colours of charts, dark and light: one table for the window and for SVG.

use mergescope_core::layout::Part;

/// Red, green and blue.
pub type Rgb = [u8; 3];

/// The colours of one theme.
#[derive(Clone, Copy, Debug)]
pub struct Scheme {
    /// Behind charts.
    pub background: Rgb,
    /// Lines that separate.
    pub hairline: Rgb,
    /// Axes and notes.
    pub weak: Rgb,
    /// Titles and text.
    pub text: Rgb,
    /// What a chart is about.
    pub accent: Rgb,
    /// What it is compared with.
    pub reference: Rgb,
    /// A line that warns.
    pub warning: Rgb,
    /// Right, or better.
    pub good: Rgb,
    /// Wrong, or worse.
    pub bad: Rgb,
    /// There is no number.
    pub no_value: Rgb,
    /// From nothing to the most, at equal distances.
    pub amounts: [Rgb; 6],
    /// −1, 0 and 1.
    pub cosines: [Rgb; 3],
    /// In the order of [`Part::ALL`].
    pub parts: [Rgb; Part::ALL.len()],
}

/// The dark theme.
pub const DARK: Scheme = Scheme {
    background: rgb(0x121417),
    hairline: rgb(0x2A2F37),
    weak: rgb(0x98A2AE),
    text: rgb(0xE4E7EB),
    accent: rgb(0x5AA9FF),
    reference: rgb(0x42464B),
    warning: rgb(0xE5A84B),
    good: rgb(0x4CC38A),
    bad: rgb(0xF2726F),
    no_value: rgb(0x4A4F56),
    amounts: [rgb(0x181E25), rgb(0x1B4259), rgb(0x24707D), rgb(0x569D88), rgb(0x9CC68F), rgb(0xEEE896)],
    cosines: [rgb(0x5B99F2), rgb(0x252428), rgb(0xEE725B)],
    parts: [
        rgb(0x2F6FC0),
        rgb(0x4F8FDD),
        rgb(0x7FB2EF),
        rgb(0xB3D3F8),
        rgb(0xC26F14),
        rgb(0xE3953A),
        rgb(0xF3BD78),
        rgb(0x8C9C95),
        rgb(0xD9609A),
        rgb(0xEE9CC3),
        rgb(0x8E6FD0),
        rgb(0xB9A3EA),
        rgb(0x5F6B78),
    ],
};

/// The light theme.
pub const LIGHT: Scheme = Scheme {
    background: rgb(0xFBFBFA),
    hairline: rgb(0xD8DBDF),
    weak: rgb(0x5D6772),
    text: rgb(0x1B1F24),
    accent: rgb(0x1F6FEB),
    reference: rgb(0xC4C7CB),
    warning: rgb(0x8A5605),
    good: rgb(0x1A7F4E),
    bad: rgb(0xC4373A),
    no_value: rgb(0xB4B9BE),
    amounts: [rgb(0xF3F6F6), rgb(0xC1D8E0), rgb(0x82B4C3), rgb(0x4A899E), rgb(0x1C4F69), rgb(0x0C2C42)],
    cosines: [rgb(0x2F64B1), rgb(0xF5F2F1), rgb(0xBF4136)],
    parts: [
        rgb(0x174A8C),
        rgb(0x2F6FC0),
        rgb(0x5B96DD),
        rgb(0x93BDF0),
        rgb(0xA85A08),
        rgb(0xD17F1C),
        rgb(0xEAA94F),
        rgb(0x6B7B74),
        rgb(0xA82C68),
        rgb(0xD96BA1),
        rgb(0x5B3FA6),
        rgb(0x9178D3),
        rgb(0x9AA3AC),
    ],
};

const fn rgb(hex: u32) -> Rgb {
    [(hex >> 16) as u8, (hex >> 8) as u8, hex as u8]
}

/// The colour `share` of the way along stops at equal distances; the ends beyond them.
pub fn along(stops: &[Rgb], share: f64) -> Rgb {
    let Some(last) = stops.len().checked_sub(2) else { return stops.first().copied().unwrap_or_default() };
    let position = share.clamp(0.0, 1.0) * (stops.len() - 1) as f64;
    let low = (position as usize).min(last);
    let part = position - low as f64;
    std::array::from_fn(|channel| {
        let (from, to) = (f64::from(stops[low][channel]), f64::from(stops[low + 1][channel]));
        (from + (to - from) * part).round() as u8
    })
}

/// Black or white, whichever is read better on `ground`; one of them always has a contrast above 4.5 to 1.
pub fn text_on(ground: Rgb) -> Rgb {
    let (black, white) = ([0; 3], [255; 3]);
    if contrast(black, ground) >= contrast(white, ground) { black } else { white }
}

/// Contrast ratio of WCAG 2.2 between two opaque colours, 1 to 21.
pub fn contrast(a: Rgb, b: Rgb) -> f64 {
    let luminance = |colour: Rgb| {
        let linear = colour.map(|channel| {
            let value = f64::from(channel) / 255.0;
            if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
        });
        0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    };
    let (high, low) = (luminance(a).max(luminance(b)), luminance(a).min(luminance(b)));
    (high + 0.05) / (low + 0.05)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_can_be_read_on_the_ground_and_on_every_cell() {
        for scheme in [&DARK, &LIGHT] {
            for colour in [scheme.text, scheme.weak, scheme.warning] {
                assert!(contrast(colour, scheme.background) >= 4.5);
            }
            for step in 0..=100 {
                let share = f64::from(step) / 100.0;
                for ground in [along(&scheme.amounts, share), along(&scheme.cosines, share), scheme.no_value] {
                    assert!(contrast(text_on(ground), ground) >= 4.5);
                }
            }
        }
    }

    #[test]
    fn a_scale_ends_in_its_stops() {
        assert_eq!(along(&DARK.cosines, -3.0), DARK.cosines[0]);
        assert_eq!(along(&DARK.cosines, 0.5), DARK.cosines[1]);
        assert_eq!(along(&LIGHT.amounts, 1.0), LIGHT.amounts[5]);
        assert_eq!(along(&[[0, 0, 0], [100, 200, 50]], 0.5), [50, 100, 25]);
    }
}
