//! Which fields a template names: what nobody looks at need not be made, and plain fields need no evaluation.

use std::collections::BTreeSet;

use super::Piece;
use super::ast::{Branch, Node, OperandKind, Pipeline};

/// Collects the fields that are named anywhere, those of other values too; false when something takes the dot as a whole.
pub(super) fn fields<'a>(nodes: &'a [Node], found: &mut BTreeSet<&'a str>) -> bool {
    nodes.iter().all(|node| match node {
        Node::Text(_) | Node::Break | Node::Continue => true,
        Node::Action(pipeline) => of_pipeline(pipeline, found),
        Node::If(branch) | Node::With(branch) | Node::Range(branch) => of_branch(branch, found),
    })
}

fn of_branch<'a>(branch: &'a Branch, found: &mut BTreeSet<&'a str>) -> bool {
    of_pipeline(&branch.pipeline, found) && fields(&branch.body, found) && fields(&branch.otherwise, found)
}

fn of_pipeline<'a>(pipeline: &'a Pipeline, found: &mut BTreeSet<&'a str>) -> bool {
    pipeline.commands.iter().flat_map(|command| &command.operands).all(|operand| match &operand.kind {
        OperandKind::Dot => false,
        OperandKind::Nil | OperandKind::Constant(_) | OperandKind::Function(_) => true,
        OperandKind::Field(names) => {
            found.extend(names.first().map(String::as_str));
            true
        }
        // `$` is the dot that the template began with; what any other variable holds has been named where it got it.
        OperandKind::Variable(name, names) if name == "$" => {
            found.extend(names.first().map(String::as_str));
            !names.is_empty()
        }
        OperandKind::Variable(..) => true,
        OperandKind::Group(pipeline, _) => of_pipeline(pipeline, found),
    })
}

/// A node that is text, or one field and nothing else.
pub(super) fn piece(node: &Node) -> Option<Piece<'_>> {
    match node {
        Node::Text(text) => Some(Piece::Text(text)),
        Node::Action(pipeline) if pipeline.variables.is_empty() => {
            let [command] = pipeline.commands.as_slice() else { return None };
            let [operand] = command.operands.as_slice() else { return None };
            match &operand.kind {
                OperandKind::Field(names) if names.len() == 1 => Some(Piece::Field(&names[0])),
                _ => None,
            }
        }
        _ => None,
    }
}
