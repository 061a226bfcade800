//! The fields that offer tools to the model. None is called here: they are taken where they ask for that.

use eoscast_proto::status::FieldViolation;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

/// Tools, in today's form and in the older one.
#[derive(Deserialize, JsonSchema)]
pub(super) struct ToolFields {
    /// Without effect if tool_choice is none; otherwise must be empty.
    tools: Option<Vec<Value>>,
    /// Must be none, or auto without tools.
    tool_choice: Option<Value>,
    /// The older form of tools: without effect if function_call is none; otherwise must be empty.
    functions: Option<Vec<Value>>,
    /// The older form of tool_choice: must be none, or auto without functions.
    function_call: Option<Value>,
}

impl ToolFields {
    /// # Errors
    /// A field that asks for a call of a tool.
    pub(super) fn check(&self) -> Result<(), FieldViolation> {
        check("tools", self.tools.as_ref(), "tool_choice", self.tool_choice.as_ref())?;
        check("functions", self.functions.as_ref(), "function_call", self.function_call.as_ref())
    }
}

fn check(
    offer_name: &str,
    offer: Option<&Vec<Value>>,
    choice_name: &str,
    choice: Option<&Value>,
) -> Result<(), FieldViolation> {
    let offers = offer.is_some_and(|tools| !tools.is_empty());
    match choice.map(Value::as_str) {
        Some(Some("none")) => Ok(()),
        None | Some(Some("auto")) if !offers => Ok(()),
        None | Some(Some("auto")) => {
            let description = format!("are not supported: leave them out, or send {choice_name} \"none\"");
            Err(FieldViolation::new(offer_name, description))
        }
        Some(_) => {
            let description = format!("must be \"none\": no {offer_name} are called here");
            Err(FieldViolation::new(choice_name, description))
        }
    }
}
