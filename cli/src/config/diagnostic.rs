//! What is wrong with a configuration file: where, why, and what to write instead.
//!
//! # Overview
//!
//! Every check adds [`Diagnostic`]s; nothing stops at the first. A [`Report`] holds them beside the [`Source`] that they
//! speak of and prints them, either as one line each (`file:line:column: error: …`) or with the excerpt of the file.
//!
//! # Life cycle
//!
//! A report is made once per reading of the file and is plain data from then on.

use std::fmt::Write as _;
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

/// A range of bytes of the configuration file.
pub type Span = Range<usize>;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The daemon does not start with this.
    Error,
    /// The daemon starts, but not quite as written.
    Warning,
}

/// One finding.
#[derive(Clone, Debug)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong, in one sentence without the place.
    pub message: String,
    /// Where; `None` when it concerns the file as a whole.
    pub span: Option<Span>,
    /// A second place that it collides with, and what is there.
    pub related: Option<(Span, &'static str)>,
    /// What to do about it.
    pub remedy: String,
}

impl Diagnostic {
    /// An error at `span`.
    pub fn error(span: Span, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            message: message.into(),
            span: Some(span),
            related: None,
            remedy: remedy.into(),
        }
    }

    /// A warning at `span`.
    pub fn warning(span: Span, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(span, message, remedy) }
    }

    /// An error about the whole file.
    pub fn whole_file(message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { span: None, ..Self::error(0..0, message, remedy) }
    }

    /// Adds the place that it collides with.
    pub fn with_related(mut self, span: Span, what: &'static str) -> Self {
        self.related = Some((span, what));
        self
    }
}

/// The file that diagnostics speak of.
#[derive(Clone, Debug, Default)]
pub struct Source {
    /// Its path as the user wrote it.
    pub path: String,
    /// Its text.
    pub text: String,
}

impl Source {
    /// Line and column of a byte offset, both counted from 1, columns in characters.
    pub fn position(&self, offset: usize) -> (usize, usize) {
        let before = self.text.get(..offset.min(self.text.len())).unwrap_or(&self.text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }

    /// The lines that `spans` touch, as a range of bytes and the number of the first line. The excerpt is cut by hand so
    /// that a long file does not travel into the renderer for each finding.
    fn excerpt(&self, span: &Span) -> (&str, usize, usize) {
        let start = self
            .text
            .get(..span.start)
            .and_then(|before| before.rfind('\n'))
            .map_or(0, |at| at + 1);
        let end = self
            .text
            .get(span.end..)
            .and_then(|after| after.find('\n'))
            .map_or(self.text.len(), |at| span.end + at);
        (self.text.get(start..end).unwrap_or(""), start, self.position(start).0)
    }
}

/// All that was found in one file.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The file.
    pub source: Source,
    /// The findings, in the order of the file.
    pub diagnostics: Vec<Diagnostic>,
}

impl Report {
    /// A report whose findings stand in the order of the file, those about the whole file first. What points at nothing,
    /// because the value is a default, is about the whole file.
    pub fn new(source: Source, mut diagnostics: Vec<Diagnostic>) -> Self {
        for finding in &mut diagnostics {
            finding.span = finding.span.take().filter(|span| *span != (0..0));
        }
        diagnostics.sort_by_key(|finding| finding.span.as_ref().map(|span| span.start));
        Self { source, diagnostics }
    }

    /// How many errors there are.
    pub fn errors(&self) -> usize {
        self.diagnostics.iter().filter(|finding| finding.severity == Severity::Error).count()
    }

    /// How many warnings there are.
    pub fn warnings(&self) -> usize {
        self.diagnostics.len() - self.errors()
    }

    /// One finding in one line: `file:line:column: error: message; remedy`.
    pub fn line(&self, finding: &Diagnostic) -> String {
        let mut text = self.source.path.clone();
        if let Some(span) = &finding.span {
            let (line, column) = self.source.position(span.start);
            let _ = write!(text, ":{line}:{column}");
        }
        let word = match finding.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let _ = write!(text, ": {word}: {}", finding.message);
        if !finding.remedy.is_empty() {
            let _ = write!(text, "; {}", finding.remedy);
        }
        text
    }

    /// Every finding in one line each.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        self.diagnostics.iter().map(|finding| self.line(finding))
    }

    /// Every finding with its excerpt of the file, for a terminal (`color`) or not.
    pub fn render(&self, color: bool) -> String {
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        let mut out = String::new();
        for finding in &self.diagnostics {
            let level = match finding.severity {
                Severity::Error => Level::ERROR,
                Severity::Warning => Level::WARNING,
            };
            let title = level.primary_title(finding.message.as_str());
            let mut group = match &finding.span {
                None => title.element(annotate_snippets::Origin::path(self.source.path.as_str())),
                Some(span) => {
                    let cover = finding.related.iter().fold(span.clone(), |all, (other, _)| {
                        all.start.min(other.start)..all.end.max(other.end)
                    });
                    let (text, start, line) = self.source.excerpt(&cover);
                    let shift = |span: &Span| {
                        let low = (span.start - start).min(text.len());
                        low..(span.end - start).clamp(low, text.len())
                    };
                    let mut snippet = Snippet::source(text)
                        .path(self.source.path.as_str())
                        .line_start(line)
                        .annotation(AnnotationKind::Primary.span(shift(span)));
                    if let Some((other, what)) = &finding.related {
                        snippet = snippet
                            .annotation(AnnotationKind::Context.span(shift(other)).label(*what));
                    }
                    title.element(snippet)
                }
            };
            if !finding.remedy.is_empty() {
                group = group.element(Level::HELP.message(finding.remedy.as_str()));
            }
            out.push_str(&renderer.render(&[group]));
            out.push_str("\n\n");
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_lines_and_characters_from_one() {
        let source = Source { path: "f".into(), text: "a\nö = 1\n".into() };
        assert_eq!(source.position(0), (1, 1));
        assert_eq!(source.position(2), (2, 1));
        assert_eq!(source.position(4), (2, 2), "ö is one character of two bytes");
        assert_eq!(source.position(999), (3, 1));
    }

    #[test]
    fn the_excerpt_shows_the_line_the_place_and_the_remedy() {
        let text = "[log]\nlevel = \"loud\"\n".to_owned();
        let source = Source { path: "t.toml".into(), text };
        let report =
            Report::new(source, vec![Diagnostic::error(14..20, "no such level", "write \"info\"")]);
        let shown = report.render(false);
        for part in
            ["error: no such level", "t.toml:2:9", "level = \"loud\"", "^^^^^^", "write \"info\""]
        {
            assert!(shown.contains(part), "{part:?} is missing in\n{shown}");
        }
        assert_eq!(
            report.lines().next().unwrap(),
            "t.toml:2:9: error: no such level; write \"info\""
        );
    }
}
