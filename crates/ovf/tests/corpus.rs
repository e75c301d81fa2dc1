//! Descriptors that other people wrote: none may panic, and what is refused is listed.
//!
//! Runs over the folder that `OVFTRANSFER_CORPUS` names, else over `shared/corpus/ovf` beside the
//! workspace, if there is one.

use std::fs;

use ovftransfer_ovf::Envelope;

mod support;

#[test]
fn descriptors_of_other_people() {
    let files = support::corpus();
    let (mut read, mut alone, mut refused) = (0, 0, 0);
    let (mut properties, mut configurations, mut eulas) = (0, 0, 0);
    for file in &files {
        let bytes = fs::read(file).unwrap();
        let whole = Envelope::parse(bytes.clone());
        match Envelope::parse_alone(bytes.clone()) {
            Ok(envelope) => {
                read += 1;
                alone += usize::from(whole.is_err());
                // Those that can be read at all differ in nothing but the references.
                assert_eq!(whole.is_err(), !envelope.outside().is_empty(), "{}", file.display());
                assert_eq!(envelope.bytes(), bytes, "{}", file.display());
                properties += envelope.products().map(|one| one.properties.len()).sum::<usize>();
                configurations += envelope.configurations().len();
                eulas += envelope.eulas().count();
            }
            Err(error) => {
                assert!(whole.is_err(), "{}", file.display());
                refused += 1;
                println!("refused: {}: {error}", file.display());
            }
        }
    }
    println!("{} descriptors: {read} read, {alone} of them alone, {refused} refused", files.len());
    println!("{properties} properties, {configurations} configurations, {eulas} EULAs");
}
