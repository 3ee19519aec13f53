//! How each kind of value is written in TOML: what serde reads, and what it must hold to be right.

mod network;
mod quantity;
mod text;

pub(super) use network::*;
pub(super) use quantity::*;
pub(super) use text::*;

use serde::de::DeserializeOwned;

/// A kind of value.
pub(super) trait Form {
    /// What TOML holds.
    type Written: DeserializeOwned;
    /// What the program gets, which cannot be wrong.
    type Checked;

    fn check(written: Self::Written) -> Result<Self::Checked, Wrong>;

    /// What to write, for whoever wrote something else; empty: what serde says is enough.
    fn remedy() -> String;

    /// One right value, as written.
    fn example() -> &'static str {
        "..."
    }
}

/// Why a value is not right.
pub(super) struct Wrong {
    pub(super) message: String,
    /// Where the form's own remedy can be bettered.
    pub(super) help: Option<String>,
}

impl Wrong {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), help: None }
    }

    pub(super) fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }
}

/// What is right or wrong as TOML has it: a switch, or one of a few words.
pub(super) struct Choice<T>(std::marker::PhantomData<T>);

pub(super) type Switch = Choice<bool>;

impl<T: DeserializeOwned> Form for Choice<T> {
    type Written = T;
    type Checked = T;

    fn check(written: T) -> Result<T, Wrong> {
        Ok(written)
    }

    fn remedy() -> String {
        String::new()
    }
}
