//! The metered engine for templates that are not of chats: those of evaluation tasks, which are not trusted either.

use std::sync::{Arc, Mutex, PoisonError};

use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior, Value, machinery, syntax::SyntaxConfig};

use super::{
    ChatOptions,
    engine::{self, Failure},
    meter::Meter,
    python,
};

/// Methods of values that go before the engine's: `None` for those that the engine has.
pub type Methods = fn(&Value, &str, &[Value]) -> Option<Result<Value, Error>>;

/// Renders templates and evaluates expressions within bounds of instructions, nesting, and bytes read and written.
///
/// Names that are not defined are errors, values are spelt as Python spells them, and a newline at the end stays: the
/// conventions of lm-evaluation-harness.
pub struct Sandbox {
    env: Environment<'static>,
    meter: Meter,
    /// What was printed last.
    last: Arc<Mutex<Value>>,
}

/// Why there is no text or value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SandboxError {
    /// What happened.
    pub reason: String,
    /// Whether a name was not defined.
    pub undefined: bool,
}

impl Sandbox {
    /// An engine that gives each rendering `fuel` instructions; `set_up` adds filters and functions.
    pub fn new(fuel: u64, methods: Methods, set_up: impl FnOnce(&mut Environment<'static>)) -> Self {
        let (meter, last) = (Meter::new(0), Arc::new(Mutex::new(Value::UNDEFINED)));
        let mut env = engine::environment(&meter, &ChatOptions::default(), fuel);
        env.set_undefined_behavior(UndefinedBehavior::Strict);
        let (m, printed) = (meter.clone(), last.clone());
        env.set_formatter(move |out, _, value| {
            if value.is_undefined() {
                return Err(ErrorKind::UndefinedError.into());
            }
            let value = m.read(value.clone())?;
            let text = python::text(&value)?;
            m.spend(text.len() as u64)?;
            *printed.lock().unwrap_or_else(PoisonError::into_inner) = value;
            out.write_str(&text).map_err(|_| ErrorKind::WriteFailure.into())
        });
        let m = meter.clone();
        env.set_unknown_method_callback(move |state, value, name, args| {
            methods(value, name, args).unwrap_or_else(|| engine::method(&m, state, value, name, args))
        });
        set_up(&mut env);
        Self { env, meter, last }
    }

    /// Runs what renders many templates, faster than without: each rendering would start a thread of its own, for a stack
    /// that no template overflows.
    pub fn for_many<T: Send>(run: impl Fn() -> T + Sync) -> T {
        engine::for_many(run)
    }

    /// The text of a template, which may read and write so many bytes.
    ///
    /// # Errors
    /// A mistake in the template, a name that is not defined, or bounds that are exceeded.
    pub fn render(&self, source: &str, variables: &Value, bytes: u64) -> Result<String, SandboxError> {
        self.meter.set(bytes);
        let syntax =
            SyntaxConfig::builder().keep_trailing_newline(true).build().expect("the default delimiters");
        let rendered = engine::on_large_stack(|| {
            engine::bounded(source)?;
            let tree = machinery::parse(source, "template", syntax)?;
            engine::run(&self.env, source, &tree, variables.clone())
        });
        rendered.map_err(|Failure { reason, .. }| SandboxError {
            undefined: reason.starts_with(&ErrorKind::UndefinedError.to_string()),
            reason,
        })
    }

    /// The value of a template that is one expression, `{{ ... }}`.
    ///
    /// # Errors
    /// Those of [`Self::render`].
    pub fn value(&self, source: &str, variables: &Value, bytes: u64) -> Result<Value, SandboxError> {
        self.render(source, variables, bytes)?;
        Ok(std::mem::take(&mut *self.last.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

#[cfg(test)]
mod tests {
    use minijinja::context;

    use super::*;

    fn sandbox() -> Sandbox {
        Sandbox::new(100_000, |_, _, _| None, |_| ())
    }

    #[test]
    fn values_are_not_only_text() {
        let (sandbox, row) = (sandbox(), context! { a => vec!["x", "y"], b => true });
        assert_eq!(sandbox.value("{{ a[1:] }}", &row, 10_000).unwrap(), Value::from(vec!["y"]));
        assert_eq!(sandbox.render("{{ a }} {{ b }}\n", &row, 10_000).unwrap(), "['x', 'y'] True\n");
        for undefined in ["{{ c }}", "{{ a ~ c }}", "{{ c | upper }}", "{{ a.b }}"] {
            assert!(sandbox.render(undefined, &row, 10_000).unwrap_err().undefined, "{undefined}");
        }
    }

    #[test]
    fn many_on_one_thread_are_as_many_alone() {
        let render = || sandbox().render("{{ a }}", &context! { a => 1 }, 10_000).unwrap();
        assert_eq!(Sandbox::for_many(|| (render(), render())), (render(), render()));
        let deep = "{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}";
        assert!(Sandbox::for_many(|| sandbox().render(deep, &context! {}, 16 << 20).is_err()));
    }

    /// One instruction each doubles a text, or asks for a billion blanks.
    #[test]
    fn what_would_take_all_memory_is_an_error() {
        let double =
            "{% set ns = namespace(s='x') %}{% for i in range(40) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}";
        for source in [
            double,
            "{{ 'a\\nb' | indent(2000000000) }}",
            "{{ '%2000000000d' | format(1) }}",
            "{{ [1] | batch(2000000000, 0) | list | length }}",
            "{{ [1] | slice(2000000000) | list | length }}",
            "{{ range(9999) | join('x' * 1000000) | length }}",
            "{% set ns = namespace(s='xx') %}{% for i in range(30) %}{% set ns.s = ns.s.replace('x', 'xx') %}{% endfor %}",
            "{% for a in range(9999) %}{{ 'x' * 100000 }}{% endfor %}",
            "{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}",
            "{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}",
        ] {
            assert!(sandbox().render(source, &context! {}, 16 << 20).is_err(), "{source}");
        }
    }
}
