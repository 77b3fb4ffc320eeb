//! How a command fails: a fact, its causes, a hint, and an exit status.

use std::error::Error;
use std::fmt;
use std::process::ExitCode;

use sealboot_core::failure::{Diagnose, FailureCode, causes};
use sealboot_store::StoreError;

/// What a failed command exits with; 0 is done, and most of 2, wrong usage, is clap's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Exit {
    /// Something did not work.
    Failed = 1,
    /// The command line lacks something.
    Usage = 2,
    /// A signature, hash, policy or freshness check said no, or a loader would.
    Refused = 3,
}

/// Why a command failed, ready to be printed.
#[derive(Debug)]
pub(in crate::cli) struct Failure {
    fact: String,
    causes: Vec<String>,
    hint: Option<String>,
    code: Option<FailureCode>,
    exit: Exit,
}

impl Failure {
    /// A failure with exit status 1. `fact` starts in lower case and ends without a full stop.
    #[must_use]
    pub(in crate::cli) fn new(fact: impl Into<String>) -> Self {
        Self {
            fact: fact.into(),
            causes: Vec::new(),
            hint: None,
            code: None,
            exit: Exit::Failed,
        }
    }

    /// The command line lacks something: exit status 2.
    #[must_use]
    pub(in crate::cli) fn usage(fact: impl Into<String>) -> Self {
        Self {
            exit: Exit::Usage,
            ..Self::new(fact)
        }
    }

    /// Adds the error, and its sources, that led to this.
    #[must_use]
    pub(in crate::cli) fn because(mut self, cause: &(dyn Error + 'static)) -> Self {
        self.causes.extend(causes(Some(cause)));
        self
    }

    /// An error with its causes, and what to do about it where the error knows.
    #[must_use]
    pub(in crate::cli) fn from_error(error: &dyn Error, hint: Option<String>) -> Self {
        Self {
            causes: causes(error.source()),
            hint,
            ..Self::new(error.to_string())
        }
    }

    /// Says what to do next.
    #[must_use]
    pub(in crate::cli) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// A check of the trust chain said no: exit status 3, with the code that the loader would print.
    #[must_use]
    pub(in crate::cli) fn refused(refusal: &(impl Diagnose + 'static)) -> Self {
        Self {
            fact: refusal.to_string(),
            causes: causes(refusal.source()),
            hint: Some(refusal.hint()),
            code: Some(refusal.code()),
            exit: Exit::Refused,
        }
    }

    /// Makes it a refusal, with the code that the loader would print for the same input, if it has one.
    #[must_use]
    pub(in crate::cli) fn into_refusal(self, code: Option<FailureCode>) -> Self {
        Self {
            code,
            exit: Exit::Refused,
            ..self
        }
    }

    /// Puts what was being done before the fact: `context: fact`.
    #[must_use]
    pub(in crate::cli) fn context(mut self, context: impl fmt::Display) -> Self {
        self.fact = format!("{context}: {}", self.fact);
        self
    }

    /// What the process exits with.
    #[must_use]
    pub(in crate::cli) const fn exit(&self) -> Exit {
        self.exit
    }
}

/// The one place where what went wrong with a store becomes what this tool prints and exits with.
impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self {
            code: error.code(),
            exit: if error.is_refusal() {
                Exit::Refused
            } else {
                Exit::Failed
            },
            ..Self::from_error(&error, error.hint())
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let red = anstyle::AnsiColor::Red.on_default().bold();
        let cyan = anstyle::AnsiColor::Cyan.on_default().bold();
        let word = match self.exit {
            Exit::Failed | Exit::Usage => "error",
            Exit::Refused => "refused",
        };
        write!(f, "{red}{word}{red:#}: {}", self.fact)?;
        for cause in &self.causes {
            write!(f, "\n  caused by: {cause}")?;
        }
        if let Some(code) = self.code {
            write!(f, "\n  code: {code}")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n{cyan}hint{cyan:#}: {hint}")?;
        }
        Ok(())
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
