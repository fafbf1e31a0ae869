//! What the commands about accounts have in common: who acts, where secrets come from, what is asked first.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use roadstead_management::Password;
use roadstead_metadata::Actor;
use serde::Serialize;

use crate::console::Console;

/// The most bytes of a file with a password.
const FILE_BYTES_MAX: u64 = 4 << 10;

/// Where a password comes from. Never from the command line, which others can read.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct PasswordArguments {
    /// A file with the password, or `-` to read it from standard input; without, one is drawn and printed
    #[arg(long, value_name = "FILE")]
    pub(crate) password_file: Option<PathBuf>,
}

impl PasswordArguments {
    /// The password that was given; none: one is to be drawn.
    pub(crate) fn read(&self, console: &mut Console) -> anyhow::Result<Option<Password>> {
        let Some(path) = &self.password_file else {
            return Ok(None);
        };
        let text = if path == Path::new("-") {
            console.ask("")?.unwrap_or_default()
        } else {
            let mut text = String::new();
            File::open(path)
                .and_then(|file| file.take(FILE_BYTES_MAX).read_to_string(&mut text))
                .with_context(|| format!("could not read a password from {}", path.display()))?;
            text.trim_end_matches(['\r', '\n']).to_owned()
        };
        if text.is_empty() {
            bail!("there is no password in what was given");
        }
        Ok(Some(Password::new(text)?))
    }
}

/// Nobody in particular: whoever may run the program.
pub(crate) fn operator() -> Actor {
    Actor::new(None).with_client(None, "admin")
}

/// Whether somebody who is asked says yes, or has said so on the command line.
pub(crate) fn agreed(yes: bool, question: &str, console: &mut Console) -> anyhow::Result<bool> {
    if yes {
        return Ok(true);
    }
    let answer = console.ask(&format!("{question} [y/n]: "))?;
    let agreed = matches!(answer.as_deref(), Some("y" | "yes"));
    if !agreed {
        console.note("nothing was changed");
    }
    Ok(agreed)
}

/// A document for scripts.
pub(crate) fn print_json(document: &impl Serialize, console: &mut Console) -> anyhow::Result<()> {
    console.line(&serde_json::to_string_pretty(document)?);
    Ok(())
}
