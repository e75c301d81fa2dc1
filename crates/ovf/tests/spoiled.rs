//! Descriptors of other people, spoiled: whatever comes out is read or refused, never a panic.
#![expect(clippy::unwrap_used, reason = "a helper of tests fails by panicking")]

use std::fs;
use std::ops::Range;

use ovftransfer_ovf::Envelope;
use ovftransfer_ovf::FileName;
use ovftransfer_ovf::envelope::Bound;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use roxmltree::Document;

mod support;

const FIXTURES: [&str; 6] = [
    include_str!("data/collection.ovf"),
    include_str!("data/draft.ovf"),
    include_str!("data/products.ovf"),
    include_str!("data/sections.ovf"),
    include_str!("data/two-disks.ovf"),
    include_str!("data/version-2.ovf"),
];

/// What is done to a descriptor.
#[derive(Clone, Debug)]
enum Harm {
    /// A byte becomes another.
    Byte(Index, u8),
    /// An element or attribute is there so many times more, or not at all.
    Piece { place: Index, is_attribute: bool, times: usize },
    /// A value of an attribute becomes that of another.
    Value { to: Index, from: Index },
    /// The end is missing.
    Cut(Index),
}

fn harm() -> impl Strategy<Value = Vec<Harm>> {
    let place = any::<Index>;
    let one = prop_oneof![
        3 => (place(), any::<u8>()).prop_map(|(place, byte)| Harm::Byte(place, byte)),
        6 => (place(), any::<bool>(), prop::sample::select(vec![0_usize, 0, 2, 40]))
            .prop_map(|(place, is_attribute, times)| Harm::Piece { place, is_attribute, times }),
        4 => (place(), place()).prop_map(|(to, from)| Harm::Value { to, from }),
        1 => place().prop_map(Harm::Cut),
    ];
    prop::collection::vec(one, 1..4)
}

/// Places of the elements, of the attributes and of their values.
fn pieces(text: &str) -> [Vec<Range<usize>>; 3] {
    let mut pieces = [const { Vec::new() }; 3];
    let Ok(document) = Document::parse(text) else { return pieces };
    for node in document.descendants().filter(|node| node.is_element()) {
        pieces[0].push(node.range());
        for attribute in node.attributes() {
            pieces[1].push(attribute.range());
            pieces[2].push(attribute.range_value());
        }
    }
    pieces
}

fn spoiled(text: &str, harm: &[Harm]) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    for harm in harm {
        if bytes.is_empty() {
            break;
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let [elements, attributes, values] = pieces(&text);
        match harm {
            Harm::Byte(place, byte) => {
                let place = place.index(bytes.len());
                bytes[place] = *byte;
            }
            Harm::Cut(place) => bytes.truncate(place.index(bytes.len())),
            Harm::Piece { place, is_attribute, times } => {
                let all = if *is_attribute { &attributes } else { &elements };
                if let Some(range) = pick(all, place)
                    && text.len() + range.len() * times < 1 << 20
                {
                    bytes = text.into_bytes();
                    let piece = [&bytes[range.clone()], b" "].concat().repeat(*times);
                    bytes.splice(range, piece);
                }
            }
            Harm::Value { to, from } => {
                if let (Some(to), Some(from)) = (pick(&values, to), pick(&values, from)) {
                    bytes = text.into_bytes();
                    let value = bytes[from].to_vec();
                    bytes.splice(to, value);
                }
            }
        }
    }
    bytes
}

fn pick(all: &[Range<usize>], place: &Index) -> Option<Range<usize>> {
    (!all.is_empty()).then(|| all[place.index(all.len())].clone())
}

/// Asks everything of what could be read; what it says of itself must hold.
fn look_at(bytes: Vec<u8>) -> bool {
    let strict = Envelope::parse(bytes.clone());
    let Ok(envelope) = Envelope::parse_alone(bytes.clone()) else {
        assert!(strict.is_err());
        return false;
    };
    assert_eq!(envelope.bytes(), bytes);
    let configuration = envelope.default_configuration().map(|one| one.id.as_str());
    for disk in envelope.disks() {
        assert_eq!(disk.capacity_bytes_in(configuration), disk.capacity_bytes());
        assert!(disk.capacity_bytes() <= i64::MAX as u64);
    }
    for system in envelope.systems() {
        for item in system.items_in(configuration) {
            let _ = (item.resource_name(), item.sub_type_name(), item.quantity_bytes());
            assert_eq!(item.bound(), Bound::Normal);
            if let Some(range) = system.range_of(item, Bound::Max) {
                assert_eq!(range.instance_id(), item.instance_id());
            }
        }
    }
    for section in envelope.vendor_sections() {
        assert!(envelope.text().is_char_boundary(section.at_byte));
        assert!(section.system.is_none_or(|at| at < envelope.systems().len()));
        assert!(section.collection.is_none_or(|at| at < envelope.collections().len()));
    }
    let localized = envelope.localized(Some("de"), |_| Some(bytes.clone())).unwrap();
    assert_eq!(localized.references(), envelope.references());
    let mut edit = envelope.edit();
    let names: Vec<FileName> =
        envelope.references().iter().rev().map(|file| file.href().clone()).collect();
    edit.order_references(&names);
    for file in envelope.references() {
        edit.file_size(file.id(), Some(1));
    }
    if let Ok(edited) = edit.apply() {
        assert!(edited.references().iter().all(|file| file.size_bytes() == Some(1)));
    }
    true
}

#[test]
fn spoiled_descriptors_of_other_people() {
    let mut runner = TestRunner::deterministic();
    let (mut read, mut refused) = (0, 0);
    for path in support::corpus() {
        let text = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
        // The largest cost a second each; their elements are like those of the others.
        if text.len() > 1 << 17 {
            continue;
        }
        for _ in 0..2 {
            let harm = harm().new_tree(&mut runner).unwrap().current();
            if look_at(spoiled(&text, &harm)) { read += 1 } else { refused += 1 }
        }
    }
    println!("{read} read, {refused} refused");
    assert!(read == 0 && refused == 0 || read > 50 && refused > 50, "{read} {refused}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..Default::default() })]

    #[test]
    fn spoiled_descriptors_of_ours(text in prop::sample::select(FIXTURES.to_vec()), harm in harm()) {
        look_at(spoiled(text, &harm));
    }
}
