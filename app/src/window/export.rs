//! Numbers as CSV and charts as PNG.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use eframe::egui::{ColorImage, Rect};
use mergescope_core::checkpoint::dtype_label;
use mergescope_core::layout::Place;
use mergescope_core::merge::MergeReport;

use crate::format;
use crate::report::csv;

/// One row a tensor of the merged model.
pub fn results_csv(report: &MergeReport) -> String {
    let mut text = String::from(
        "tensor,layer,part,dtype,shape,coefficient,intended,written,effective_w,updates,lost,lost_share,cosine,overflowed,clipped\n",
    );
    for tensor in &report.tensors {
        let change = &tensor.change;
        text += &csv::row([
            csv::text(&tensor.name),
            layer(tensor.place),
            tensor.place.part.label().to_owned(),
            dtype_label(tensor.dtype),
            csv::shape(&tensor.shape),
            tensor.coefficient.to_string(),
            csv::number(change.intended()),
            csv::number(change.written()),
            csv::number(change.effective_w()),
            change.updates.to_string(),
            change.lost.to_string(),
            csv::number(change.lost_share()),
            csv::number(change.cosine()),
            change.overflowed.to_string(),
            change.clipped.to_string(),
        ]);
    }
    text
}

fn layer(place: Place) -> String {
    place.layer.map(|layer| layer.to_string()).unwrap_or_default()
}

/// Writes the part of a picture of the window that lies in `rect`, which is in points.
pub fn write_png(path: &Path, image: &ColorImage, rect: Rect, pixels_per_point: f32) -> Result<(), String> {
    let [width, height] = image.size;
    let clamp = |value: f32, limit: usize| ((value * pixels_per_point).round().max(0.0) as usize).min(limit);
    let (left, right) = (clamp(rect.left(), width), clamp(rect.right(), width));
    let (top, bottom) = (clamp(rect.top(), height), clamp(rect.bottom(), height));
    if left >= right || top >= bottom {
        return Err("The chart is not in view".to_owned());
    }
    let rows = image.pixels.chunks_exact(width).take(bottom).skip(top);
    let pixels: Vec<u8> =
        rows.flat_map(|row| &row[left..right]).flat_map(|pixel| [pixel.r(), pixel.g(), pixel.b()]).collect();
    let failed = |error: &dyn std::fmt::Display| format!("Cannot write {}: {error}", format::path(path));
    let file = File::create(path).map_err(|error| failed(&error))?;
    let mut encoder = png::Encoder::new(BufWriter::new(file), (right - left) as u32, (bottom - top) as u32);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header().map_err(|error| failed(&error))?;
    writer.write_image_data(&pixels).map_err(|error| failed(&error))?;
    writer.finish().map_err(|error| failed(&error))
}

#[cfg(test)]
mod tests {
    use eframe::egui::{Color32, pos2};

    use super::*;

    #[test]
    fn a_picture_is_cropped_to_the_chart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("chart.png");
        let mut image = ColorImage::filled([8, 6], Color32::BLACK);
        image.pixels[2 * 8 + 4] = Color32::WHITE;
        let rect = Rect::from_min_max(pos2(2.0, 1.0), pos2(4.0, 2.0));
        write_png(&path, &image, rect, 2.0).unwrap();
        let decoder = png::Decoder::new(std::io::BufReader::new(File::open(&path).unwrap()));
        let mut reader = decoder.read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        assert_eq!((info.width, info.height), (4, 2));
        assert_eq!(&pixels[..6], [255, 255, 255, 0, 0, 0]);
        let outside = Rect::from_min_max(pos2(50.0, 50.0), pos2(60.0, 60.0));
        assert!(write_png(&path, &image, outside, 2.0).unwrap_err().contains("not in view"));
    }
}
