//! Renders SVG as PNG, with a font of its own: machines without fonts draw the same picture.

use std::sync::Arc;

use anyhow::Context;
use resvg::tiny_skia::{Color, Pixmap, Transform};
use resvg::usvg::{Options, Tree, fontdb};

/// Draws SVG pictures on white ground.
pub(crate) struct Renderer {
    options: Options<'static>,
}

impl Default for Renderer {
    fn default() -> Self {
        let mut fonts = fontdb::Database::new();
        fonts.load_font_data(dejavu::sans::regular().to_vec());
        fonts.set_sans_serif_family("DejaVu Sans");
        Self { options: Options { fontdb: Arc::new(fonts), ..Options::default() } }
    }
}

impl Renderer {
    /// The PNG file of an SVG picture, pixel by pixel as large as that says it is.
    ///
    /// # Errors
    /// When `svg` is not such a picture.
    pub(crate) fn png(&self, svg: &str) -> anyhow::Result<Vec<u8>> {
        let tree = Tree::from_str(svg, &self.options).context("a figure cannot be rendered")?;
        let size = tree.size().to_int_size();
        let mut pixels = Pixmap::new(size.width(), size.height()).context("a figure is too large to be rendered")?;
        pixels.fill(Color::WHITE);
        resvg::render(&tree, Transform::identity(), &mut pixels.as_mut());
        pixels.encode_png().context("a figure cannot be written as PNG")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_drawn_on_a_machine_without_fonts() {
        let picture = |text: &str| {
            let svg = format!(
                r#"<svg xmlns="http://www.w3.org/2000/svg" width="90" height="30"><text y="20" font-family="sans-serif">{text}</text></svg>"#
            );
            Renderer::default().png(&svg).unwrap()
        };
        assert_ne!(picture("10⁻⁴"), picture(""));
        assert!(picture("").starts_with(b"\x89PNG"));
    }

    #[test]
    fn what_is_no_picture_is_refused() {
        let error = format!("{:#}", Renderer::default().png("<svg").unwrap_err());
        assert!(error.starts_with("a figure cannot be rendered"), "{error}");
    }
}
