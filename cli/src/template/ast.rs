//! The tree a template is parsed into.

use std::ops::Range;

use super::Value;

/// One piece of a template.
#[derive(Debug, Clone)]
pub(super) enum Node {
    /// Text copied as it is.
    Text(String),
    /// `{{pipeline}}`.
    Action(Pipeline),
    /// `{{if}}…{{else}}…{{end}}`.
    If(Branch),
    /// `{{with}}…{{else}}…{{end}}`.
    With(Branch),
    /// `{{range}}…{{else}}…{{end}}`.
    Range(Branch),
    /// `{{break}}`.
    Break,
    /// `{{continue}}`.
    Continue,
}

/// A pipeline and the two lists it chooses from.
#[derive(Debug, Clone)]
pub(super) struct Branch {
    pub pipeline: Pipeline,
    pub body: Vec<Node>,
    pub otherwise: Vec<Node>,
}

/// `$x := a | b | c`.
#[derive(Debug, Clone)]
pub(super) struct Pipeline {
    /// Variables that take the value; two in `range $i, $e := …`.
    pub variables: Vec<String>,
    /// True for `=`, which changes variables that exist.
    pub assigns: bool,
    pub commands: Vec<Command>,
    pub at: Range<usize>,
}

/// One operand, or a function with its arguments.
#[derive(Debug, Clone)]
pub(super) struct Command {
    pub operands: Vec<Operand>,
    pub at: Range<usize>,
}

/// A value in a command.
#[derive(Debug, Clone)]
pub(super) struct Operand {
    pub kind: OperandKind,
    pub at: Range<usize>,
}

#[derive(Debug, Clone)]
pub(super) enum OperandKind {
    Dot,
    Nil,
    Constant(Value),
    /// `.A.B`.
    Field(Vec<String>),
    /// `$x.A.B`; the name keeps its `$`.
    Variable(String, Vec<String>),
    Function(String),
    /// `(pipeline).A.B`.
    Group(Box<Pipeline>, Vec<String>),
}
