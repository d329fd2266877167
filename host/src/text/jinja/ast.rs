//! The parts of a parsed template.
use std::sync::Arc;

/// A statement and the line where it begins.
pub(super) struct Statement {
    pub line: usize,
    pub kind: StatementKind,
}

pub(super) type Block = Vec<Statement>;

pub(super) enum StatementKind {
    Data(Arc<str>),
    Output(Expression),
    If {
        branches: Vec<(Expression, Block)>,
        otherwise: Block,
    },
    For(Arc<For>),
    Set {
        target: Target,
        value: Expression,
    },
    SetBlock {
        target: Target,
        filters: Vec<Filter>,
        body: Block,
    },
    Macro(Arc<MacroNode>),
    /// `{% call %}`: the body is a macro named `caller`.
    Call {
        call: Expression,
        caller: Arc<MacroNode>,
    },
    FilterBlock {
        filters: Vec<Filter>,
        body: Block,
    },
    With {
        names: Vec<(Target, Expression)>,
        body: Block,
    },
    /// A body with names of its own: `{% generation %}`.
    Scoped(Block),
    Break,
    Continue,
}

pub(super) struct For {
    pub target: Target,
    pub items: Expression,
    pub condition: Option<Expression>,
    pub recursive: bool,
    pub body: Block,
    pub otherwise: Block,
}

pub(super) struct MacroNode {
    pub name: Arc<str>,
    pub parameters: Vec<(Arc<str>, Option<Expression>)>,
    pub body: Block,
    /// Whether the body reads `caller`, `varargs`, `kwargs`.
    pub reads: [bool; 3],
}

pub(super) enum Target {
    Name(Arc<str>),
    Tuple(Vec<Target>),
    Attribute(Arc<str>, Arc<str>),
}

pub(super) enum Constant {
    None,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(Arc<str>),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    FloorDivide,
    Modulo,
    Power,
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    In,
    NotIn,
}

pub(super) struct Filter {
    pub name: Arc<str>,
    pub arguments: Arguments,
}

#[derive(Default)]
pub(super) struct Arguments {
    pub positional: Vec<Expression>,
    pub named: Vec<(Arc<str>, Expression)>,
    pub star: Option<Box<Expression>>,
    pub double_star: Option<Box<Expression>>,
}

pub(super) enum Expression {
    Constant(Constant),
    Name(Arc<str>),
    List(Vec<Expression>),
    Tuple(Vec<Expression>),
    Dict(Vec<(Expression, Expression)>),
    Negative(Box<Expression>),
    Positive(Box<Expression>),
    Not(Box<Expression>),
    And(Box<[Expression; 2]>),
    Or(Box<[Expression; 2]>),
    Binary(Operator, Box<[Expression; 2]>),
    Concat(Vec<Expression>),
    Compare(Box<Expression>, Vec<(Comparison, Expression)>),
    Attribute(Box<Expression>, Arc<str>),
    Item(Box<[Expression; 2]>),
    /// Only inside `Item`: start, stop, step.
    Slice(Box<[Option<Expression>; 3]>),
    Call(Box<Expression>, Arguments),
    Filter(Box<Expression>, Filter),
    Test(Box<Expression>, Filter),
    /// condition, value, the other value.
    Conditional(Box<(Expression, Expression, Option<Expression>)>),
}
