//! Puts a meter into a template: wherever the engine would read a whole value, the value goes through
//! [`METER`] first, and where it would only step through one, through [`STEPS`].
//!
//! ```text
//! a ~ b            ->  CONCAT(METER(a), METER(b))
//! a * b            ->  MULTIPLY(METER(a), METER(b))
//! a == b, a in b   ->  METER(a) == METER(b), ...
//! a | f(b)         ->  METER(a) | f(METER(b))
//! a.m(b)           ->  METER(a).m(METER(b))
//! [a, b]           ->  METER([a, b])
//! a[b]             ->  STEPS(a)[METER(b)]
//! a[b:c]           ->  STEPS(METER(a)[b:c])
//! a | length       ->  STEPS(a) | length
//! for x in a       ->  for x in STEPS(a)
//! text             ->  {{ METER("text") }}
//! ```
//!
//! The engine's fuel counts instructions, and one instruction can double a string, or compare two trees
//! that share all their branches: forty of them are a terabyte, or a thousand years. Calls are no
//! constants either, so the engine does not compute anything while it compiles.

use minijinja::{
    Value,
    machinery::{Span, ast},
};

/// The function that charges for its argument and returns it. No identifier of a template can be spelt so.
pub(super) const METER: &str = "(meter)";
/// The function that charges for the way to the end of its argument, and returns it: a text is walked by its
/// characters, an iterable item by item.
pub(super) const STEPS: &str = "(steps)";
/// `a ~ b`, as Python spells values.
pub(super) const CONCAT: &str = "(~)";
/// `a * b`.
pub(super) const MULTIPLY: &str = "(*)";

/// Constants up to this length are not charged: names of roles, fields and tokens.
const SHORT: usize = 64;

/// Filters and tests that look at no more than a value's kind or its start, or hand it on as it is.
const CHEAP_FILTERS: [&str; 3] = ["d", "default", "first"];
/// These look at a value's length or its end. To charge for what is in it would make
/// `loop.index == messages | length` quadratic.
const STEPPING_FILTERS: [&str; 3] = ["count", "last", "length"];
const CHEAP_TESTS: [&str; 14] = [
    "boolean",
    "defined",
    "even",
    "false",
    "float",
    "integer",
    "mapping",
    "none",
    "number",
    "odd",
    "sequence",
    "string",
    "true",
    "undefined",
];
/// To know that it can, the engine starts to iterate.
const STEPPING_TESTS: [&str; 1] = ["iterable"];

type Spanned<T> = ast::Spanned<T>;

/// The metered form of a template.
pub(super) fn metered<'a>(template: &ast::Stmt<'a>) -> ast::Stmt<'a> {
    statement(template)
}

fn call<'a>(name: &'static str, args: Vec<ast::Expr<'a>>, span: Span) -> ast::Expr<'a> {
    let function = ast::Expr::Var(Spanned::new(ast::Var { id: name }, span));
    let args = args.into_iter().map(ast::CallArg::Pos).collect();
    ast::Expr::Call(Spanned::new(ast::Call { expr: function, args }, span))
}

/// An expression whose value is read as a whole.
fn read<'a>(e: &ast::Expr<'a>) -> ast::Expr<'a> {
    charged(METER, e)
}

/// An expression whose value is stepped through.
fn stepped<'a>(e: &ast::Expr<'a>) -> ast::Expr<'a> {
    charged(STEPS, e)
}

fn charged<'a>(function: &'static str, e: &ast::Expr<'a>) -> ast::Expr<'a> {
    match e {
        ast::Expr::Const(c) if c.value.as_str().is_none_or(|text| text.len() <= SHORT) => expression(e),
        // The loop object is the engine's own; to look at it is to advance it.
        ast::Expr::Var(var) if var.id == "loop" => expression(e),
        _ => call(function, vec![expression(e)], e.span()),
    }
}

fn expression<'a>(e: &ast::Expr<'a>) -> ast::Expr<'a> {
    let span = e.span();
    match e {
        ast::Expr::Var(v) => ast::Expr::Var(Spanned::new(ast::Var { id: v.id }, span)),
        ast::Expr::Const(c) => ast::Expr::Const(Spanned::new(ast::Const { value: c.value.clone() }, span)),
        ast::Expr::Slice(s) => {
            let part = |e: &Option<ast::Expr<'a>>| e.as_ref().map(expression);
            let (start, stop, step) = (part(&s.start), part(&s.stop), part(&s.step));
            let slice = ast::Slice { expr: read(&s.expr), start, stop, step };
            // The engine would compute a slice anew whenever it looks at it, be it for its length.
            call(STEPS, vec![ast::Expr::Slice(Spanned::new(slice, span))], span)
        }
        ast::Expr::UnaryOp(u) => {
            let not = matches!(u.op, ast::UnaryOpKind::Not);
            let op = if not { ast::UnaryOpKind::Not } else { ast::UnaryOpKind::Neg };
            ast::Expr::UnaryOp(Spanned::new(ast::UnaryOp { op, expr: expression(&u.expr) }, span))
        }
        ast::Expr::BinOp(b) => binary(b, span),
        ast::Expr::Compare(c) => {
            let ops = c.ops.iter().map(|o| ast::CompareOp { op: o.op, expr: operand(&o.expr) }).collect();
            ast::Expr::Compare(Spanned::new(ast::Compare { expr: operand(&c.expr), ops }, span))
        }
        ast::Expr::IfExpr(i) => ast::Expr::IfExpr(Spanned::new(
            ast::IfExpr {
                test_expr: expression(&i.test_expr),
                true_expr: expression(&i.true_expr),
                false_expr: i.false_expr.as_ref().map(expression),
            },
            span,
        )),
        ast::Expr::Filter(f) => {
            let expr = f.expr.as_ref().map(|e| input(e, f.name, &CHEAP_FILTERS, &STEPPING_FILTERS));
            let filter = ast::Filter { name: f.name, expr, args: arguments(&f.args) };
            ast::Expr::Filter(Spanned::new(filter, span))
        }
        ast::Expr::Test(t) => {
            let expr = input(&t.expr, t.name, &CHEAP_TESTS, &STEPPING_TESTS);
            let test = ast::Test { name: t.name, expr, args: arguments(&t.args) };
            ast::Expr::Test(Spanned::new(test, span))
        }
        ast::Expr::GetAttr(a) => {
            ast::Expr::GetAttr(Spanned::new(ast::GetAttr { expr: expression(&a.expr), name: a.name }, span))
        }
        ast::Expr::GetItem(i) => {
            let item = ast::GetItem { expr: stepped(&i.expr), subscript_expr: read(&i.subscript_expr) };
            ast::Expr::GetItem(Spanned::new(item, span))
        }
        ast::Expr::Call(c) => ast::Expr::Call(Spanned::new(called(c), span)),
        ast::Expr::List(l) => {
            literal(ast::Expr::List(Spanned::new(ast::List { items: all(&l.items) }, span)))
        }
        ast::Expr::Tuple(t) => {
            literal(ast::Expr::Tuple(Spanned::new(ast::Tuple { items: all(&t.items) }, span)))
        }
        ast::Expr::Map(m) => {
            let keys = m.keys.iter().map(read).collect();
            literal(ast::Expr::Map(Spanned::new(ast::Map { keys, values: all(&m.values) }, span)))
        }
    }
}

/// How a filter or test takes its input.
fn input<'a>(e: &ast::Expr<'a>, name: &str, cheap: &[&str], stepping: &[&str]) -> ast::Expr<'a> {
    match () {
        () if cheap.contains(&name) => expression(e),
        () if stepping.contains(&name) => stepped(e),
        () => read(e),
    }
}

/// A list, tuple or map: metered for its depth, unless it is constant.
fn literal(e: ast::Expr<'_>) -> ast::Expr<'_> {
    let span = e.span();
    if e.as_const().is_some() { e } else { call(METER, vec![e], span) }
}

/// One side of an operator. A constant must not meet another one: the engine would compute them while it
/// compiles.
fn operand<'a>(e: &ast::Expr<'a>) -> ast::Expr<'a> {
    call(METER, vec![expression(e)], e.span())
}

fn binary<'a>(b: &ast::BinOp<'a>, span: Span) -> ast::Expr<'a> {
    use ast::BinOpKind as Op;
    match b.op {
        Op::Concat => call(CONCAT, vec![read(&b.left), read(&b.right)], span),
        Op::Mul => call(MULTIPLY, vec![read(&b.left), read(&b.right)], span),
        // These hand one of their sides on.
        Op::ScAnd | Op::ScOr => {
            let (left, right) = (expression(&b.left), expression(&b.right));
            ast::Expr::BinOp(Spanned::new(ast::BinOp { op: b.op, left, right }, span))
        }
        op => {
            let (left, right) = (operand(&b.left), operand(&b.right));
            ast::Expr::BinOp(Spanned::new(ast::BinOp { op, left, right }, span))
        }
    }
}

fn called<'a>(c: &ast::Call<'a>) -> ast::Call<'a> {
    let expr = match &c.expr {
        // A method.
        ast::Expr::GetAttr(a) => {
            let method = ast::GetAttr { expr: read(&a.expr), name: a.name };
            ast::Expr::GetAttr(Spanned::new(method, c.expr.span()))
        }
        other => expression(other),
    };
    ast::Call { expr, args: arguments(&c.args) }
}

fn arguments<'a>(args: &[ast::CallArg<'a>]) -> Vec<ast::CallArg<'a>> {
    args.iter()
        .map(|arg| match arg {
            ast::CallArg::Pos(e) => ast::CallArg::Pos(read(e)),
            ast::CallArg::Kwarg(name, e) => ast::CallArg::Kwarg(name, read(e)),
            ast::CallArg::PosSplat(e) => ast::CallArg::PosSplat(read(e)),
            ast::CallArg::KwargSplat(e) => ast::CallArg::KwargSplat(read(e)),
        })
        .collect()
}

fn all<'a>(items: &[ast::Expr<'a>]) -> Vec<ast::Expr<'a>> {
    items.iter().map(expression).collect()
}

/// What is assigned to: names, tuples of names, an attribute of a namespace.
fn target<'a>(e: &ast::Expr<'a>) -> ast::Expr<'a> {
    let span = e.span();
    match e {
        ast::Expr::List(l) => {
            ast::Expr::List(Spanned::new(ast::List { items: l.items.iter().map(target).collect() }, span))
        }
        ast::Expr::Tuple(t) => {
            ast::Expr::Tuple(Spanned::new(ast::Tuple { items: t.items.iter().map(target).collect() }, span))
        }
        other => expression(other),
    }
}

fn body<'a>(statements: &[ast::Stmt<'a>]) -> Vec<ast::Stmt<'a>> {
    statements.iter().map(statement).collect()
}

fn macro_declaration<'a>(m: &Spanned<ast::Macro<'a>>) -> Spanned<ast::Macro<'a>> {
    let (args, defaults) = (m.args.iter().map(target).collect(), all(&m.defaults));
    Spanned::new(ast::Macro { name: m.name, args, defaults, body: body(&m.body) }, m.span())
}

fn empty<'a>() -> ast::Stmt<'a> {
    ast::Stmt::Template(Spanned::new(ast::Template { children: Vec::new() }, Span::default()))
}

fn statement<'a>(s: &ast::Stmt<'a>) -> ast::Stmt<'a> {
    match s {
        ast::Stmt::Template(t) => {
            ast::Stmt::Template(Spanned::new(ast::Template { children: body(&t.children) }, t.span()))
        }
        ast::Stmt::EmitExpr(e) => {
            ast::Stmt::EmitExpr(Spanned::new(ast::EmitExpr { expr: expression(&e.expr) }, e.span()))
        }
        ast::Stmt::EmitRaw(raw) => {
            // As a value, so that the formatter counts it.
            let text = ast::Expr::Const(Spanned::new(ast::Const { value: Value::from(raw.raw) }, raw.span()));
            ast::Stmt::EmitExpr(Spanned::new(ast::EmitExpr { expr: text }, raw.span()))
        }
        ast::Stmt::ForLoop(f) => ast::Stmt::ForLoop(Spanned::new(
            ast::ForLoop {
                target: target(&f.target),
                iter: stepped(&f.iter),
                filter_expr: f.filter_expr.as_ref().map(expression),
                recursive: f.recursive,
                body: body(&f.body),
                else_body: body(&f.else_body),
            },
            f.span(),
        )),
        ast::Stmt::IfCond(i) => ast::Stmt::IfCond(Spanned::new(
            ast::IfCond {
                expr: expression(&i.expr),
                true_body: body(&i.true_body),
                false_body: body(&i.false_body),
            },
            i.span(),
        )),
        ast::Stmt::WithBlock(w) => {
            let assignments = w.assignments.iter().map(|(to, e)| (target(to), expression(e))).collect();
            ast::Stmt::WithBlock(Spanned::new(ast::WithBlock { assignments, body: body(&w.body) }, w.span()))
        }
        ast::Stmt::Set(s) => {
            let set = ast::Set { target: target(&s.target), expr: expression(&s.expr) };
            ast::Stmt::Set(Spanned::new(set, s.span()))
        }
        ast::Stmt::SetBlock(s) => {
            let (target, filter) = (target(&s.target), s.filter.as_ref().map(expression));
            ast::Stmt::SetBlock(Spanned::new(ast::SetBlock { target, filter, body: body(&s.body) }, s.span()))
        }
        ast::Stmt::AutoEscape(a) => {
            let block = ast::AutoEscape { enabled: expression(&a.enabled), body: body(&a.body) };
            ast::Stmt::AutoEscape(Spanned::new(block, a.span()))
        }
        ast::Stmt::FilterBlock(f) => {
            let block = ast::FilterBlock { filter: expression(&f.filter), body: body(&f.body) };
            ast::Stmt::FilterBlock(Spanned::new(block, f.span()))
        }
        ast::Stmt::Macro(m) => ast::Stmt::Macro(macro_declaration(m)),
        ast::Stmt::CallBlock(c) => {
            let call = Spanned::new(called(&c.call), c.call.span());
            let block = ast::CallBlock { call, macro_decl: macro_declaration(&c.macro_decl) };
            ast::Stmt::CallBlock(Spanned::new(block, c.span()))
        }
        ast::Stmt::Continue(c) => ast::Stmt::Continue(Spanned::new(ast::Continue, c.span())),
        ast::Stmt::Break(b) => ast::Stmt::Break(Spanned::new(ast::Break, b.span())),
        ast::Stmt::Do(d) => {
            let call = Spanned::new(called(&d.call), d.call.span());
            ast::Stmt::Do(Spanned::new(ast::Do { call }, d.span()))
        }
        // Templates with these are refused before.
        ast::Stmt::Block(_)
        | ast::Stmt::Import(_)
        | ast::Stmt::FromImport(_)
        | ast::Stmt::Extends(_)
        | ast::Stmt::Include(_) => empty(),
    }
}
