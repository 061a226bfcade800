//! How a rule is written: its name, and the number in parentheses that it may take. Parsing and display of every rule
//! derive from its [`Signature`].

use std::fmt;

use crate::policy_error::PolicyError;

/// The name of a rule and what it takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Signature {
    pub(crate) name: &'static str,
    pub(crate) argument: Argument,
}

/// What a rule takes in parentheses.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Argument {
    /// Nothing.
    None,
    /// A number, which stands for `default` if it is left out.
    Optional { placeholder: &'static str, default: f64, bounds: Bounds },
    /// A number that cannot be left out.
    Required { placeholder: &'static str, bounds: Bounds },
}

/// Which numbers an argument may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// In words, for the error: "it must be ...".
    pub(crate) expected: &'static str,
    pub(crate) holds: fn(f64) -> bool,
}

impl Bounds {
    /// A count, which every `u32` and `f64` holds exactly.
    pub(crate) const COUNT: Self = Self {
        expected: "a whole number from 1 to 1000000",
        holds: |count| (1.0..=1e6).contains(&count) && count.fract() == 0.0,
    };

    /// Something per second.
    pub(crate) const RATE: Self =
        Self { expected: "a finite rate of at least 0", holds: |rate| rate >= 0.0 && rate.is_finite() };

    fn check(self, rule: &str, argument: &str) -> Result<f64, PolicyError> {
        match argument.trim().parse() {
            Ok(number) if (self.holds)(number) => Ok(number),
            _ => Err(PolicyError::BadArgument { rule: rule.to_owned(), expected: self.expected }),
        }
    }
}

impl Signature {
    /// The argument if none is given; `None` if one has to be. A rule that takes none has 0, which it does not read.
    pub(crate) fn default_argument(self) -> Option<f64> {
        match self.argument {
            Argument::None => Some(0.0),
            Argument::Optional { default, .. } => Some(default),
            Argument::Required { .. } => None,
        }
    }

    /// How it can be written, for an error that lists the rules.
    fn forms(self) -> Vec<String> {
        let Self { name, argument } = self;
        match argument {
            Argument::None => vec![name.to_owned()],
            Argument::Optional { placeholder, .. } => vec![name.to_owned(), format!("{name}({placeholder})")],
            Argument::Required { placeholder, .. } => vec![format!("{name}({placeholder})")],
        }
    }

    /// Writes the rule with this argument, if it takes one.
    pub(crate) fn write(self, argument: f64, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.argument {
            Argument::None => f.write_str(self.name),
            Argument::Optional { .. } | Argument::Required { .. } => write!(f, "{}({argument})", self.name),
        }
    }

    /// Writes the rule, with its argument only where that is not the default.
    pub(crate) fn write_short(self, argument: f64, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.default_argument() == Some(argument) { f.write_str(self.name) } else { self.write(argument, f) }
    }
}

/// The rule of a table that `text` names, and its argument. `decision` says in an error what the table decides.
pub(crate) fn parse<R>(
    decision: &'static str,
    table: &'static [&'static R],
    signature: impl Fn(&R) -> Signature,
    text: &str,
) -> Result<(&'static R, f64), PolicyError> {
    let (name, argument) = match text.strip_suffix(')').and_then(|text| text.split_once('(')) {
        Some((name, argument)) => (name, Some(argument)),
        None => (text, None),
    };
    let found = table.iter().find(|rule| signature(rule).name == name);
    let parsed = found.and_then(|&rule| {
        let signature = signature(rule);
        let argument = match (signature.argument, argument) {
            (_, None) => Ok(signature.default_argument()?),
            (Argument::None, Some(_)) => return None,
            (Argument::Optional { bounds, .. } | Argument::Required { bounds, .. }, Some(argument)) => {
                bounds.check(text, argument)
            }
        };
        Some(argument.map(|argument| (rule, argument)))
    });
    parsed.unwrap_or_else(|| {
        let known = table.iter().flat_map(|rule| signature(rule).forms()).collect();
        Err(PolicyError::UnknownRule { decision, rule: text.to_owned(), known })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[&Signature] = &[
        &Signature { name: "plain", argument: Argument::None },
        &Signature {
            name: "counted",
            argument: Argument::Optional { placeholder: "N", default: 3.0, bounds: Bounds::COUNT },
        },
        &Signature { name: "rated", argument: Argument::Required { placeholder: "RATE", bounds: Bounds::RATE } },
    ];

    fn parsed(text: &str) -> Result<(&'static str, f64), PolicyError> {
        parse("test", TABLE, |signature| *signature, text).map(|(signature, argument)| (signature.name, argument))
    }

    #[test]
    fn an_argument_that_is_left_out_is_the_default() {
        assert_eq!(parsed("plain"), Ok(("plain", 0.0)));
        assert_eq!(parsed("counted"), Ok(("counted", 3.0)));
        assert_eq!(parsed("counted( 7 )"), Ok(("counted", 7.0)));
        assert_eq!(parsed("rated(0.5)"), Ok(("rated", 0.5)));
    }

    #[test]
    fn what_has_no_such_form_is_unknown_and_the_forms_are_listed() {
        for text in ["", "plain(1)", "rated", "counted(1"] {
            let error = parsed(text).unwrap_err().to_string();
            assert!(error.ends_with("use one of plain, counted, counted(N), rated(RATE)"), "{error}");
        }
    }
}
