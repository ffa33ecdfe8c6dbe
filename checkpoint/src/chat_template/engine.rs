//! The rendering itself.

use std::{
    borrow::Cow,
    cell::Cell,
    collections::BTreeMap,
    fmt::Write,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    thread,
};

use minijinja::{
    AutoEscape, Environment, Error, ErrorKind, State, UndefinedBehavior, Value, context,
    machinery::{self, CodeGenerator, Token},
    syntax::SyntaxConfig,
    value::{Kwargs, Rest, Serde, ValueKind, from_args},
};

use super::{
    ChatOptions,
    meter::{self, Meter},
    python, rewrite,
};

/// The largest published templates have 20 kB.
const MAX_SOURCE: usize = 256 << 10;
/// Tokens of one tag, and `elif`s of a template: the engine recurses once for each.
const MAX_TAG: usize = 2000;
const MAX_BRANCHES: usize = 500;
/// Instructions of one rendering: for the template, and for each message. Real templates need a tenth.
const FUEL: u64 = 1_000_000;
const FUEL_PER_MESSAGE: u64 = 10_000;
/// Bytes that one rendering may read and write: a fixed part, and a multiple of the conversation's bytes.
const BYTES: u64 = 16 << 20;
const BYTES_PER_BYTE: u64 = 256;
/// The engine recurses for nested macros, up to its own limit, on large frames in debug builds.
const STACK: usize = 64 << 20;
/// A name that a template may not give to its own variables; there is only one template.
const NAME: &str = "chat_template";

/// Why there is no text.
pub(super) struct Failure {
    pub(super) line: Option<usize>,
    pub(super) reason: String,
    pub(super) hint: &'static str,
}

const DAMAGED: &str =
    "the template is damaged or uses what is not supported; pass a corrected one with --template FILE";
const LIMITS: &str = "no template of a chat model needs that much; get the model from a source you trust, or pass a template with --template FILE";

impl Failure {
    fn new(reason: impl Into<String>, hint: &'static str) -> Self {
        Self { line: None, reason: reason.into(), hint }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        // A failing macro or filter hides its cause behind the place that called it.
        let mut cause = &error;
        while let Some(inner) = std::error::Error::source(cause).and_then(|e| e.downcast_ref()) {
            cause = inner;
        }
        let line = cause.line();
        let failure = |reason: &str, hint| Self { line, reason: reason.to_owned(), hint };
        match (cause.kind(), cause.detail()) {
            (ErrorKind::OutOfFuel, _) => failure("it does not end", LIMITS),
            (_, Some(detail)) if detail.contains("recursion limit") => {
                failure("it calls itself without end", LIMITS)
            }
            (_, Some(detail)) if [meter::TOO_MUCH, meter::TOO_DEEP].contains(&detail) => {
                failure(detail, LIMITS)
            }
            (_, Some(detail)) => match detail.strip_prefix(RAISED) {
                Some(message) => failure(message, "the model does not accept this conversation"),
                None => failure(&format!("{}: {detail}", cause.kind()), DAMAGED),
            },
            (kind, None) => failure(&kind.to_string(), DAMAGED),
        }
    }
}

/// Marks the message of `raise_exception` inside the engine.
const RAISED: &str = "(raised)";

/// Whether the source is a template.
pub(super) fn check(source: &str) -> Result<(), Failure> {
    if source.len() > MAX_SOURCE {
        let reason = format!("it has {} bytes; at most {MAX_SOURCE} are read", source.len());
        return Err(Failure::new(reason, LIMITS));
    }
    on_large_stack(|| {
        let source = without_generation(source);
        bounded(&source)?;
        machinery::parse(&source, NAME, syntax())?;
        Ok(())
    })
}

/// The text of `messages`, a JSON array.
pub(super) fn render(
    source: &str,
    messages: &serde_json::Value,
    options: &ChatOptions<'_>,
) -> Result<String, Failure> {
    on_large_stack(|| {
        let source = without_generation(source);
        bounded(&source)?;
        let (count, bytes) =
            (messages.as_array().map_or(0, Vec::len) as u64, messages.to_string().len() as u64);
        let meter = Meter::new(BYTES.saturating_add(bytes.saturating_mul(BYTES_PER_BYTE)));
        let env = environment(&meter, options, FUEL.saturating_add(count.saturating_mul(FUEL_PER_MESSAGE)));
        let variables = context! {
            messages => Serde(messages),
            add_generation_prompt => options.add_generation_prompt,
            bos_token => options.bos_token.unwrap_or_default(),
            eos_token => options.eos_token.unwrap_or_default(),
        };
        run(&env, &source, &machinery::parse(&source, NAME, syntax())?, variables)
    })
}

/// Meters a template's tree and renders it.
pub(super) fn run(
    env: &Environment<'_>,
    source: &str,
    tree: &machinery::ast::Stmt<'_>,
    variables: Value,
) -> Result<String, Failure> {
    let tree = rewrite::metered(tree);
    let mut code = CodeGenerator::new(NAME, source);
    code.compile_stmt(&tree);
    let (instructions, _) = code.finish();
    let mut text = String::new();
    let blocks = BTreeMap::new();
    let mut out = machinery::make_string_output(&mut text);
    machinery::eval(env, &instructions, variables, &blocks, &mut out, AutoEscape::None)?;
    Ok(text)
}

thread_local! {
    /// Whether this thread's stack is [`STACK`] bytes, of which little is used.
    static LARGE: Cell<bool> = const { Cell::new(false) };
}

/// Runs with a stack for the deepest recursion that the engine allows, on a thread of its own unless this one is
/// [for many](for_many). What panics there is the engine.
pub(super) fn on_large_stack<T: Send>(run: impl FnOnce() -> Result<T, Failure> + Send) -> Result<T, Failure> {
    if LARGE.get() {
        let failed = |_| Err(Failure::new("the engine failed on it", DAMAGED));
        return catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(failed);
    }
    thread::scope(|scope| {
        let thread = thread::Builder::new().stack_size(STACK).spawn_scoped(scope, run);
        let Ok(thread) = thread else {
            return Err(Failure::new("there is no memory to render it", "close other programs"));
        };
        thread.join().unwrap_or_else(|_| Err(Failure::new("the engine failed on it", DAMAGED)))
    })
}

/// Runs what renders many templates on one thread for all, which takes as long to start as a rendering.
pub(super) fn for_many<T: Send>(run: impl Fn() -> T + Sync) -> T {
    thread::scope(|scope| {
        let on_it = || {
            LARGE.set(true);
            run()
        };
        match thread::Builder::new().stack_size(STACK).spawn_scoped(scope, on_it) {
            Ok(thread) => thread.join().unwrap_or_else(|panic| resume_unwind(panic)),
            // Each rendering then says that there is no memory.
            Err(_) => run(),
        }
    })
}

/// As `transformers` sets up Jinja.
fn syntax() -> SyntaxConfig {
    SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build().expect("the default delimiters")
}

/// `{% generation %}` marks what to train on. It becomes a block without effect, of the same length.
fn without_generation(source: &str) -> Cow<'_, str> {
    if !source.contains("generation") {
        return source.into();
    }
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find("{%") {
        let (before, tag) = rest.split_at(start + 2);
        out.push_str(before);
        let end = tag.find("%}").unwrap_or(tag.len());
        let (tag, after) = tag.split_at(end);
        let word = tag.trim_matches(|c: char| c.is_whitespace() || "+-".contains(c));
        match word {
            "generation" => out.push_str(&tag.replacen(word, "if true   ", 1)),
            "endgeneration" => out.push_str(&tag.replacen(word, "endif        ", 1)),
            _ => out.push_str(tag),
        }
        rest = after;
    }
    out.push_str(rest);
    out.into()
}

/// Refuses expressions and chains of branches on which the engine would recurse too deeply, and tags that read
/// other templates.
pub(super) fn bounded(source: &str) -> Result<(), Failure> {
    let (mut tag, mut branches, mut begins) = (0, 0, false);
    for token in machinery::tokenize(source, false, syntax()) {
        let (token, span) = token?;
        match token {
            Token::TemplateData(_) | Token::BlockEnd | Token::VariableEnd => tag = 0,
            Token::Ident(name @ ("block" | "extends" | "from" | "import" | "include")) if begins => {
                let reason = format!("`{{% {name} %}}` needs other templates, and there are none");
                return Err(Failure { line: Some(span.start_line.into()), reason, hint: DAMAGED });
            }
            Token::Ident("elif") => branches += 1,
            _ => tag += 1,
        }
        begins = matches!(token, Token::BlockStart);
        if tag > MAX_TAG || branches > MAX_BRANCHES {
            return Err(Failure::new("it nests or chains more than any template does", LIMITS));
        }
    }
    Ok(())
}

pub(super) fn environment(meter: &Meter, options: &ChatOptions<'_>, fuel: u64) -> Environment<'static> {
    let mut env = Environment::new();
    env.set_fuel(Some(fuel));
    env.set_auto_escape_callback(|_| AutoEscape::None);
    // What can make more than it reads is replaced below, or not there.
    for filter in ["batch", "slice", "sum", "format", "pprint", "zip", "chain", "e", "escape"] {
        env.remove_filter(filter);
    }
    env.remove_global("debug");

    let m = meter.clone();
    env.set_formatter(move |out, _, value| {
        let value = m.read(value.clone())?;
        let text = match value.as_str() {
            Some(text) => Cow::Borrowed(text),
            None => Cow::Owned(python::text(&value)?),
        };
        out.write_str(&text).map_err(|_| ErrorKind::WriteFailure.into())
    });
    let m = meter.clone();
    env.add_function(rewrite::METER, move |value: Value| m.read(value));
    let m = meter.clone();
    env.add_function(rewrite::STEPS, move |value: Value| m.steps(value));
    env.add_function(rewrite::CONCAT, |state: &State<'_, '_>, a: Value, b: Value| {
        let strict = matches!(state.undefined_behavior(), UndefinedBehavior::Strict);
        if strict && (a.is_undefined() || b.is_undefined()) {
            return Err(ErrorKind::UndefinedError.into());
        }
        Ok::<_, Error>(python::text(&a)? + &python::text(&b)?)
    });
    let m = meter.clone();
    env.add_function(rewrite::MULTIPLY, move |a: Value, b: Value| multiply(&m, &a, &b));

    env.add_filter("string", |value: Value| python::text(&value));
    let m = meter.clone();
    env.add_filter("replace", move |text: &str, from: &str, to: &str| replace(&m, text, from, to, None));
    let m = meter.clone();
    env.add_filter("join", move |items: Value, joiner: Option<String>, attribute: Kwargs| {
        let attribute: Option<String> = attribute.get("attribute")?;
        join(&m, &items, joiner.as_deref().unwrap_or_default(), attribute.as_deref())
    });
    let m = meter.clone();
    env.add_filter(
        "indent",
        move |text: &str, width: Option<Value>, first: Option<bool>, blank: Option<bool>, kwargs: Kwargs| {
            let width = width.map_or_else(|| kwargs.get("width"), |width| Ok(Some(width)))?;
            let first = first.map_or_else(|| kwargs.get("first"), |first| Ok(Some(first)))?;
            let blank = blank.map_or_else(|| kwargs.get("blank"), |blank| Ok(Some(blank)))?;
            kwargs.assert_all_used()?;
            indent(&m, text, width, first.unwrap_or(false), blank.unwrap_or(false))
        },
    );
    let m = meter.clone();
    env.add_filter("tojson", move |value: Value, indent: Option<usize>, kwargs: Kwargs| {
        let indent = indent.map_or_else(|| kwargs.get("indent"), |indent| Ok(Some(indent)))?;
        // transformers passes these on to json.dumps; here they are what they are by default.
        for ignored in ["ensure_ascii", "separators", "sort_keys"] {
            kwargs.get::<Option<Value>>(ignored)?;
        }
        kwargs.assert_all_used()?;
        if indent.is_some_and(|width| width > 64) {
            return Err(failed("tojson indents by at most 64"));
        }
        let mut text = String::new();
        python::json(&mut text, &value, indent, 0)?;
        m.spend(text.len() as u64)?;
        Ok(text)
    });
    let m = meter.clone();
    env.set_unknown_method_callback(move |state, value, name, args| method(&m, state, value, name, args));

    env.add_function("raise_exception", |message: &str| -> Result<Value, Error> {
        Err(failed(format!("{RAISED}{message}")))
    });
    if let Some(date) = options.date {
        env.add_function("strftime_now", move |format: &str| {
            date.format(format)
                .ok_or_else(|| failed(format!("strftime_now does not know the format {format:?}")))
        });
    }
    env
}

fn failed(reason: impl Into<Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidOperation, reason)
}

/// `a * b`: numbers, or a text or list so many times.
fn multiply(meter: &Meter, a: &Value, b: &Value) -> Result<Value, Error> {
    let whole = |v: &Value| i128::try_from(v.clone()).ok().filter(|_| v.kind() != ValueKind::String);
    let (repeated, times) = match (whole(a), whole(b)) {
        (Some(a), Some(b)) => {
            return a.checked_mul(b).map(Value::from).ok_or_else(|| failed("a product is too large"));
        }
        (None, Some(times)) => (a, times),
        (Some(times), None) => (b, times),
        (None, None) => (a, -1),
    };
    // Python: a negative count is none.
    let times = usize::try_from(times.max(0)).unwrap_or(usize::MAX);
    match repeated.kind() {
        ValueKind::String => {
            let text = repeated.as_str().unwrap_or_default();
            meter.spend_product(text.len(), times)?;
            Ok(Value::from(text.repeat(times)))
        }
        ValueKind::Seq => {
            let items: Vec<Value> = repeated.try_iter()?.collect();
            meter.spend_product(items.len() * size_of::<Value>(), times)?;
            let len = items.len() * times;
            Ok(items.into_iter().cycle().take(len).collect())
        }
        ValueKind::Number => {
            let number = |v: &Value| f64::try_from(v.clone()).map_err(|_| failed("`*` needs numbers"));
            Ok(Value::from(number(a)? * number(b)?))
        }
        kind => Err(failed(format!("`*` does not take {kind}"))),
    }
}

/// `text.replace(from, to, count)`.
fn replace(meter: &Meter, text: &str, from: &str, to: &str, count: Option<i64>) -> Result<Value, Error> {
    let count = count.and_then(|count| usize::try_from(count).ok()).unwrap_or(usize::MAX);
    let found = text.matches(from).take(count).count();
    meter.spend_product(found, to.len())?;
    Ok(Value::from(text.replacen(from, to, count)))
}

fn join(meter: &Meter, items: &Value, joiner: &str, attribute: Option<&str>) -> Result<Value, Error> {
    let mut out = String::new();
    for (index, item) in items.try_iter()?.enumerate() {
        meter.spend(joiner.len() as u64)?;
        out.push_str(if index == 0 { "" } else { joiner });
        let item = attribute.map_or_else(|| Ok(item.clone()), |name| item.get_attr(name))?;
        out.push_str(&python::text(&item)?);
    }
    Ok(Value::from(out))
}

/// Jinja's filter: `width` is a number of blanks or a text.
fn indent(meter: &Meter, text: &str, width: Option<Value>, first: bool, blank: bool) -> Result<Value, Error> {
    let width = width.unwrap_or_else(|| Value::from(4));
    let (blanks, prefix) = match width.as_str() {
        Some(prefix) => (0, prefix),
        None => (width.as_usize().ok_or_else(|| failed("indent needs a width"))?, ""),
    };
    meter.spend_product(text.lines().count() + 1, blanks + prefix.len())?;
    let prefix = " ".repeat(blanks) + prefix;
    let mut out = String::new();
    for (index, line) in text.split('\n').enumerate() {
        out.push_str(if index == 0 { "" } else { "\n" });
        let wanted = if index == 0 { first } else { blank || !line.is_empty() };
        out.push_str(if wanted { &prefix } else { "" });
        out.push_str(line);
    }
    Ok(Value::from(out))
}

/// Python's methods; those that can make more than they read are measured first.
pub(super) fn method(
    meter: &Meter,
    state: &mut State<'_, '_>,
    value: &Value,
    name: &str,
    args: &[Value],
) -> Result<Value, Error> {
    match (name, value.kind()) {
        ("replace", ValueKind::String) => {
            let (from, to, count): (&str, &str, Option<i64>) = from_args(args)?;
            replace(meter, value.as_str().unwrap_or_default(), from, to, count)
        }
        ("join", ValueKind::String) => {
            let (items,): (Value,) = from_args(args)?;
            join(meter, &items, value.as_str().unwrap_or_default(), None)
        }
        ("index", ValueKind::Seq) => {
            let (wanted,): (Value,) = from_args(args)?;
            let found = value.try_iter()?.position(|item| item == wanted);
            found.map(Value::from).ok_or_else(|| failed("list.index: there is no such item"))
        }
        ("format", ValueKind::String) => {
            let text = value.as_str().unwrap_or_default();
            let (items,): (Rest<Value>,) = from_args(args)?;
            plain_format(text, &items).map(Value::from)
        }
        _ => minijinja_contrib::pycompat::unknown_method_callback(state, value, name, args),
    }
}

/// `text.format(...)` with `{}` and `{0}` only: widths could ask for any amount of blanks.
fn plain_format(text: &str, items: &[Value]) -> Result<String, Error> {
    let mut out = String::new();
    let (mut rest, mut next) = (text, 0);
    while let Some(start) = rest.find(['{', '}']) {
        out.push_str(&rest[..start]);
        let brace = &rest[start..=start];
        rest = &rest[start + 1..];
        if let Some(after) = rest.strip_prefix(brace) {
            out.push_str(brace);
            rest = after;
            continue;
        }
        let field = rest.find('}').filter(|_| brace == "{").map(|end| rest.split_at(end));
        let index = field.and_then(|(name, after)| {
            rest = &after[1..];
            next += usize::from(name.is_empty());
            if name.is_empty() { Some(next - 1) } else { name.parse().ok() }
        });
        let item = index.and_then(|index: usize| items.get(index));
        let item = item.ok_or_else(|| failed("str.format knows {} and {0}, with as many arguments"))?;
        _ = write!(out, "{}", python::text(item)?);
    }
    out.push_str(rest);
    Ok(out)
}
