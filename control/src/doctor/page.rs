//! The pages of `tuning/` as the doctor reads them: what to look at, what is wanted, what to do.
//!
//! Pure. The pages are part of the program, so that what it checks and what they say is one thing.

use std::collections::BTreeMap;

/// Every page, by its name.
pub(super) const PAGES: &[(&str, &str)] = &[
    ("nofile", include_str!("../../../tuning/nofile.md")),
    ("somaxconn", include_str!("../../../tuning/somaxconn.md")),
    ("tcp_mem", include_str!("../../../tuning/tcp_mem.md")),
    ("tcp_wmem", include_str!("../../../tuning/tcp_wmem.md")),
    ("tcp_notsent_lowat", include_str!("../../../tuning/tcp_notsent_lowat.md")),
    ("slow_start", include_str!("../../../tuning/slow_start.md")),
    ("conntrack", include_str!("../../../tuning/conntrack.md")),
    ("shmem_huge", include_str!("../../../tuning/shmem_huge.md")),
    ("driver", include_str!("../../../tuning/driver.md")),
    ("pinning", include_str!("../../../tuning/pinning.md")),
    ("tick", include_str!("../../../tuning/tick.md")),
    ("cgroup", include_str!("../../../tuning/cgroup.md")),
    ("governor", include_str!("../../../tuning/governor.md")),
    ("clocksource", include_str!("../../../tuning/clocksource.md")),
    ("offloads", include_str!("../../../tuning/offloads.md")),
    ("big_tcp", include_str!("../../../tuning/big_tcp.md")),
    ("irq", include_str!("../../../tuning/irq.md")),
    ("congestion", include_str!("../../../tuning/congestion.md")),
];

/// A page, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Page {
    /// Exit code when it is off.
    pub(super) code: u8,
    /// One that is met is enough; never empty.
    pub(super) checks: Vec<Check>,
    /// Commands that put it right.
    pub(super) apply: String,
    /// Commands that take that back; empty where there are none.
    pub(super) undo: String,
}

/// One way for a setting to be as it should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Check {
    pub(super) place: Place,
    /// Nothing there is as good.
    pub(super) absent_is_fine: bool,
    part: Part,
    want: Want,
}

/// Where to look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A file, by its absolute path.
    File(String),
    /// A program with its arguments.
    Run(Vec<String>),
    /// What the appliance's own settings say.
    Fact(String),
}

/// Which part of what is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Part {
    /// Only what follows this text.
    after: Option<String>,
    /// The word of that, from 1 on.
    word: usize,
    /// The one in brackets instead.
    is_bracketed: bool,
}

/// What is wanted of it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Want {
    AtLeast(u64),
    AtMost(u64),
    OneOf(Vec<String>),
    OtherThan(Vec<String>),
    Contains(String),
}

/// What a page lacks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    /// A line of a check means nothing.
    #[error("cannot make sense of {0:?}")]
    Line(String),
    /// Something every page has.
    #[error("there is no {0}")]
    Missing(&'static str),
}

/// What a check says of what it saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// As wanted.
    Met(String),
    /// Something else.
    Off {
        /// What was seen.
        seen: String,
        /// What is wanted.
        wanted: String,
    },
}

impl Page {
    /// Reads a page, with names in braces replaced.
    ///
    /// # Errors
    /// It is not written as pages are.
    pub(super) fn parse(text: &str, names: &BTreeMap<&str, String>) -> Result<Self, Fault> {
        let mut text = text.to_owned();
        for (name, value) in names {
            text = text.replace(&format!("{{{name}}}"), value);
        }
        let blocks = || text.split("```check\n").skip(1).filter_map(|rest| rest.split("```").next());
        let code = blocks().find_map(|block| block.lines().find_map(|line| line.strip_prefix("exit ")));
        let code = code.and_then(|code| code.trim().parse().ok()).ok_or(Fault::Missing("exit code"))?;
        let checks = blocks().map(Check::parse).collect::<Result<Vec<_>, _>>()?;
        let apply = commands(&text, "**Apply.**").ok_or(Fault::Missing("command to apply it"))?;
        let undo = commands(&text, "**Undo.**").unwrap_or_default();
        Ok(Self { code, checks, apply, undo })
    }
}

/// The first shell block of a section.
fn commands(text: &str, section: &str) -> Option<String> {
    let (_, rest) = text.split_once(section)?;
    let section = rest.split("\n**").next()?;
    let (_, block) = section.split_once("```sh\n")?;
    Some(block.split("```").next()?.trim_end().to_owned())
}

impl Check {
    fn parse(block: &str) -> Result<Self, Fault> {
        let (mut place, mut want, mut absent_is_fine) = (None, None, false);
        let mut part = Part { word: 1, ..Part::default() };
        let words = |text: &str| text.split_ascii_whitespace().map(str::to_owned).collect::<Vec<_>>();
        for line in block.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let bad = || Fault::Line(line.to_owned());
            let number = |text: &str| text.trim().parse::<u64>().map_err(|_| bad());
            if line.strip_prefix("exit ").is_some() {
            } else if let Some(path) = line.strip_prefix("file /") {
                place = Some(Place::File(path.to_owned()));
            } else if let Some(program) = line.strip_prefix("run ") {
                place = Some(Place::Run(words(program)));
            } else if let Some(fact) = line.strip_prefix("fact ") {
                place = Some(Place::Fact(fact.to_owned()));
            } else if let Some(text) = line.strip_prefix("after ") {
                part.after = Some(text.to_owned());
            } else if let Some(text) = line.strip_prefix("word ") {
                part.word = usize::try_from(number(text)?).ok().filter(|it| *it > 0).ok_or_else(bad)?;
            } else if line == "bracketed" {
                part.is_bracketed = true;
            } else if line == "absent is fine" {
                absent_is_fine = true;
            } else if let Some(text) = line.strip_prefix("at least ") {
                want = Some(Want::AtLeast(number(text)?));
            } else if let Some(text) = line.strip_prefix("at most ") {
                want = Some(Want::AtMost(number(text)?));
            } else if let Some(text) = line.strip_prefix("one of ") {
                want = Some(Want::OneOf(words(text)));
            } else if let Some(text) = line.strip_prefix("other than ") {
                want = Some(Want::OtherThan(words(text)));
            } else if let Some(text) = line.strip_prefix("contains ") {
                want = Some(Want::Contains(text.to_owned()));
            } else {
                return Err(bad());
            }
        }
        let place = place.ok_or(Fault::Missing("place to look at"))?;
        let want = want.ok_or(Fault::Missing("value that is wanted"))?;
        Ok(Self { place, absent_is_fine, part, want })
    }

    /// Judges what is there.
    pub(super) fn judge(&self, text: &str) -> Verdict {
        let shown = if matches!(self.want, Want::Contains(_)) { None } else { self.part.of(text) };
        let value = shown.unwrap_or_default();
        let number = match value {
            "unlimited" | "max" => Some(u64::MAX),
            _ => value.parse::<u64>().ok(),
        };
        let (is_met, wanted) = match &self.want {
            Want::AtLeast(least) => (number.is_some_and(|it| it >= *least), format!("at least {least}")),
            Want::AtMost(most) => (number.is_some_and(|it| it <= *most), format!("at most {most}")),
            Want::OneOf(all) => (all.iter().any(|it| it == value), all.join(" or ")),
            Want::OtherThan(all) => {
                let is_other = shown.is_some() && !all.iter().any(|it| it == value);
                (is_other, format!("other than {}", all.join(" and ")))
            }
            Want::Contains(part) => (text.contains(part.as_str()), format!("{part:?}")),
        };
        let seen = match (&self.want, value) {
            (Want::Contains(part), _) if is_met => part.clone(),
            (Want::Contains(_), _) => "no such line".to_owned(),
            (_, "") => "nothing".to_owned(),
            (_, value) => value.to_owned(),
        };
        if is_met { Verdict::Met(seen) } else { Verdict::Off { seen, wanted } }
    }
}

impl Part {
    fn of<'a>(&self, text: &'a str) -> Option<&'a str> {
        let text = match &self.after {
            Some(after) => text.split_once(after.as_str())?.1,
            None => text,
        };
        if self.is_bracketed {
            return text.split_once('[')?.1.split(']').next();
        }
        text.split_ascii_whitespace().nth(self.word.checked_sub(1)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> BTreeMap<&'static str, String> {
        BTreeMap::from([("port", "8000".to_owned()), ("device", "eth0".to_owned())])
    }

    /// Guards: every page of the directory is looked at, is written as pages are, and has an exit code of its own that the list of
    /// pages names.
    #[test]
    fn every_page_is_read() {
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../tuning");
        let names_there = std::fs::read_dir(directory).unwrap().filter_map(|entry| {
            let name = entry.unwrap().file_name().into_string().unwrap();
            name.strip_suffix(".md").filter(|name| *name != "README").map(str::to_owned)
        });
        let mut there: Vec<String> = names_there.collect();
        let mut read: Vec<String> = PAGES.iter().map(|(name, _)| (*name).to_owned()).collect();
        there.sort_unstable();
        read.sort_unstable();
        assert_eq!(there, read);
        let list = std::fs::read_to_string(format!("{directory}/README.md")).unwrap();
        let mut codes = Vec::new();
        for (name, text) in PAGES {
            let page = Page::parse(text, &names()).unwrap_or_else(|fault| panic!("{name}: {fault}"));
            assert!(!page.checks.is_empty() && !page.apply.is_empty(), "{name}");
            assert!(!format!("{page:?}").contains(['{', '}']) || !page.apply.contains('{'), "{name}");
            for section in ["**Reason.**", "**Check.**", "**Apply.**", "**Undo.**", "**Measured.**"] {
                assert_eq!(text.matches(section).count(), 1, "{name} {section}");
            }
            let row = format!("| {} | [{name}]({name}.md)", page.code);
            assert!(list.contains(&row), "the list has no row {row:?}");
            codes.push(page.code);
        }
        assert_eq!(codes, (20..20 + codes.len() as u8).collect::<Vec<_>>());
    }

    fn check(lines: &str) -> Check {
        Check::parse(lines).unwrap()
    }

    fn is_met(lines: &str, text: &str) -> bool {
        matches!(check(lines).judge(text), Verdict::Met(_))
    }

    /// Guards what each line of a check means.
    #[test]
    fn checks_find_their_part_and_judge_it() {
        let limits = "Limit  Soft Hard Units\nMax open files    1024    20000    files\n";
        let hard = "file /x\nafter Max open files\nword 2\n";
        assert!(is_met(&format!("{hard}at least 20000"), limits));
        assert!(!is_met(&format!("{hard}at least 20001"), limits));
        assert!(is_met(&format!("{hard}at least 1"), "Max open files 1 unlimited"));
        assert!(!is_met(&format!("{hard}at least 1"), "something else"));
        assert!(is_met("file /x\nbracketed\none of never deny", "always [never] deny"));
        assert!(!is_met("file /x\nbracketed\none of never deny", "[always] never deny"));
        assert!(is_met("run a b\nat most 0", "0\n") && !is_met("run a b\nat most 0", "1\n"));
        assert!(is_met("fact x\nother than 0 00", "3") && !is_met("fact x\nother than 0 00", "00"));
        assert!(!is_met("fact x\nother than 0", ""));
        assert!(is_met("run a\ncontains b c", "a b c d") && !is_met("run a\ncontains b c", "a b d c"));
        assert_eq!(
            check("fact x\nat least 5").judge("4"),
            Verdict::Off { seen: "4".to_owned(), wanted: "at least 5".to_owned() }
        );
    }

    /// Guards that a page which is written wrongly says where.
    #[test]
    fn bad_pages_are_told() {
        let page = |block: &str| format!("```check\n{block}\n```\n**Apply.**\n```sh\nx\n```\n");
        for (block, fault) in [
            ("file /x\nat least 1", Fault::Missing("exit code")),
            ("exit 20\nat least 1", Fault::Missing("place to look at")),
            ("exit 20\nfile /x", Fault::Missing("value that is wanted")),
            ("exit 20\nfile /x\nat least many", Fault::Line("at least many".to_owned())),
            ("exit 20\nfile /x\nword 0\nat least 1", Fault::Line("word 0".to_owned())),
            ("exit 20\nfile /x\nabout 5", Fault::Line("about 5".to_owned())),
        ] {
            assert_eq!(Page::parse(&page(block), &names()), Err(fault), "{block}");
        }
        let without = "```check\nexit 20\nfile /x\nat most 1\n```\n**Apply.** Nothing.\n";
        assert_eq!(Page::parse(without, &names()), Err(Fault::Missing("command to apply it")));
    }
}
