//! The environment variables that the library reads: what they say, and whether that is valid. And a start with them, for trial.

use super::files::Known;
use super::report::{Report, bytes};
use fibra::{DriverKind, Runtime};
use fibra_context::arena;
use fibra_driver::RingSettings;
use std::env::VarError;
use std::fmt::Display;
use std::io::{self, Write};

/// The bounds of a worker count, as in the library.
const WORKERS: std::ops::RangeInclusive<u64> = 1..=1024;

/// What one variable says.
#[derive(Clone, Debug)]
pub(super) struct Setting<T> {
    name: &'static str,
    text: String,
    pub(super) value: Known<Option<T>>,
}

/// All of them.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) workers: Setting<u64>,
    pub(super) driver: Setting<DriverKind>,
    pub(super) ring: Setting<RingSettings>,
    pub(super) stack_size: Setting<u64>,
    pub(super) guard: Setting<String>,
}

/// What came of starting a runtime with these settings: how many workers, and on which driver; or why it does not start.
pub(super) type Trial = Known<(usize, &'static str)>;

impl<T> Setting<T> {
    /// `parse` says what a text means (an empty one nothing), or what it must be.
    fn of(
        name: &'static str,
        text: Result<String, VarError>,
        parse: impl FnOnce(&str) -> Known<Option<T>>,
    ) -> Setting<T> {
        let (text, value) = match text {
            Ok(text) => {
                let value = parse(&text).map_err(|rule| format!("{name} is '{text}'; {rule}"));
                (text, value)
            }
            Err(VarError::NotPresent) => (String::new(), Ok(None)),
            Err(VarError::NotUnicode(_)) => (String::new(), Err(format!("{name} is not text"))),
        };
        Setting { name, text, value }
    }

    fn print(&self, report: &mut Report<impl Write>, default: impl Display) -> io::Result<()> {
        match &self.value {
            Ok(None) => report.line(self.name, format!("not set: {default}")),
            Ok(Some(_)) => report.line(self.name, &self.text),
            Err(why) => {
                let why = why.strip_prefix(self.name).map_or(why.as_str(), str::trim_start);
                report.line(self.name, format!("NOT VALID: it {why}"))
            }
        }
    }
}

impl Settings {
    pub(super) fn from_environment() -> Settings {
        Settings::of(|name| std::env::var(name))
    }

    pub(super) fn of(variable: impl Fn(&str) -> Result<String, VarError>) -> Settings {
        fn read<T>(
            name: &'static str,
            variable: &impl Fn(&str) -> Result<String, VarError>,
            parse: impl FnOnce(&str) -> Known<Option<T>>,
        ) -> Setting<T> {
            Setting::of(name, variable(name), parse)
        }
        Settings {
            workers: read("FIBRA_WORKERS", &variable, workers),
            driver: read("FIBRA_DRIVER", &variable, driver),
            ring: read("FIBRA_URING", &variable, ring),
            stack_size: read("FIBRA_STACK_SIZE", &variable, stack_size),
            guard: read("FIBRA_GUARD", &variable, guard),
        }
    }

    /// How rings are made; as by default if the variable is not valid.
    pub(super) fn ring(&self) -> RingSettings {
        self.ring.value.clone().ok().flatten().unwrap_or_default()
    }

    /// The usable size of a stack, in bytes.
    pub(super) fn stack_size(&self) -> u64 {
        self.stack_size.value.clone().ok().flatten().unwrap_or(arena::DEFAULT_SIZE as u64)
    }

    /// What is not valid, a sentence each.
    pub(super) fn invalid(&self) -> Vec<String> {
        let Settings { workers, driver, ring, stack_size, guard } = self;
        let errors = [
            workers.value.as_ref().err(),
            driver.value.as_ref().err(),
            ring.value.as_ref().err(),
            stack_size.value.as_ref().err(),
            guard.value.as_ref().err(),
        ];
        errors.into_iter().flatten().cloned().collect()
    }

    /// Starts a runtime as a program would that says nothing else, and ends it.
    pub(super) fn trial(&self) -> Trial {
        if !self.invalid().is_empty() {
            return Err("a setting is not valid".into());
        }
        quietly(|| Runtime::builder().build())
            .map(|runtime| (runtime.workers(), runtime.driver()))
            .map_err(|error| error.to_string())
    }

    pub(super) fn print(
        &self,
        trial: &Trial,
        default_workers: &Known<u64>,
        report: &mut Report<impl Write>,
    ) -> io::Result<()> {
        self.workers.print(report, default_workers.clone().unwrap_or(1))?;
        self.driver.print(report, "auto")?;
        self.ring.print(report, "all that the kernel has")?;
        self.stack_size.print(report, bytes(arena::DEFAULT_SIZE as u64))?;
        self.guard.print(report, "auto")?;
        match trial {
            Ok((1, driver)) => report.line("trial start", format!("works: 1 worker, driver {driver}")),
            Ok((count, driver)) => {
                report.line("trial start", format!("works: {count} workers, driver {driver}"))
            }
            Err(why) => report.line("trial start", format!("FAILS: {why}")),
        }
    }
}

/// Runs `f` without its log: what it says is in the report.
pub(super) fn quietly<R>(f: impl FnOnce() -> R) -> R {
    tracing::subscriber::with_default(tracing::subscriber::NoSubscriber::default(), f)
}

fn workers(text: &str) -> Known<Option<u64>> {
    match text.trim() {
        "" => Ok(None),
        text => match text.parse() {
            Ok(count) if WORKERS.contains(&count) => Ok(Some(count)),
            _ => Err(format!("it must be a number from {} to {}", WORKERS.start(), WORKERS.end())),
        },
    }
}

fn driver(text: &str) -> Known<Option<DriverKind>> {
    match text.trim() {
        "" => Ok(None),
        "auto" => Ok(Some(DriverKind::Auto)),
        "epoll" => Ok(Some(DriverKind::Epoll)),
        "uring" => Ok(Some(DriverKind::Uring)),
        _ => Err("it must be 'auto', 'epoll' or 'uring'".into()),
    }
}

fn ring(text: &str) -> Known<Option<RingSettings>> {
    if text.trim().is_empty() { Ok(None) } else { text.parse().map(Some) }
}

/// The arena reads this variable by itself; spaces are not taken off it, nor off the next.
fn stack_size(text: &str) -> Known<Option<u64>> {
    match arena::default_size() {
        _ if text.is_empty() => Ok(None),
        Ok(size) if size >= arena::MIN_SIZE => Ok(Some(size as u64)),
        Ok(_) => Err(format!("a coroutine's stack has at least {}", bytes(arena::MIN_SIZE as u64))),
        Err(_) => {
            Err("it must be a number of bytes, or of KiB or MiB with k or m after it, up to 1024m".into())
        }
    }
}

fn guard(text: &str) -> Known<Option<String>> {
    match text {
        "" => Ok(None),
        "auto" | "lightweight" | "mprotect" => Ok(Some(text.to_owned())),
        _ => Err("it must be 'auto', 'lightweight' or 'mprotect'".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_is_unset_valid_or_named() {
        let read = |text: &str| Setting::of("FIBRA_WORKERS", Ok(text.into()), workers).value;
        assert_eq!(read(" "), Ok(None));
        assert_eq!(read(" 4"), Ok(Some(4)));
        for wrong in ["0", "1025", "many", "-1"] {
            let why = read(wrong).unwrap_err();
            assert!(why.contains("FIBRA_WORKERS") && why.contains(wrong) && why.contains("1024"), "{why}");
        }
        let odd = Setting::of("FIBRA_GUARD", Err(VarError::NotUnicode("x".into())), guard);
        assert_eq!(odd.value.unwrap_err(), "FIBRA_GUARD is not text");
    }

    #[test]
    fn words_are_the_librarys() {
        assert_eq!(driver("uring"), Ok(Some(DriverKind::Uring)));
        assert_eq!(driver(""), Ok(None));
        assert!(driver("magic").unwrap_err().contains("'epoll'"));
        assert_eq!(guard("mprotect"), Ok(Some("mprotect".into())));
        assert!(guard(" ").is_err() && ring(" ") == Ok(None), "as the library has it");
        assert!(ring("fast").unwrap_err().contains("'fast' is not known"));
        assert!(guard("none").unwrap_err().contains("'lightweight'"));
    }
}
