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
    findings
}

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
}
