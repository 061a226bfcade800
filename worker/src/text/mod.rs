//! Text to tokens and back: tokenizer and chat template, read from the model file.
