//! The text of a sequence as it becomes certain.

use std::collections::VecDeque;

use b158_checkpoint::{DecodeStream, Error, Tokenizer};
use b158_runner::StopStrings;

use super::{job::Token, scores::TokenScore};

/// Turns tokens into text, holds back what may become a stop string, and gives a token away with the text in which
/// it begins:
///
/// ```text
/// tokens   The| keep|er|.|\n|User       stop string "\nUser"
/// text     The  keep er . \n User
///          certain ──────┘ └ held back: found, so neither text nor tokens come
/// ```
pub(crate) struct Text<'t> {
    stream: Option<DecodeStream<'t>>, // None once it is finished
    stops: StopStrings,
    decoded: usize, // characters of all tokens
    certain: usize, // characters given away
    held: VecDeque<Token>,
}

/// What one more token makes certain.
pub(crate) struct Certain {
    pub(crate) text: String,
    pub(crate) tokens: Vec<Token>,
    /// Whether a stop string ends the text here.
    pub(crate) stopped: bool,
}

impl<'t> Text<'t> {
    /// The text after `prompt`, which a token's may depend on.
    pub(crate) fn new(tokenizer: &'t Tokenizer, prompt: &[u32], stops: &[String]) -> Result<Self, Error> {
        Ok(Self {
            stream: Some(tokenizer.decode_stream_after(prompt, true)?),
            stops: StopStrings::new(stops.iter().map(String::as_str)),
            decoded: 0,
            certain: 0,
            held: VecDeque::new(),
        })
    }

    /// One more token.
    pub(crate) fn push(&mut self, id: u32, score: Option<TokenScore>) -> Result<Certain, Error> {
        self.held.push_back(Token { id, start: self.decoded, score });
        let piece = self.stream.as_mut().map_or(Ok(String::new()), |stream| stream.push(id))?;
        self.decoded += piece.chars().count();
        let (text, stopped) = self.stops.push(&piece);
        Ok(self.give_away(text, stopped))
    }

    /// No more tokens come: what was held back, and an unfinished character.
    pub(crate) fn finish(&mut self) -> Result<Certain, Error> {
        let rest = self.stream.take().map_or(Ok(String::new()), DecodeStream::finish)?;
        self.decoded += rest.chars().count();
        let (mut text, stopped) = self.stops.push(&rest);
        if !stopped {
            text += &std::mem::take(&mut self.stops).finish();
        }
        Ok(self.give_away(text, stopped))
    }

    /// Characters so far.
    pub(crate) fn len(&self) -> usize {
        self.certain
    }

    fn give_away(&mut self, text: String, stopped: bool) -> Certain {
        self.certain += text.chars().count();
        let all = !stopped && self.certain == self.decoded;
        let mut tokens = Vec::new();
        while self.held.front().is_some_and(|token| all || token.start < self.certain) {
            tokens.extend(self.held.pop_front());
        }
        Certain { text, tokens, stopped }
    }
}
