//! What the descriptor itself gives reason to say before a server reads it.

use ovftransfer_ovf::Envelope;
use ovftransfer_ovf::envelope::EnvelopeVersion;

use crate::error::Check;
use crate::error::Finding;

/// What a server may stumble over.
pub(super) fn findings(envelope: &Envelope) -> Vec<Finding> {
    let mut findings = Vec::new();
    if envelope.version() == EnvelopeVersion::Draft {
        let problem = "is a draft of OVF (version 0.9), which vSphere no longer reads";
        let advice = "convert it to OVF 1.x first, as VMware's OVF Tool does";
        findings
            .push(Finding::warning(Check::Descriptor, "the descriptor", problem).advise(advice));
    }
    // The server deploys it, and may know more than DSP0243; if it does not, it has to refuse the
    // package (DSP0243 1.1.0 §7.3), which is better known before.
    for section in envelope.unknown_required().take(SECTIONS_TOLD) {
        let line = envelope.position(section.at_byte).line;
        let name: String = section.name.escape_debug().take(NAME_CHARS).collect();
        let problem = format!(
            "{name} in line {line} is no section of OVF or VMware, and the package must not be \
             deployed by whoever does not understand it"
        );
        let advice = "expect the server to refuse it; the packer has to say if it can be left out";
        findings
            .push(Finding::warning(Check::Descriptor, "the descriptor", problem).advise(advice));
    }
    findings
}

/// Sections that are told: the first say what the packer meant.
const SECTIONS_TOLD: usize = 4;

/// Characters of a name of a section that are told; real ones are a few words.
const NAME_CHARS: usize = 80;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draft_is_told() {
        let text = |namespace: &str| {
            format!(
                "<Envelope xmlns='{namespace}' xmlns:o='{namespace}' \
                 xmlns:i='http://www.w3.org/2001/XMLSchema-instance'>\
                 <VirtualSystem o:id='vm'/></Envelope>"
            )
        };
        let found = |namespace| findings(&Envelope::parse(text(namespace)).unwrap());
        let draft = found("http://www.vmware.com/schema/ovf/1/envelope");
        let [finding] = &draft[..] else { panic!("one finding") };
        assert!(finding.to_string().contains("a draft of OVF (version 0.9)"), "{finding}");
        assert!(found("http://schemas.dmtf.org/ovf/envelope/1").is_empty());
    }

    #[test]
    fn a_section_that_must_be_understood_is_told() {
        let found = |attributes: &str| {
            let text = format!(
                "<Envelope xmlns='http://schemas.dmtf.org/ovf/envelope/1' \
                 xmlns:o='http://schemas.dmtf.org/ovf/envelope/1' xmlns:x='urn:x'>\n\
                 <VirtualSystem o:id='vm'><x:AuditSection{attributes}/></VirtualSystem></Envelope>"
            );
            let found = findings(&Envelope::parse(text).unwrap());
            found.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let [finding] = &found("")[..] else { panic!("one finding") };
        assert!(finding.contains("AuditSection in line 2 is no section of OVF"), "{finding}");
        assert_eq!(found(" o:required='true'").len(), 1);
        assert!(found(" o:required='false'").is_empty());
    }
}
