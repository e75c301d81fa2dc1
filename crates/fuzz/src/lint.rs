//! A descriptor that is checked by the rules of OVF.

use ovftransfer_ovf::lint;
use ovftransfer_ovf::lint::FilesBeside;
use ovftransfer_ovf::lint::Severity;

/// Findings are in the order of the text, at places of it, and counted; files beside the descriptor
/// change nothing about those that it has alone.
pub fn lint(bytes: &[u8]) {
    let alone = lint::lint(bytes);
    let lines = bytes.iter().filter(|byte| **byte == b'\n').count() + 1;
    let places: Vec<_> = alone.findings.iter().map(|finding| finding.position).collect();
    assert!(places.is_sorted());
    assert!(places.iter().all(|place| (1..=lines).contains(&place.line) && place.column > 0));
    for finding in &alone.findings {
        assert_eq!(finding.severity, finding.code.severity());
        assert!(!finding.message.is_empty() && !finding.message.chars().any(char::is_control));
    }
    let of = |severity| alone.findings.iter().filter(|one| one.severity == severity).count();
    assert_eq!(of(Severity::Error), alone.errors.min(100));
    assert_eq!(of(Severity::Warning), alone.warnings.min(100));
    assert_eq!(alone.is_accepted(), alone.errors == 0);

    let mut files = FilesBeside::default();
    for href in lint::hrefs(bytes) {
        files.add(href, 0);
    }
    files.complete();
    let whole = lint::lint_with(bytes, &files);
    assert!(whole.errors >= alone.errors && whole.warnings >= alone.warnings);
}
