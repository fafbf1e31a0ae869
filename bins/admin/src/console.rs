//! Where a command reads and writes: the process's own streams, or a test's.

use std::io::{self, BufRead, IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How long a progress bar may stand before it is drawn again, so that elapsed times go on.
const REDRAW: Duration = Duration::from_millis(250);

/// The streams of a command.
pub(crate) struct Console {
    input: Box<dyn BufRead + Send>,
    output: Box<dyn Write + Send>,
    errors: Box<dyn Write + Send>,
    /// Whether somebody watches standard error.
    watched: bool,
    /// The first failure to write. A job that is half done is not broken off because nobody reads its lines.
    failure: Option<io::Error>,
}

impl Console {
    pub(crate) fn of_process() -> Self {
        Self {
            input: Box::new(io::BufReader::new(io::stdin())),
            output: Box::new(io::stdout()),
            errors: Box::new(io::stderr()),
            watched: io::stderr().is_terminal(),
            failure: None,
        }
    }

    /// A console of a test: it reads `input` and writes to the two others.
    #[cfg(test)]
    pub(crate) fn of_test(
        input: &'static str,
        output: impl Write + Send + 'static,
        errors: impl Write + Send + 'static,
    ) -> Self {
        Self {
            input: Box::new(input.as_bytes()),
            output: Box::new(output),
            errors: Box::new(errors),
            watched: false,
            failure: None,
        }
    }

    /// Writes a line to standard output.
    pub(crate) fn line(&mut self, line: &str) {
        self.write(format!("{line}\n").as_bytes());
    }

    /// Writes a line to standard error.
    pub(crate) fn note(&mut self, note: &str) {
        let written = writeln!(self.errors, "{note}");
        self.remember(written);
    }

    /// Asks on standard output, without a line's end, and reads the answer without its own. `None`: there is no more input.
    pub(crate) fn ask(&mut self, question: &str) -> io::Result<Option<String>> {
        self.write(question.as_bytes());
        let mut answer = String::new();
        if self.input.read_line(&mut answer)? == 0 {
            return Ok(None);
        }
        Ok(Some(answer.trim().to_owned()))
    }

    /// A progress bar on standard error if somebody watches it; else it draws nothing.
    pub(crate) fn progress(&self, length: u64, template: &str) -> ProgressBar {
        let target = if self.watched {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let style =
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::with_draw_target(Some(length), target).with_style(style);
        if self.watched {
            bar.enable_steady_tick(REDRAW);
        }
        bar
    }

    /// Whether somebody watches standard error.
    pub(crate) fn is_watched(&self) -> bool {
        self.watched
    }

    /// Ends the output, and fails if any of it could not be written.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        let flushed = self.output.flush();
        self.remember(flushed);
        self.failure.take().map_or(Ok(()), Err)
    }

    fn write(&mut self, bytes: &[u8]) {
        let written = self
            .output
            .write_all(bytes)
            .and_then(|()| self.output.flush());
        self.remember(written);
    }

    fn remember(&mut self, written: io::Result<()>) {
        if let Err(error) = written {
            self.failure.get_or_insert(error);
        }
    }
}
