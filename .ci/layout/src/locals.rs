//! Names that hide an item: variables and type parameters.

use std::collections::HashSet;

use syn::{GenericParam, Generics};

use crate::names::text;

#[derive(Debug, Default)]
struct Frame {
    variables: HashSet<String>,
    types: HashSet<String>,
}

/// What the function being read has in scope, the innermost last.
#[derive(Debug, Default)]
pub(crate) struct Locals {
    frames: Vec<Frame>,
}

impl Locals {
    pub(crate) fn enter(&mut self) {
        self.frames.push(Frame::default());
    }

    pub(crate) fn leave(&mut self) {
        self.frames.pop();
    }

    pub(crate) fn bind(&mut self, name: String) {
        if let Some(frame) = self.frames.last_mut() {
            frame.variables.insert(name);
        }
    }

    pub(crate) fn bind_generics(&mut self, generics: &Generics) {
        let Some(frame) = self.frames.last_mut() else { return };
        for parameter in &generics.params {
            match parameter {
                GenericParam::Type(parameter) => frame.types.insert(text(&parameter.ident)),
                GenericParam::Const(parameter) => frame.variables.insert(text(&parameter.ident)),
                _ => false,
            };
        }
    }

    pub(crate) fn is_variable(&self, name: &str) -> bool {
        self.frames.iter().any(|frame| frame.variables.contains(name))
    }

    pub(crate) fn is_type_parameter(&self, name: &str) -> bool {
        self.frames.iter().any(|frame| frame.types.contains(name))
    }
}
