//! A small picture of a picture, to show before the file is fetched: PNG and JPEG are decoded,
//! within bounds, and made small. What does not decode is sent without one.

use std::{
    fs::File as LocalFile,
    io::{BufRead, BufReader, Seek},
};

use zune_core::{colorspace::ColorSpace, options::DecoderOptions};
use zune_jpeg::JpegDecoder;

use crate::upload::Outgoing;

impl Outgoing {
    /// With a small picture, when it is a PNG or a JPEG that can be decoded; unchanged otherwise. A
    /// picture of more than 16 million pixels is not decoded; others take at most 200 MiB of memory
    /// while they are. Done in a thread where it blocks nobody.
    pub async fn with_preview(mut self) -> Self {
        let (path, media_type, pixels) = (self.path.clone(), self.media_type.clone(), self.pixels);
        let Some(pixels) = pixels.filter(|_| self.preview.is_empty()) else { return self };
        let made = tokio::task::spawn_blocking(move || {
            let file = BufReader::new(LocalFile::open(path).ok()?);
            preview(file, &media_type, pixels)
        });
        // A decoder that panics has found a picture that it can not read.
        if let Ok(Some(preview)) = made.await {
            self.preview = preview;
        }
        self
    }
}

/// Red, green and blue, a byte each, row by row.
struct Pixels {
    width: usize,
    height: usize,
    rgb: Vec<u8>,
}

fn preview(
    file: impl BufRead + Seek,
    media_type: &str,
    (width, height): (u32, u32),
) -> Option<Vec<u8>> {
    if u64::from(width) * u64::from(height) > PIXELS_MAX {
        return None;
    }
    let whole = match media_type {
        "image/png" => png(file)?,
        "image/jpeg" => jpeg(file)?,
        _ => return None,
    };
    SIDES.iter().find_map(|side| {
        let bytes = encode(&whole.shrink(*side)?)?;
        (bytes.len() <= PREVIEW_BYTES_MAX).then_some(bytes)
    })
}

fn png(file: impl BufRead + Seek) -> Option<Pixels> {
    let mut decoder = png::Decoder::new_with_limits(file, png::Limits { bytes: BYTES_MAX });
    decoder.set_transformations(png::Transformations::normalize_to_color8());
    let mut reader = decoder.read_info().ok()?;
    // The head that was looked at may be another one than the decoder's.
    let mut bytes = vec![0; reader.output_buffer_size().filter(|bytes| *bytes <= BYTES_MAX)?];
    let frame = reader.next_frame(&mut bytes).ok()?;
    let bytes = bytes.get(..frame.buffer_size())?;
    let rgb: Vec<u8> = match frame.color_type {
        png::ColorType::Rgb => bytes.to_vec(),
        png::ColorType::Grayscale => bytes.iter().flat_map(|gray| [*gray; 3]).collect(),
        png::ColorType::GrayscaleAlpha => {
            bytes.as_chunks::<2>().0.iter().flat_map(|[gray, a]| [on_white(*gray, *a); 3]).collect()
        }
        png::ColorType::Rgba => {
            let pixels = bytes.as_chunks::<4>().0.iter();
            pixels.flat_map(|[r, g, b, a]| [*r, *g, *b].map(|value| on_white(value, *a))).collect()
        }
        png::ColorType::Indexed => return None,
    };
    let (width, height) = (frame.width as usize, frame.height as usize);
    Some(Pixels { width, height, rgb })
}

fn on_white(value: u8, alpha: u8) -> u8 {
    let (value, alpha) = (u16::from(value), u16::from(alpha));
    u8::try_from((value * alpha + 255 * (255 - alpha)) / 255).unwrap_or(u8::MAX)
}

fn jpeg(file: impl BufRead + Seek) -> Option<Pixels> {
    let options = DecoderOptions::default().jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(file, options);
    decoder.decode_headers().ok()?;
    let (width, height) = decoder.dimensions()?;
    if width as u64 * height as u64 > PIXELS_MAX {
        return None;
    }
    let rgb = decoder.decode().ok()?;
    Some(Pixels { width, height, rgb })
}

impl Pixels {
    /// With a longest side of at most so many pixels: each is the mean of those that it stands for.
    fn shrink(&self, side: usize) -> Option<Self> {
        let longest = self.width.max(self.height).max(1);
        let side = side.min(longest);
        let width = (self.width * side / longest).max(1);
        let height = (self.height * side / longest).max(1);
        let mut rgb = Vec::with_capacity(width * height * 3);
        for y in 0..height {
            let rows = y * self.height / height..(y + 1) * self.height / height;
            for x in 0..width {
                let columns = x * self.width / width..(x + 1) * self.width / width;
                let mut sums = [0_u64; 3];
                for row in rows.clone() {
                    let at = row * self.width;
                    let part = self.rgb.get((at + columns.start) * 3..(at + columns.end) * 3)?;
                    for pixel in part.as_chunks::<3>().0 {
                        sums.iter_mut().zip(pixel).for_each(|(sum, one)| *sum += u64::from(*one));
                    }
                }
                let count = (rows.len() * columns.len()) as u64;
                for sum in sums {
                    rgb.push(u8::try_from(sum.checked_div(count)?).ok()?);
                }
            }
        }
        Some(Self { width, height, rgb })
    }
}

fn encode(pixels: &Pixels) -> Option<Vec<u8>> {
    let (width, height) = (u32::try_from(pixels.width).ok()?, u32::try_from(pixels.height).ok()?);
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header().ok()?;
    writer.write_image_data(&pixels.rgb).ok()?;
    writer.finish().ok()?;
    Some(bytes)
}

/// Photos of most phones; decoded, 64 MiB at most.
const PIXELS_MAX: u64 = 16 << 20;
const BYTES_MAX: usize = 64 << 20;
/// A body has 16 KiB, and a preview is no more than a hint of the picture.
const PREVIEW_BYTES_MAX: usize = 4 * 1024;
/// Longest sides that are tried, in pixels. The last one fits whatever the picture is: 32 x 32
/// pixels of 3 bytes are 3 KiB, and PNG adds some 100 bytes to what it can not compress.
const SIDES: [usize; 4] = [128, 96, 64, 32];

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    /// Left half red, right half blue; or noise.
    fn picture(width: usize, height: usize, noise: bool) -> Vec<u8> {
        let mut rgb = Vec::new();
        let mut state = 1_u32;
        for _ in 0..height {
            for x in 0..width {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                rgb.extend(match (noise, x < width / 2) {
                    (true, _) => [(state >> 8) as u8, (state >> 16) as u8, (state >> 24) as u8],
                    (false, true) => [200, 0, 0],
                    (false, false) => [0, 0, 200],
                });
            }
        }
        encode(&Pixels { width, height, rgb }).unwrap()
    }

    fn made(bytes: &[u8], pixels: (u32, u32)) -> Option<Pixels> {
        let preview = preview(Cursor::new(bytes), "image/png", pixels)?;
        assert!(preview.len() <= PREVIEW_BYTES_MAX, "{}", preview.len());
        png(Cursor::new(&preview[..]))
    }

    #[test]
    fn a_picture_is_made_small_and_stays_itself() {
        let small = made(&picture(640, 480, false), (640, 480)).unwrap();
        assert_eq!((small.width, small.height), (128, 96));
        assert_eq!(
            (&small.rgb[..3], &small.rgb[127 * 3..128 * 3]),
            (&[200, 0, 0][..], &[0, 0, 200][..])
        );
        let tiny = made(&picture(3, 2, false), (3, 2)).unwrap();
        assert_eq!((tiny.width, tiny.height), (3, 2), "none is made larger");
        let line = made(&picture(2_000, 1, false), (2_000, 1)).unwrap();
        assert_eq!((line.width, line.height), (128, 1));
    }

    #[test]
    fn what_does_not_compress_is_made_smaller_until_it_fits() {
        let noise = made(&picture(300, 300, true), (300, 300)).unwrap();
        assert_eq!((noise.width, noise.height), (32, 32));
    }

    #[test]
    fn what_is_cut_or_no_picture_has_none() {
        let whole = picture(64, 64, true);
        // The last 40 bytes are checksums and an end without pixels.
        for end in (0..whole.len() - 40).step_by(97) {
            assert!(made(&whole[..end], (64, 64)).is_none(), "{end}");
        }
        assert!(preview(Cursor::new(b"\xff\xd8\xff\xe0"), "image/jpeg", (8, 8)).is_none());
        assert!(preview(Cursor::new(&whole), "image/webp", (64, 64)).is_none());
    }

    /// A head that promises more pixels than anybody has memory for.
    #[test]
    fn a_bomb_is_not_decoded() {
        let mut bomb = Vec::new();
        let mut encoder = png::Encoder::new(&mut bomb, 100_000, 100_000);
        encoder.set_color(png::ColorType::Rgb);
        drop(encoder.write_header().unwrap());
        assert!(made(&bomb, (100_000, 100_000)).is_none(), "as the head says");
        assert!(made(&bomb, (2, 2)).is_none(), "whatever the first look said");
        let huge = gray_jpeg(65_000);
        let seen = |pixels| preview(Cursor::new(&huge), "image/jpeg", pixels);
        assert!(seen((65_000, 65_000)).is_none() && seen((8, 8)).is_none());
    }

    /// A JPEG of one grey block (ITU-T T.81): tables of one code each, so a block is two bits.
    fn gray_jpeg(side: u16) -> Vec<u8> {
        let mut bytes = b"\xff\xd8\xff\xdb\0\x43\0".to_vec();
        bytes.extend([1; 64]);
        bytes.extend(b"\xff\xc0\0\x0b\x08");
        bytes.extend([side.to_be_bytes(), side.to_be_bytes()].concat());
        bytes.extend(b"\x01\x01\x11\0");
        for class in [0, 0x10] {
            bytes.extend([0xff, 0xc4, 0, 0x14, class, 1]);
            bytes.extend([0; 16]);
        }
        bytes.extend(b"\xff\xda\0\x08\x01\x01\0\0\x3f\0\x3f\xff\xd9");
        bytes
    }

    #[test]
    fn a_jpeg_is_made_small_too() {
        let bytes = preview(Cursor::new(gray_jpeg(8)), "image/jpeg", (8, 8)).unwrap();
        let small = png(Cursor::new(&bytes[..])).unwrap();
        assert_eq!((small.width, small.height), (8, 8));
        assert!(small.rgb.iter().all(|value| (127..=129).contains(value)), "{:?}", small.rgb);
    }

    #[test]
    fn what_shows_through_is_white() {
        assert_eq!((on_white(0, 0), on_white(7, 255), on_white(0, 128)), (255, 7, 127));
    }
}
