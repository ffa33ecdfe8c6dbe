//! Chat templates: a conversation as the text that the model was trained to continue.
//!
//! Templates are Jinja programs that come with a model, so they are not trusted. They are rendered by
//! minijinja under the conventions of transformers (`trim_blocks`, `lstrip_blocks`, loop controls,
//! Python's methods and spelling of values), with bounds on instructions, nesting, and the bytes that a
//! rendering may read and write.
//!
//! The variables are `messages`, `add_generation_prompt`, `bos_token` and `eos_token`; the functions
//! `raise_exception(text)` and, if a date was given, `strftime_now(format)`. `{% generation %}`, which
//! marks what to train on, has no effect here.
//!
//! - `rewrite`: puts a meter into the template's tree.
//! - `meter`: what is left to spend.
//! - `engine`: filters, functions and the rendering itself.
//! - `python`: values as Python spells them.
//! - `sandbox`: the same engine for other templates.

mod date;
mod engine;
mod meter;
mod python;
mod rewrite;
mod sandbox;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::{Checkpoint, Error, error::printable_start};

pub use date::Date;
pub use sandbox::{Methods, Sandbox, SandboxError};

/// One turn of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Message {
    /// Who speaks: `system`, `user` or `assistant`.
    pub role: String,
    /// What is said.
    pub content: String,
}

impl Message {
    /// A message of `role`.
    pub fn new(role: &str, content: impl Into<String>) -> Self {
        Self { role: role.to_owned(), content: content.into() }
    }
}

/// What a template is rendered with, besides the messages.
#[derive(Clone, Copy, Debug, Default)]
pub struct ChatOptions<'a> {
    /// Whether the text ends where the assistant begins to speak.
    pub add_generation_prompt: bool,
    /// The text of the token that begins a sequence.
    pub bos_token: Option<&'a str>,
    /// The text of the token that ends one.
    pub eos_token: Option<&'a str>,
    /// What `strftime_now` formats, at midnight. Without it the function is not defined: templates that test
    /// for it use a date of their own, so that the same conversation is the same prompt on any day.
    pub date: Option<Date>,
}

/// A model's chat template.
///
/// ```
/// use b158_checkpoint::{ChatOptions, ChatTemplate, Message};
///
/// let source = "{% for m in messages %}{{ m.role | capitalize }}: {{ m.content }}<|eot_id|>\n{% endfor %}\
///               {% if add_generation_prompt %}Assistant: {% endif %}";
/// let template = ChatTemplate::new("chat_template.jinja".as_ref(), source)?;
/// let options = ChatOptions { add_generation_prompt: true, ..ChatOptions::default() };
/// let text = template.render(&[Message::new("user", "Good evening.")], &options)?;
/// assert_eq!(text, "User: Good evening.<|eot_id|>\nAssistant: ");
/// # Ok::<(), b158_checkpoint::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ChatTemplate {
    file: PathBuf,
    source: String,
}

impl ChatTemplate {
    /// Reads a template; `file` is for messages only.
    ///
    /// # Errors
    /// [`Error::ChatTemplate`] if it is no template, or too large for one.
    pub fn new(file: &Path, source: impl Into<String>) -> Result<Self, Error> {
        let template = Self { file: file.to_owned(), source: source.into() };
        engine::check(&template.source).map_err(|failure| template.error(&failure))?;
        Ok(template)
    }

    /// The template of a checkpoint; `None` if it has none.
    ///
    /// # Errors
    /// As [`ChatTemplate::new`].
    pub fn of(checkpoint: &Checkpoint) -> Result<Option<Self>, Error> {
        checkpoint.chat_template().map(|source| Self::new(checkpoint.path(), source)).transpose()
    }

    /// The Jinja program.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The text of a conversation. `messages` are [`Message`]s, or anything with at least `role` and
    /// `content` that the template understands.
    ///
    /// Encode it with `add_special` false: the template writes the special tokens itself. As in
    /// transformers, nothing in a message is escaped: a message that spells a special token becomes that
    /// token. Whoever renders what strangers wrote must remove those first.
    ///
    /// # Errors
    /// [`Error::ChatTemplate`]: the template raised an exception (roles out of order, no system message
    /// allowed), uses what is not there, or exceeds its bounds.
    pub fn render<M: Serialize>(&self, messages: &[M], options: &ChatOptions<'_>) -> Result<String, Error> {
        let messages = serde_json::to_value(messages).map_err(Error::json(&self.file))?;
        engine::render(&self.source, &messages, options).map_err(|failure| self.error(&failure))
    }

    fn error(&self, failure: &engine::Failure) -> Error {
        let line = failure.line.map(|line| format!("line {line}: ")).unwrap_or_default();
        let reason = format!("{line}{}", printable_start(&failure.reason, 400));
        Error::ChatTemplate { file: self.file.clone(), reason, hint: failure.hint }
    }
}
