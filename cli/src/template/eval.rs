//! Renders a tree: the walk, the scopes of variables, and field access.

use std::ops::Range;

use super::ast::{Branch, Command, Node, Operand, OperandKind, Pipeline};
use super::functions::{self, Mode};
use super::{TemplateError, Value, exec_error};

/// Renders `nodes`, which were parsed from `text`, over `data`.
pub(super) fn render(text: &str, nodes: &[Node], data: &Value, mode: Mode) -> Result<String, TemplateError> {
    let mut renderer = Renderer { text, mode, variables: vec![("$".to_owned(), data.clone())], out: String::new() };
    renderer.list(nodes, data)?;
    Ok(renderer.out)
}

/// The method of rows that takes a label's name. In a row it is a map, which `json` leaves out.
pub(super) const LABEL: &str = "Label";

enum Flow {
    Next,
    Break,
    Continue,
}

struct Renderer<'a> {
    text: &'a str,
    mode: Mode,
    variables: Vec<(String, Value)>,
    out: String,
}

impl Renderer<'_> {
    fn list(&mut self, nodes: &[Node], dot: &Value) -> Result<Flow, TemplateError> {
        for node in nodes {
            let flow = match node {
                Node::Text(text) => {
                    self.out.push_str(text);
                    Flow::Next
                }
                Node::Action(pipeline) => {
                    let value = self.pipeline(pipeline, dot)?;
                    if pipeline.variables.is_empty() {
                        self.out.push_str(&value.display());
                    }
                    Flow::Next
                }
                Node::If(branch) => self.choose(branch, dot, false)?,
                Node::With(branch) => self.choose(branch, dot, true)?,
                Node::Range(branch) => self.range(branch, dot)?,
                Node::Break => Flow::Break,
                Node::Continue => Flow::Continue,
            };
            if !matches!(flow, Flow::Next) {
                return Ok(flow);
            }
        }
        Ok(Flow::Next)
    }

    fn choose(&mut self, branch: &Branch, dot: &Value, rebinds: bool) -> Result<Flow, TemplateError> {
        let scope = self.variables.len();
        let value = self.pipeline(&branch.pipeline, dot)?;
        let flow = if value.is_true() {
            self.list(&branch.body, if rebinds { &value } else { dot })
        } else {
            self.list(&branch.otherwise, dot)
        };
        self.variables.truncate(scope);
        flow
    }

    fn range(&mut self, branch: &Branch, dot: &Value) -> Result<Flow, TemplateError> {
        let scope = self.variables.len();
        let value = self.pipeline_value(&branch.pipeline, dot)?;
        let items: Vec<(Value, Value)> = match &value {
            Value::NoValue | Value::Nil => Vec::new(),
            Value::List(items) => (0..).map(Value::Int).zip(items.iter().cloned()).collect(),
            Value::Map(map) => map.entries.iter().map(|(key, item)| (Value::string(key), item.clone())).collect(),
            Value::Int(count) => (0..*count).map(|index| (Value::Int(index), Value::Int(index))).collect(),
            other => {
                let message = format!("range can't iterate over {}", other.display());
                return Err(exec_error(self.text, &branch.pipeline.at, message));
            }
        };
        if items.is_empty() {
            let flow = self.list(&branch.otherwise, dot);
            self.variables.truncate(scope);
            return flow;
        }
        for (key, item) in items {
            match branch.pipeline.variables.as_slice() {
                [] => {}
                [element] => self.bind(element, item.clone(), branch.pipeline.assigns),
                [index, element, ..] => {
                    self.bind(index, key, branch.pipeline.assigns);
                    self.bind(element, item.clone(), branch.pipeline.assigns);
                }
            }
            let flow = self.list(&branch.body, &item)?;
            self.variables.truncate(scope);
            if matches!(flow, Flow::Break) {
                break;
            }
        }
        Ok(Flow::Next)
    }

    fn pipeline(&mut self, pipeline: &Pipeline, dot: &Value) -> Result<Value, TemplateError> {
        let value = self.pipeline_value(pipeline, dot)?;
        for name in &pipeline.variables {
            self.bind(name, value.clone(), pipeline.assigns);
        }
        Ok(value)
    }

    fn pipeline_value(&mut self, pipeline: &Pipeline, dot: &Value) -> Result<Value, TemplateError> {
        let mut value = None;
        for command in &pipeline.commands {
            value = Some(self.command(command, dot, value)?);
        }
        Ok(value.unwrap_or(Value::NoValue))
    }

    fn command(&mut self, command: &Command, dot: &Value, piped: Option<Value>) -> Result<Value, TemplateError> {
        let Some((first, rest)) = command.operands.split_first() else {
            return Ok(Value::NoValue);
        };
        if let OperandKind::Function(name) = &first.kind {
            return self.call(name, command, rest, dot, piped);
        }
        if let (OperandKind::Field(fields), [key], None) = (&first.kind, rest, &piped)
            && fields.last().is_some_and(|name| name == LABEL)
        {
            // Docker's rows have one method, which looks a label up.
            let labels = self.operand(first, dot)?;
            let key = self.operand(key, dot)?;
            return functions::call("index", &[labels, key], self.mode)
                .map_err(|_| exec_error(self.text, &command.at, "error calling Label"));
        }
        if !rest.is_empty() || piped.is_some() {
            let what = &self.text[first.at.clone()];
            return Err(exec_error(self.text, &first.at, format!("can't give argument to non-function {what}")));
        }
        if matches!(first.kind, OperandKind::Nil) {
            return Err(exec_error(self.text, &first.at, "nil is not a command"));
        }
        self.operand(first, dot)
    }

    fn call(
        &mut self,
        name: &str,
        command: &Command,
        operands: &[Operand],
        dot: &Value,
        piped: Option<Value>,
    ) -> Result<Value, TemplateError> {
        // `and` and `or` stop at the operand that decides, as Go's have done since 1.18.
        if let "and" | "or" = name {
            let mut last = None;
            for operand in operands {
                let value = self.operand(operand, dot)?;
                if value.is_true() == (name == "or") {
                    return Ok(value);
                }
                last = Some(value);
            }
            return match piped.or(last) {
                Some(value) => Ok(value),
                None => Err(self.wrong_count(name, command, 0)),
            };
        }
        let mut arguments = Vec::with_capacity(operands.len() + 1);
        for operand in operands {
            arguments.push(self.operand(operand, dot)?);
        }
        arguments.extend(piped);
        functions::call(name, &arguments, self.mode).map_err(|failure| match failure {
            functions::Failure::Count => self.wrong_count(name, command, arguments.len()),
            functions::Failure::Message(message) => {
                exec_error(self.text, &command.at, format!("error calling {name}: {message}"))
            }
        })
    }

    fn wrong_count(&self, name: &str, command: &Command, got: usize) -> TemplateError {
        exec_error(self.text, &command.at, format!("wrong number of args for {name}: got {got}"))
    }

    fn operand(&mut self, operand: &Operand, dot: &Value) -> Result<Value, TemplateError> {
        match &operand.kind {
            OperandKind::Dot => Ok(dot.clone()),
            OperandKind::Nil => Ok(Value::Nil),
            OperandKind::Constant(value) => Ok(value.clone()),
            OperandKind::Field(fields) => self.fields(dot.clone(), fields, &operand.at),
            OperandKind::Variable(name, fields) => {
                // The parser knows every variable, so the root stands in for a case that cannot happen.
                let value = self
                    .variables
                    .iter()
                    .rev()
                    .find(|(known, _)| known == name)
                    .map_or(Value::NoValue, |(_, value)| value.clone());
                self.fields(value, fields, &operand.at)
            }
            OperandKind::Function(name) => functions::call(name, &[], self.mode)
                .map_err(|_| exec_error(self.text, &operand.at, format!("wrong number of args for {name}: got 0"))),
            OperandKind::Group(pipeline, fields) => {
                let value = self.pipeline(pipeline, dot)?;
                self.fields(value, fields, &operand.at)
            }
        }
    }

    fn fields(&self, mut value: Value, fields: &[String], at: &Range<usize>) -> Result<Value, TemplateError> {
        for name in fields {
            value = match &value {
                Value::NoValue => Value::NoValue,
                Value::Nil => {
                    return Err(exec_error(self.text, at, format!("nil pointer evaluating interface {{}}.{name}")));
                }
                Value::Map(map) => match map.entries.get(name) {
                    Some(found) => found.clone(),
                    None if map.open => Value::NoValue,
                    None => return Err(exec_error(self.text, at, format!("map has no entry for key \"{name}\""))),
                },
                other => {
                    let message = format!("can't evaluate field {name} in type {}", other.type_name());
                    return Err(exec_error(self.text, at, message));
                }
            };
        }
        Ok(value)
    }

    fn bind(&mut self, name: &str, value: Value, assigns: bool) {
        if assigns && let Some((_, slot)) = self.variables.iter_mut().rev().find(|(known, _)| known == name) {
            *slot = value;
            return;
        }
        self.variables.push((name.to_owned(), value));
    }
}
