//! What every figure of the project is drawn with: pictures as plain data, drawn as SVG.
//!
//! - [`palette`]: the colours; a policy or model has the same one in every figure
//! - [`axis`]: scales and their ticks; [`panel`]: a pair of axes and what is drawn between them
//! - [`figure`]: panels side by side, with a legend
//! - [`line_chart`]: one panel with a line or a point for each of several names

pub(crate) mod axis;
pub(crate) mod figure;
pub(crate) mod line_chart;
pub(crate) mod palette;
pub(crate) mod panel;
