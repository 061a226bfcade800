//! Which optional signals the worker takes of each request and step.

use clap::{ArgAction, Args};

use crate::runner::SketchOptions;

/// Signals beside those of the EOS set, each of which may be left out.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Signals for the predictor")]
pub(super) struct SignalArgs {
    /// Tell the predictor the text of a prompt (the last 16,384 characters), which it takes features from and does not keep.
    #[arg(long, env = "EOSCAST_PROMPT_TEXT", default_value_t = true, action = ArgAction::Set, value_name = "BOOL")]
    pub(super) prompt_text: bool,
    /// Tell at each step how likely tokens are that end a sentence, and tokens with a line break.
    #[arg(long, env = "EOSCAST_TOKEN_CLASSES", default_value_t = true, action = ArgAction::Set, value_name = "BOOL")]
    pub(super) token_classes: bool,
    /// Numbers in the sketch of the hidden state that is told at every fourth step, at most 64; 0 for none [default: 64, or the size of
    /// the hidden state if that is less].
    #[arg(long, env = "EOSCAST_SKETCH_DIMS", value_name = "N")]
    sketch_dims: Option<usize>,
    /// Layer whose output is sketched, counted from 1 [default: two thirds of the way up].
    #[arg(long, env = "EOSCAST_SKETCH_LAYER", value_name = "LAYER")]
    sketch_layer: Option<usize>,
}

impl SignalArgs {
    /// What to sketch.
    pub(super) fn sketch(&self) -> SketchOptions {
        SketchOptions { dims: self.sketch_dims, layer: self.sketch_layer }
    }
}
